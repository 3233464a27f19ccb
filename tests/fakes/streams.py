"""A resumable stream over loopback, in the shape of session-svc's Converse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from svc_runtime.channel import SERVER, open_channel
from svc_runtime.feed import Feed
from svc_runtime.link import Link, LinkLimits
from svc_runtime.stream import Outcome, StreamShape
from voicemesh.session.v1 import session_pb2, session_pb2_grpc
from voicemesh.type.v1 import stream_pb2

SHAPE = StreamShape.of(session_pb2.ConverseRequest, session_pb2.ConverseResponse)

QUICK = LinkLimits(heartbeat_s=0.05, dead_after_s=0.3, backoff_first_s=0.01, backoff_most_s=0.1)


def event(name: str, text: str = "") -> Any:
    return session_pb2.CallEvent(event_id=name, call_id="vapi:1", report={"ended_reason": text})


def command(name: str, text: str = "") -> Any:
    return session_pb2.Command(command_id=name, replay_answer={"said_text": text})


class Outcomes(dict[str, list[int]]):
    """The codes that each event's outcome callback was called with."""

    def of(self, name: str) -> Callable[[Outcome], None]:
        return lambda outcome: self.setdefault(name, []).append(outcome.code)


class FeedServicer(session_pb2_grpc.SessionServiceServicer):
    """Serves the feed, and counts how its calls came to their end."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.calls = 0
        self.cleaned_up = 0

    async def Converse(self, request_iterator: Any, context: Any) -> None:
        self.calls += 1
        try:
            await self.feed.serve(context)
        finally:
            self.cleaned_up += 1


class FeedServer:
    """One server process's life: it can end without a word, and another can take its port."""

    def __init__(self, feed: Feed) -> None:
        self.servicer = FeedServicer(feed)
        self.server = grpc.aio.server(options=SERVER)
        session_pb2_grpc.add_SessionServiceServicer_to_server(self.servicer, self.server)
        self.port = 0

    async def start(self, port: int = 0) -> int:
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        await self.server.start()
        return self.port

    async def kill(self) -> None:
        await self.server.stop(None)


@asynccontextmanager
async def serving(feed: Feed) -> AsyncIterator[FeedServer]:
    server = FeedServer(feed)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


@asynccontextmanager
async def linked(
    port: int,
    on_item: Callable[[Any], None] = lambda item: None,
    *,
    client_id: str = "ingress-1",
    limits: LinkLimits = QUICK,
    on_state: Callable[[], None] | None = None,
) -> AsyncIterator[Link]:
    async with open_channel(f"127.0.0.1:{port}") as channel:
        stub = session_pb2_grpc.SessionServiceStub(channel)
        link = Link(
            "session",
            SHAPE,
            lambda: stub.Converse(wait_for_ready=True),
            client_id=client_id,
            on_item=on_item,
            on_state=on_state,
            limits=limits,
        )
        running = asyncio.ensure_future(link.run())
        try:
            yield link
        finally:
            await link.close(0.0)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def raw_stream(port: int, client_id: str = "raw", *, floor_seq: int = 1) -> AsyncIterator[Any]:
    """A bare call that has said hello and read its welcome."""
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        call = session_pb2_grpc.SessionServiceStub(channel).Converse()
        try:
            hello = stream_pb2.Hello(client_id=client_id, stream_version=1)
            await call.write(session_pb2.ConverseRequest(hello=hello, floor_seq=floor_seq))
            response: Any = await call.read()
            assert response.HasField("welcome")
            async with asyncio.timeout(20):
                yield call
        finally:
            call.cancel()


async def until(condition: Callable[[], object], within_s: float = 10.0) -> None:
    """Wait for ``condition``; the bound is generous and only there so that a defect fails instead of hanging."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the subject knows nothing of its observer
            await asyncio.sleep(0.002)


class CuttingProxy:
    """Passes TCP on to ``port`` and cuts connections, in the middle of whatever they carry."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        self.cut()
        assert self._server is not None
        self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back}
        await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1_000):
                writer.write(data)
                await writer.drain()
        except (ConnectionError, OSError):
            pass
        finally:
            writer.close()
