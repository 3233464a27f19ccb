"""The life of a call: order, end, outcome, and recovery by folding the log again."""

from __future__ import annotations

import random

import pytest
from fakes.call_events import (
    BEGAN_MS,
    CALL,
    POLICY,
    agent,
    asked,
    assistant,
    caller,
    closed,
    cut,
    cut_requested,
    expired,
    finished,
    fold,
    history,
    named,
    on_wire,
    ours,
    partial,
    report,
    speech,
    started,
    status,
    system,
    user,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from session_svc.adapters import wire
from session_svc.domain.call import Call
from session_svc.domain.commands import RefuseAnswer, StartGeneration
from session_svc.domain.events import Event, Finish, Noted, Party, Phase
from session_svc.domain.fold import RECENT_PARTIALS, step, turns

RECORDED = (
    status(Phase.RINGING, 0),
    status(Phase.IN_PROGRESS, 400),
    speech(Party.AGENT, 600, started=True),
    agent("hello how can i help you", 2_300),
    speech(Party.AGENT, 2_300, started=False),
    speech(Party.CALLER, 3_000, started=True),
    partial("i would", 3_400),
    partial("i would like to book", 3_900),
    caller("I would like to book a table.", 4_600),
    speech(Party.CALLER, 4_700, started=False),
    asked("I would like to book a table.", 4_650),
    started(1, 4_700),
    speech(Party.AGENT, 5_400, started=True),
    finished(1, "Sure! For how many people?", 5_600),
    partial("actually", 6_000),
    cut(1, 6_100, spoken_ms=6_000, said="Sure! For how many people?"),
    ours(Noted("interrupted"), 6_150),
    speech(Party.AGENT, 6_200, started=False),
    agent("sure for how", 6_210),
    history(6_220, user("I would like to book a table."), assistant("sure for how"), user("actually")),
    caller("Actually, cancel that.", 7_000),
    caller("Thank you.", 7_900),
    status(Phase.ENDED, 9_000, "customer-ended-call"),
    report("customer-ended-call", 9_900),
)
"""A whole call with an interruption, in the order in which it happened."""


def seen(call: Call) -> tuple[object, ...]:
    return turns(call), call.utterances, call.outcome, call.phase, call.recent, call.clock_offset_ms


@settings(max_examples=500, deadline=None)
@given(st.permutations(RECORDED))
def test_d23_any_order_of_delivery_gives_the_same_turns_texts_and_outcome(delivered: list[Event]) -> None:
    in_order, _ = fold(*RECORDED)
    in_disorder, _ = fold(*delivered)
    assert seen(in_disorder) == seen(in_order)


AGENTS = st.sampled_from(["", "default@1", "sales@1", "sales@2"])


@settings(max_examples=300, deadline=None)
@given(st.permutations(RECORDED), st.lists(AGENTS, min_size=len(RECORDED), max_size=len(RECORDED)))
def test_the_first_durable_event_that_names_an_agent_gives_it_the_call(
    delivered: list[Event], agents: list[str]
) -> None:
    """In any order, at the end of the call too, and nothing takes the call away again."""
    call = Call(CALL)
    expected = ""
    for happened in map(named, delivered, agents):
        if happened.durable:
            expected = expected or happened.agent
        call = step(call, happened, POLICY).call
        assert call.agent == expected


def test_a_partial_names_no_agent_for_the_log_may_not_have_it() -> None:
    call, _ = fold(named(partial("i would", 100), "sales@1"), named(caller("I would.", 200), "sales@2"))
    assert call.agent == "sales@2"


def test_an_answer_is_started_for_the_agent_that_has_the_call_and_not_for_the_one_that_is_named() -> None:
    first = named(status(Phase.IN_PROGRESS, 100), "sales@1")
    _, commands = fold(first, named(asked("Hello.", 200), "sales@2"))
    (start,) = [command.order for command in commands]
    assert isinstance(start, StartGeneration)
    assert start.agent == "sales@1"


def test_d23_the_end_may_come_first() -> None:
    *before, status_ended, reported = RECORDED
    shuffled = list(before)
    random.Random(7).shuffle(shuffled)
    call, _ = fold(reported, status_ended, *shuffled)
    assert turns(call) == [
        ("agent", "hello how can i help you"),
        ("caller", "I would like to book a table."),
        ("agent", "sure for how"),
        ("caller", "Actually, cancel that. Thank you."),
    ]
    assert call.outcome == "caller_hung_up"


def test_d23_reports_that_differ_end_alike_in_any_order() -> None:
    one, other = report("customer-ended-call", 100), report("silence-timed-out", 110)
    assert fold(one, other)[0].outcome == fold(other, one)[0].outcome


def test_d23_a_late_partial_never_reopens_a_final() -> None:
    before, _ = fold(caller("I would like to book a table.", 4_600))
    after, commands = fold(partial("i would like to", 4_100), call=before)
    assert after == before
    assert not commands


def test_a_final_takes_its_partials_away_but_not_those_of_newer_words() -> None:
    call, _ = fold(partial("i would", 1_000), partial("wait", 3_000), caller("I would like it.", 2_000))
    assert [p.text for p in call.recent] == ["wait"]


def test_few_partials_are_kept_and_they_are_the_newest() -> None:
    call, _ = fold(*(partial(f"word {n}", n * 100) for n in random.Random(1).sample(range(50), 50)))
    assert [p.text for p in call.recent] == [f"word {n}" for n in range(50 - RECENT_PARTIALS, 50)]


def test_two_of_one_party_in_a_row_are_one_turn() -> None:
    call, _ = fold(caller("One", 10), caller("two.", 20), agent("three", 30), caller("Four.", 40))
    assert turns(call) == [("caller", "One two."), ("agent", "three"), ("caller", "Four.")]


def test_d24_speech_edges_of_either_party_change_no_turn_and_no_generation() -> None:
    before, _ = fold(caller("Hello.", 100), asked("Hello.", 150), started(1, 200))
    for party in Party:
        for began in (True, False):
            after, commands = fold(speech(party, 300, started=began), call=before)
            assert after == before
            assert not commands


def test_d24_words_land_with_who_spoke_them() -> None:
    call, _ = fold(agent("stop", 100), caller("Stop!", 200))
    assert [(u.party, u.text) for u in call.utterances] == [("agent", "stop"), ("caller", "Stop!")]


def test_d24_the_agents_words_never_tell_what_a_request_answers() -> None:
    call, _ = fold(agent("a table for two", 1_000), asked("a table for two", 2_000))
    assert call.generations[0].answers_until_ms == BEGAN_MS + 2_000


def test_phases_only_advance() -> None:
    call, _ = fold(status(Phase.FORWARDING, 300), status(Phase.IN_PROGRESS, 200), status(Phase.RINGING, 100))
    assert call.phase is Phase.FORWARDING


def test_d26_after_the_end_nothing_opens_and_late_words_still_land() -> None:
    ended, _ = fold(caller("Hello.", 100), status(Phase.ENDED, 1_000, "customer-ended-call"))
    late, commands = fold(
        caller("Bye.", 900),
        status(Phase.IN_PROGRESS, 500),
        asked("Hello.", 1_100, attachment="late"),
        speech(Party.AGENT, 1_200, started=True),
        cut_requested(1, 1_300, spoken_ms=1_250),
        closed("late", 1_400),
        call=ended,
    )
    assert [u.text for u in late.utterances] == ["Hello.", "Bye."]
    assert late.phase is Phase.ENDED
    assert late.outcome == "caller_hung_up"
    assert late.ended_at_ms == ended.ended_at_ms
    assert not late.generations
    assert not late.pending
    assert [type(command.order) for command in commands] == [RefuseAnswer]


def test_the_end_silences_what_runs_and_leaves_nothing_to_be_done() -> None:
    call, commands = fold(caller("Hello.", 100), asked("Hello.", 150), status(Phase.ENDED, 1_000))
    assert not any(generation.live for generation in call.generations)
    assert not call.pending
    assert commands[-1].order.command_id == "cut:1:0"


def test_a_second_end_sends_no_second_command() -> None:
    ended, _ = fold(asked("Hello.", 150), status(Phase.ENDED, 1_000))
    _, commands = fold(report("customer-ended-call", 2_000), status(Phase.ENDED, 2_100), call=ended)
    assert not commands


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        ([expired(900)], "abandoned"),
        ([expired(900), report("silence-timed-out", 1_000)], "silence"),
        ([report("silence-timed-out", 1_000), expired(1_100)], "silence"),
        ([expired(900), status(Phase.ENDED, 1_000)], "completed"),
        ([status(Phase.ENDED, 1_000), expired(1_100)], "completed"),
        ([status(Phase.ENDED, 1_000, "customer-ended-call"), report("", 1_100)], "caller_hung_up"),
        ([status(Phase.ENDED, 1_000, "voicemail"), report("assistant-ended-call", 1_100)], "agent_ended"),
        ([status(Phase.IN_PROGRESS, 100)], ""),
    ],
)
def test_a_call_ends_with_one_word_and_what_was_reported_beats_what_was_missed(ends: list[Event], outcome: str) -> None:
    assert fold(*ends)[0].outcome == outcome
    assert fold(*reversed(ends))[0].outcome == outcome


