"""Run llm-svc: config, wiring, serve, drain."""

from __future__ import annotations

import os

from svc_runtime import config, logs, server, telemetry
from svc_runtime.background import Background
from svc_runtime.file_shelf import FileShelf
from svc_runtime.kept_versions import KeptVersions
from svc_runtime.metrics import Counters, Gauge
from svc_runtime.side_port import SidePort
from voicemesh.llm.v1.llm_pb2_grpc import add_LlmServiceServicer_to_server

from llm_svc.adapters.servicer import LlmServicer
from llm_svc.adapters.tool_runs import ToolRuns
from llm_svc.adapters.tool_servicer import ToolServicer
from llm_svc.config import Settings
from llm_svc.tool_wiring import Workshop
from llm_svc.wiring import Agent, agents, runners

SERVICE = "llm-svc"


async def main() -> None:
    settings = config.load(Settings, os.environ)
    logs.setup(SERVICE, settings.log_level)
    workshop = Workshop(settings)
    counters = Counters()
    shelf = agents(settings, workshop, counters, KeptVersions(settings.agent_versions, SERVICE))
    models = runners(settings, shelf)
    recorder = telemetry.recorder(SERVICE, settings.otlp_endpoint, counters=counters)
    runs = ToolRuns(most_running=settings.max_tools, counters=counters)
    tools = ToolServicer(lambda agent: shelf.of(agent).value.tools, runs, recorder)
    servicer = LlmServicer(models, tools, recorder, max_generations=settings.max_generations, counters=counters)
    gauges = [
        Gauge("voicemesh.generation.active", "Generations that run.", lambda: servicer.running),
        Gauge("voicemesh.tool.active", "Tools that run.", lambda: runs.running),
        Gauge("voicemesh.tool.threads", "Threads that run tools, given up or not.", lambda: workshop.threads.busy),
        servicer.feed.gauge(),
    ]
    shelf.on_change += [_Teller(shelf).tell, models.changed]
    await models.ready()
    recorder.start()
    background = Background()
    background.keep("agents", shelf.keep_fresh)
    background.keep("models", models.keep_ready)
    health = server.Health(degraded=lambda: shelf.degraded)
    health.watch("background", lambda: background.ok)
    try:
        await server.serve(
            SERVICE,
            settings.listen,
            lambda grpc_server: add_LlmServiceServicer_to_server(servicer, grpc_server),
            health=health,
            drain=lambda: servicer.drain(settings.drain_s),
            drain_s=settings.drain_s,
            side_port=SidePort(settings.http, counters, gauges),
        )
    finally:
        await background.close()
        await models.close()
        await workshop.close()
        await recorder.close()


class _Teller:
    """Says in the log what answers for each agent, once for each of its versions."""

    def __init__(self, shelf: FileShelf[Agent]) -> None:
        self._shelf = shelf
        self._told: set[str] = set()
        self.tell()

    def tell(self) -> None:
        current = self._shelf.current.values()
        for version in current:
            if version.reference not in self._told:
                model, *fallback = (one.spec.label for one in version.value.lineup)
                tools = version.value.tools
                logs.get().info(
                    "llm.configured",
                    agent=version.reference,
                    model=model,
                    fallback="".join(fallback),
                    tools=[*tools.tools, *tools.builtin],
                )
        self._told = {version.reference for version in current}


if __name__ == "__main__":
    server.run(main())
