"""The call table over a store in memory, with a clock in the test's hand: what is answered when, and what survives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import pytest
from fakes.call_events import (
    BEGAN_MS,
    CALL,
    INGRESS,
    OTHER_INGRESS,
    asked,
    caller,
    closed,
    finished,
    on_wire,
    ours,
    partial,
    report,
    started,
    status,
)
from opentelemetry.sdk.trace import ReadableSpan
from session_svc.adapters.call_table import DUPLICATES, LINGER_MS, MOST_GIVEN_UP, REFUSED, CallTable
from session_svc.adapters.memory_store import MemoryStore
from session_svc.adapters.store import CommitError, Done, LogRow, StoreUnavailable, Unstorable, Write
from session_svc.domain.call import Policy
from session_svc.domain.events import Event, Noted, Phase
from svc_runtime import stream
from svc_runtime.metrics import Counters
from svc_runtime.slots import SLOTS, slot_of
from svc_runtime.telemetry import new_trace, recorder
from voicemesh.session.v1 import session_pb2 as pb

IDLE_MS = 300_000
SPACE = 5_000
"""How late, in milliseconds, a sweep may do what is due."""


class Store(MemoryStore):
    """A memory store whose commits and reads can be made to fail, or to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.error_for: Callable[[Sequence[Write]], CommitError | None] = lambda writes: None
        self.unreadable = False
        self.held: list[tuple[Sequence[Write], Done]] | None = None
        """While it is a list, commits wait in it."""

    def commit(self, writes: Sequence[Write], done: Done) -> None:
        if self.held is not None:
            self.held.append((writes, done))
        elif (error := self.error_for(writes)) is not None:
            asyncio.get_running_loop().call_soon(done, error)
        else:
            super().commit(writes, done)

    def let_through(self) -> None:
        held, self.held = self.held or [], None
        for writes, done in held:
            self.commit(writes, done)

    async def load_call(self, call_id: str) -> list[LogRow]:
        if self.unreadable:
            raise StoreUnavailable("the disk is gone")
        return await super().load_call(call_id)


@dataclass
class Clock:
    ms: int = BEGAN_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic_s(self) -> float:
        return self.ms / 1000


@dataclass
class Sender:
    """An ingress process: what it was told, in order."""

    client_id: str = INGRESS
    told: list[str] = field(default_factory=list)
    """`ack 1`, `fail 2`, or the id of a command."""
    refusals: dict[int, stream.Outcome] = field(default_factory=dict)

    def ack(self, seq: int) -> None:
        self.told.append(f"ack {seq}")

    def fail(self, seq: int, outcome: stream.Outcome) -> None:
        self.told.append(f"fail {seq}")
        self.refusals[seq] = outcome


