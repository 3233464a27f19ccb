"""The server end of a resumable stream: it hands each event to a handler once and sends answers and items back.

The rules stand in protos/voicemesh/type/v1/stream.proto. Everything here runs on one event loop.

A client sends in seq order and sends again only what is unanswered, so the ledger of a client is small: the highest
seq seen, those seen but not answered yet, and the errors that its floor has not passed. Any other seq up to the
highest was acknowledged.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio

from svc_runtime import logs
from svc_runtime.metrics import Gauge
from svc_runtime.outbox import FeedLimits as FeedLimits
from svc_runtime.outbox import Outbox
from svc_runtime.stream import INTERNAL, INVALID, STREAM_VERSION, TOO_LARGE, Outcome, StreamShape

log = logs.get()

MOVE_WITHIN_S = 0.2
"""A client with another replica moves in a few milliseconds; those of a lone one only wait for its return."""


class Peer:
    """One client process, over all its streams."""

    def __init__(self, client_id: str, limits: FeedLimits, item_class: Any) -> None:
        self.client_id = client_id
        self.dropped_items = 0
        """Sent while it was not connected, or did not read."""
        self._limits = limits
        self._item_class = item_class
        self._out: Outbox | None = None
        self._highest_seq = 0
        self._floor_seq = 0
        self._pending: set[int] = set()
        self._failed: dict[int, Outcome] = {}
        self._forget: asyncio.TimerHandle | None = None

    @property
    def connected(self) -> bool:
        return self._out is not None

    @property
    def pending(self) -> int:
        """How many of its events have no answer yet."""
        return len(self._pending)

    def ack(self, seq: int, *, urgent: bool = True) -> None:
        """Answer that the event was taken. A second answer to an event is ignored.

        An answer that nobody waits for is not ``urgent``: it rides on the next message, which comes 20 ms later at
        most.
        """
        pending = self._pending
        if seq in pending:
            pending.remove(seq)
            if self._out is not None:
                self._out.put_ack(seq, urgent=urgent)

    def fail(self, seq: int, outcome: Outcome) -> None:
        """Answer that the event was not taken, and why. A second answer to an event is ignored."""
        if seq in self._pending:
            self._pending.remove(seq)
            self._failed[seq] = outcome
            if self._out is not None:
                self._out.put_error(seq, outcome)

    def send(self, item: Any) -> bool:
        """Queue ``item``. Returns False when it was dropped: not connected, over the size limit, or does not read."""
        if type(item) is not self._item_class:
            raise TypeError(f"this stream carries {self._item_class.__name__}, not {type(item).__name__}")
        size: int = item.ByteSize()
        if self._out is None or size > self._limits.max_item_bytes or not self._out.put_item(item, size):
            self.dropped_items += 1
            return False
        return True

    def _take(self, seq: int) -> bool:
        """Note an event and return True if it was not seen before; else repeat the answer, if there is one yet."""
        if seq > self._highest_seq:
            self._highest_seq = seq
            self._pending.add(seq)
            return True
        if self._out is not None and seq not in self._pending:
            if seq < 1:
                self._out.put_error(seq, Outcome(INVALID, f"seq {seq} is not above 0"))
            elif seq in self._failed:
                self._out.put_error(seq, self._failed[seq])
            else:
                self._out.put_ack(seq)
        return False

    def _raise_floor(self, floor_seq: int) -> None:
        self._floor_seq = floor_seq
        if self._failed:
            for seq in [seq for seq in self._failed if seq < floor_seq]:
                del self._failed[seq]


class Feed:
    """Serves one resumable stream RPC to any number of clients.

    ``handle`` is called for each event once, in the order of its client's seqs, and must not block; it answers with
    `Peer.ack` or `Peer.fail`, then or later. If it raises, that event fails with INTERNAL and the others go on.
    ``on_batch_end`` is called after the events of one message; if it raises, those of them that have no answer yet
    fail with INTERNAL.

    ``on_open`` is called for every stream that a client opens, before its events: also when the stream replaces an
    older one of that client, for which there is no ``on_close`` then. ``on_close`` gets True when the client said bye;
    its `Peer` is then forgotten.
    """

    def __init__(
        self,
        shape: StreamShape,
        handle: Callable[[Peer, Any], None],
        *,
        on_batch_end: Callable[[], None] | None = None,
        on_open: Callable[[Peer], None] | None = None,
        on_close: Callable[[Peer, bool], None] | None = None,
        server_id: str | None = None,
        limits: FeedLimits | None = None,
    ) -> None:
        self.server_id = server_id or secrets.token_hex(8)
        self.draining = False
        self.callback_failures = 0
        self._shape = shape
        self._item_class = shape.item
        self._handle = handle
        self._on_batch_end = on_batch_end
        self._on_open = on_open
        self._on_close = on_close
        self._limits = limits or FeedLimits()
        self._peers: dict[str, Peer] = {}
        self._ending = False
        self._open_streams: set[Outbox] = set()
        self._stream_left = asyncio.Event()

    @property
    def peers(self) -> Mapping[str, Peer]:
        """Every client that is remembered, by its id."""
        return self._peers

    def gauge(self) -> Gauge:
        """Return how many streams are open, for metrics."""
        return Gauge("voicemesh.stream.active", "Streams that clients hold open.", lambda: len(self._open_streams))

    def start_draining(self) -> None:
        """Ask every client to move. Events are still served."""
        self.draining = True
        for out in self._open_streams:
            out.drain()

    async def drain(self, move_within_s: float = MOVE_WITHIN_S, *, settle_within_s: float = 1.0) -> None:
        """Ask every client to move, wait for that, then answer what was taken in and end the streams that are left.

        Clients with nowhere to go stay to the end of ``move_within_s``; they lose nothing, for what is unanswered is
        sent to the next process.
        """
        self.start_draining()
        await self._streams_gone(move_within_s)
        self._ending = True
        for out in self._open_streams:
            out.finish(grpc.StatusCode.UNAVAILABLE, "the process ends")
        await self._streams_gone(settle_within_s)
        for out in self._open_streams:
            out.end(grpc.StatusCode.UNAVAILABLE, "the process ends")

    async def _streams_gone(self, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                while self._open_streams:
                    self._stream_left.clear()
                    await self._stream_left.wait()
        except TimeoutError:
            return

    async def serve(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Serve one stream to its end: the whole body of the RPC method."""
        hello = await self._hello(context)
        out = Outbox(self._shape, self._limits)
        peer = self._enter(hello, out)
        reader = asyncio.ensure_future(self._read(context, peer, out))
        writer = asyncio.ensure_future(self._write(context, peer, out))
        said_bye = False
        try:
            await asyncio.wait((reader, writer, out.over), return_when=asyncio.FIRST_COMPLETED)
            said_bye = _result(reader, peer) is True
            _result(writer, peer)
            if said_bye:
                out.finish(grpc.StatusCode.OK, "")
                await asyncio.wait((writer, out.over), timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            if out.end_code is not grpc.StatusCode.OK:
                context.set_code(out.end_code)
                context.set_details(out.end_details)
        finally:
            reader.cancel()
            writer.cancel()
            self._leave(peer, out, said_bye=said_bye)
            await asyncio.gather(reader, writer, return_exceptions=True)

    async def _hello(self, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            async with asyncio.timeout(self._limits.hello_within_s):
                request: Any = await context.read()
        except TimeoutError:
            request = grpc.aio.EOF
        if request is grpc.aio.EOF or not request.HasField("hello") or not request.hello.client_id:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the first message must be hello with a client_id")
        version = request.hello.stream_version
        if version != STREAM_VERSION:
            details = f"stream_version {version} is not served; {STREAM_VERSION} is"
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, details)
        if self._ending:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the process ends")
        return request

    def _enter(self, hello: Any, out: Outbox) -> Peer:
        client_id = hello.hello.client_id
        peer = self._peers.get(client_id)
        if peer is not None and hello.floor_seq < peer._floor_seq:
            log.warning("feed.client_began_anew", client_id=client_id, floor_seq=hello.floor_seq)
            self._forget(peer)
            peer = None
        if peer is None:
            peer = self._peers[client_id] = Peer(client_id, self._limits, self._item_class)
        if peer._forget is not None:
            peer._forget.cancel()
        if peer._out is not None:
            peer._out.end(grpc.StatusCode.ABORTED, "a newer stream of this client took its place")
        peer._raise_floor(hello.floor_seq)
        peer._out = out
        out.draining = self.draining
        self._open_streams.add(out)
        log.info("feed.opened", client_id=client_id)
        if self._on_open is not None:
            with self._guard():
                self._on_open(peer)
        return peer

    def _leave(self, peer: Peer, out: Outbox, *, said_bye: bool) -> None:
        self._open_streams.discard(out)
        self._stream_left.set()
        if peer._out is not out:
            return
        peer._out = None
        peer.dropped_items += len(out.items)
        log.info("feed.closed", client_id=peer.client_id, said_bye=said_bye, pending=peer.pending)
        if said_bye:
            self._forget(peer)
        else:
            loop = asyncio.get_running_loop()
            peer._forget = loop.call_later(self._limits.forget_after_s, self._forget, peer)
        if self._on_close is not None:
            with self._guard():
                self._on_close(peer, said_bye)

    def _forget(self, peer: Peer) -> None:
        if peer._out is not None:
            peer._out.end(grpc.StatusCode.ABORTED, "a newer stream of this client took its place")
            peer._out = None
        if self._peers.get(peer.client_id) is peer:
            del self._peers[peer.client_id]

    async def _read(self, context: grpc.aio.ServicerContext[Any, Any], peer: Peer, out: Outbox) -> bool:
        """Take events in until the stream ends; True when the client had said bye."""
        read, eof = context.read, grpc.aio.EOF
        while True:
            request = await read()
            if request is eof:
                # A lost client looks like a polite end here; the cancellation, if there is one, comes a moment later.
                await asyncio.sleep(0.001)
                return False
            # A newer stream brings again what this one still held.
            if peer._out is not out:
                return False
            if out.finishing:
                continue
            if request.floor_seq > peer._floor_seq:
                peer._raise_floor(request.floor_seq)
            if request.events:
                self._take_events(peer, request)
            if request.heartbeat:
                out.echo = request.heartbeat
                out.wakeup.now()
            if request.bye:
                return True
            if len(peer._pending) + len(peer._failed) > self._limits.max_unsettled_events:
                out.end(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{peer.pending} events have no answer yet")

    def _take_events(self, peer: Peer, request: Any) -> None:
        handle, take = self._handle, peer._take
        most_bytes = self._limits.max_event_bytes
        check_size = request.ByteSize() > most_bytes
        taken: list[int] = []
        for event in request.events:
            seq = event.seq
            if not take(seq):
                continue
            if check_size and event.ByteSize() > most_bytes:
                peer.fail(seq, Outcome(TOO_LARGE, f"event of {event.ByteSize()} bytes; at most {most_bytes} are taken"))
                continue
            taken.append(seq)
            try:
                handle(peer, event)
            except Exception as error:
                self.callback_failures += 1
                log.exception("feed.handler_failed", error, client_id=peer.client_id, seq=seq)
                peer.fail(seq, Outcome(INTERNAL, f"the handler failed with {type(error).__name__}"))
        if self._on_batch_end is not None and taken:
            try:
                self._on_batch_end()
            except Exception as error:
                self.callback_failures += 1
                log.exception("feed.batch_failed", error, client_id=peer.client_id, first_seq=taken[0])
                for seq in taken:
                    peer.fail(seq, Outcome(INTERNAL, f"the batch failed with {type(error).__name__}"))

    async def _write(self, context: grpc.aio.ServicerContext[Any, Any], peer: Peer, out: Outbox) -> None:
        write = context.write
        welcome = self._shape.welcome(server_id=self.server_id)
        await write(self._shape.response(welcome=welcome, draining=out.draining))
        while True:
            if not out.empty:
                await write(out.next_response())
            elif out.finishing and not (peer._pending and out.end_code is not grpc.StatusCode.OK):
                return
            else:
                await out.wakeup.wait()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.callback_failures += 1
            log.exception("feed.callback_failed", error)


def _result(part: asyncio.Future[Any], peer: Peer) -> Any:
    """Return what ``part`` returned, or None. What it raised is logged, unless gRPC raised it for a lost client."""
    if not part.done() or part.cancelled():
        return None
    error = part.exception()
    if error is None:
        return part.result()
    if not type(error).__module__.startswith("grpc"):
        log.exception("feed.stream_failed", error, client_id=peer.client_id)
    return None
