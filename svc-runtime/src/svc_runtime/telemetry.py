"""Light records of what was done for whom, and the verdict that turns them into spans or drops them.

A span of the stock SDK costs as much as the work that it measures. So a hop notes a tuple, and only when its trace has
been judged do the records of the traces to keep become SDK spans (`svc_runtime.spans`), in small chunks while the event
loop is idle. The context travels as a W3C ``traceparent`` inside each message, because the metadata of a stream is sent
once for all that it carries.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from svc_runtime import logs
from svc_runtime.clock import Clock, SystemClock
from svc_runtime.metrics import Counters

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from svc_runtime.spans import SpanOutlet

Value: TypeAlias = str | int | float | bool
Sink: TypeAlias = "Callable[[list[ReadableSpan]], None]"

NO_ATTRIBUTES: Mapping[str, Value] = MappingProxyType({})

DROPPED = "voicemesh.telemetry.dropped"
EXPORTED = "voicemesh.telemetry.exported"

_SWEEP_S = 1.0
_IDLE_PROBE_S = 0.010
_IDLE_LAG_S = 0.003
_IDLE_PROBES = 20
_RETRY_S = 5.0

_random = random.Random()
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL)


class Kind(IntEnum):
    """What a span is to its trace, with the numbers of the SDK's SpanKind."""

    INTERNAL = 0
    SERVER = 1
    CLIENT = 2


class SpanRef(NamedTuple):
    """A span's place in its trace: 128 and 64 random bits, never zero."""

    trace_id: int
    span_id: int
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """The W3C header value, for the message that goes to the next hop."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{'01' if self.sampled else '00'}"

    @property
    def trace_hex(self) -> str:
        return f"{self.trace_id:032x}"

    def child(self) -> SpanRef:
        """Return a new span of the same trace; note it with this one's ``span_id`` as ``parent_id``."""
        return SpanRef(self.trace_id, _random.getrandbits(64) or 1, self.sampled)


def new_trace() -> SpanRef:
    """Return the root span of a new trace."""
    return SpanRef(_random.getrandbits(128) or 1, _random.getrandbits(64) or 1)


def parse_traceparent(text: str) -> SpanRef | None:
    """Return the sender's span, or None when ``text`` is empty or not valid by the W3C rules.

    A version above 00 may carry more fields after the four known ones; only the sampled bit of the flags is read.
    """
    match = _TRACEPARENT.fullmatch(text)
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    ref = SpanRef(int(trace, 16), int(span, 16), bool(int(flags, 16) & 1))
    return ref if ref.trace_id and ref.span_id else None


class Record(NamedTuple):
    """One noted span. ``error`` is the error.type, empty for success; times are wall-clock nanoseconds."""

    name: str
    span: SpanRef
    parent_id: int
    start_ns: int
    end_ns: int
    kind: Kind
    attributes: Mapping[str, Value]
    error: str
    links: Sequence[SpanRef]


@dataclass(frozen=True, slots=True)
class RecorderLimits:
    """Bounds of what a recorder holds. A record is about 0.6 KB with its attributes: 65,536 of them are 40 MB."""

    max_traces: int = 4_096
    max_records_per_trace: int = 256
    max_records: int = 65_536
    max_verdicts: int = 10_000
    max_queued: int = 8_192
    unjudged_s: float = 30.0
    """As long as a collector that samples by tails waits for a decision."""
    chunk: int = 64
    """Spans in one export. Encoding 64 costs about 3 ms, during which the GIL is shared; 512 would take 25 ms."""


class _Trace(NamedTuple):
    noted_s: float
    records: deque[Record]


