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
from llm_svc.adapters.tool_runs import ToolRuns
from llm_svc.adapters.tool_servicer import ToolServicer
from llm_svc.agent_model import load_models
from llm_svc.agent_tools import load_tools
from llm_svc.config import Settings
from llm_svc.tool_wiring import Workshop
from llm_svc.wiring import build_runner

SERVICE = "llm-svc"


async def main() -> None:
    settings = config.load(Settings, os.environ)
    log = logs.setup(SERVICE, settings.log_level)
    agent = load_models(Path(settings.agent_file))
    runner, models = build_runner(settings, agent)
    workshop = Workshop(settings)
    toolset = workshop.toolset(load_tools(Path(settings.agent_file)), settings.agent_file)
    counters = Counters()
    recorder = telemetry.recorder(SERVICE, settings.otlp_endpoint, counters=counters)
    runs = ToolRuns(most_running=settings.max_tools, counters=counters)
    tools = ToolServicer(lambda _: toolset, runs, recorder)
    servicer = LlmServicer(runner, tools, recorder, max_generations=settings.max_generations, counters=counters)
    gauges = [
        Gauge("voicemesh.generation.active", "Generations that run.", lambda: servicer.running),
        Gauge("voicemesh.tool.active", "Tools that run.", lambda: runs.running),
        Gauge("voicemesh.tool.threads", "Threads that run tools, given up or not.", lambda: workshop.threads.busy),
        servicer.feed.gauge(),
    ]
    fallback = agent.fallback.label if agent.fallback else ""
    log.info("llm.configured", model=agent.primary.label, fallback=fallback, tools=[*toolset.tools, *toolset.builtin])
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
            side_port=SidePort(settings.http, counters, gauges),
        )
    finally:
        warming.cancel()
        for model in models:
            await model.close()
        await workshop.close()
        await recorder.close()


if __name__ == "__main__":
    server.run(main())
