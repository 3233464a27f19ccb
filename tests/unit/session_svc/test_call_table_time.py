"""How long calls live in the call table: idle, not age; ended calls open nothing."""

from __future__ import annotations

from fakes.call_events import (
    CALL,
    INGRESS,
    asked,
    caller,
    partial,
    report,
    status,
)
from fakes.desk import IDLE_MS, SPACE, Desk, taken_over
from session_svc.adapters.call_table import LINGER_MS, MOST_GIVEN_UP
from session_svc.domain.events import Phase


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
