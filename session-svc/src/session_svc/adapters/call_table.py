"""The live calls of this replica: events in, folded, committed, answered; commands out.

An event is folded at once and answered when its commit has landed, so the fold is ahead of the store by what is in
flight. When a commit fails, the cells it touched are thrown away and read again from the log before they fold anything
more: the log is the truth.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from svc_runtime import logs, stream
from svc_runtime.clock import Clock
from svc_runtime.metrics import Counters
from svc_runtime.slots import SLOTS, slot_of
from svc_runtime.telemetry import Kind, Recorder, parse_traceparent
from voicemesh.session.v1 import session_pb2 as pb
from voicemesh.type.v1 import call_pb2

from session_svc.adapters import wire
from session_svc.adapters.outbox import Outbox
from session_svc.adapters.store import (
    CallClosed,
    CallOpened,
    CommitError,
    LogRow,
    OutboxAdd,
    OutboxRemove,
    StaleEpoch,
    Store,
    StoreUnavailable,
    Write,
)
from session_svc.domain.call import Call, Policy, Step
from session_svc.domain.events import Event
from session_svc.domain.fold import opened, step

LINGER_MS = 60_000
"""How long an ended call stays in memory for its late events; after that they bring it back from the log."""
SEEN_IDS = 4_096
"""Event ids remembered per call to tell a redelivery: more than an hour of speech makes."""
SWEEP_S = 1.0

DUPLICATES = "voicemesh.session.duplicates"
EVENTS = "voicemesh.session.events"
REFUSED = "voicemesh.session.refused"


class Asker(Protocol):
    """Whoever sent an event and waits for its answer: one client process of the feed."""

    @property
    def client_id(self) -> str: ...

    def ack(self, seq: int) -> None: ...

    def fail(self, seq: int, outcome: stream.Outcome) -> None: ...


Waiter = tuple[Asker, int]
Send = Callable[[str, pb.Command], object]
"""Sends a command to the ingress process of that id, if it is connected."""


@dataclass(slots=True)
class _Cell:
    """One call in memory. While `loading`, events queue in `waiting`."""

    call_id: str
    call: Call | None = None
    last_seq: int = 0
    touched_ms: int = 0
    loading: bool = True
    broken: bool = False
    seen: dict[str, None] = field(default_factory=dict)
    in_flight: dict[str, list[Waiter]] = field(default_factory=dict)
    waiting: list[tuple[Waiter | None, pb.CallEvent]] = field(default_factory=list)


@dataclass(slots=True)
class _Unit:
    """One event on its way into the store."""

    cell: _Cell
    event: pb.CallEvent
    write: Write
    commands: list[tuple[str, pb.Command]]
    lasting: list[tuple[str, pb.Command]]
    """Those of the commands that stay in the outbox until their effect is recorded."""
    received_ns: int


class CallTable:
    """Folds events into calls. Belongs to one event loop; `handle` and `end_of_batch` never wait."""

    def __init__(
        self,
        store: Store,
        policy: Policy,
        *,
        clock: Clock,
        recorder: Recorder,
        counters: Counters,
        send: Send,
        address: str,
        most_calls: int = 20_000,
    ) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._recorder = recorder
        self._counters = counters
        self._send = send
        self._address = address
        self._most_calls = most_calls
        self._cells: OrderedDict[str, _Cell] = OrderedDict()
        self._dormant: dict[str, int] = {}
        self._epochs: dict[int, int] = {}
        self._elsewhere: dict[int, tuple[str, int]] = {}
        self._outbox = Outbox()
        self._batch: list[_Unit] = []
        self._tasks: set[asyncio.Task[None]] = set()
        counters.declare(DUPLICATES, "Events that came a second time and had no second effect.")
        counters.declare(EVENTS, "Events folded.", durable=("yes", "no"))
        counters.declare(REFUSED, "Events not taken.", reason=("invalid", "moved", "overloaded", "store"))

    async def start(self) -> None:
        """Take every slot, and read what was left undone: live calls and commands without recorded effect."""
        self._epochs = await self._store.take_slots(range(SLOTS), self._address)
        self._dormant = {live.call_id: live.last_received_at_ms for live in await self._store.live_calls()}
        for row in await self._store.outbox():
            self._outbox.add(row.call_id, row.ingress_id, pb.Command.FromString(row.payload))
        logs.get().info("session.started", live_calls=len(self._dormant), commands=len(self._outbox))

    @property
    def live_calls(self) -> int:
        return len(self._cells) + len(self._dormant)

    def connected(self, ingress_id: str) -> None:
        """Tell an ingress that has (re)opened its stream again what it may have missed."""
        for command in self._outbox.of_ingress(ingress_id):
            self._send(ingress_id, command)

    def handle(self, asker: Asker, event: pb.CallEvent) -> None:
        """Fold an event; it is answered now or once it is durable."""
        slot = slot_of(event.call_id)
        if slot not in self._epochs:
            asker.fail(event.seq, self._moved(slot))
            return
        if not event.call_id:
            self._refuse((asker, event.seq), stream.INVALID, "event has no call_id", "invalid")
            return
        cell = self._cells.get(event.call_id)
        if cell is None:
            cell = self._new_cell(event.call_id)
            if cell is None:
                self._refuse(
                    (asker, event.seq), stream.OVERLOADED, "this replica is at its limit of calls", "overloaded"
                )
                return
        self._cells.move_to_end(event.call_id)
        cell.touched_ms = self._clock.now_ms()
        if cell.loading or cell.broken:
            cell.waiting.append(((asker, event.seq), event))
        else:
            self._fold(cell, (asker, event.seq), event)

    def end_of_batch(self) -> None:
        """Commit what was folded since the last call, as one unit."""
        if not self._batch:
            return
        units, self._batch = self._batch, []
        self._store.commit([unit.write for unit in units], lambda error: self._committed(units, error))

    def sweep(self) -> None:
        """Give up calls that were idle for the limit, and let go of those that ended a while ago."""
        now_ms = self._clock.now_ms()
        for cell in list(self._cells.values()):
            quiet_ms = now_ms - cell.touched_ms
            if quiet_ms < min(LINGER_MS, self._policy.idle_ms):
                break  # touched in this order: everything behind is younger
            if cell.loading or cell.broken or cell.in_flight or cell.call is None:
                continue
            if cell.call.ended:
                if quiet_ms >= LINGER_MS:
                    del self._cells[cell.call_id]
            elif quiet_ms >= self._policy.idle_ms:
                self._fold(cell, None, self._expiry(cell.call_id, now_ms, quiet_ms))
        for call_id, last_ms in list(self._dormant.items()):
            if now_ms - last_ms >= self._policy.idle_ms:
                cell = self._new_cell(call_id, known=True)
                if cell is not None:
                    cell.waiting.append((None, self._expiry(call_id, now_ms, now_ms - last_ms)))
        self.end_of_batch()

    async def keep_swept(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()

    async def settle(self) -> None:
        """Wait until nothing is on its way into the store."""
        while self._batch or self._tasks or any(cell.in_flight for cell in self._cells.values()):
            self.end_of_batch()
            await asyncio.sleep(0.005)

    def _new_cell(self, call_id: str, *, known: bool = False) -> _Cell | None:
        if not known and call_id not in self._dormant and self.live_calls >= self._most_calls:
            return None
        self._dormant.pop(call_id, None)
        cell = _Cell(call_id, touched_ms=self._clock.now_ms())
        self._cells[call_id] = cell
        self._load(cell)
        return cell

    def _load(self, cell: _Cell) -> None:
        cell.loading, cell.broken = True, False
        task = asyncio.get_running_loop().create_task(self._loaded(cell))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _loaded(self, cell: _Cell) -> None:
        """Fold the call's log, then what has queued meanwhile."""
        try:
            rows = await self._store.load_call(cell.call_id)
        except StoreUnavailable as error:
            self._cells.pop(cell.call_id, None)
            for waiter, _ in cell.waiting:
                self._refuse(waiter, stream.STORE_UNAVAILABLE, str(error), "store")
            return
        cell.call, cell.last_seq, cell.seen = None, 0, {}
        for row in rows:
            event = wire.from_log(row.payload)
            cell.call = step(cell.call or opened(cell.call_id, event), event, self._policy).call
            cell.last_seq = row.call_seq
            cell.seen[row.event_id] = None
        cell.loading = False
        waiting, cell.waiting = cell.waiting, []
        for waiter, event_pb in waiting:
            self._fold(cell, waiter, event_pb)
        self.end_of_batch()

    def _fold(self, cell: _Cell, waiter: Waiter | None, event: pb.CallEvent) -> None:
        if (waiters := cell.in_flight.get(event.event_id)) is not None:
            self._counters.add(DUPLICATES)
            if waiter is not None:
                waiters.append(waiter)
            return
        if event.event_id in cell.seen:
            self._counters.add(DUPLICATES)
            self._resend(cell.call_id)
            if waiter is not None:
                waiter[0].ack(waiter[1])
            return
        try:
            parsed = wire.event_from(event)
        except wire.Unreadable as error:
            self._refuse(waiter, stream.INVALID, str(error), "invalid")
            return
        result = step(cell.call or opened(cell.call_id, parsed), parsed, self._policy)
        if parsed.durable:
            self._batch.append(self._unit(cell, waiter, event, parsed, result))
        else:
            self._counters.add(EVENTS, durable="no")
            cell.call = result.call
            if waiter is not None:
                waiter[0].ack(waiter[1])

    def _unit(self, cell: _Cell, waiter: Waiter | None, event: pb.CallEvent, parsed: Event, result: Step) -> _Unit:
        """Fold a durable event into its cell and return what the store must take for it."""
        before = {pending.command_id for pending in cell.call.pending} if cell.call else set()
        after = {pending.command_id for pending in result.call.pending}
        was_ended = cell.call is not None and cell.call.ended
        first = cell.call is None and cell.last_seq == 0
        traceparent = event.trace.traceparent
        commands = [
            (command.ingress_id, wire.command_to(cell.call_id, command, traceparent)) for command in result.commands
        ]
        lasting = [entry for entry in commands if entry[1].command_id in after]
        old_outcome = cell.call.outcome if cell.call else ""
        cell.call = result.call
        cell.last_seq += 1
        cell.in_flight[event.event_id] = [waiter] if waiter is not None else []
        kind = event.WhichOneof("kind") or ""
        slot = slot_of(cell.call_id)
        write = Write(
            slot,
            self._epochs[slot],
            rows=(
                LogRow(
                    cell.call_id,
                    cell.last_seq,
                    event.event_id,
                    kind,
                    event.at_ms,
                    event.received_at_ms,
                    wire.for_log(event),
                ),
            ),
            outbox_adds=tuple(
                OutboxAdd(cell.call_id, command.command_id, ingress_id, command.SerializeToString())
                for ingress_id, command in lasting
            ),
            outbox_removes=tuple(OutboxRemove(cell.call_id, command_id) for command_id in before - after),
            opened=CallOpened(cell.call_id, result.call.started_at_ms) if first else None,
            closed=CallClosed(cell.call_id, result.call.ended_at_ms, result.call.outcome)
            if result.call.ended and (not was_ended or result.call.outcome != old_outcome)
            else None,
        )
        return _Unit(cell, event, write, commands, lasting, time.time_ns())

    def _committed(self, units: Sequence[_Unit], error: CommitError | None) -> None:
        if error is not None:
            self._failed(units, error)
            return
        for unit in units:
            cell, event_id = unit.cell, unit.event.event_id
            for removed in unit.write.outbox_removes:
                self._outbox.remove(removed.call_id, removed.command_id)
            for ingress_id, command in unit.lasting:
                self._outbox.add(cell.call_id, ingress_id, command)
            # Commands before the answer: whoever has the answer has the commands (rule 6 of the stream).
            for ingress_id, command in unit.commands:
                self._send(ingress_id, command)
            self._remember(cell, event_id)
            for asker, seq in cell.in_flight.pop(event_id, ()):
                asker.ack(seq)
            self._counters.add(EVENTS, durable="yes")
            self._trace(unit)
            if unit.write.rows[0].kind == "turn_ended":
                self._judge(unit.event.turn_ended)

    def _failed(self, units: Iterable[_Unit], error: CommitError) -> None:
        stale = error.slot if isinstance(error, StaleEpoch) else -1
        if stale >= 0 and self._epochs.pop(stale, None) is not None:
            logs.get().warning("session.slot_lost", slot=stale, reason=str(error))
            self._learn_owners()
        for unit in units:
            cell = unit.cell
            cell.broken = True
            lost = unit.write.slot == stale
            for asker, seq in cell.in_flight.pop(unit.event.event_id, ()):
                if lost:
                    asker.fail(seq, self._moved(stale))
                else:
                    self._refuse((asker, seq), stream.STORE_UNAVAILABLE, str(error), "store")
        for unit in units:
            cell = unit.cell
            if cell.broken and not cell.in_flight:
                self._again(cell)

    def _again(self, cell: _Cell) -> None:
        """Read a broken cell again, or let it go where nothing waits for it or its slot is lost."""
        if cell.waiting and slot_of(cell.call_id) in self._epochs:
            self._load(cell)
            return
        self._cells.pop(cell.call_id, None)
        for waiter, _ in cell.waiting:
            if waiter is not None:
                waiter[0].fail(waiter[1], self._moved(slot_of(cell.call_id)))
        cell.waiting = []

    def _remember(self, cell: _Cell, event_id: str) -> None:
        cell.seen[event_id] = None
        if len(cell.seen) > SEEN_IDS:
            del cell.seen[next(iter(cell.seen))]

    def _resend(self, call_id: str) -> None:
        for ingress_id, command in self._outbox.of_call(call_id):
            self._send(ingress_id, command)

    def _refuse(self, waiter: Waiter | None, code: int, message: str, reason: str) -> None:
        self._counters.add(REFUSED, reason=reason)
        if waiter is not None:
            again_ms = 0 if code == stream.INVALID else 200
            waiter[0].fail(waiter[1], stream.Outcome(code, message, retry_after_ms=again_ms))

    def _moved(self, slot: int) -> stream.Outcome:
        self._counters.add(REFUSED, reason="moved")
        address, epoch = self._elsewhere.get(slot, ("", 0))
        return stream.Outcome(
            stream.MOVED,
            f"slot {slot} is not held by this replica",
            moved_to=address,
            moved_epoch=epoch,
            retry_after_ms=100,
        )

    def _learn_owners(self) -> None:
        async def learn() -> None:
            try:
                owners = await self._store.owners()
            except StoreUnavailable:
                return  # the next lost slot asks again; until then `moved` names nobody
            self._elsewhere = {slot: (owner.owner, owner.epoch) for slot, owner in owners.items()}

        task = asyncio.get_running_loop().create_task(learn())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _judge(self, turn: call_pb2.TurnEnded) -> None:
        if turn.trace_id:
            self._recorder.end_trace(int(turn.trace_id, 16), turn.keep)

    def _expiry(self, call_id: str, now_ms: int, idle_ms: int) -> pb.CallEvent:
        event = pb.CallEvent(event_id=f"expired-{now_ms}", call_id=call_id, at_ms=now_ms, received_at_ms=now_ms)
        event.expired.idle_ms = idle_ms
        return event

    def _trace(self, unit: _Unit) -> None:
        sender = parse_traceparent(unit.event.trace.traceparent) if self._recorder.enabled else None
        if sender is not None:
            self._recorder.note(
                "session.commit",
                sender.child(),
                parent_id=sender.span_id,
                start_ns=unit.received_ns,
                end_ns=time.time_ns(),
                kind=Kind.SERVER,
                attributes={"voicemesh.event.kind": unit.write.rows[0].kind},
            )
