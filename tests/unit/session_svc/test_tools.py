"""A tool is given to one ingress, once; everybody who asks learns what became of it."""

from __future__ import annotations

import json

from fakes.call_events import (
    CALL,
    INGRESS,
    OTHER_INGRESS,
    asked,
    caller,
    cut,
    finished,
    fold,
    ours,
    report,
    started,
    tool_asked,
    tool_ended,
    user,
)
from session_svc.domain import events, tools
from session_svc.domain.call import Call
from session_svc.domain.commands import Command, RunTool, StartGeneration, TakeToolResult
from session_svc.domain.events import ToolOutcome


def running() -> Call:
    """A call whose first generation runs."""
    call, _ = fold(asked("a table for friday", 0, attachment="a"), started(1, 10))
    return call


def to(ingress: str, order: RunTool | TakeToolResult) -> Command:
    return Command(ingress, order)


def test_whoever_asks_first_may_run_it() -> None:
    call, commands = fold(tool_asked("k", 100, event_id="ask-1"), call=running())
    assert commands == [to(INGRESS, RunTool("k", "ask-1"))]
    assert [entry.command_id for entry in call.pending] == ["tool:k:ask-1"]


def test_the_result_settles_the_order() -> None:
    call, commands = fold(tool_asked("k", 100), tool_ended("k", 200), call=running())
    assert call.pending == ()
    assert commands[1:] == []
    assert call.claims["k"].text == "two"


def test_the_result_of_a_tool_settles_no_other_whose_key_begins_alike() -> None:
    call, _ = fold(tool_asked("k", 100), tool_asked("k:x", 110, event_id="ask-2"), tool_ended("k", 200), call=running())
    assert [entry.command_id for entry in call.pending] == ["tool:k:x:ask-2"]


def test_another_ingress_is_told_what_became_of_it_and_runs_nothing() -> None:
    call, commands = fold(
        tool_asked("k", 100, event_id="ask-1"),
        tool_asked("k", 150, ingress=OTHER_INGRESS),
        tool_asked("k", 160, ingress=OTHER_INGRESS),
        tool_ended("k", 200),
        call=running(),
    )
    assert commands == [
        to(INGRESS, RunTool("k", "ask-1")),
        to(OTHER_INGRESS, TakeToolResult("k", ToolOutcome.DONE, "two")),
    ]
    _, again = fold(tool_asked("k", 300, ingress=OTHER_INGRESS), call=call)
    assert again == [to(OTHER_INGRESS, TakeToolResult("k", ToolOutcome.DONE, "two"))]


def test_a_run_whose_result_was_lost_is_told_as_unknown_and_not_repeated() -> None:
    late_ms = 100 + 2_000 + tools.LOST_AFTER_MS + 1
    call, commands = fold(
        tool_asked("k", 100),
        tool_asked("k", late_ms - 2, ingress=OTHER_INGRESS),
        tool_asked("k", late_ms, ingress=OTHER_INGRESS),
        call=running(),
    )
    assert commands[1:] == [to(OTHER_INGRESS, TakeToolResult("k", ToolOutcome.UNKNOWN, tools.LOST))]
    assert call.pending == ()


def test_a_result_that_comes_after_all_takes_the_place_of_the_unknown() -> None:
    late_ms = 100 + 2_000 + tools.LOST_AFTER_MS + 1
    call, _ = fold(
        tool_asked("k", 100), tool_asked("k", late_ms, ingress=OTHER_INGRESS), tool_ended("k", 9_000), call=running()
    )
    assert (call.claims["k"].outcome, call.claims["k"].text) == (ToolOutcome.DONE, "two")


def test_a_second_result_changes_nothing() -> None:
    call, _ = fold(tool_asked("k", 100), tool_ended("k", 200), tool_ended("k", 300, "three"), call=running())
    assert call.claims["k"].text == "two"


def test_what_was_not_begun_may_be_run_by_whoever_asks_next() -> None:
    _, commands = fold(
        tool_asked("k", 100, event_id="ask-1"),
        tool_ended("k", 150, outcome=ToolOutcome.NOT_RUN, ask_id="ask-1"),
        tool_asked("k", 200, ingress=OTHER_INGRESS, event_id="ask-2"),
        call=running(),
    )
    assert commands[1:] == [to(OTHER_INGRESS, RunTool("k", "ask-2"))]


