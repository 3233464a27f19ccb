"""What breaks quietly in grpc.aio, each with the rule that keeps us from it."""

from __future__ import annotations

import asyncio
import signal
import time
from importlib.metadata import version
from typing import Any

import grpc
import grpc.aio
import pytest
from fakes.processes import feed_process
from fakes.streams import QUICK, SHAPE, FeedServer, command, event, linked, raw_stream, serving, until
from svc_runtime.channel import SERVER, channel_options, open_channel
from svc_runtime.feed import Feed, Peer
from svc_runtime.link import Link, LinkLimits
from voicemesh.session.v1 import session_pb2_grpc


def acknowledge(peer: Peer, event: Any) -> None:
    peer.ack(event.seq)


def test_b1_ping_timeout_is_set_because_keepalive_timeout_does_nothing() -> None:
    assert dict(channel_options())["grpc.http2.ping_timeout_ms"] == 2_000
    assert dict(SERVER)["grpc.http2.ping_timeout_ms"] == 2_000


async def test_b1_a_frozen_server_is_noticed_by_the_heartbeat_and_found_again() -> None:
    async with feed_process("127.0.0.1:0") as process, linked(process.port, limits=LinkLimits()) as link:
        await until(lambda: link.connected)
        frozen_s = time.monotonic()
        process.signal(signal.SIGSTOP)
        await until(lambda: not link.connected)
        # Keepalive needs 12 s.
        assert time.monotonic() - frozen_s < 6
        process.signal(signal.SIGCONT)
        await until(lambda: link.connected)


async def test_b2_every_call_that_a_link_gives_up_is_cancelled() -> None:
    """Ten streams are given up on a channel that stays open: each is cancelled, and none lives on at the server."""

    class Mute(Feed):
        async def serve(self, context: Any) -> None:
            await context.read()
            await context.write(SHAPE.response(welcome=SHAPE.welcome(server_id="mute")))
            await asyncio.sleep(60)

    class Noted:
        def __init__(self, call: Any) -> None:
            self.call = call
            self.read, self.write = call.read, call.write
            self.cancelled_by_link = False

        def cancel(self) -> None:
            self.cancelled_by_link = True
            self.call.cancel()

    calls: list[Noted] = []
    quick = LinkLimits(heartbeat_s=0.01, dead_after_s=0.05, backoff_first_s=0.001, backoff_most_s=0.001)
    async with serving(Mute(SHAPE, acknowledge)) as server, open_channel(f"127.0.0.1:{server.port}") as channel:
        stub = session_pb2_grpc.SessionServiceStub(channel)

        def open_call() -> Any:
            calls.append(Noted(stub.Converse(wait_for_ready=True)))
            return calls[-1]

        link = Link("session", SHAPE, open_call, client_id="ingress-1", on_item=lambda item: None, limits=quick)
        running = asyncio.ensure_future(link.run())
        await until(lambda: link.streams_opened >= 10)
        await link.close(0.0)
        await running
        assert all(call.cancelled_by_link for call in calls)
        await until(lambda: server.servicer.cleaned_up == server.servicer.calls)


async def test_b2_a_link_that_is_closed_leaves_no_call_behind() -> None:
    async with serving(Feed(SHAPE, acknowledge)) as server, linked(server.port) as link:
        await until(lambda: link.connected)
        await link.close(0.0)
        await until(lambda: server.servicer.cleaned_up == server.servicer.calls == 1)


@pytest.mark.parametrize("reads", [True, False])
async def test_b3_a_feed_cleans_up_however_its_client_goes(reads: bool) -> None:
    """Cancelled while it waits, and while its write is held by flow control, where no CancelledError comes."""
    closed: list[bool] = []
    feed = Feed(SHAPE, acknowledge, on_close=lambda peer, said_bye: closed.append(said_bye))
    async with serving(feed) as server:
        async with raw_stream(server.port):
            peer = feed.peers["raw"]
            if not reads:
                for number in range(150):
                    assert peer.send(command(str(number), "x" * 100_000))
                await asyncio.sleep(0.1)
        await until(lambda: server.servicer.cleaned_up == 1)
    assert closed == [False]
    assert not peer.connected
    # What the client had not read was still queued here: the write was held.
    assert (peer.dropped_items > 0) is not reads


