"""Run bargein-svc."""

from __future__ import annotations

import os

import grpc
from svc_runtime import logs, server, telemetry
from svc_runtime.background import Background
from svc_runtime.clock import SystemClock
from svc_runtime.config import load
from svc_runtime.feed import Feed
from svc_runtime.kept_versions import KeptVersions
from svc_runtime.metrics import Counters, Gauge
from svc_runtime.side_port import SidePort
from voicemesh.bargein.v1.bargein_pb2_grpc import add_BargeInServiceServicer_to_server

from bargein_svc.adapters.calls import Calls
from bargein_svc.adapters.servicer import SHAPE, Judge, Servicer
from bargein_svc.config import Settings, agents


async def main() -> None:
    settings = load(Settings, os.environ)
    log = logs.setup("bargein-svc", settings.log_level)
    counters = Counters()
    shelf = agents(settings, counters, KeptVersions(settings.agent_versions, "bargein-svc"))
    recorder = telemetry.recorder("bargein-svc", settings.otlp_endpoint, counters=counters)
    calls = Calls(most=settings.max_calls, idle_s=settings.idle_s)
    judge = Judge(lambda agent: shelf.of(agent).value, calls, clock=SystemClock(), recorder=recorder, counters=counters)
    feed = Feed(SHAPE, judge.handle, on_open=judge.opened)

    def register(grpc_server: grpc.aio.Server) -> None:
        add_BargeInServiceServicer_to_server(Servicer(feed), grpc_server)

    async def drain() -> None:
        await feed.drain()
        log.info("bargein.drained", calls=len(calls), crowded_out=calls.crowded_out)

    known_calls = Gauge("voicemesh.call.active", "Calls that this replica remembers.", lambda: len(calls))
    recorder.start()
    background = Background()
    background.keep("agents", shelf.keep_fresh)
    health = server.Health(degraded=lambda: shelf.degraded)
    health.watch("background", lambda: background.ok)
    try:
        await server.serve(
            "bargein-svc",
            settings.listen,
            register,
            health=health,
            drain=drain,
            drain_s=settings.drain_s,
            side_port=SidePort(settings.http, counters, [known_calls, feed.gauge()]),
        )
    finally:
        await background.close()
        await recorder.close()


if __name__ == "__main__":
    server.run(main())
