"""A report is with one ingress at a time, from when it is due until it is known what became of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fakes.call_events import INGRESS, OTHER_INGRESS, report, report_tried
from fakes.desk import Desk, taken_over
from session_svc.adapters import call_reports
from session_svc.adapters.call_reports import GRACE_MS, MOST_AT_ONCE, OVER
from session_svc.adapters.call_table import LINGER_MS
from session_svc.domain.call import Policy, ReportPolicy
from session_svc.domain.call_report import SETTLE_MS
from session_svc.domain.events import ReportResult

TRY_MS = 10_000
DUE_MS = SETTLE_MS + 1_000
POLICY = Policy(report=ReportPolicy(pauses_ms=(5_000,), give_up_ms=12_000))


@pytest.fixture
async def over() -> AsyncIterator[Desk]:
    """A desk with a call that has just ended."""
    desk = Desk()
    desk.policies[""] = POLICY
    await desk.table.start()
    await desk.take(report("customer-ended-call", 0))
    yield desk
    await desk.settle()


def orders(desk: Desk) -> list[int]:
    return [to.report_call.attempt for to in desk.ingress.commands if to.HasField("report_call")]


async def test_it_goes_out_when_it_is_due_and_once(over: Desk) -> None:
    assert orders(over) == []
    await over.pass_time(DUE_MS)
    assert orders(over) == [1]
    await over.pass_time(TRY_MS)
    assert orders(over) == [1]
    assert over.other.commands == []


async def test_what_was_delivered_is_gone_from_the_store_and_counted_once(over: Desk) -> None:
    await over.pass_time(DUE_MS)
    await over.take(report_tried(1, DUE_MS, ReportResult.DELIVERED), report_tried(1, DUE_MS, ReportResult.DELIVERED))
    await over.pass_time(TRY_MS * 3)
    assert orders(over) == [1]
    assert await over.commands_in_store() == []
    assert over.counters.value(OVER, outcome="delivered") == 1


async def test_it_goes_out_again_after_the_pause_until_it_is_given_up(over: Desk) -> None:
    await over.pass_time(DUE_MS)
    for attempt in (1, 2, 3):
        assert orders(over) == list(range(1, attempt + 1))
        at_ms = over.clock.ms - over_began(over)
        await over.take(report_tried(attempt, at_ms, ReportResult.AGAIN))
        await over.pass_time(6_000)
    assert orders(over) == [1, 2, 3]
    assert over.counters.value(OVER, outcome="given_up") == 1


def over_began(desk: Desk) -> int:
    return desk.ingress.commands[0].report_call.ended_at_ms


async def test_one_of_which_no_word_comes_goes_to_another_ingress_if_the_first_is_gone(over: Desk) -> None:
    await over.pass_time(DUE_MS)
    over.connected = [OTHER_INGRESS]
    await over.pass_time(TRY_MS)
    assert over.other.commands == []
    await over.pass_time(GRACE_MS)
    assert [to.report_call.attempt for to in over.other.commands] == [1]


async def test_one_of_which_no_word_comes_goes_to_the_same_ingress_while_that_is_there(over: Desk) -> None:
    await over.pass_time(DUE_MS)
    over.connected = [OTHER_INGRESS, INGRESS]
    await over.pass_time(TRY_MS + GRACE_MS)
    assert orders(over) == [1, 1]
    assert over.other.commands == []


async def test_while_no_ingress_is_there_it_waits(over: Desk) -> None:
    over.connected = []
    await over.pass_time(DUE_MS * 3)
    over.connected = [INGRESS]
    await over.pass_time(1_000)
    assert orders(over) == [1]


async def test_it_outlives_the_call_in_memory(over: Desk) -> None:
    over.connected = []
    await over.pass_time(LINGER_MS + 10_000, every_ms=10_000)
    over.connected = [INGRESS]
    await over.pass_time(1_000)
    await over.take(report_tried(1, LINGER_MS, ReportResult.DELIVERED))
    assert await over.commands_in_store() == []


async def test_whoever_takes_over_sends_it_when_nobody_else_can_be_sending_it_any_more(over: Desk) -> None:
    await over.pass_time(DUE_MS)
    other = Desk(over.store, address="there:2")
    other.policies[""] = POLICY
    other.clock.ms = over.clock.ms
    await other.table.start()
    await other.pass_time(GRACE_MS)
    assert orders(other) == []
    await other.pass_time(TRY_MS + GRACE_MS)
    assert orders(other) == [1]


async def test_an_ingress_has_so_many_at_once_and_the_rest_wait(over: Desk) -> None:
    for number in range(MOST_AT_ONCE + 5):
        await over.take(report("customer-ended-call", 0), call_id=f"vapi:{number}")
    await over.pass_time(DUE_MS)
    assert len(orders(over)) == MOST_AT_ONCE
    over.connected = [INGRESS, OTHER_INGRESS]
    await over.pass_time(1_000)
    assert len(over.other.commands) == 6


async def test_those_beyond_the_limit_wait_in_the_store(over: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_reports, "MOST_HELD", 2)
    await over.take(report("customer-ended-call", 0), call_id="vapi:b")
    await over.take(report("customer-ended-call", 0), call_id="vapi:c")
    await over.pass_time(DUE_MS)
    assert len(orders(over)) == 2
    for call_id in ("vapi:5a2f", "vapi:b"):
        await over.take(report_tried(1, DUE_MS, ReportResult.DELIVERED), call_id=call_id)
    await over.pass_time(TRY_MS + GRACE_MS + 2_000)
    assert [to.call_id for to in over.ingress.commands if to.HasField("report_call")][2:] == ["vapi:c"]


@pytest.mark.parametrize("policy", [Policy(), Policy(report=ReportPolicy(give_up_ms=0))])
@pytest.mark.parametrize("result", ReportResult)
async def test_one_that_was_ordered_under_another_policy_comes_to_an_end_too(
    over: Desk, policy: Policy, result: ReportResult
) -> None:
    await over.pass_time(DUE_MS)
    await over.take(report_tried(1, DUE_MS, ReportResult.AGAIN))
    other = await taken_over(over)
    other.policies[""] = policy
    for attempt in range(2, 40):
        await other.pass_time(4_000_000, every_ms=500_000)
        if not await other.commands_in_store():
            break
        at_ms = other.clock.ms - over_began(over)
        assert orders(other)[-1] == attempt
        await other.take(report_tried(attempt, at_ms, result))
    assert await other.commands_in_store() == []
    given = len(orders(other))
    await other.pass_time(TRY_MS * 3)
    assert len(orders(other)) == given