async def test_b4_an_end_of_stream_without_bye_is_a_lost_peer() -> None:
    closed: list[bool] = []
    feed = Feed(SHAPE, acknowledge, on_close=lambda peer, said_bye: closed.append(said_bye))
    async with serving(feed) as server:
        async with raw_stream(server.port, "half-closes") as call:
            await call.done_writing()
            await until(lambda: closed == [False])
        async with raw_stream(server.port, "cancels"):
            pass
        await until(lambda: closed == [False, False])
        async with linked(server.port, client_id="says-bye") as link:
            await until(lambda: link.connected)
            await link.close(1.0)
        await until(lambda: closed == [False, False, True])
    assert set(feed.peers) == {"half-closes", "cancels"}


def test_b6_a_connection_s_age_and_grace_outlast_every_call() -> None:
    options = dict(SERVER)
    assert options["grpc.max_connection_age_ms"] == 60_000
    assert options["grpc.max_connection_age_grace_ms"] == 4 * 3_600_000


def test_b11_servers_allow_the_pings_that_our_clients_send() -> None:
    options = dict(SERVER)
    assert options["grpc.http2.max_ping_strikes"] == 0
    assert (
        options["grpc.http2.min_recv_ping_interval_without_data_ms"] < dict(channel_options())["grpc.keepalive_time_ms"]
    )
    assert options["grpc.keepalive_permit_without_calls"] == 1


async def test_b10_a_cancelled_stream_ends_as_cancelled() -> None:
    ends: list[str] = []

    class Watched(Feed):
        async def serve(self, context: Any) -> None:
            try:
                await super().serve(context)
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise
            ends.append("returned")

    async with serving(Watched(SHAPE, acknowledge)) as server:
        for number in range(10):
            async with raw_stream(server.port, str(number)):
                pass
        await until(lambda: server.servicer.cleaned_up == 10)
    # An end of stream can be read before the cancellation lands: that stream returns. The most are cancelled.
    assert ends.count("cancelled") >= 5


def test_b12_generator_and_runtime_have_one_number() -> None:
    assert version("grpcio") == version("grpcio-tools") == version("grpcio-health-checking")


async def test_b14_a_blocked_loop_is_noticed_by_the_heartbeat() -> None:
    async with feed_process("127.0.0.1:0") as process, linked(process.port, limits=QUICK) as link:
        await until(lambda: link.connected)
        link.submit(event("block:2"))
        await until(lambda: not link.connected)
        # gRPC itself sees nothing: the connection is well.
        async with open_channel(f"127.0.0.1:{process.port}") as channel:
            async with asyncio.timeout(2):
                await channel.channel_ready()
        await until(lambda: link.connected)


async def test_two_servers_cannot_share_a_port() -> None:
    async with serving(Feed(SHAPE, acknowledge)) as first:
        with pytest.raises(RuntimeError):
            await FeedServer(Feed(SHAPE, acknowledge)).start(first.port)


async def test_a_stream_outlives_the_limit_for_opening_it() -> None:
    """Deadlines are for opening: a stream has none."""
    async with serving(Feed(SHAPE, acknowledge)) as server:
        deadlines: list[float | None] = []

        class Noted(Feed):
            async def serve(self, context: Any) -> None:
                deadlines.append(context.time_remaining())
                await super().serve(context)

        server.servicer.feed = Noted(SHAPE, acknowledge)
        async with linked(server.port) as link:
            await until(lambda: link.connected)
            await asyncio.sleep(2 * QUICK.dead_after_s)
            assert link.streams_opened == 1
    assert deadlines == [None]


async def test_a_kill_is_followed_by_a_stream_within_a_second_of_the_next_server() -> None:
    async with feed_process("127.0.0.1:0") as first, linked(first.port, limits=LinkLimits()) as link:
        await until(lambda: link.connected)
        first.signal(signal.SIGKILL)
        await until(lambda: not link.connected)
        await first.ended()
        async with feed_process(f"127.0.0.1:{first.port}"):
            listens_s = time.monotonic()
            await until(lambda: link.connected)
            assert time.monotonic() - listens_s < 5


async def test_a_status_that_is_unknown_to_the_stub_does_not_stop_a_link() -> None:
    """An unimplemented method ends the stream at once; the link backs off and goes on asking."""
    server = grpc.aio.server(options=SERVER)
    session_pb2_grpc.add_SessionServiceServicer_to_server(session_pb2_grpc.SessionServiceServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with linked(port) as link:
        await asyncio.sleep(0.2)
        assert not link.connected
        await server.stop(None)
        working = FeedServer(Feed(SHAPE, acknowledge))
        await working.start(port)
        await until(lambda: link.connected)
        await working.kill()