def test_an_event_without_the_reporters_time_tells_nothing_of_its_clock() -> None:
    call, _ = fold(ours(Noted("agent_silent"), 100))
    assert call.clock_offset_ms is None


WORDS = st.sampled_from(["yes", "no", "a table", "a table for four", "four", "wait"])
TIMES = st.integers(0, 5_000)
GENERATIONS = st.integers(1, 4)


@st.composite
def histories(draw: st.DrawFn) -> list[object]:
    spoken = draw(st.lists(WORDS, min_size=1, max_size=3))
    messages = [system("Be kind.")]
    for text in spoken[:-1]:
        messages += [user(text), assistant(draw(WORDS))]
    return [*messages, user(spoken[-1])]


HAPPENINGS = st.one_of(
    st.builds(caller, WORDS, TIMES),
    st.builds(partial, WORDS, TIMES),
    st.builds(partial, WORDS, TIMES),
    st.builds(agent, WORDS, TIMES),
    st.builds(asked, histories(), TIMES),
    st.builds(asked, histories(), TIMES, ingress=st.just("ingress-2")),
    st.builds(started, GENERATIONS, TIMES),
    st.builds(finished, GENERATIONS, WORDS, TIMES, st.sampled_from(Finish)),
    st.builds(cut, GENERATIONS, TIMES, spoken_ms=st.none() | TIMES, said=WORDS),
    st.builds(cut_requested, GENERATIONS, TIMES, spoken_ms=TIMES),
    st.builds(lambda at_ms, text: history(at_ms, user("a"), assistant(text), user("b")), TIMES, WORDS),
    st.builds(status, st.sampled_from([Phase.RINGING, Phase.IN_PROGRESS]), TIMES),
)
"""Anything that may happen to a living call."""
ENDS = st.one_of(st.builds(expired, TIMES), st.builds(report, st.just("voicemail"), TIMES))


@settings(max_examples=1_000, deadline=None)
@given(
    st.lists(st.builds(named, HAPPENINGS, AGENTS), max_size=25),
    st.lists(st.builds(named, ENDS | HAPPENINGS, AGENTS), max_size=4),
)
def test_d28_the_log_gives_the_call_back(life: list[Event], after: list[Event]) -> None:
    """The log as `adapters.cell` writes it: a partial goes in before the request that might rest on it."""
    live = recovered = Call(CALL)
    unlogged: dict[str, Event] = {}
    for happened in (*life, *after):
        log: list[Event] = []
        if not happened.durable:
            unlogged[happened.event_id] = happened
        else:
            if type(happened.body).__name__ == "AnswerRequested":
                log += [unlogged.pop(p.event_id) for p in live.recent if p.event_id in unlogged]
            log.append(happened)
        live = step(live, happened, POLICY).call
        for kept in log:
            reread = wire.from_log(wire.for_log(on_wire(kept)))
            recovered = step(recovered, reread, POLICY).call
        assert recovered._replace(recent=()) == live._replace(recent=())
