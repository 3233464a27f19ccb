"""The owner's system is told once of each call that has ended, and asked again while it cannot take it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.call_events import (
    BEGAN_MS,
    DELAY_MS,
    agent,
    asked,
    caller,
    cut,
    expired,
    finished,
    fold,
    named,
    ours,
    report,
    report_tried,
    started,
    status,
    tool_asked,
    tool_ended,
)
from hypothesis import given
from hypothesis import strategies as st
from session_svc.domain import events
from session_svc.domain.call import Call, Policy, ReportPolicy
from session_svc.domain.call_report import MOST_RETRY_AFTER_MS, MOST_TEXT_CHARS, SETTLE_MS
from session_svc.domain.commands import Command, ReportCall, ReportedTool, ReportedTurn
from session_svc.domain.events import Event, Finish, Phase, ReportResult, ToolOutcome

RULES = ReportPolicy()
POLICY = Policy(report=RULES)


def received(at_ms: int) -> int:
    """The time of the call's clock as ingress reads it."""
    return BEGAN_MS + at_ms + DELAY_MS


def reports(commands: list[Command]) -> list[ReportCall]:
    assert all(command.ingress_id == "" for command in commands if isinstance(command.order, ReportCall))
    return [command.order for command in commands if isinstance(command.order, ReportCall)]


def told(*happened: Event, call: Call | None = None, policy: Policy = POLICY) -> tuple[Call, list[ReportCall]]:
    folded, commands = fold(*happened, call=call, policy=policy)
    return folded, reports(commands)


def waiting() -> Call:
    """A call that is over, and whose report is due two seconds after the provider's came."""
    call, _ = told(status(Phase.IN_PROGRESS, 0), report("customer-ended-call", 10_000))
    return call


def pending(call: Call) -> list[str]:
    return [entry.command_id for entry in call.pending]


def test_a_call_that_lives_is_not_reported() -> None:
    call, sent = told(status(Phase.IN_PROGRESS, 0), caller("Hello", 100))
    assert (sent, call.report, call.pending) == ([], None, ())


def test_an_ended_call_is_reported_once_the_providers_own_report_has_come() -> None:
    call, sent = told(status(Phase.ENDED, 10_000), report("customer-ended-call", 12_000))
    assert [order.not_before_ms for order in sent] == [
        received(10_000) + RULES.wait_ms,
        received(12_000) + SETTLE_MS,
    ]
    assert [order.provider_reported for order in sent] == [False, True]
    # The second takes the place of the first.
    assert pending(call) == ["report"]


def test_a_provider_that_never_reports_is_not_waited_for_for_ever() -> None:
    _, [order] = told(status(Phase.IN_PROGRESS, 0), status(Phase.ENDED, 10_000))
    assert order.not_before_ms == received(10_000) + RULES.wait_ms


def test_a_call_that_was_given_up_is_reported_at_once() -> None:
    _, [order] = told(status(Phase.IN_PROGRESS, 0), expired(300_000))
    assert (order.outcome, order.not_before_ms) == ("abandoned", received(300_000) + SETTLE_MS)


def test_what_comes_between_the_end_and_the_report_is_in_it_and_what_comes_later_is_not() -> None:
    call, [first] = told(caller("Goodbye", 11_000), call=waiting())
    assert [turn.text for turn in first.turns] == ["Goodbye"]
    _, later = told(caller("Late", 10_000 + SETTLE_MS), call=call)
    assert later == []


def test_a_second_end_changes_nothing() -> None:
    call, _ = told(report_tried(1, 13_000, ReportResult.DELIVERED), call=waiting())
    again, sent = told(status(Phase.ENDED, 14_000), report("customer-ended-call", 15_000), call=call)
    assert (sent, again.pending) == ([], ())


def test_without_an_owners_system_nothing_is_to_be_done() -> None:
    call, sent = told(report("customer-ended-call", 10_000), policy=Policy())
    assert (sent, call.report, call.pending) == ([], None, ())


def test_the_end_settles_everything_but_the_report() -> None:
    call, _ = told(asked("Hello", 0, attachment="a"), tool_asked("k", 50), status(Phase.ENDED, 100))
    assert pending(call) == ["report"]


@pytest.mark.parametrize("result", [ReportResult.DELIVERED, ReportResult.REFUSED])
def test_an_answer_settles_it(result: ReportResult) -> None:
    call, sent = told(report_tried(1, 13_000, result), call=waiting())
    assert (sent, call.pending) == ([], ())
    assert call.report is not None
    assert call.report.over == result.value


def test_it_is_tried_again_with_growing_pauses_until_it_is_given_up() -> None:
    call, at_ms, pauses = waiting(), 12_000, list[int]()
    while call.pending:
        assert call.report is not None
        call, sent = told(report_tried(call.report.attempt, at_ms, ReportResult.AGAIN), call=call)
        pauses += [order.not_before_ms - received(at_ms) for order in sent]
        at_ms += pauses[-1]
    assert pauses == [*RULES.pauses_ms, *[RULES.pauses_ms[-1]] * 22]
    assert call.report is not None
    assert call.report.over == "given_up"


