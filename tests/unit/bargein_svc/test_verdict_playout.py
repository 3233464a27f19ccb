"""What is to be cut: greetings, questions, what the provider has cut by itself, and what was not seen."""

from __future__ import annotations

import pytest
from bargein_svc.domain.events import (
    AgentWords,
    Event,
    Rule,
)
from bargein_svc.domain.verdict import Policy
from fakes.barge_in import (
    CUT,
    KEEP,
    POLICY,
    agent_started,
    agent_stopped,
    cut_through,
    final,
    interrupted,
    last,
    orders,
    over,
    partial,
    playing,
    preparing,
    ruling,
    run,
)

# The greeting.


def test_the_greeting_is_generation_0() -> None:
    verdict = last([agent_started(1_000), partial(2_000, "I need a table")])
    assert verdict is not None
    assert (verdict.decision, verdict.through_generation, verdict.into_playout_ms) == (CUT, 0, 1_000)


def test_a_greeting_that_must_be_heard_is_kept() -> None:
    policy = Policy(greeting_interruptible=False, phrases=POLICY.phrases)
    assert ruling([agent_started(1_000), partial(2_000, "stop")], policy) == (KEEP, Rule.GREETING)
    assert last([agent_started(1_000), interrupted(2_000)], policy) is None
    assert ruling([agent_started(1_000), playing(1, answers=1_500), partial(2_000, "stop")], policy) == (
        CUT,
        Rule.STOP_PHRASE,
    )


def test_words_spoken_before_the_greeting_do_not_cut_it() -> None:
    assert ruling([agent_started(1_000), final(900, "hello, I need a table")]) == (KEEP, Rule.STALE_WORDS)
    assert cut_through(run([agent_stopped(1), final(900, "hello, I need a table"), agent_started(1_000)])) == -1


def test_each_stretch_of_speech_without_a_generation_is_cut_anew() -> None:
    events: list[Event] = [agent_started(1_000), final(2_000, "stop"), agent_stopped(2_100), agent_started(5_000)]
    assert ruling([*events, partial(6_000, "stop")]) == (CUT, Rule.STOP_PHRASE)


# Questions.


@pytest.mark.parametrize("text", ["yes", "okay", "uh-huh", "four", "no"])
def test_an_answer_to_a_question_cuts_once_the_question_has_been_said(text: str) -> None:
    asked = playing(1, answers=500, at_ms=1_500, said="Shall I book it?")
    assert cut_through([last([asked, partial(2_000, text)])]) == 1


def test_an_answer_before_the_question_is_an_acknowledgement() -> None:
    words, asked = partial(1_400, "yes"), playing(1, answers=500, at_ms=1_500, said="Shall I book it?")
    begun = playing(1, answers=500, at_ms=1_000, said="We have a table.")
    for order in orders(begun, asked, words):
        assert cut_through(run(order)) == -1, order


def test_a_question_that_the_agent_has_left_behind_is_answered_no_more() -> None:
    events: list[Event] = [
        playing(1, answers=500, at_ms=1_000, said="Shall I book it?"),
        playing(1, answers=500, at_ms=1_600, said="Shall I book it? It is by the window."),
    ]
    assert ruling([*events, partial(2_000, "okay")]) == (KEEP, Rule.ACKNOWLEDGEMENT)


def test_a_filler_answers_no_question() -> None:
    asked = playing(1, answers=500, said="Shall I book it?")
    assert ruling([asked, partial(2_000, "um")]) == (KEEP, Rule.FILLER)


def test_what_was_sent_is_no_question_while_the_provider_reports_what_was_heard() -> None:
    sent = playing(1, answers=500, at_ms=1_000, said="There is one by the window. Shall I book it?")
    heard = AgentWords(at_ms=1_600, text="There is one by")
    asked = AgentWords(at_ms=3_000, text="There is one by the window. Shall I book it?")
    assert ruling([sent, heard, partial(2_000, "okay")]) == (KEEP, Rule.ACKNOWLEDGEMENT)
    assert ruling([sent, heard, asked, partial(3_500, "okay")]) == (CUT, Rule.ANSWER_TO_QUESTION)


def test_a_question_of_an_earlier_generation_is_not_open_in_the_next() -> None:
    events: list[Event] = [
        playing(1, answers=500, at_ms=1_000, said="For how many?"),
        over(1, answers=500, at_ms=1_500),
        playing(2, answers=2_000, at_ms=2_500),
    ]
    assert ruling([*events, partial(3_000, "okay")]) == (KEEP, Rule.ACKNOWLEDGEMENT)


# The provider's own interruptions.


def test_what_the_provider_has_cut_is_cut() -> None:
    verdict = last([playing(1, answers=500), interrupted(2_000)])
    assert verdict is not None
    assert (verdict.decision, verdict.rule, verdict.through_generation) == (CUT, Rule.PROVIDER_INTERRUPTED, 1)


def test_the_providers_interruption_spares_the_answer_to_the_words_that_caused_it() -> None:
    """Those words can carry an earlier time than the interruption."""
    playing_1, words, cut, next_2 = (
        playing(1, answers=500),
        final(1_990, "no"),
        interrupted(2_000),
        preparing(2, answers=1_990),
    )
    for order in orders(playing_1, words, cut, next_2):
        verdicts = run(order)
        assert cut_through(verdicts) == 1, order
        assert all(v.spoken_at_ms <= 1_990 for v in verdicts if v.decision is CUT), order


def test_a_late_report_of_an_interruption_spares_what_plays_since() -> None:
    assert last([playing(2, answers=2_500, at_ms=3_000), interrupted(2_000)]) is None
    assert last([playing(2, answers=1_500, at_ms=3_000), interrupted(2_000)]) is None


def test_an_interruption_cuts_also_when_the_end_of_the_speech_was_reported_first() -> None:
    events: list[Event] = [playing(1, answers=500, at_ms=800), agent_started(1_000)]
    for order in orders(agent_stopped(2_005), interrupted(2_000)):
        assert cut_through(run([*events, *order])) == 1, order


# A playout that was not seen.


def test_without_the_playout_words_alone_decide() -> None:
    verdict = last([partial(2_000, "stop")])
    assert verdict is not None
    assert (verdict.decision, verdict.playout_known, verdict.through_generation) == (CUT, False, 0)
    assert (verdict.spoken_at_ms, verdict.into_playout_ms) == (2_000, 0)
    assert ruling([partial(2_000, "bus stop")]) == (KEEP, Rule.TOO_FEW_WORDS)
    assert ruling([partial(2_000, "okay")]) == (KEEP, Rule.ACKNOWLEDGEMENT)


def test_without_the_playout_an_utterance_cuts_once() -> None:
    events: list[Event] = [
        partial(2_000, "stop"),
        partial(2_200, "stop that"),
        final(2_400, "stop that"),
        partial(4_000, "no"),
    ]
    assert [v.decision for v in run(events)] == [CUT, KEEP, KEEP, CUT]


def test_a_playout_that_becomes_known_is_cut_by_name() -> None:
    events: list[Event] = [partial(2_000, "stop"), playing(7, answers=1_000)]
    assert cut_through([last(events)]) == 7


def test_without_the_playout_the_providers_interruption_says_nothing() -> None:
    assert last([interrupted(2_000)]) is None