class Desk:
    """A table, its store, and two ingress processes."""

    def __init__(self, store: Store | None = None, *, address: str = "here:1", most_calls: int = 10_000) -> None:
        self.store = store or Store()
        self.clock = Clock()
        self.counters = Counters()
        self.spans: list[ReadableSpan] = []
        self.recorder = recorder("session-svc", "", sink=self.spans.extend, clock=self.clock)
        self.ingress = Sender()
        self.other = Sender(OTHER_INGRESS)
        self.seq = 0
        self.table = CallTable(
            self.store,
            Policy(idle_ms=IDLE_MS),
            clock=self.clock,
            recorder=self.recorder,
            counters=self.counters,
            send=self._send,
            address=address,
            most_calls=most_calls,
        )

    def _send(self, ingress_id: str, command: pb.Command) -> None:
        sender = {INGRESS: self.ingress, OTHER_INGRESS: self.other}[ingress_id]
        sender.told.append(command.command_id)

    def put(self, happened: Event | pb.CallEvent, *, call_id: str = CALL, sender: Sender | None = None) -> int:
        """Hand an event in, as one message of its own, and return its seq."""
        self.seq += 1
        message = on_wire(happened, call_id=call_id) if isinstance(happened, Event) else happened
        message.seq = self.seq
        self.table.handle(sender or self.ingress, message)
        self.table.end_of_batch()
        return self.seq

    async def settle(self) -> None:
        async with asyncio.timeout(10):
            await self.table.settle()

    async def take(self, *happened: Event, call_id: str = CALL) -> list[str]:
        """Hand events in, wait for all answers, and return what the first ingress was told meanwhile."""
        before = len(self.ingress.told)
        for each in happened:
            self.put(each, call_id=call_id)
        await self.settle()
        return self.ingress.told[before:]

    async def pass_time(self, ms: int, *, every_ms: int = 1_000) -> None:
        """Let time go by, with the sweeps that fall into it."""
        for _ in range(ms // every_ms):
            self.clock.ms += every_ms
            self.table.sweep()
            await self.settle()

    async def log(self, call_id: str = CALL) -> list[str]:
        return [row.event_id for row in await MemoryStore.load_call(self.store, call_id)]

    async def commands_in_store(self) -> list[str]:
        return [add.command_id for add in await self.store.outbox()]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    await desk.table.start()
    yield desk
    await desk.settle()


# Answers


async def test_a_durable_event_is_answered_after_its_commit_and_a_command_before_the_answer(desk: Desk) -> None:
    await desk.take(status(Phase.IN_PROGRESS, 0))
    desk.store.held = []
    desk.put(asked("Hello", 100))
    await asyncio.sleep(0)
    assert desk.ingress.told == ["ack 1"]
    desk.store.let_through()
    await desk.settle()
    assert desk.ingress.told == ["ack 1", "start:1", "ack 2"]


async def test_a_partial_is_answered_at_once_and_leaves_nothing_in_the_store(desk: Desk) -> None:
    await desk.take(status(Phase.IN_PROGRESS, 0))
    desk.put(partial("hel", 100))
    assert desk.ingress.told[-1] == "ack 2"
    await desk.settle()
    assert len(await desk.log()) == 1


async def test_the_calls_of_one_message_are_folded_in_order_and_each_commits_by_itself(desk: Desk) -> None:
    for seq, (call_id, text) in enumerate([("a", "1"), ("b", "1"), ("a", "2"), ("b", "2")], start=1):
        message = on_wire(caller(text, seq, event_id=f"{call_id}{text}"), call_id=call_id, seq=seq)
        desk.table.handle(desk.ingress, message)
    desk.table.end_of_batch()
    await desk.settle()
    assert await desk.log("a") == ["a1", "a2"]
    assert await desk.log("b") == ["b1", "b2"]
    assert sorted(desk.ingress.told) == ["ack 1", "ack 2", "ack 3", "ack 4"]


# Once


async def test_d15_a_redelivered_event_has_one_effect_and_every_delivery_its_answer(desk: Desk) -> None:
    told = await desk.take(*[caller("Stop!", 100, event_id="same")] * 3)
    assert told == ["ack 1", "ack 2", "ack 3"]
    assert await desk.log() == ["same"]
    call = desk.table.call(CALL)
    assert call is not None
    assert len(call.utterances) == 1
    assert desk.counters.value(DUPLICATES) == 2


async def test_d15_a_tenth_of_a_call_redelivered_is_stored_once_each(desk: Desk) -> None:
    happened = [caller(f"word {n}", n * 100, event_id=f"e{n}") for n in range(100)]
    for number, each in enumerate(happened):
        desk.put(each)
        if number % 10 == 5:
            desk.put(happened[number - 4])
            await asyncio.sleep(0)
    await desk.settle()
    assert await desk.log() == [f"e{n}" for n in range(100)]
    assert len(desk.ingress.told) == 110


async def test_d15_a_duplicate_that_comes_while_the_first_is_in_flight_is_answered_with_it(desk: Desk) -> None:
    await desk.take(status(Phase.IN_PROGRESS, 0))
    desk.store.held = []
    request = asked("Hello", 100, event_id="same")
    desk.put(request)
    desk.put(request, sender=desk.other)
    assert desk.other.told == []
    desk.store.let_through()
    await desk.settle()
    assert desk.ingress.told == ["ack 1", "start:1", "ack 2"]
    assert desk.other.told == ["ack 3"]


async def test_d15_a_duplicate_brings_every_command_again_that_has_no_recorded_effect(desk: Desk) -> None:
    request = asked("Hello", 100, event_id="same", attachment="a")
    await desk.take(request)
    assert await desk.take(request) == ["start:1", "ack 2"]
    await desk.take(started(1, 200, "a"))
    assert await desk.take(request) == ["ack 4"]
    assert await desk.commands_in_store() == []


async def test_an_ingress_that_reopens_its_stream_is_told_again_what_is_for_it(desk: Desk) -> None:
    await desk.take(asked("Hello", 100))
    await desk.take(asked("Hi", 100, ingress=OTHER_INGRESS), call_id="vapi:other")
    desk.ingress.told.clear()
    desk.other.told.clear()
    desk.table.connected(INGRESS)
    assert desk.ingress.told == ["start:1"]
    assert desk.other.told == []


# Another replica


async def taken_over(desk: Desk) -> Desk:
    other = Desk(desk.store, address="there:2")
    await other.table.start()
    return other


async def test_d28_whoever_takes_over_knows_the_call_and_says_again_what_has_no_effect(desk: Desk) -> None:
    """The owner dies between its commit and its command; the request comes again."""
    request = asked("Hello", 100, event_id="same")
    await desk.take(caller("Hello", 90), request)
    successor = await taken_over(desk)
    successor.table.connected(INGRESS)
    assert successor.ingress.told == ["start:1"]
    assert await successor.take(request) == ["start:1", "ack 1"]
    assert await successor.take(started(1, 200)) == ["ack 2"]
    assert successor.table.call(CALL) is not None
    assert [g.number for g in successor.table.call(CALL).generations] == [1]  # type: ignore[union-attr]
    assert await successor.take(asked("Hello you", 300)) == ["start:2", "ack 3"]


async def test_d28_a_request_that_rested_on_a_partial_reads_from_the_log_as_it_was_decided(desk: Desk) -> None:
    await desk.take(status(Phase.IN_PROGRESS, 0))
    desk.put(partial("a table", 1_000, event_id="p1"))
    desk.put(partial("and what", 5_000, event_id="p2"))
    await desk.take(asked("A table", 6_000, event_id="r"))
    assert (await desk.log())[1:] == ["p1", "p2", "r"]
    successor = await taken_over(desk)
    await successor.take(caller("And what else?", 5_500))
    here, there = desk.table.call(CALL), successor.table.call(CALL)
    assert here is not None
    assert there is not None
    assert there.generations == here.generations
    assert here.generations[0].answers_until_ms == BEGAN_MS + 1_000


async def test_a_partial_goes_into_the_log_once(desk: Desk) -> None:
    await desk.take(status(Phase.IN_PROGRESS, 0))
    desk.put(partial("a table", 1_000, event_id="p"))
    await desk.take(asked("A table", 1_100, event_id="r1"), asked("A table for", 1_200, event_id="r2"))
    assert (await desk.log())[1:] == ["p", "r1", "r2"]


async def test_a_partial_whose_final_has_come_stays_out_of_the_log(desk: Desk) -> None:
    await desk.take(status(Phase.IN_PROGRESS, 0))
    desk.put(partial("a tab", 1_000))
    await desk.take(caller("A table", 1_050, event_id="f"), asked("A table", 1_100, event_id="r"))
    assert (await desk.log())[1:] == ["f", "r"]


async def test_d28_an_owner_that_lost_its_slots_says_who_has_them_and_forgets_the_calls(desk: Desk) -> None:
    await desk.take(caller("Hello", 90))
    await desk.take(caller("Hello", 90), call_id="vapi:bystander")
    successor = await taken_over(desk)
    await desk.take(caller("Are you there?", 200, event_id="late"))
    moved = desk.ingress.refusals[3]
    assert (moved.code, moved.moved_to, moved.moved_epoch) == (stream.MOVED, "there:2", 2)
    assert desk.table.call(CALL) is None
    await desk.take(caller("Hello?", 300))
    assert desk.ingress.refusals[4].code == stream.MOVED
    assert await successor.take(caller("Are you there?", 200, event_id="late")) == ["ack 1"]
    assert len(await desk.log()) == 2


async def test_d28_losing_a_slot_answers_what_is_in_flight_and_what_waits(desk: Desk) -> None:
    await desk.take(caller("Hello", 90))
    desk.store.held = []
    desk.put(caller("One", 100))
    desk.put(caller("Two", 110))
    await taken_over(desk)
    desk.store.let_through()
    await desk.settle()
    assert [outcome.code for outcome in desk.ingress.refusals.values()] == [stream.MOVED, stream.MOVED]
    assert desk.table.live_calls == 0


async def test_d28_a_lost_slot_takes_the_idle_calls_in_it_along(desk: Desk) -> None:
    """What is forgotten must not be given up by a sweep: it is another replica's now."""
    await desk.take(caller("Hello", 90), call_id=NEIGHBOUR)
    await desk.take(asked("Hello", 90, attachment="a"))
    await taken_over(desk)
    await desk.take(caller("Late", 200))
    assert desk.table.live_calls == 0
    await desk.pass_time(IDLE_MS + SPACE)
    assert await desk.store.tombstone(NEIGHBOUR) is None
    desk.ingress.told.clear()
    desk.table.connected(INGRESS)
    assert desk.ingress.told == []


NEIGHBOUR = next(f"n{n}" for n in range(10_000) if slot_of(f"n{n}") == slot_of(CALL))
"""A call in the same slot."""


async def test_d28_a_call_in_flight_when_its_slot_is_lost_folds_nothing_more(desk: Desk) -> None:
    await desk.take(caller("1", 1))
    await desk.take(caller("1", 1), call_id=NEIGHBOUR)
    desk.store.held = []
    desk.put(caller("2", 2))
    desk.put(caller("2", 2), call_id=NEIGHBOUR)
    (writes, done), late = desk.store.held
    desk.store.held = None
    await taken_over(desk)
    desk.store.commit(writes, done)
    await asyncio.sleep(0.01)
    desk.put(caller("3", 3), call_id=NEIGHBOUR)
    desk.store.commit(*late)
    await desk.settle()
    assert {seq: outcome.code for seq, outcome in desk.ingress.refusals.items()} == dict.fromkeys(
        (3, 4, 5), stream.MOVED
    )
    assert desk.table.live_calls == 0


async def test_d28_what_landed_before_its_slot_was_lost_is_acknowledged_and_then_forgotten(desk: Desk) -> None:
    await desk.take(caller("1", 1))
    await desk.take(caller("1", 1), call_id=NEIGHBOUR)
    desk.store.held = []
    desk.put(caller("2", 2), call_id=NEIGHBOUR)
    ((writes, done),) = desk.store.held
    desk.store.held = None
    desk.store.commit(writes, lambda error: None)
    await taken_over(desk)
    desk.put(caller("2", 2))
    await asyncio.sleep(0.01)
    done(None)
    await desk.settle()
    assert desk.ingress.told[2:] == ["fail 4", "ack 3"]
    assert desk.table.live_calls == 0


# A store that fails


async def test_an_event_whose_commit_fails_is_refused_without_effect_and_lands_once_when_it_comes_again(
    desk: Desk,
) -> None:
    one, two, three = (caller(text, at, event_id=text) for at, text in enumerate(["1", "2", "3"]))
    await desk.take(one)
    desk.store.fail_with("disk full")
    await desk.take(two, three)
    assert [outcome.code for outcome in desk.ingress.refusals.values()] == [stream.STORE_UNAVAILABLE] * 2
    assert all(outcome.retry_after_ms for outcome in desk.ingress.refusals.values())
    desk.store.fail_with(None)
    assert sorted(await desk.take(two, three, two)) == ["ack 4", "ack 5", "ack 6"]
    assert await desk.log() == ["1", "2", "3"]
    call = desk.table.call(CALL)
    assert call is not None
    assert [u.text for u in call.utterances] == ["1", "2", "3"]


async def test_what_was_folded_upon_a_failed_commit_fails_too_and_nothing_lands_out_of_order(desk: Desk) -> None:
    await desk.take(caller("1", 1, event_id="1"))
    desk.store.error_for = lambda writes: StoreUnavailable("busy") if writes[0].rows[0].event_id == "2" else None
    desk.put(caller("2", 2, event_id="2"))
    desk.put(caller("3", 3, event_id="3"))
    await desk.settle()
    assert sorted(desk.ingress.refusals) == [2, 3]
    desk.store.error_for = lambda writes: None
    await desk.take(caller("2", 2, event_id="2"), caller("3", 3, event_id="3"))
    assert await desk.log() == ["1", "2", "3"]


async def test_a_generation_whose_start_did_not_land_was_never_given_out(desk: Desk) -> None:
    await desk.take(caller("Hello", 90))
    desk.store.fail_with("disk full")
    assert await desk.take(asked("Hello", 100, event_id="r")) == ["fail 2"]
    desk.store.fail_with(None)
    assert await desk.take(asked("Hello", 100, event_id="r")) == ["start:1", "ack 3"]


async def test_events_that_wait_for_a_broken_call_are_folded_in_order_once_it_was_read_again(desk: Desk) -> None:
    await desk.take(caller("1", 1, event_id="1"))
    desk.store.held = []
    desk.put(caller("2", 2, event_id="2"))
    desk.put(caller("3", 3, event_id="3"))
    held, desk.store.held = desk.store.held, None
    held[0][1](StoreUnavailable("busy"))
    desk.put(caller("4", 4, event_id="4"))
    held[1][1](StoreUnavailable("busy"))
    await desk.settle()
    assert sorted(desk.ingress.refusals) == [2, 3]
    assert await desk.log() == ["1", "4"]


async def test_a_call_that_cannot_be_read_refuses_what_waits_and_is_read_when_it_comes_again(desk: Desk) -> None:
    desk.store.unreadable = True
    await desk.take(caller("1", 1, event_id="1"), caller("2", 2, event_id="2"))
    assert [outcome.code for outcome in desk.ingress.refusals.values()] == [stream.STORE_UNAVAILABLE] * 2
    desk.store.unreadable = False
    await desk.take(caller("1", 1, event_id="1"), caller("2", 2, event_id="2"))
    assert await desk.log() == ["1", "2"]


async def test_a_live_call_whose_last_commit_failed_is_still_given_up_in_time(desk: Desk) -> None:
    await desk.take(caller("1", 1))
    desk.store.fail_with("disk full")
    await desk.take(caller("2", 2))
    desk.store.fail_with(None)
    await desk.pass_time(IDLE_MS + SPACE)
    tombstone = await desk.store.tombstone(CALL)
    assert tombstone is not None
    assert tombstone.outcome == "abandoned"


async def test_what_the_store_can_never_hold_is_refused_for_good_and_costs_no_other_call_anything(desk: Desk) -> None:
    await desk.take(caller("1", 1))
    desk.store.error_for = lambda writes: Unstorable("no") if writes[0].rows[0].event_id == "poison" else None
    message = on_wire(caller("x", 2, event_id="poison"), seq=50)
    innocent = on_wire(caller("y", 3, event_id="y"), call_id="vapi:innocent", seq=51)
    desk.table.handle(desk.ingress, message)
    desk.table.handle(desk.ingress, innocent)
    desk.table.end_of_batch()
    await desk.settle()
    assert desk.ingress.refusals[50].code == stream.INVALID
    assert desk.ingress.refusals[50].retry_after_ms == 0
    assert await desk.log("vapi:innocent") == ["y"]


async def test_a_row_that_nobody_can_read_any_more_does_not_hold_its_call(desk: Desk) -> None:
    await desk.take(caller("1", 1, event_id="1"), caller("2", 2, event_id="2"))
    rows = desk.store._rows[CALL]
    rows[0] = rows[0]._replace(payload=pb.CallEvent(call_id=CALL, event_id="1").SerializeToString())
    rows[1] = rows[1]._replace(payload=b"\xff\xff")
    successor = await taken_over(desk)
    assert await successor.take(caller("3", 3, event_id="3")) == ["ack 1"]
    assert await successor.log() == ["1", "2", "3"]


# Bad input


def broken(**fields: object) -> pb.CallEvent:
    message = on_wire(caller("Hello", 100, event_id="bad"))
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def of_kind(kind: str, **fields: object) -> pb.CallEvent:
    message = broken()
    message.ClearField("words")
    body = getattr(message, kind)
    body.SetInParent()
    for name, value in fields.items():
        setattr(body, name, value)
    return message


def without_kind() -> pb.CallEvent:
    message = broken()
    message.ClearField("words")
    return message


POISON = {
    "no kind": without_kind(),
    "no call_id": broken(call_id=""),
    "no event_id": broken(event_id=""),
    "unknown party": of_kind("words", party=9, stability=2, text="x"),
    "party not set": of_kind("words", stability=2, text="x"),
    "stability not set": of_kind("words", party=1, text="x"),
    "unknown phase": of_kind("call_status", phase=77),
    "finish not set": of_kind("generation_ended", generation=1),
    "unknown reason": of_kind("generation_cut", generation=1, reason=44),
    "unknown edge": of_kind("speech", party=1, edge=8),
    "time before all time": broken(at_ms=-1),
    "time after all time": broken(received_at_ms=(1 << 63) - 1),
    "no trace id": of_kind("turn_ended", trace_id="not hex"),
}


@pytest.mark.parametrize("name", list(POISON))
async def test_a_poisonous_event_is_refused_and_harms_nobody(desk: Desk, name: str) -> None:
    await desk.take(caller("1", 1, event_id="1"))
    before = desk.table.call(CALL)
    poison = pb.CallEvent()
    poison.CopyFrom(POISON[name])
    poison.seq = 50
    desk.table.handle(desk.ingress, poison)
    desk.table.handle(desk.ingress, on_wire(caller("2", 2, event_id="2"), seq=51))
    assert before is not None
    desk.table.end_of_batch()
    await desk.settle()
    assert desk.ingress.refusals[50].code == stream.INVALID
    assert desk.ingress.refusals[50].message
    assert "ack 51" in desk.ingress.told
    assert await desk.log() == ["1", "2"]
    assert desk.counters.value(REFUSED, reason="invalid") == 1


async def test_d12_a_poisonous_event_of_an_unknown_call_opens_nothing(desk: Desk) -> None:
    desk.put(without_kind())
    assert desk.table.live_calls == 0


# Time


async def test_d27_an_hour_with_one_event_in_30_s_keeps_its_call(desk: Desk) -> None:
    await desk.take(status(Phase.IN_PROGRESS, 0))
    for minute in range(120):
        await desk.pass_time(30_000, every_ms=5_000)
        await desk.take(caller(f"word {minute}", minute * 30_000))
    call = desk.table.call(CALL)
    assert call is not None
    assert not call.ended
    assert len(call.utterances) == 120


async def test_d27_partials_alone_keep_a_call(desk: Desk) -> None:
    await desk.take(status(Phase.IN_PROGRESS, 0))
    for n in range(20):
        await desk.pass_time(30_000, every_ms=5_000)
        desk.put(partial("er", n * 30_000))
    call = desk.table.call(CALL)
    assert call is not None
    assert not call.ended


async def test_d27_an_abandoned_call_is_gone_soon_after_the_idle_limit_and_not_before(desk: Desk) -> None:
    await desk.take(status(Phase.IN_PROGRESS, 0), asked("Hello", 100))
    await desk.pass_time(IDLE_MS - 1_000)
    assert await desk.store.tombstone(CALL) is None
    await desk.pass_time(SPACE)
    tombstone = await desk.store.tombstone(CALL)
    assert tombstone is not None
    assert tombstone.outcome == "abandoned"
    assert await desk.commands_in_store() == []
    assert desk.table.live_calls == 0


async def test_d27_a_call_that_was_live_when_its_owner_died_is_given_up_by_the_successor(desk: Desk) -> None:
    await desk.take(status(Phase.IN_PROGRESS, 0))
    successor = await taken_over(desk)
    assert successor.table.live_calls == 1
    await successor.pass_time(IDLE_MS + SPACE)
    tombstone = await desk.store.tombstone(CALL)
    assert tombstone is not None
    assert tombstone.outcome == "abandoned"


async def test_d27_a_call_that_talks_does_not_hide_an_idle_one_that_is_in_the_store_only(desk: Desk) -> None:
    await desk.take(status(Phase.IN_PROGRESS, 0))
    successor = await taken_over(desk)
    await successor.pass_time(IDLE_MS - 1_000)
    await successor.take(caller("Hello", 1), call_id="vapi:talking")
    await successor.pass_time(SPACE)
    assert await desk.store.tombstone(CALL) is not None


async def test_d27_while_nobody_listened_no_call_was_idle(desk: Desk) -> None:
    await desk.take(status(Phase.IN_PROGRESS, 0))
    successor = Desk(desk.store, address="there:2")
    successor.clock.ms += 10 * IDLE_MS
    await successor.table.start()
    await successor.pass_time(SPACE)
    assert await successor.take(caller("Still here", 10 * IDLE_MS)) == ["ack 1"]
    assert await desk.store.tombstone(CALL) is None


async def test_d27_many_calls_at_once_are_given_up_in_portions(desk: Desk) -> None:
    calls = [f"vapi:{n}" for n in range(MOST_GIVEN_UP + 10)]
    for call_id in calls:
        desk.put(caller("Hello", 1), call_id=call_id)
    await desk.settle()
    desk.clock.ms += IDLE_MS
    desk.table.sweep()
    await desk.settle()
    assert sum([await desk.store.tombstone(call_id) is not None for call_id in calls]) == MOST_GIVEN_UP
    await desk.pass_time(2_000)
    assert sum([await desk.store.tombstone(call_id) is not None for call_id in calls]) == len(calls)


async def test_d26_an_ended_call_leaves_memory_after_the_linger_and_its_late_events_find_it_ended(desk: Desk) -> None:
    await desk.take(caller("Hello", 100), status(Phase.ENDED, 1_000, "customer-ended-call"))
    await desk.pass_time(LINGER_MS - 1_000)
    assert desk.table.call(CALL) is not None
    await desk.pass_time(SPACE)
    assert desk.table.live_calls == 0
    duplicate = await desk.take(caller("Bye", 900, event_id="bye"), caller("Bye", 900, event_id="bye"))
    assert duplicate == ["ack 3", "ack 4"]
    call = desk.table.call(CALL)
    assert call is not None
    assert call.ended
    assert [u.text for u in call.utterances] == ["Hello", "Bye"]
    (row,) = await desk.store.list_calls(10)
    assert (row.outcome, row.event_count) == ("caller_hung_up", 3)


async def test_d26_a_late_request_is_refused_and_leaves_nothing_to_be_done(desk: Desk) -> None:
    await desk.take(caller("Hello", 100), status(Phase.ENDED, 1_000))
    assert await desk.take(asked("Hello", 1_100, attachment="late")) == ["refuse:late", "ack 3"]
    assert await desk.commands_in_store() == []
    desk.table.connected(INGRESS)
    assert desk.ingress.told[-1] == "ack 3"


async def test_a_later_report_corrects_the_outcome(desk: Desk) -> None:
    await desk.take(caller("Hello", 100), status(Phase.ENDED, 1_000))
    assert [row.outcome for row in await desk.store.list_calls(1)] == ["completed"]
    await desk.take(report("voicemail", 2_000))
    assert [row.outcome for row in await desk.store.list_calls(1)] == ["voicemail"]


async def test_a_call_begins_with_its_first_durable_event(desk: Desk) -> None:
    desk.put(partial("hel", 100))
    await desk.settle()
    assert await desk.store.list_calls(1) == []
    first = caller("Hello", 200)
    await desk.take(first)
    (row,) = await desk.store.list_calls(1)
    assert row.started_at_ms == first.received_at_ms


# Limits


async def test_d33_over_its_limit_of_calls_a_new_one_is_refused_and_the_others_go_on() -> None:
    desk = Desk(most_calls=2)
    await desk.table.start()
    for call_id in ("vapi:1", "vapi:2", "vapi:3"):
        desk.put(caller("Hello", 100), call_id=call_id)
    await desk.take(caller("Hello again", 200), call_id="vapi:1")
    assert list(desk.ingress.refusals) == [3]
    assert desk.ingress.refusals[3].code == stream.OVERLOADED
    assert desk.ingress.refusals[3].retry_after_ms > 0
    assert sorted(desk.ingress.told) == ["ack 1", "ack 2", "ack 4", "fail 3"]


async def test_d33_a_call_known_to_the_store_is_never_over_the_limit() -> None:
    first = Desk()
    await first.table.start()
    for call_id in ("vapi:1", "vapi:2", "vapi:3"):
        await first.take(caller("Hello", 100), call_id=call_id)
    second = Desk(first.store, most_calls=2)
    await second.table.start()
    assert await second.take(caller("Still here", 200), call_id="vapi:2") == ["ack 1"]


async def test_memory_comes_back_when_calls_end(desk: Desk) -> None:
    for n in range(50):
        await desk.take(
            asked("Hello", 100, attachment="a"),
            started(1, 150, "a"),
            finished(1, "Hi.", 200),
            closed("a", 250),
            status(Phase.ENDED, 1_000),
            call_id=f"vapi:{n}",
        )
    await desk.pass_time(LINGER_MS + SPACE)
    assert desk.table.live_calls == 0
    assert len(desk.table._outbox) == 0


async def test_the_table_takes_every_slot(desk: Desk) -> None:
    owners = await desk.store.owners()
    assert len(owners) == SLOTS
    assert {owner.owner for owner in owners.values()} == {"here:1"}


# Traces


@pytest.mark.parametrize("keep", [True, False])
async def test_the_commits_of_a_turn_become_spans_when_the_turn_is_to_be_kept(desk: Desk, keep: bool) -> None:
    trace = new_trace()
    message = on_wire(caller("Hello", 100))
    message.trace.traceparent = trace.traceparent
    desk.put(message)
    judged = on_wire(ours(Noted("turn_ended"), 200))
    judged.turn_ended.trace_id = trace.trace_hex
    judged.turn_ended.keep = keep
    desk.put(judged)
    await desk.settle()
    await desk.recorder.close()
    assert [span.name for span in desk.spans] == (["session.commit"] if keep else [])
