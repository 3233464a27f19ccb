"""What the call table answers and when, what it refuses, and that every event has one effect."""

from __future__ import annotations

import asyncio

import pytest
from fakes.call_events import (
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
    started,
    status,
)
from fakes.desk import SPACE, Desk
from session_svc.adapters.call_table import DUPLICATES, LINGER_MS, REFUSED
from session_svc.domain.events import Noted, Phase
from svc_runtime import stream
from svc_runtime.slots import SLOTS
from svc_runtime.telemetry import new_trace
from voicemesh.session.v1 import session_pb2 as pb

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