def test_not_begun_of_an_old_ask_frees_nothing_that_a_newer_ask_has() -> None:
    call, _ = fold(
        tool_asked("k", 100, event_id="ask-1"),
        tool_asked("k", 120, event_id="ask-2"),
        tool_ended("k", 150, outcome=ToolOutcome.NOT_RUN, ask_id="ask-1"),
        call=running(),
    )
    assert call.claims["k"].ask_id == "ask-2"
    assert [entry.command_id for entry in call.pending] == ["tool:k:ask-2"]


def test_a_generation_that_was_cut_gets_no_claim() -> None:
    _, commands = fold(cut(1, 90, spoken_ms=80), tool_asked("k", 100, event_id="ask-1"), call=running())
    assert commands == [to(INGRESS, TakeToolResult("k", ToolOutcome.NOT_RUN, tools.NOT_WANTED, "ask-1"))]


def test_a_generation_behind_a_newer_one_gets_no_claim() -> None:
    call, _ = fold(asked([user("a table"), user("for eight")], 50, attachment="b"), call=running())
    refused, commands = fold(tool_asked("k", 100, generation=1, event_id="ask-1"), call=call)
    assert commands == [to(INGRESS, TakeToolResult("k", ToolOutcome.NOT_RUN, tools.NOT_WANTED, "ask-1"))]
    assert refused.claims == {}


def test_after_the_end_of_the_call_nothing_is_run() -> None:
    _, commands = fold(report("customer-ended-call", 90), tool_asked("k", 100, generation=0), call=running())
    assert [command.order for command in commands if isinstance(command.order, RunTool)] == []


def test_a_newer_generation_leaves_the_order_of_a_tool_in_the_outbox() -> None:
    call, _ = fold(tool_asked("k", 100, event_id="ask-1"), asked([user("a"), user("b")], 200), call=running())
    assert "tool:k:ask-1" in [entry.command_id for entry in call.pending]


def test_so_many_tools_and_no_more_are_run_in_one_call() -> None:
    call = running()
    for number in range(tools.MOST_CLAIMS):
        call, _ = fold(tool_asked(f"k{number}", 100), tool_ended(f"k{number}", 110), call=call)
    _, commands = fold(tool_asked("one-more", 120), call=call)
    assert commands == [to(INGRESS, TakeToolResult("one-more", ToolOutcome.FAILED, tools.TOO_MANY))]


def test_a_later_turn_is_told_what_the_tools_of_an_earlier_one_did() -> None:
    call, _ = fold(
        tool_asked("k", 100),
        tool_ended("k", 200),
        finished(1, "There are two.", 300),
        caller("for eight", 900),
        call=running(),
    )
    history = [user("a table for friday"), events.ChatMessage("assistant", "there are two"), user("for eight")]
    _, commands = fold(asked(history, 1_000), call=call)
    start = commands[-1].order
    assert isinstance(start, StartGeneration)
    roles = [message.role for message in start.messages]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]
    assert json.loads(start.messages[1].tool_calls_json) == [
        {"id": "k", "type": "function", "function": {"name": "free_tables", "arguments": '{"day":"friday"}'}}
    ]
    assert (start.messages[2].tool_call_id, start.messages[2].content) == ("k", "two")


def test_what_the_providers_model_asked_for_stands_in_its_own_history() -> None:
    call, _ = fold(
        tool_asked("k", 100, turn=0, generation=0), tool_ended("k", 200), finished(1, "Two.", 300), call=running()
    )
    _, commands = fold(asked([user("a table for friday"), user("for eight")], 1_000), call=call)
    start = commands[-1].order
    assert isinstance(start, StartGeneration)
    assert [message.role for message in start.messages] == ["user", "user"]


def test_a_history_that_lost_its_older_half_still_has_each_tool_behind_its_words() -> None:
    call, _ = fold(tool_asked("k", 100, turn=4), tool_ended("k", 200), call=running())
    request = events.AnswerRequested("b", INGRESS, (user("third"), user("fourth"), user("fifth")), 5)
    _, commands = fold(ours(request, 1_000), call=call)
    start = commands[-1].order
    assert isinstance(start, StartGeneration)
    assert [message.content or "call" for message in start.messages] == ["third", "fourth", "call", "two", "fifth"]


def test_a_tool_of_a_call_that_nothing_was_heard_of_is_run() -> None:
    call, commands = fold(tool_asked("k", 100, turn=0, generation=0, event_id="ask-1"))
    assert call.call_id == CALL
    assert commands == [to(INGRESS, RunTool("k", "ask-1"))]
