"""The client end of a resumable stream: it sends events and keeps each until it is answered.

The rules stand in protos/voicemesh/type/v1/stream.proto. Everything here runs on one event loop. `Link.submit` is the
hot path: it only appends; one writer sends whatever has queued since its last write ended.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc.aio

from svc_runtime import logs
from svc_runtime.stream import (
    INTERNAL,
    PEER_LOST,
    STREAM_VERSION,
    TAKEN,
    EventTooLarge,
    Outcome,
    Overloaded,
    StreamShape,
)
from svc_runtime.wakeup import Wakeup

log = logs.get()

OnOutcome = Callable[[Outcome], object]

OnLeft = Callable[[Any, OnOutcome | None], object]
"""Gets an event that a link was closed with, and who waits for its outcome."""


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """What bounds a link, and how soon it gives a silent server up."""

    max_batch_events: int = 32
    """Half of what a busy loop brings at once: the server works on one message while the next is written."""
    max_batch_bytes: int = 262_144
    """One message carries no more, unless a single event is larger."""
    max_event_bytes: int = 1_048_576
    """A whole chat history; each end takes messages of 4 MiB."""
    max_queued_events: int = 20_000
    """Queued and unanswered together."""
    max_queued_bytes: int = 33_554_432
    heartbeat_s: float = 0.5
    dead_after_s: float = 2.0
    """Silence after which the stream is dropped. It is counted in heartbeats, so a stall of our own loop is no silence
    of the server; also the limit for opening a stream."""
    backoff_first_s: float = 0.05
    backoff_most_s: float = 1.0


class _StreamEnded(Exception):
    """This stream is of no more use; the message says why."""


class Link:
    """One client process's events to one server, over all the streams that takes.

    ``client_id`` may serve one link per server for the life of the process: a server takes a second link of the same
    name that starts from seq 1 for the first one, unless the first was closed while connected. A second one after a
    first therefore gets the `last_seq` of that as ``after_seq``, and goes on from there.

    ``on_item`` and the outcome callbacks are called in the order of the stream, from its reader. What they raise is
    logged and counted in `callback_failures`; the stream goes on. ``on_state`` is called when `connected` or
    `draining` has changed.
    """

    def __init__(
        self,
        name: str,
        shape: StreamShape,
        open_call: Callable[[], grpc.aio.StreamStreamCall[Any, Any]],
        *,
        client_id: str,
        on_item: Callable[[Any], None],
        on_state: Callable[[], None] | None = None,
        limits: LinkLimits = LinkLimits(),
        after_seq: int = 0,
    ) -> None:
        self.name = name
        self.client_id = client_id
        self.connected = False
        self.draining = False
        self.server_id = ""
        """Of the server heard last; empty before the first."""
        self.callback_failures = 0
        self.streams_opened = 0
        self._shape = shape
        self._event_class = shape.request.DESCRIPTOR.fields_by_name["events"].message_type._concrete_class
        self._open_call = open_call
        self._on_item = on_item
        self._on_state = on_state
        self._limits = limits
        self._last_seq = after_seq
        self._floor_seq = after_seq + 1
        self._held: dict[int, tuple[Any, int, OnOutcome | None]] = {}
        self._held_bytes = 0
        self._unsent: deque[int] = deque()
        self._wakeup = Wakeup()
        self._beat = 0
        self._beat_due = False
        self._barriers: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._silent_beats = 0
        self._bye_due = False
        self._closing = False
        self._on_left: OnLeft | None = None
        self._answered_all: asyncio.Future[None] | None = None
        self._closed = asyncio.Event()

    @property
    def last_seq(self) -> int:
        """Of the event taken last."""
        return self._last_seq

    @property
    def backlog(self) -> int:
        """How many events have no answer yet."""
        return len(self._held)

    def submit(
        self, event: Any, on_outcome: OnOutcome | None = None, *, urgent: bool = True, share: float = 1.0
    ) -> None:
        """Queue ``event`` and give it its seq. The event is the link's until its outcome is known: leave it unchanged.

        An event that nobody waits for is not ``urgent``: it rides on the next message, which leaves 20 ms later at
        most. Events keep their order either way. ``share`` is what of the queue may be full already when it is taken:
        below 1 for what others go before.

        Raises EventTooLarge or Overloaded (also when closed) before the event has a seq.
        """
        if type(event) is not self._event_class:
            raise TypeError(f"{self.name} carries {self._event_class.__name__}, not {type(event).__name__}")
        size = event.ByteSize()
        limits = self._limits
        if size > limits.max_event_bytes:
            raise EventTooLarge(f"event of {size} bytes; {self.name} takes at most {limits.max_event_bytes}")
        held = self._held
        most_events, most_bytes = limits.max_queued_events * share, limits.max_queued_bytes * share
        if len(held) >= most_events or self._held_bytes + size > most_bytes or self._closing:
            raise Overloaded(self._refusal())
        self._last_seq = seq = self._last_seq + 1
        event.seq = seq
        held[seq] = (event, size, on_outcome)
        self._held_bytes += size
        self._unsent.append(seq)
        if urgent:
            self._wakeup.now()
        else:
            self._wakeup.soon()

    async def barrier(self, timeout_s: float) -> None:
        """Return when all that the server had sent before this call has been handled here.

        Raises TimeoutError. A stream that is lost meanwhile only delays it: the one after it brings the echo.
        """
        loop = asyncio.get_running_loop()
        echoed: asyncio.Future[None] = loop.create_future()
        self._beat += 1
        self._barriers.append((self._beat, echoed))
        self._beat_due = True
        self._wakeup.now()
        async with asyncio.timeout(timeout_s):
            await echoed

    async def run(self) -> None:
        """Keep a stream open until `close`, reopening it after every loss."""
        failures, last_reason = 0, ""
        try:
            while not self._closed.is_set():
                opened_s, opened = time.monotonic(), self.streams_opened
                reason = await self._one_stream()
                if self._closed.is_set():
                    return
                if self.streams_opened > opened or reason != last_reason:
                    log.info("link.lost", link=self.name, reason=reason, unanswered=len(self._held))
                last_reason = reason
                # A stream that lived, or one that waited long for a server, is no reason to wait longer.
                if time.monotonic() - opened_s > self._limits.backoff_most_s:
                    failures = 0
                failures += 1
                await self._back_off(failures)
        finally:
            self._forsake()

    async def close(self, grace_s: float, on_left: OnLeft | None = None) -> None:
        """Take no more events, wait up to ``grace_s`` for the answers to those held, say bye and end `run`.

        Events still unanswered then get the outcome PEER_LOST, or go to ``on_left`` in their order without one.
        """
        self._closing = True
        self._on_left = on_left
        until_s = time.monotonic() + grace_s
        if self._held:
            self._wakeup.now()
            self._answered_all = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._answered_all], timeout=grace_s)
        if self.connected:
            self._bye_due = True
            self._wakeup.now()
            # The server ends the stream on a bye; a moment is granted even when the answers took all the grace.
            ended = asyncio.ensure_future(self._closed.wait())
            await asyncio.wait([ended], timeout=max(0.1, until_s - time.monotonic()))
            ended.cancel()
        self._closed.set()
        self._forsake()

    def _refusal(self) -> str:
        if self._closing:
            return f"{self.name} is closed"
        return f"{self.name} holds {len(self._held)} unanswered events, {self._held_bytes} bytes"

    async def _back_off(self, failures: int) -> None:
        most_s = min(self._limits.backoff_most_s, self._limits.backoff_first_s * 2 ** min(failures - 1, 16))
        closed = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait([closed], timeout=most_s * random.uniform(0.5, 1.0))
        finally:
            closed.cancel()

    async def _one_stream(self) -> str:
        """Open a stream and serve it to its end. Returns why it ended."""
        call: grpc.aio.StreamStreamCall[Any, Any] | None = None
        parts: list[asyncio.Future[Any]] = []
        try:
            call = self._open_call()
            async with asyncio.timeout(self._limits.dead_after_s):
                await self._greet(call)
            parts = [asyncio.ensure_future(part) for part in (self._read(call), self._write(call), self._watch())]
            parts.append(asyncio.ensure_future(self._closed.wait()))
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
            return "closed"
        except _StreamEnded as ended:
            return str(ended)
        except TimeoutError:
            return "no welcome in time"
        except grpc.aio.AioRpcError as error:
            return error.code().name
        except (grpc.aio.UsageError, asyncio.InvalidStateError) as error:
            return type(error).__name__
        except asyncio.CancelledError:
            # A call that is cancelled under us (its channel was closed) raises this too; ours is marked on the task.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return "cancelled"
        except Exception as error:
            log.exception("link.stream_failed", error, link=self.name)
            return type(error).__name__
        finally:
            # A call that is merely dropped lives on at the server until the channel closes.
            if call is not None:
                call.cancel()
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            self._set_state(connected=False, draining=self.draining)

    async def _greet(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        shape = self._shape
        hello = shape.hello(client_id=self.client_id, stream_version=STREAM_VERSION)
        await call.write(shape.request(hello=hello, floor_seq=self._floor()))
        response: Any = await call.read()
        if response is grpc.aio.EOF or not response.HasField("welcome"):
            raise _StreamEnded("the first message was no welcome")
        self.server_id = response.welcome.server_id
        self.streams_opened += 1
        self._silent_beats = 0
        self._unsent = deque(self._held)
        self._beat_due = bool(self._barriers)
        self._wakeup.now()
        self._set_state(connected=True, draining=response.draining)
        self._handle(response)

    async def _read(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        read, eof = call.read, grpc.aio.EOF
        while True:
            response = await read()
            if response is eof:
                if self._bye_due:
                    self._closed.set()
                raise _StreamEnded("the server ended the stream")
            self._silent_beats = 0
            self._handle(response)

    def _handle(self, response: Any) -> None:
        for item in response.items:
            self._guard(self._on_item, item)
        held = self._held
        for seq in response.acked_seqs:
            entry = held.pop(seq, None)
            if entry is not None:
                self._held_bytes -= entry[1]
                if entry[2] is not None:
                    self._guard(entry[2], TAKEN)
        for error in response.errors:
            self._answer(error.seq, _outcome(error))
        if response.heartbeat:
            self._echoed(response.heartbeat)
        if response.draining and not self.draining:
            self._set_state(connected=True, draining=True)
        if self._answered_all is not None and not held and not self._answered_all.done():
            self._answered_all.set_result(None)

    async def _write(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        write = call.write
        while True:
            await self._wakeup.wait()
            if not (self._unsent or self._beat_due or self._bye_due):
                continue
            request = self._next_request()
            await write(request)
            if request.bye:
                # The server ends the stream; the reader sees that.
                await asyncio.Event().wait()

    def _next_request(self) -> Any:
        """Take what has queued since the last write, within the limits of one message."""
        limits, unsent, held = self._limits, self._unsent, self._held
        batch: list[Any] = []
        batch_bytes = 0
        while unsent and len(batch) < limits.max_batch_events:
            entry = held.get(unsent[0])
            # Answered on this stream before its turn to be sent again had come.
            if entry is None:
                unsent.popleft()
                continue
            batch_bytes += entry[1]
            if batch and batch_bytes > limits.max_batch_bytes:
                break
            unsent.popleft()
            batch.append(entry[0])
        request = self._shape.request(floor_seq=self._floor())
        if batch:
            request.events.extend(batch)
        if self._beat_due:
            self._beat_due = False
            request.heartbeat = self._beat
        if self._bye_due and not unsent:
            request.bye = True
        if unsent:
            self._wakeup.now()
        return request

    def _floor(self) -> int:
        floor, held, last = self._floor_seq, self._held, self._last_seq
        while floor <= last and floor not in held:
            floor += 1
        self._floor_seq = floor
        return floor

    async def _watch(self) -> None:
        """Send heartbeats, and end the stream when too many went by in silence."""
        limits = self._limits
        while True:
            await asyncio.sleep(limits.heartbeat_s)
            if self._silent_beats * limits.heartbeat_s >= limits.dead_after_s:
                raise _StreamEnded(f"silent for {limits.dead_after_s} s")
            self._silent_beats += 1
            self._beat += 1
            self._beat_due = True
            self._wakeup.now()

    def _echoed(self, beat: int) -> None:
        while self._barriers and self._barriers[0][0] <= beat:
            _, echoed = self._barriers.popleft()
            if not echoed.done():
                echoed.set_result(None)

    def _answer(self, seq: int, outcome: Outcome) -> None:
        entry = self._held.pop(seq, None)
        if entry is None:
            return
        self._held_bytes -= entry[1]
        if entry[2] is not None:
            self._guard(entry[2], outcome)

    def _forsake(self) -> None:
        self._closing = True
        self._closed.set()
        lost = Outcome(PEER_LOST, f"{self.name} was closed before the answer came")
        for seq in sorted(self._held):
            if self._on_left is None:
                self._answer(seq, lost)
            else:
                event, size, on_outcome = self._held.pop(seq)
                self._held_bytes -= size
                self._guard(self._on_left, event, on_outcome)

    def _set_state(self, *, connected: bool, draining: bool) -> None:
        if (connected, draining) == (self.connected, self.draining):
            return
        self.connected, self.draining = connected, draining
        if self._on_state is not None:
            self._guard(self._on_state)

    def _guard(self, callback: Callable[..., object], *args: Any) -> None:
        try:
            callback(*args)
        except Exception as error:
            self.callback_failures += 1
            log.exception("link.callback_failed", error, link=self.name)


def _outcome(error: Any) -> Outcome:
    return Outcome(error.code or INTERNAL, error.message, error.moved.address, error.moved.epoch, error.retry_after_ms)