class Recorder:
    """Holds the light records of a process until their traces are judged. Used from the event loop's thread only.

    Without an outlet it stores nothing. `note` takes over ``attributes``: the caller must not change them afterwards.
    """

    def __init__(
        self,
        outlet: SpanOutlet | None = None,
        *,
        clock: Clock | None = None,
        limits: RecorderLimits = RecorderLimits(),
        counters: Counters | None = None,
    ) -> None:
        self._outlet = outlet
        self._clock = clock or SystemClock()
        self._limits = limits
        self._counters = counters or Counters()
        self._counters.declare(
            DROPPED, "Light records lost.", reason=("traces", "trace_length", "records", "queue", "export")
        )
        self._counters.declare(EXPORTED, "Spans handed to the exporter and taken by it.")
        self._open: dict[int, _Trace] = {}
        self._held = 0
        self._verdicts: dict[int, bool] = {}
        self._queue: deque[Record] = deque()
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._outage = False
        self.enabled = outlet is not None

    def note(
        self,
        name: str,
        span: SpanRef,
        *,
        parent_id: int,
        start_ns: int,
        end_ns: int,
        kind: Kind = Kind.INTERNAL,
        attributes: Mapping[str, Value] = NO_ATTRIBUTES,
        error: str = "",
        links: Sequence[SpanRef] = (),
    ) -> None:
        """Record a finished span: 3 to 5 µs. ``parent_id`` is 0 for a root; ``error`` is an error.type, not a text."""
        if not self.enabled or not span.sampled:
            return
        record = Record(name, span, parent_id, start_ns, end_ns, kind, attributes, error, links)
        trace = self._open.get(span.trace_id)
        if trace is None:
            trace = self._place(record)
            if trace is None:
                return
        elif len(trace.records) == self._limits.max_records_per_trace:
            self._counters.add(DROPPED, reason="trace_length")
            self._held -= 1
        trace.records.append(record)
        self._held += 1
        if self._held > self._limits.max_records:
            self._drop_oldest_trace("records")

    def end_trace(self, trace_id: int, keep: bool) -> None:
        """Judge a trace: its records become spans or are dropped, and so do those that come later.

        What has been kept stays kept, for half a trace is worse than one too many.
        """
        if not self.enabled:
            return
        keep = self._remember(trace_id, keep)
        trace = self._open.pop(trace_id, None)
        if trace is None:
            return
        self._held -= len(trace.records)
        if keep:
            self._enqueue(trace.records)

    def keep_unjudged(self) -> None:
        """Keep the traces that no verdict has reached in time; whoever should have judged them is gone."""
        self._keep_noted_before(self._clock.monotonic_s() - self._limits.unjudged_s)

    def start(self) -> None:
        """Begin to send kept records in the background."""
        if self._outlet is not None and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(self._outlet), name="telemetry")

    async def close(self, timeout_s: float = 2.0) -> None:
        """Send what is kept or not judged yet, for at most ``timeout_s``; the rest is counted as dropped."""
        if self._outlet is None or not self.enabled:
            return
        self._keep_noted_before(self._clock.monotonic_s() + 1.0)
        self.enabled = False
        self._stop.set()
        try:
            async with asyncio.timeout(timeout_s):
                if self._task is not None:
                    await self._task
                while self._queue and await self._send_chunk(self._outlet):
                    pass
        except TimeoutError:
            pass
        finally:
            self._counters.add(DROPPED, len(self._queue), reason="export")
            self._queue.clear()
            self._outlet.shutdown()

    async def _run(self, outlet: SpanOutlet) -> None:
        while not self._stop.is_set():
            if not self._queue:
                await _wait(self._wake, _SWEEP_S)
                self._wake.clear()
            self.keep_unjudged()
            while self._queue and not self._stop.is_set():
                await _until_idle()
                if not await self._send_chunk(outlet):
                    await _wait(self._stop, _RETRY_S)
                    break

    async def _send_chunk(self, outlet: SpanOutlet) -> bool:
        """Send the oldest kept records. A chunk that is not taken is lost: the receiver may refuse it for good."""
        chunk = [self._queue.popleft() for _ in range(min(self._limits.chunk, len(self._queue)))]
        taken = False
        try:
            taken = await outlet.send(chunk)
        finally:
            if taken:
                self._counters.add(EXPORTED, len(chunk))
            else:
                self._counters.add(DROPPED, len(chunk), reason="export")
        if taken is self._outage:
            self._outage = not taken
            dropped = self._counters.value(DROPPED, reason="export")
            if taken:
                logs.get().info("telemetry.export.resumed", spans_dropped=dropped)
            else:
                logs.get().warning("telemetry.export.failed", spans_dropped=dropped, retry_s=_RETRY_S)
        return taken

    def _keep_noted_before(self, deadline_s: float) -> None:
        late = []
        for trace_id, trace in self._open.items():
            if trace.noted_s > deadline_s:
                break
            late.append(trace_id)
        for trace_id in late:
            self.end_trace(trace_id, keep=True)

    def _place(self, record: Record) -> _Trace | None:
        """Return the list for the first record of an unjudged trace; None when a verdict has settled the record."""
        trace_id = record.span.trace_id
        keep = self._verdicts.get(trace_id)
        if keep is not None:
            if keep:
                self._enqueue((record,))
            return None
        if len(self._open) >= self._limits.max_traces:
            self._drop_oldest_trace("traces")
        trace = _Trace(self._clock.monotonic_s(), deque(maxlen=self._limits.max_records_per_trace))
        self._open[trace_id] = trace
        return trace

    def _drop_oldest_trace(self, reason: str) -> None:
        oldest = self._open.pop(next(iter(self._open)))
        self._held -= len(oldest.records)
        self._counters.add(DROPPED, len(oldest.records), reason=reason)

    def _remember(self, trace_id: int, keep: bool) -> bool:
        keep = self._verdicts.pop(trace_id, False) or keep
        self._verdicts[trace_id] = keep
        if len(self._verdicts) > self._limits.max_verdicts:
            del self._verdicts[next(iter(self._verdicts))]
        return keep

    def _enqueue(self, records: Sequence[Record] | deque[Record]) -> None:
        self._queue.extend(records)
        while len(self._queue) > self._limits.max_queued:
            self._queue.popleft()
            self._counters.add(DROPPED, reason="queue")
        self._wake.set()


def recorder(
    service_name: str,
    endpoint: str,
    *,
    sink: Sink | None = None,
    instance_id: str = "",
    service_version: str = "",
    private: bool = False,
    clock: Clock | None = None,
    limits: RecorderLimits = RecorderLimits(),
    counters: Counters | None = None,
) -> Recorder:
    """Return the recorder of a process.

    ``endpoint`` is the OTLP receiver over gRPC, ``host:port`` or a URL (TLS with https), "" for none. ``sink`` gets the
    same spans in this process. With neither, nothing is stored and the SDK is not even imported. ``instance_id`` is a
    random one unless given. ``private`` lets attributes through whose key contains ``.pii.``.
    """
    if not endpoint and sink is None:
        return Recorder(None, clock=clock, limits=limits, counters=counters)
    from svc_runtime.spans import SpanOutlet

    outlet = SpanOutlet(
        service_name,
        endpoint=endpoint,
        sink=sink,
        instance_id=instance_id,
        service_version=service_version,
        private=private,
    )
    return Recorder(outlet, clock=clock, limits=limits, counters=counters)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass


async def _until_idle() -> None:
    """Return when a short sleep ended on time, so the loop has nothing urgent; after 20 tries go on nevertheless."""
    loop = asyncio.get_running_loop()
    for _ in range(_IDLE_PROBES):
        due = loop.time() + _IDLE_PROBE_S
        await asyncio.sleep(_IDLE_PROBE_S)
        if loop.time() - due < _IDLE_LAG_S:
            return