def test_an_owners_system_is_left_alone_for_as_long_as_it_asks_within_reason() -> None:
    for wanted_ms, got_ms in [(0, 1_000), (20_000, 20_000), (10**9, MOST_RETRY_AFTER_MS)]:
        tried = report_tried(1, 13_000, ReportResult.AGAIN, retry_after_ms=wanted_ms)
        _, [order] = told(tried, call=waiting())
        assert (order.attempt, order.not_before_ms) == (2, received(13_000) + got_ms)


def test_a_try_that_was_told_of_twice_counts_once() -> None:
    call, _ = told(report_tried(1, 13_000, ReportResult.AGAIN), call=waiting())
    again, sent = told(report_tried(1, 13_500, ReportResult.AGAIN), call=call)
    assert (sent, again.report) == ([], call.report)


def test_what_an_earlier_try_delivered_is_delivered() -> None:
    call, _ = told(report_tried(1, 13_000, ReportResult.AGAIN), call=waiting())
    call, _ = told(report_tried(1, 13_500, ReportResult.DELIVERED), call=call)
    assert call.pending == ()


def test_it_says_what_became_of_the_call() -> None:
    _, sent = told(
        named(status(Phase.IN_PROGRESS, 500), "default@1"),
        agent("Trattoria Uno, hello?", 1_000),
        caller("A table", 3_000),
        caller("for four", 4_000),
        asked("A table for four", 4_100, attachment="a"),
        started(1, 4_200),
        tool_asked("k", 4_300, event_id="ask"),
        tool_ended("k", 4_800),
        ours(events.GenerationEnded(1, "At seven?", Finish.STOP, 120, 8), 5_000),
        cut(1, 5_500, spoken_ms=5_400, said="At sev"),
        event_of_report(10_000),
    )
    order = sent[-1]
    assert order == ReportCall(
        attempt=1,
        not_before_ms=received(10_000) + SETTLE_MS,
        agent="default@1",
        outcome="caller_hung_up",
        ended_reason="customer-ended-call",
        started_at_ms=received(500),
        answered_at_ms=received(500),
        ended_at_ms=received(10_000),
        duration_ms=9_500,
        turns=(
            ReportedTurn("agent", BEGAN_MS + 1_000, "Trattoria Uno, hello?"),
            ReportedTurn("caller", BEGAN_MS + 3_000, "A table for four"),
        ),
        turn_count=2,
        cut_count=1,
        tools=(ReportedTool("free_tables", 1, ToolOutcome.DONE),),
        prompt_tokens=120,
        completion_tokens=8,
        cost_usd=0.0543,
        provider_reported=True,
    )


def event_of_report(at_ms: int) -> Event:
    return ours(events.CallReported("customer-ended-call", 9_500, 0.0543), at_ms)


def test_texts_are_left_out_where_the_owner_says_so() -> None:
    policy = Policy(report=replace(RULES, with_texts=False))
    _, [order] = told(caller("My number is 555 0101", 100), report("customer-ended-call", 10_000), policy=policy)
    assert order.turns == (ReportedTurn("caller", BEGAN_MS + 100, ""),)


def test_a_long_call_is_reported_by_its_last_turns() -> None:
    half = "x" * (MOST_TEXT_CHARS // 2)
    said = [caller(half, 100), agent("y" + half, 200), caller(half, 300)]
    _, [order] = told(*said, report("customer-ended-call", 10_000))
    assert order.turn_count == 3
    assert sum(len(turn.text) for turn in order.turns) <= MOST_TEXT_CHARS
    assert [turn.party for turn in order.turns] == ["agent", "caller"]
    assert order.turns[-1].text == half


HAPPENS = st.sampled_from(
    [
        status(Phase.IN_PROGRESS, 0),
        status(Phase.ENDED, 10_000),
        report("customer-ended-call", 10_500),
        expired(400_000),
        caller("Hello", 100),
        asked("Hello", 150, attachment="a"),
        finished(1, "Hi", 300),
        *[report_tried(n, 13_000 + n, result) for n in (1, 2) for result in ReportResult],
    ]
)


@given(st.lists(HAPPENS, max_size=12, unique_by=lambda happened: happened.event_id))
def test_in_any_order_it_is_pending_from_the_end_until_it_is_over_and_never_again(happened: list[Event]) -> None:
    call = None
    over = ""
    for each in happened:
        call, _ = fold(each, call=call, policy=POLICY)
        is_open = call.report is not None and not call.report.over
        assert (call.report is not None) == call.ended
        assert pending(call).count("report") == (1 if is_open else 0)
        assert not over or (call.report is not None and call.report.over == over)
        over = call.report.over if call.report is not None else ""
