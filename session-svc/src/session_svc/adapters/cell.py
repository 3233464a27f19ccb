"""One call in memory, and one of its events on the way into the store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from svc_runtime import stream
from voicemesh.session.v1 import session_pb2 as pb

from session_svc.adapters import wire
from session_svc.adapters.store import CallClosed, CallOpened, LogRow, OutboxAdd, OutboxRemove, Write
from session_svc.domain.call import Call, Step
from session_svc.domain.commands import ReportCall
from session_svc.domain.events import AnswerRequested, Event, ReportTried

SEEN_IDS = 4_096
"""Event ids remembered per call to tell a redelivery: more than an hour of speech makes."""


class Asker(Protocol):
    """Whoever sent an event and waits for its answer: one client process of the feed."""

    @property
    def client_id(self) -> str: ...

    def ack(self, seq: int, *, urgent: bool = True) -> None: ...

    def fail(self, seq: int, outcome: stream.Outcome) -> None: ...


class Arrival(NamedTuple):
    """An event as it came in. Nobody asks for an answer to what the table writes by itself."""

    asker: Asker | None
    event: pb.CallEvent
    parsed: Event

    def ack(self, *, urgent: bool = True) -> None:
        if self.asker is not None:
            self.asker.ack(self.event.seq, urgent=urgent)

    def fail(self, outcome: stream.Outcome) -> None:
        if self.asker is not None:
            self.asker.fail(self.event.seq, outcome)


class Unit(NamedTuple):
    """One durable event on its way into the store."""

    event: pb.CallEvent
    write: Write
    commands: Sequence[tuple[str, pb.Command]]
    """With the ingress process each goes to."""
    lasting: Sequence[tuple[str, pb.Command]]
    """Those of the commands that stay in the outbox until their effect is recorded."""
    received_ns: int

    @property
    def kind(self) -> str:
        return self.write.rows[-1].kind


@dataclass(slots=True)
class Cell:
    """One call in memory. While it is `loading` or `broken`, what arrives queues in `waiting`."""

    call_id: str
    slot: int
    touched_ms: int
    call: Call | None = None
    """None until an event was folded."""
    last_seq: int = 0
    loading: bool = True
    broken: bool = False
    """A write of it failed, so the log no longer tells what `call` does."""
    seen: dict[str, None] = field(default_factory=dict)
    in_flight: dict[str, list[Arrival]] = field(default_factory=dict)
    """By event id, who waits for its commit."""
    waiting: list[Arrival] = field(default_factory=list)
    unlogged: dict[str, pb.CallEvent] = field(default_factory=dict)
    """The partials that `call.recent` holds and the log does not."""

    @property
    def settled(self) -> bool:
        return not (self.loading or self.broken or self.in_flight)

    def remember(self, rows: Sequence[LogRow]) -> None:
        for row in rows:
            self.seen[row.event_id] = None
        while len(self.seen) > SEEN_IDS:
            del self.seen[next(iter(self.seen))]

    def take_partial(self, event: pb.CallEvent, result: Step) -> None:
        """Fold a partial: in memory only."""
        if self.call is None or result.call.recent is not self.call.recent:
            known = self.unlogged | {event.event_id: event}
            self.unlogged = {p.event_id: known[p.event_id] for p in result.call.recent if p.event_id in known}
        self.call = result.call

    def take(self, arrival: Arrival, result: Step, epoch: int) -> Unit:
        """Fold a durable event and return what the store must take for it."""
        event, parsed = arrival.event, arrival.parsed
        traceparent = event.trace.traceparent
        commands = [(to.ingress_id, wire.command_to(self.call_id, to, traceparent)) for to in result.commands]
        adds, removes = self._outbox_changes(result, commands)
        if isinstance(parsed.body, ReportTried) and not removes and not _is_ordered(result.call):
            # It was ordered, or not given up, under another policy than the log is read by now: only the store has it.
            removes = (OutboxRemove(self.call_id, ReportCall.command_id),)
        basis = self._basis(parsed)
        rows = tuple(self._row(kept, seq) for seq, kept in enumerate((*basis, event), start=self.last_seq + 1))
        write = Write(
            self.slot,
            epoch,
            rows,
            tuple(
                OutboxAdd(self.call_id, to.command_id, ingress_id, to.SerializeToString()) for ingress_id, to in adds
            ),
            removes,
            CallOpened(self.call_id, event.received_at_ms) if self.last_seq == 0 else None,
            self._closing(result.call),
        )
        # Nothing above may leave a trace when it raises; from here on nothing raises.
        self.call = result.call
        self.last_seq += len(rows)
        self.in_flight[event.event_id] = [arrival]
        if basis or not result.call.recent:
            self.unlogged = {}
        return Unit(event, write, commands, adds, time.time_ns())

    def _basis(self, parsed: Event) -> list[pb.CallEvent]:
        # Which words a request answers may rest on partials. From the log it must read as it was decided.
        if not self.unlogged or self.call is None or not isinstance(parsed.body, AnswerRequested):
            return []
        return [self.unlogged[p.event_id] for p in self.call.recent if p.event_id in self.unlogged]

    def _row(self, event: pb.CallEvent, seq: int) -> LogRow:
        return LogRow(
            self.call_id,
            seq,
            event.event_id,
            event.WhichOneof("kind") or "",
            event.at_ms,
            event.received_at_ms,
            wire.for_log(event),
        )

    def _outbox_changes(
        self, result: Step, commands: list[tuple[str, pb.Command]]
    ) -> tuple[list[tuple[str, pb.Command]], tuple[OutboxRemove, ...]]:
        pending_before = self.call.pending if self.call is not None else ()
        pending = result.call.pending
        if pending is pending_before:
            return [], ()
        after = {entry.command_id for entry in pending}
        return (
            [entry for entry in commands if entry[1].command_id in after],
            tuple(OutboxRemove(self.call_id, p.command_id) for p in pending_before if p.command_id not in after),
        )

    def _closing(self, call: Call) -> CallClosed | None:
        if not call.ended or (self.call is not None and self.call.outcome == call.outcome):
            return None
        return CallClosed(self.call_id, call.ended_at_ms, call.outcome)


def _is_ordered(call: Call) -> bool:
    return any(entry.command_id == ReportCall.command_id for entry in call.pending)
