"""The live calls of this replica: events in, folded, committed, answered; commands out.

An event is folded at once and answered when its commit has landed, so the fold is ahead of the store by what is in
flight. When a commit fails, the call it touched is read again from the log before it folds anything more: the log is
the truth. Each call commits by itself, so that one call's failure is nobody else's.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from svc_runtime import logs, stream
from svc_runtime.clock import Clock
from svc_runtime.metrics import Counters
from svc_runtime.slots import SLOTS, slot_of
from svc_runtime.telemetry import Kind, Recorder, parse_traceparent
from voicemesh.session.v1 import session_pb2 as pb
from voicemesh.type.v1 import call_pb2

from session_svc.adapters import wire
from session_svc.adapters.call_reports import CallReports, is_report
from session_svc.adapters.cell import Arrival, Asker, Cell, Unit
from session_svc.adapters.control_urls import ControlUrls
from session_svc.adapters.outbox import Outbox
from session_svc.adapters.store import CommitError, StaleEpoch, Store, StoreUnavailable, Unstorable
from session_svc.domain.call import Call, Policy
from session_svc.domain.fold import agent_of, step

LINGER_MS = 60_000
"""How long an ended call stays in memory for its late events; after that they bring it back from the log."""
SWEEP_S = 1.0
MOST_GIVEN_UP = 500
"""Calls given up in one sweep, and as many read for it: some 20 ms of work. The rest has its turn a second later."""
ROWS_AT_ONCE = 256
"""Rows folded before others have their turn: some 5 ms of work."""
AGAIN_MS = 200
NAMED_KEPT = 1_024

DUPLICATES = "voicemesh.session.duplicates"
EVENTS = "voicemesh.session.events"
REFUSED = "voicemesh.session.refused"

Send = Callable[[str, pb.Command], object]
"""Sends a command to the ingress process of that id, if it is connected."""


class CallTable:
    """Folds events into calls. Belongs to one event loop; `handle` and `end_of_batch` never wait."""

    def __init__(
        self,
        store: Store,
        policy_of: Callable[[str], Policy],
        *,
        clock: Clock,
        recorder: Recorder,
        counters: Counters,
        send: Send,
        address: str,
        most_calls: int = 20_000,
        ingresses: Callable[[], Sequence[str]] = tuple,
        report_try_ms: int = 10_000,
    ) -> None:
        """``ingresses`` and ``report_try_ms``: see `CallReports`."""
        self._store = store
        self._policy_of = policy_of
        self._idle_ms = policy_of("").idle_ms
        self._clock = clock
        self._recorder = recorder
        self._counters = counters
        self._send = send
        self._address = address
        self._most_calls = most_calls
        self._cells: OrderedDict[str, Cell] = OrderedDict()
        """In the order in which they were last touched."""
        self._dormant: dict[str, int] = {}
        """Live calls that are in the store only, and when they were last heard of."""
        self._epochs: dict[int, int] = {}
        self._elsewhere: dict[int, tuple[str, int]] = {}
        self._outbox = Outbox()
        self._named: deque[tuple[str, pb.Command]] = deque(maxlen=NAMED_KEPT)
        """Agents that an ingress was told of: when its stream breaks then, only the answer is repeated by itself."""
        self._controls = ControlUrls(send, most_calls)
        self._reports = CallReports(send, ingresses, counters, try_ms=report_try_ms)
        self._batch: dict[str, list[Unit]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        counters.declare(DUPLICATES, "Events that came a second time and had no second effect.")
        counters.declare(EVENTS, "Events folded.", durable=("yes", "no"))
        counters.declare(REFUSED, "Events not taken.", reason=("invalid", "moved", "overloaded", "store", "internal"))

    async def start(self) -> None:
        """Take every slot, and read what was left undone: live calls and commands without recorded effect."""
        self._epochs = await self._store.take_slots(range(SLOTS), self._address)
        # From now on, not from when they were last heard of: while nobody listened, nobody could be heard.
        self._dormant = dict.fromkeys(await self._store.live_calls(), self._clock.now_ms())
        reports = []
        for row in await self._store.outbox():
            command = pb.Command.FromString(row.payload)
            if is_report(command):
                reports.append(command)
            else:
                self._outbox.add(row.call_id, row.ingress_id, command)
        self._reports.recall(reports, self._clock.now_ms())
        logs.get().info(
            "session.started", live_calls=len(self._dormant), commands=len(self._outbox), reports=len(self._reports)
        )

    @property
    def live_calls(self) -> int:
        return len(self._cells) + len(self._dormant)

    def call(self, call_id: str) -> Call | None:
        """Return the call as folded so far, if it is in memory."""
        cell = self._cells.get(call_id)
        return cell.call if cell is not None else None

    def connected(self, ingress_id: str) -> None:
        """Tell an ingress that has (re)opened its stream again what it may have missed."""
        for told_id, command in self._named:
            if told_id == ingress_id:
                self._send(ingress_id, command)
        self._controls.connected(ingress_id)
        for command in self._outbox.of_ingress(ingress_id):
            self._send(ingress_id, command)

    def handle(self, asker: Asker, event: pb.CallEvent) -> None:
        """Fold an event; it is answered now or once it is durable."""
        try:
            arrival = Arrival(asker, event, wire.event_from(event))
        except wire.Unreadable as error:
            self._counters.add(REFUSED, reason="invalid")
            asker.fail(event.seq, stream.Outcome(stream.INVALID, str(error)))
            return
        call_id = event.call_id
        # Before anything keeps the event: no log, no store and no span has the URL.
        control_url = event.control_url
        if control_url:
            event.ClearField("control_url")
        cell = self._cells.get(call_id)
        if cell is None:
            slot = slot_of(call_id)
            if slot not in self._epochs:
                self._moved(slot, [arrival])
                return
            if call_id not in self._dormant and self.live_calls >= self._most_calls:
                arrival.fail(self._refusal(stream.OVERLOADED, "this replica is at its limit of calls", "overloaded"))
                return
            cell = self._enter(call_id, slot)
        else:
            self._cells.move_to_end(call_id)
            cell.touched_ms = self._clock.now_ms()
        if cell.call is None or not cell.call.ended:
            self._controls.heard(call_id, asker.client_id, control_url)
        if cell.loading or cell.broken:
            cell.waiting.append(arrival)
        else:
            self._fold(cell, arrival)

    def end_of_batch(self) -> None:
        """Commit what was folded since the last call, each call's part as one unit."""
        if not self._batch:
            return
        batch, self._batch = self._batch, {}
        for call_id, units in batch.items():
            self._store.commit([unit.write for unit in units], partial(self._landed, self._cells[call_id], units))

    def sweep(self) -> None:
        """Give up calls that were idle for the limit, and let go of those that ended a while ago."""
        now_ms = self._clock.now_ms()
        self._wake_idle(now_ms)
        given_up = 0
        for cell in list(self._cells.values()):
            quiet_ms = now_ms - cell.touched_ms
            if quiet_ms < min(LINGER_MS, self._idle_ms) or given_up == MOST_GIVEN_UP:
                break  # touched in this order: everything behind is younger
            if not cell.settled:
                continue
            if cell.call is None or cell.call.ended:
                if quiet_ms >= LINGER_MS:
                    del self._cells[cell.call_id]
                    self._outbox.forget(cell.call_id)
                    self._controls.forget(cell.call_id)
            elif quiet_ms >= self._idle_ms:
                self._fold_apart(cell, _expiry(cell.call_id, now_ms, quiet_ms))
                given_up += 1
        self.end_of_batch()
        self._reports.tick(now_ms)
        if self._reports.wants_more:
            self._run(self._recall_reports())

    async def keep_swept(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()

    async def settle(self) -> None:
        """Wait until nothing is on its way into the store."""
        while self._batch or self._tasks or any(cell.in_flight for cell in self._cells.values()):
            self.end_of_batch()
            await asyncio.sleep(0.005)

    async def _recall_reports(self) -> None:
        try:
            rows = await self._store.outbox()
        except StoreUnavailable:
            return  # the next sweep asks again
        commands = (pb.Command.FromString(row.payload) for row in rows if slot_of(row.call_id) in self._epochs)
        self._reports.recall(filter(is_report, commands), self._clock.now_ms())

    def _wake_idle(self, now_ms: int) -> None:
        """Read the idle ones of the calls that are in the store only; the next sweep finds them among the others."""
        idle = [entry for entry in self._dormant.items() if now_ms - entry[1] >= self._idle_ms]
        for call_id, last_ms in idle[:MOST_GIVEN_UP]:
            self._enter(call_id, slot_of(call_id)).touched_ms = last_ms
            self._cells.move_to_end(call_id, last=False)

    def _enter(self, call_id: str, slot: int) -> Cell:
        self._dormant.pop(call_id, None)
        cell = self._cells[call_id] = Cell(call_id, slot, self._clock.now_ms())
        self._load(cell)
        return cell

    def _load(self, cell: Cell) -> None:
        cell.loading, cell.broken = True, False
        self._run(self._loaded(cell))

    async def _loaded(self, cell: Cell) -> None:
        """Fold the call's log, then what has queued meanwhile."""
        try:
            await self._recall(cell)
        except StoreUnavailable as error:
            self._let_go(cell, self._refusal(stream.STORE_UNAVAILABLE, str(error), "store"))
            return
        except Exception as defect:  # noqa: BLE001 - a call that cannot be read must not hold its events for ever
            logs.get().exception("session.call_unreadable", defect, call_id=cell.call_id)
            self._let_go(cell, self._refusal(stream.INTERNAL, "the call's log cannot be folded", "internal"))
            return
        if cell.slot not in self._epochs:
            self._let_go(cell)
            return
        cell.loading = False
        waiting, cell.waiting = cell.waiting, []
        for arrival in waiting:
            self._fold_apart(cell, arrival)
        self.end_of_batch()

    async def _recall(self, cell: Cell) -> None:
        rows = await self._store.load_call(cell.call_id)
        cell.call, cell.last_seq, cell.seen, cell.unlogged = None, 0, {}, {}
        for number, row in enumerate(rows, start=1):
            try:
                event = wire.from_log(row.payload)
            except wire.Unreadable as error:
                logs.get().warning("session.row_unreadable", call_id=cell.call_id, seq=row.call_seq, reason=str(error))
            else:
                policy = self._policy_of(agent_of(cell.call, event))
                cell.call = step(cell.call or Call(cell.call_id), event, policy).call
            cell.last_seq = row.call_seq
            if number % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        cell.remember(rows)

    def _fold_apart(self, cell: Cell, arrival: Arrival) -> None:
        """Fold an event whose failure must not keep others from being folded."""
        try:
            self._fold(cell, arrival)
        except Exception as defect:  # noqa: BLE001 - the same guard as the feed's around `handle`
            logs.get().exception("session.event_failed", defect, call_id=cell.call_id)
            arrival.fail(self._refusal(stream.INTERNAL, "the event could not be folded", "internal"))

    def _fold(self, cell: Cell, arrival: Arrival) -> None:
        event_id = arrival.event.event_id
        if (waiters := cell.in_flight.get(event_id)) is not None:
            self._counters.add(DUPLICATES)
            waiters.append(arrival)
            return
        if event_id in cell.seen:
            self._counters.add(DUPLICATES)
            for ingress_id, command in self._outbox.of_call(cell.call_id):
                self._send(ingress_id, command)
            self._ack(cell, arrival)
            return
        policy = self._policy_of(agent_of(cell.call, arrival.parsed))
        result = step(cell.call or Call(cell.call_id), arrival.parsed, policy)
        if arrival.parsed.durable:
            unit = cell.take(arrival, result, self._epochs[cell.slot])
            self._batch.setdefault(cell.call_id, []).append(unit)
        else:
            cell.take_partial(arrival.event, result)
            self._counters.add(EVENTS, durable="no")
            arrival.ack(urgent=False)

    def _landed(self, cell: Cell, units: Sequence[Unit], error: CommitError | None) -> None:
        if error is None:
            for unit in units:
                self._committed(cell, unit)
            self._counters.add(EVENTS, len(units), durable="yes")
        else:
            self._failed(cell, units, error)
        if cell.broken and not cell.in_flight:
            self._mend(cell)

    def _committed(self, cell: Cell, unit: Unit) -> None:
        for removed in unit.write.outbox_removes:
            self._outbox.remove(removed.call_id, removed.command_id)
        for ingress_id, command in unit.lasting:
            if is_report(command):
                self._reports.put(command)
            else:
                self._outbox.add(cell.call_id, ingress_id, command)
        # Commands before the answer: whoever has the answer has the commands (rule 6 of the stream).
        for ingress_id, command in unit.commands:
            if ingress_id:
                self._send(ingress_id, command)
        if unit.kind == "report_tried" and not any(is_report(command) for _, command in unit.lasting):
            self._reports_over(cell)
        cell.remember(unit.write.rows)
        if unit.write.closed is not None:
            self._controls.forget(cell.call_id)
        for arrival in cell.in_flight.pop(unit.event.event_id, ()):
            self._ack(cell, arrival)
        if self._recorder.enabled:
            self._trace(unit)
        if unit.kind == "turn_ended":
            self._judge(unit.event.turn_ended)

    def _reports_over(self, cell: Cell) -> None:
        progress = cell.call.report if cell.call is not None else None
        if progress is not None and progress.over:
            self._reports.over(cell.call_id, progress)

    def _ack(self, cell: Cell, arrival: Arrival) -> None:
        """Answer an event; whoever has chosen another agent for the call is told which one has it."""
        named = arrival.parsed.agent
        if named and arrival.asker is not None and cell.call is not None and named != cell.call.agent:
            command = wire.name_agent(cell.call_id, cell.call.agent, arrival.event.trace.traceparent)
            self._named.append((arrival.asker.client_id, command))
            self._send(arrival.asker.client_id, command)
        arrival.ack()

    def _failed(self, cell: Cell, units: Sequence[Unit], error: CommitError) -> None:
        cell.broken = True
        if isinstance(error, StaleEpoch):
            self._lose_slot(cell.slot, str(error))
        # Of several it may be any that the store cannot hold; they come again, and not in this company.
        hopeless = isinstance(error, Unstorable) and len(units) == 1
        code, reason = (stream.INVALID, "invalid") if hopeless else (stream.STORE_UNAVAILABLE, "store")
        arrivals = [arrival for unit in units for arrival in cell.in_flight.pop(unit.event.event_id, ())]
        if cell.slot not in self._epochs:
            self._moved(cell.slot, arrivals)
            return
        for arrival in arrivals:
            arrival.fail(self._refusal(code, str(error), reason))

    def _mend(self, cell: Cell) -> None:
        """Read a broken cell again, or let it go where nothing waits for it or its slot is lost."""
        if cell.waiting and cell.slot in self._epochs:
            self._load(cell)
        else:
            self._let_go(cell)

    def _let_go(self, cell: Cell, refusal: stream.Outcome = stream.TAKEN) -> None:
        """Leave the call to the store, and refuse what waits: it has moved when its slot is no longer ours."""
        del self._cells[cell.call_id]
        if cell.slot not in self._epochs:
            self._moved(cell.slot, cell.waiting)
            return
        self._dormant[cell.call_id] = cell.touched_ms
        for arrival in cell.waiting:
            arrival.fail(refusal)

    def _lose_slot(self, slot: int, reason: str) -> None:
        """Forget the calls of a slot that another replica has taken."""
        if self._epochs.pop(slot, None) is None:
            return
        logs.get().warning("session.slot_lost", slot=slot, reason=reason)
        for call_id in [call_id for call_id in self._dormant if slot_of(call_id) == slot]:
            del self._dormant[call_id]
            self._outbox.forget(call_id)
        self._reports.forget_slot(slot)
        for cell in [cell for cell in self._cells.values() if cell.slot == slot]:
            self._outbox.forget(cell.call_id)
            if cell.settled:
                self._let_go(cell)
            elif not cell.loading:
                cell.broken = True  # to be let go when what is in flight has come back

    def _moved(self, slot: int, arrivals: Sequence[Arrival]) -> None:
        """Tell who sent these where the slot lives now, once that is known."""
        if slot in self._elsewhere:
            self._tell_moved(slot, arrivals)
        elif arrivals:
            self._run(self._learn_and_tell(slot, arrivals))

    async def _learn_and_tell(self, slot: int, arrivals: Sequence[Arrival]) -> None:
        try:
            owners = await self._store.owners()
        except StoreUnavailable:
            pass  # they come again and ask again; until then `moved` names nobody
        else:
            self._elsewhere = {
                lost: (owner.owner, owner.epoch) for lost, owner in owners.items() if lost not in self._epochs
            }
        self._tell_moved(slot, arrivals)

    def _tell_moved(self, slot: int, arrivals: Sequence[Arrival]) -> None:
        address, epoch = self._elsewhere.get(slot, ("", 0))
        message = f"slot {slot} is not held by this replica"
        for arrival in arrivals:
            self._counters.add(REFUSED, reason="moved")
            arrival.fail(stream.Outcome(stream.MOVED, message, address, epoch, retry_after_ms=100))

    def _refusal(self, code: int, message: str, reason: str) -> stream.Outcome:
        self._counters.add(REFUSED, reason=reason)
        again_ms = AGAIN_MS if code in (stream.STORE_UNAVAILABLE, stream.OVERLOADED) else 0
        return stream.Outcome(code, message, retry_after_ms=again_ms)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _judge(self, turn: call_pb2.TurnEnded) -> None:
        if turn.trace_id:
            self._recorder.end_trace(int(turn.trace_id, 16), turn.keep)

    def _trace(self, unit: Unit) -> None:
        sender = parse_traceparent(unit.event.trace.traceparent)
        if sender is not None:
            self._recorder.note(
                "session.commit",
                sender.child(),
                parent_id=sender.span_id,
                start_ns=unit.received_ns,
                end_ns=time.time_ns(),
                kind=Kind.SERVER,
                attributes={"voicemesh.event.kind": unit.kind},
            )


def _expiry(call_id: str, now_ms: int, idle_ms: int) -> Arrival:
    event = pb.CallEvent(event_id=f"expired-{now_ms}", call_id=call_id, at_ms=now_ms, received_at_ms=now_ms)
    event.expired.idle_ms = idle_ms
    return Arrival(None, event, wire.event_from(event))
