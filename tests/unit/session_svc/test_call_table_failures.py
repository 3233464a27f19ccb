"""The call table when another replica takes its slots, and when its store fails: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio

from fakes.call_events import (
    BEGAN_MS,
    CALL,
    INGRESS,
    asked,
    caller,
    on_wire,
    partial,
    started,
    status,
)
from fakes.desk import IDLE_MS, SPACE, Desk, taken_over
from session_svc.adapters.store import StoreUnavailable, Unstorable
from session_svc.domain.events import Phase
from svc_runtime import stream
from svc_runtime.slots import slot_of
from voicemesh.session.v1 import session_pb2 as pb

# Another replica


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
