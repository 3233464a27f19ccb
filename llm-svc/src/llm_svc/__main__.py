"""Run llm-svc: config, wiring, serve, drain."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from svc_runtime import config, logs, server, telemetry
from svc_runtime.metrics import Counters, Gauge
from svc_runtime.side_port import SidePort
from voicemesh.llm.v1.llm_pb2_grpc import add_LlmServiceServicer_to_server

from llm_svc.adapters.servicer import LlmServicer
from llm_svc.agent_model import load_models
from llm_svc.config import Settings
from llm_svc.wiring import build_runner

SERVICE = "llm-svc"


async def main() -> None:
    settings = config.load(Settings, os.environ)
    log = logs.setup(SERVICE, settings.log_level)
    agent = load_models(Path(settings.agent_file))
    runner, models = build_runner(settings, agent)
    counters = Counters()
    recorder = telemetry.recorder(SERVICE, settings.otlp_endpoint, counters=counters)
    servicer = LlmServicer(runner, recorder, max_generations=settings.max_generations, counters=counters)
    running = Gauge("voicemesh.generation.active", "Generations that run.", lambda: servicer.running)
    fallback = agent.fallback.label if agent.fallback else ""
    log.info("llm.configured", model=agent.primary.label, fallback=fallback)
    recorder.start()
    warming = asyncio.gather(*(model.warm_up() for model in models))
    try:
        await server.serve(
            SERVICE,
            settings.listen,
            lambda grpc_server: add_LlmServiceServicer_to_server(servicer, grpc_server),
            health=server.Health(),
            drain=lambda: servicer.drain(settings.drain_s),
            drain_s=settings.drain_s,
            side_port=SidePort(settings.http, counters, [running, servicer.feed.gauge()]),
        )
    finally:
        warming.cancel()
        for model in models:
            await model.close()
        await recorder.close()


if __name__ == "__main__":
    server.run(main())
