"""A replica that has restarted: what it hears first may be the end of an utterance, and the answer to it may play."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest
from bargein_svc.domain.events import AgentSpeech, CallerWords, Decision, Event, Phase, PlayoutChanged, Rule, Verdict
from bargein_svc.domain.verdict import NEW, Policy, step

ANSWERED = "Hello. I need a table for four."


def final(at_ms: int, text: str) -> CallerWords:
    return CallerWords(event_id=f"f{at_ms}", at_ms=at_ms, final=True, text=text)


def playing(*, answers: int = 1_000, answered: str = ANSWERED, phase: Phase = Phase.PLAYING) -> PlayoutChanged:
    return PlayoutChanged(
        at_ms=answers + 300, generation=1, phase=phase, answers_until_ms=answers, answered_tail=answered
    )


def verdicts(events: Sequence[Event]) -> list[Verdict]:
    state, given = NEW, []
    for event in events:
        state, verdict = step(state, event, Policy())
        given += [verdict] if verdict is not None else []
    return given


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.PLAYING])
@pytest.mark.parametrize("words", ["I need a table for four.", "i need a table for FOUR", "for four", ANSWERED])
def test_the_final_of_what_is_being_answered_does_not_cut_the_answer(words: str, phase: Phase) -> None:
    (verdict,) = verdicts([playing(phase=phase), final(1_900, words)])
    assert (verdict.decision, verdict.rule) == (Decision.KEEP, Rule.STALE_WORDS)


def test_it_does_not_when_the_answer_is_told_later_either() -> None:
    before = [AgentSpeech(at_ms=100, started=True), AgentSpeech(at_ms=600, started=False)]
    words = final(1_900, "I need a table for four.")
    assert verdicts([*before, words, playing()]) == []
    (verdict,) = verdicts([*before, words, playing(answered="Hello.")])
    assert verdict.decision is Decision.CUT


@pytest.mark.parametrize(
    "words",
    ["I need a table for four, no wait", "for five please", "I need a table", "Stop.", "Hello again, I need a table"],
)
def test_words_that_say_anything_else_cut_it(words: str) -> None:
    (verdict,) = verdicts([playing(), final(1_900, words)])
    assert verdict.decision is Decision.CUT


def test_the_same_words_said_again_after_a_while_cut_it() -> None:
    (verdict,) = verdicts([playing(answered="No, wait."), final(1_000 + 1_501, "No, wait.")])
    assert (verdict.decision, verdict.rule) == (Decision.CUT, Rule.CORRECTION)


def test_an_answer_of_which_no_words_are_known_is_cut_by_any() -> None:
    (verdict,) = verdicts([playing(answered=""), final(1_900, "I need a table for four.")])
    assert verdict.decision is Decision.CUT


def test_what_is_told_twice_is_judged_once() -> None:
    for events in permutations([playing(), playing(), final(2_900, "no wait")]):
        assert [v.decision for v in verdicts(events) if v.playout_known].count(Decision.CUT) <= 1


def partial(at_ms: int, text: str) -> CallerWords:
    return CallerWords(event_id=f"p{at_ms}", at_ms=at_ms, final=False, text=text)


@pytest.mark.parametrize(
    ("answered", "again"), [("Okay, can you please stop", "stop"), ("I want a table, no, wait.", "no wait")]
)
def test_a_replica_that_heard_the_answered_words_takes_the_same_words_again_for_new(answered: str, again: str) -> None:
    for words in (partial(2_300, again), final(2_300, again)):
        given = verdicts([partial(900, answered), final(1_000, answered), playing(answered=answered), words])
        assert [verdict.decision for verdict in given][-1] is Decision.CUT


def test_a_long_utterance_is_known_by_its_end() -> None:
    long = "I would like a table for four people on Friday evening at half past seven " * 3
    answered = playing(answered=long[-200:])
    (verdict,) = verdicts([answered, final(1_900, long)])
    assert verdict.decision is Decision.KEEP
    (verdict,) = verdicts([answered, final(1_900, long + "no wait")])
    assert verdict.decision is Decision.CUT
