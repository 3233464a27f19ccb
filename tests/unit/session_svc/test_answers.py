"""Who answers: generations, what cuts them, what is asked again, and which words a request answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import permutations

import pytest
from fakes.call_events import (
    BEGAN_MS,
    DELAY_MS,
    INGRESS,
    OTHER_INGRESS,
    agent,
    asked,
    assistant,
    caller,
    closed,
    cut,
    cut_requested,
    finished,
    fold,
    partial,
    started,
    status,
    system,
    user,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from session_svc.domain.answers import INSISTS_AFTER_MS
from session_svc.domain.call import Call, Status
from session_svc.domain.commands import (
    Command,
    CutGeneration,
    MoveOutput,
    RefuseAnswer,
    ReplayAnswer,
    StartGeneration,
)
from session_svc.domain.events import ChatMessage, CutReason, Event, Finish, Phase


def statuses(call: Call) -> list[str]:
    return [generation.status.value for generation in call.generations]


def ids(commands: list[Command]) -> list[str]:
    return [command.order.command_id for command in commands]


def pending(call: Call) -> list[str]:
    return [entry.command_id for entry in call.pending]


# One turn, one answer


def test_d16_a_turn_has_one_generation_made_from_the_request_and_none_from_transcripts() -> None:
    call, commands = fold(
        partial("i need", 500),
        partial("i need a table", 1_000),
        caller("I need a table for four.", 1_600),
        asked("I need a table for four.", 1_650, attachment="a"),
        started(1, 1_700),
    )
    assert len(call.generations) == 1
    (command,) = commands
    assert command == Command(
        INGRESS, StartGeneration(1, 1, "a", BEGAN_MS + 1_600, (user("I need a table for four."),))
    )


def test_three_corrections_in_600_ms_leave_one_live_generation_that_answers_the_last() -> None:
    call, commands = fold(
        asked("A table", 1_000),
        asked("A table for four", 1_300),
        asked("A table for four, no, five", 1_600),
    )
    assert statuses(call) == ["cut", "cut", "starting"]
    order = commands[-1].order
    assert isinstance(order, StartGeneration)
    assert order.messages[-1].content == "A table for four, no, five"
    assert pending(call) == ["start:3"]


def test_the_older_of_two_requests_is_refused_when_it_comes_last() -> None:
    call, commands = fold(
        asked("A table for four", 1_300, ingress=OTHER_INGRESS), asked("A table", 1_000, attachment="old")
    )
    assert statuses(call) == ["starting"]
    assert commands[-1] == Command(INGRESS, RefuseAnswer("old", CutReason.SUPERSEDED))


def test_a_request_at_another_ingress_cuts_the_first_ones_output() -> None:
    call, commands = fold(asked("One", 100), started(1, 150), asked("One two", 400, ingress=OTHER_INGRESS))
    assert [(c.ingress_id, c.order.command_id) for c in commands] == [
        (INGRESS, "start:1"),
        (INGRESS, "cut:1:0"),
        (OTHER_INGRESS, "start:2"),
    ]
    assert pending(call) == ["cut:1:0", "start:2"]


def test_a_cut_at_another_ingress_stays_pending_through_later_starts() -> None:
    call, _ = fold(
        asked("One", 100),
        asked("One two", 400, ingress=OTHER_INGRESS),
        asked("One two three", 700, ingress=OTHER_INGRESS),
    )
    assert pending(call) == ["cut:1:0", "start:3"]
    settled, _ = fold(cut(1, 800), call=call)
    assert pending(settled) == ["start:3"]


@dataclass
class Watched:
    """Folds one event after the other and holds what must hold after each."""

    call: Call = field(default_factory=lambda: Call("vapi:1"))
    over: set[int] = field(default_factory=set)
    given_out: list[int] = field(default_factory=list)

    def fold(self, happened: Event) -> None:
        self.call, commands = fold(happened, call=self.call)
        live = {g.number for g in self.call.generations if g.live}
        assert len(live) <= 1, "two voices"
        assert not live & self.over, "a generation that was over is live again"
        assert live <= {len(self.call.generations)}, "an older generation is live"
        self.over |= {g.number for g in self.call.generations} - live
        self.given_out += [c.order.generation for c in commands if isinstance(c.order, StartGeneration)]
        assert self.given_out == sorted(set(self.given_out)), "a number was given out twice"


MS = st.integers(0, 6_000)
REPORTS = st.one_of(
    st.builds(started, st.integers(1, 6), MS),
    st.builds(finished, st.integers(1, 6), st.just("Sure."), MS, st.sampled_from(Finish)),
    st.builds(cut, st.integers(1, 6), MS, spoken_ms=st.none() | MS, reason=st.sampled_from(CutReason)),
    st.builds(cut_requested, st.integers(0, 6), MS, spoken_ms=MS),
    st.builds(caller, st.sampled_from(["no", "a table", "for four"]), MS),
    st.builds(partial, st.sampled_from(["no", "a table", "for four"]), MS),
)
REQUESTS = st.builds(
    asked,
    st.sampled_from(["no", "a table", "a table for four", "for four"]),
    MS,
    attachment=st.sampled_from(["a", "b", "c"]),
    ingress=st.sampled_from([INGRESS, OTHER_INGRESS]),
)


@settings(max_examples=1_000, deadline=None)
@given(st.lists(REQUESTS | REPORTS, max_size=30), st.integers(0, 30))
def test_d17_at_most_one_generation_is_live_and_a_superseded_one_never_again(
    happened: list[Event], ends_after: int
) -> None:
    watched = Watched()
    for number, each in enumerate(happened):
        if number == ends_after:
            watched.fold(status(Phase.ENDED, 6_000))
        watched.fold(each)


# Cuts


@pytest.mark.parametrize("delay_ms", [0, 1, 50, 200, 1_000, 5_000])
def test_d21_an_answer_to_words_older_than_the_cut_is_refused_however_late_it_is_asked_for(delay_ms: int) -> None:
    call, commands = fold(
        caller("A table for four.", 1_000),
        partial("no wait", 1_500),
        cut_requested(0, 1_600, spoken_ms=1_500),
        asked("A table for four.", 1_600 + delay_ms, attachment="late"),
    )
    assert not call.generations
    assert commands == [Command(INGRESS, RefuseAnswer("late", CutReason.STALE))]


def _cut_by_what_was_no_caller() -> list[Event]:
    return [
        caller("A table for four.", 1_000),
        asked("A table for four.", 1_050),
        started(1, 1_100),
        partial("wait", 2_000),
        cut(1, 2_010, said="We have", spoken_ms=2_000),
    ]


@pytest.mark.parametrize("after_ms", [0, 20, INSISTS_AFTER_MS - 1])
def test_a_request_that_was_on_its_way_when_the_caller_cut_in_is_refused(after_ms: int) -> None:
    _, commands = fold(*_cut_by_what_was_no_caller(), asked("A table for four.", 2_000 + after_ms, attachment="b"))
    assert commands[-1] == Command(INGRESS, RefuseAnswer("b", CutReason.STALE))


def test_a_provider_that_insists_although_its_caller_has_said_more_is_refused() -> None:
    said_more = caller("No wait, make that eight.", 2_900)
    insists = asked("A table for four.", 2_000 + INSISTS_AFTER_MS + 50, attachment="b")
    _, commands = fold(*_cut_by_what_was_no_caller(), said_more, insists)
    assert commands[-1] == Command(INGRESS, RefuseAnswer("b", CutReason.STALE))


def test_a_provider_that_insists_well_after_the_cut_gets_a_new_answer_to_the_same_words() -> None:
    asked_ms = 2_000 + INSISTS_AFTER_MS
    again = asked("A table for four.", asked_ms, attachment="b")
    call, commands = fold(*_cut_by_what_was_no_caller(), again)
    assert statuses(call) == ["cut", "starting"]
    order = commands[-1].order
    assert isinstance(order, StartGeneration)
    # Not older than the cut, or ingress would refuse it.
    assert (order.generation, order.answers_until_ms) == (2, BEGAN_MS + asked_ms)
    # And a cut that comes after it cuts it like any other.
    call, _ = fold(cut_requested(2, asked_ms + 500, spoken_ms=asked_ms + 400), call=call)
    assert statuses(call) == ["cut", "cut"]


@pytest.mark.parametrize("delay_ms", [0, 1, 50, 200, 1_000, 5_000])
def test_d21_the_same_holds_for_words_that_only_partials_have_brought(delay_ms: int) -> None:
    call, _ = fold(
        partial("a table", 1_000),
        partial("a table for four no", 1_500),
        cut_requested(0, 1_600, spoken_ms=1_500),
        asked("A table.", 1_600 + delay_ms),
    )
    assert not call.generations


@pytest.mark.parametrize("delay_ms", [0, 1, 50, 200, 1_000, 5_000])
def test_d21_a_start_that_is_cut_and_a_cut_that_is_started_end_alike(delay_ms: int) -> None:
    request = asked("A table for four.", 1_050)
    words = caller("A table for four.", 1_000)
    cut_first, _ = fold(words, request, cut(1, 1_600, spoken_ms=1_500), started(1, 1_600 + delay_ms))
    start_first, _ = fold(words, request, started(1, 1_600), cut(1, 1_600 + delay_ms, spoken_ms=1_500))
    assert statuses(cut_first) == statuses(start_first) == ["cut"]
    assert pending(cut_first) == pending(start_first) == []


def test_the_words_that_cut_are_answered() -> None:
    call, _ = fold(
        caller("A table.", 1_000),
        asked("A table.", 1_050),
        cut(1, 1_600, spoken_ms=1_500),
        caller("No, wait.", 1_500),
        asked("A table. No, wait.", 1_700),
    )
    assert statuses(call) == ["cut", "starting"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_d22_a_cut_never_takes_the_newer_generation(order: tuple[int, ...]) -> None:
    happened = (cut(1, 1_600, spoken_ms=1_500), started(1, 1_700), started(2, 1_800))
    asked_for = (
        caller("A table.", 1_000),
        asked("A table.", 1_050),
        caller("No, wait.", 1_520),
        asked("A table. No, wait.", 1_580),
    )
    call, commands = fold(*asked_for, *(happened[index] for index in order))
    assert statuses(call) == ["cut", "running"]
    assert not [c for c in commands if isinstance(c.order, CutGeneration)]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_d22_a_cut_asked_for_elsewhere_names_the_old_generation_whenever_it_comes(order: tuple[int, ...]) -> None:
    happened = (
        cut_requested(1, 1_600, spoken_ms=1_500),
        asked("A table. No, wait.", 1_580, attachment="second"),
        started(1, 1_700),
    )
    call, _ = fold(
        caller("A table.", 1_000),
        asked("A table.", 1_050),
        caller("No, wait.", 1_520),
        *(happened[index] for index in order),
    )
    assert statuses(call) == ["cut", "starting"]


def test_d22_a_cut_that_names_what_is_yet_to_start_cuts_nothing_of_it() -> None:
    call, _ = fold(
        asked("One", 100), cut(9, 200), caller("Two", 300), asked("Two", 400), cut_requested(0, 500, spoken_ms=250)
    )
    assert statuses(call) == ["cut", "starting"]


def test_a_requested_cut_goes_to_whoever_holds_the_output_and_is_pending_until_it_is_reported() -> None:
    call, commands = fold(asked("One", 100), started(1, 150), cut_requested(1, 900, spoken_ms=800))
    assert commands[-1] == Command(INGRESS, CutGeneration(1, BEGAN_MS + 800, CutReason.BARGE_IN, "interruption_phrase"))
    assert pending(call) == [f"cut:1:{BEGAN_MS + 800}"]
    settled, _ = fold(cut(1, 950, spoken_ms=800), call=call)
    assert pending(settled) == []


def test_a_requested_cut_takes_an_answer_to_older_words_even_where_it_names_no_number() -> None:
    old = (caller("A table", 1_000), asked("A table", 1_050))
    assert statuses(fold(*old, cut_requested(0, 1_600, spoken_ms=1_500))[0]) == ["cut"]
    assert statuses(fold(*old, cut_requested(0, 1_600, spoken_ms=1_000))[0]) == ["starting"]


def test_a_requested_cut_that_comes_twice_is_pending_once() -> None:
    call, _ = fold(asked("One", 100), cut_requested(1, 900, spoken_ms=800), cut_requested(1, 901, spoken_ms=800))
    assert pending(call) == ["start:1", f"cut:1:{BEGAN_MS + 800}"]


def test_a_generation_that_ended_before_its_cut_was_reported_is_cut_with_all_its_text() -> None:
    whole, part = finished(1, "Sure! For how many?", 500), cut(1, 520, said="Sure!", spoken_ms=480)
    for reports in ((whole, part), (part, whole)):
        call, _ = fold(asked("One", 100), started(1, 150), *reports)
        assert statuses(call) == ["cut"]
        assert call.generations[0].said_text == "Sure! For how many?"


def test_reports_of_generations_that_never_were_change_nothing() -> None:
    before, _ = fold(asked("One", 100))
    for number in (-1, 0, 2):
        after, commands = fold(started(number, 200), finished(number, "x", 300), call=before)
        assert after == before
        assert not commands


# The same words again


def test_the_same_words_again_take_the_running_output_over() -> None:
    call, commands = fold(asked("One", 100, attachment="a"), started(1, 150, "a"), asked("one.", 400, attachment="b"))
    assert commands[-1] == Command(INGRESS, MoveOutput(1, "b"))
    assert call.generations[0].attachment_id == "b"
    assert len(call.generations) == 1
    settled, _ = fold(started(1, 450, "b"), call=call)
    assert pending(settled) == []


def test_a_second_move_leaves_nothing_of_the_first() -> None:
    call, _ = fold(
        asked("One", 100, attachment="a"),
        started(1, 150, "a"),
        asked("One", 400, attachment="b"),
        asked("One", 700, attachment="c"),
    )
    assert pending(call) == ["move:1:c"]


def test_the_same_words_again_at_another_ingress_start_anew() -> None:
    call, _ = fold(asked("One", 100), started(1, 150), asked("One", 400, ingress=OTHER_INGRESS))
    assert statuses(call) == ["cut", "starting"]


@pytest.mark.parametrize("finish", [Finish.STOP, Finish.LENGTH])
def test_the_same_words_again_are_answered_from_the_record_when_the_answer_was_complete(finish: Finish) -> None:
    call, commands = fold(asked("One", 100), finished(1, "Sure.", 300, finish), asked("One", 400, attachment="b"))
    assert commands[-1] == Command(INGRESS, ReplayAnswer(1, "b", "Sure.", BEGAN_MS + 400 + DELAY_MS))
    assert len(call.generations) == 1
    settled, _ = fold(closed("b", 500), call=call)
    assert pending(settled) == []


@pytest.mark.parametrize(
    "over",
    [
        cut(1, 300, reason=CutReason.PEER_CLOSED),
        cut(1, 300, reason=CutReason.INGRESS_LOST),
        finished(1, "Sorry.", 300, Finish.FAILED),
        finished(1, "", 300, Finish.TOOL_CALLS),
    ],
)
def test_the_same_words_again_start_anew_when_there_is_no_answer_to_give(over: Event) -> None:
    call, commands = fold(asked("One", 100), started(1, 150), over, asked("One", 400))
    assert ids(commands)[-1] == "start:2"
    assert call.generations[1].live


def test_the_same_words_in_a_later_turn_are_a_new_request() -> None:
    later = [user("Yes"), assistant("sure"), user("Yes")]
    call, _ = fold(asked("Yes", 100), finished(1, "Sure.", 300), asked(later, 900))
    assert statuses(call) == ["ended", "starting"]


def test_the_second_round_of_tools_is_not_taken_for_the_first() -> None:
    def calls(number: int) -> list[ChatMessage]:
        name = f"call_{number}"
        return [ChatMessage("assistant", "", f'[{{"id": "{name}"}}]'), ChatMessage("tool", "done", "", name)]

    first = [user("Book it"), *calls(1)]
    second = [*first, *calls(2)]
    call, _ = fold(
        asked("Book it", 100),
        finished(1, "", 200, Finish.TOOL_CALLS),
        asked(first, 300),
        finished(2, "Moment.", 400),
        asked(second, 500),
    )
    assert statuses(call) == ["ended", "ended", "starting"]
    again, commands = fold(finished(3, "Booked.", 600), asked(second, 700, attachment="z"), call=call)
    assert commands == [Command(INGRESS, ReplayAnswer(3, "z", "Booked.", BEGAN_MS + 700 + DELAY_MS))]
    assert len(again.generations) == 3


# What is pending


def test_a_start_is_pending_until_it_is_reported_and_closing_its_attachment_reports_nothing() -> None:
    call, _ = fold(asked("One", 100, attachment="a"), closed("a", 150))
    assert pending(call) == ["start:1"]
    for report in (started(1, 200), finished(1, "Sure.", 200), cut(1, 200)):
        assert pending(fold(report, call=call)[0]) == []


def test_a_refusal_is_pending_until_its_attachment_is_closed_whatever_starts_meanwhile() -> None:
    call, _ = fold(
        cut_requested(0, 50, spoken_ms=40),
        caller("Old", 10),
        asked("Old", 60, attachment="old"),
        asked("New", 400),
    )
    assert pending(call) == ["refuse:old", "start:1"]
    assert pending(fold(closed("old", 500), call=call)[0]) == ["start:1"]


# Which words a request answers


def answers_until_ms(*happened: Event) -> int:
    return fold(*happened)[0].generations[-1].answers_until_ms - BEGAN_MS


def test_words_are_looked_for_newest_first() -> None:
    assert answers_until_ms(caller("Yes", 1_000), caller("Yes.", 2_000), asked("yes yes", 3_000)) == 2_000


def test_a_transcript_counts_when_it_is_the_end_of_what_is_asked() -> None:
    assert (
        answers_until_ms(caller("A table", 1_000), caller("for four.", 2_000), asked("A table for four", 3_000))
        == 2_000
    )
    assert answers_until_ms(caller("A table", 1_000), caller("for four.", 2_000), asked("A table", 3_000)) == 1_000


def test_partials_are_newer_than_finals_and_count_too() -> None:
    assert answers_until_ms(caller("A table", 1_000), partial("for", 2_000), asked("A table for", 3_000)) == 2_000


def test_unknown_words_count_from_the_request_on_the_reporters_clock() -> None:
    assert answers_until_ms(caller("Hello", 1_000), asked("Something else", 3_000)) == 3_000


def test_without_the_reporters_clock_unknown_words_count_from_the_request_on_ours() -> None:
    assert answers_until_ms(asked("Something", 3_000)) == 3_000 + DELAY_MS


def test_words_that_an_earlier_turn_has_answered_are_not_the_words_of_this_one() -> None:
    """The caller says yes again, and the request is here before its transcript."""
    again = [user("Yes"), assistant("for how many"), user("Wait"), user("Yes")]
    call, commands = fold(
        caller("Yes", 1_000),
        asked("Yes", 1_050),
        finished(1, "For how many?", 1_500),
        caller("Wait", 3_000),
        cut(1, 3_100, spoken_ms=3_000),
        asked(again, 4_000),
    )
    assert ids(commands) == ["start:1", "start:2"]
    assert call.generations[1].answers_until_ms == BEGAN_MS + 4_000


def test_a_system_message_between_two_things_the_caller_said_parts_nothing() -> None:
    whole = [system("Be kind."), user("A table"), system("Hurry."), user("for four")]
    call, _ = fold(asked(whole, 1_000))
    assert call.generations[0].request_key == "2:a table for four"


def test_the_agents_last_words_part_what_the_caller_said() -> None:
    call, _ = fold(asked([user("A table"), assistant("for how many"), user("Four")], 1_000), agent("for how many", 500))
    assert call.generations[0].request_key == "2:four"


def test_live_means_starting_or_running() -> None:
    call, _ = fold(asked("One", 100))
    assert {s for s in Status if call.generations[0]._replace(status=s).live} == {Status.STARTING, Status.RUNNING}
