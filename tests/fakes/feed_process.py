"""A service process around one feed, for tests that stop, freeze or kill one: ``python feed_process.py host:port``.

Its handler acknowledges. An event named ``block:<s>`` blocks the loop, ``hold`` gets no answer.
It prints its port when it listens.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import grpc.aio
from fakes.streams import SHAPE, FeedServicer
from svc_runtime import logs, server
from svc_runtime.config import ConfigError
from svc_runtime.feed import Feed, Peer
from voicemesh.session.v1 import session_pb2_grpc


def handle(peer: Peer, event: Any) -> None:
    kind, _, seconds = event.event_id.partition(":")
    if kind == "block":
        time.sleep(float(seconds))
    if kind != "hold":
        peer.ack(event.seq)


async def main(listen: str, loop_limit_s: float) -> None:
    logs.setup("feed-process")
    if listen == "none":
        raise ConfigError("FEED_LISTEN is not set\nFEED_STORE is not set")
    feed = Feed(SHAPE, handle)

    def register(grpc_server: grpc.aio.Server) -> None:
        session_pb2_grpc.add_SessionServiceServicer_to_server(FeedServicer(feed), grpc_server)

    async def drain() -> None:
        await feed.drain(0.2)

    await server.serve(
        "feed",
        listen,
        register,
        health=server.Health(),
        drain=drain,
        drain_s=5.0,
        on_started=lambda port: print(port, flush=True),
        loop_limit_s=loop_limit_s,
    )


if __name__ == "__main__":
    server.run(main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 5.0))
