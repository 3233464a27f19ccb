"""Run session-svc."""

from __future__ import annotations

import os

import grpc
from svc_runtime import logs, server, telemetry
from svc_runtime.background import Background
from svc_runtime.clock import SystemClock
from svc_runtime.config import ConfigError, load
from svc_runtime.feed import Feed
from svc_runtime.kept_versions import KeptVersions
from svc_runtime.metrics import Counters, Gauge
from svc_runtime.side_port import SidePort
from voicemesh.session.v1 import session_pb2 as pb
from voicemesh.session.v1.session_pb2_grpc import add_SessionServiceServicer_to_server

from session_svc.adapters.call_table import CallTable
from session_svc.adapters.retention import keep_forgetting
from session_svc.adapters.servicer import SHAPE, Servicer
from session_svc.adapters.sqlite_store import SqliteStore
from session_svc.adapters.store import StoreFileError
from session_svc.config import Config, address_of, agents, report_policy, sync_of


async def main() -> None:
    config = load(Config, os.environ)
    logs.setup("session-svc", config.log_level)
    counters = Counters()
    recorder = telemetry.recorder("session-svc", config.otlp_endpoint, counters=counters)
    report_policy(config)
    shelf = agents(config, counters, KeptVersions(config.agent_versions, "session-svc"))
    try:
        store = await SqliteStore.open(config.store, synchronous=sync_of(config))
    except StoreFileError as error:
        raise ConfigError(str(error)) from error

    def send(ingress_id: str, command: pb.Command) -> None:
        peer = feed.peers.get(ingress_id)
        if peer is not None:
            peer.send(command)

    table = CallTable(
        store,
        lambda agent: shelf.of(agent).value,
        clock=SystemClock(),
        recorder=recorder,
        counters=counters,
        send=send,
        address=address_of(config),
        most_calls=config.most_calls,
        ingresses=lambda: [client_id for client_id, peer in feed.peers.items() if peer.connected],
        report_try_ms=round(config.owner_timeout_s * 1000),
    )
    feed = Feed(
        SHAPE, table.handle, on_batch_end=table.end_of_batch, on_open=lambda peer: table.connected(peer.client_id)
    )
    await table.start()
    health = server.Health(degraded=lambda: shelf.degraded)
    health.watch("store", lambda: store.healthy)
    recorder.start()
    background = Background()
    background.keep("sweep", table.keep_swept)
    background.keep("agents", shelf.keep_fresh)
    background.keep("forget", lambda: keep_forgetting(store, SystemClock(), config.retention_h))
    health.watch("background", lambda: background.ok)

    def register(grpc_server: grpc.aio.Server) -> None:
        add_SessionServiceServicer_to_server(Servicer(feed, store), grpc_server)

    async def drain() -> None:
        await feed.drain()
        await table.settle()

    live_calls = Gauge("voicemesh.call.active", "Live calls of this replica.", lambda: table.live_calls)
    try:
        await server.serve(
            "session-svc",
            config.listen,
            register,
            health=health,
            drain=drain,
            drain_s=config.drain_s,
            side_port=SidePort(config.http, counters, [live_calls, feed.gauge()]),
        )
    finally:
        await background.close()
        await recorder.close()
        await store.close()


if __name__ == "__main__":
    server.run(main())
