"""Run llm-svc: config, wiring, serve, drain."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from svc_runtime import config, logs, server, telemetry
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
    recorder = telemetry.recorder(SERVICE, settings.otlp_endpoint)
    servicer = LlmServicer(runner, recorder, max_generations=settings.max_generations)
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
        )
    finally:
        warming.cancel()
        for model in models:
            await model.close()
        await recorder.close()


if __name__ == "__main__":
    server.run(main())
