"""Which words cut which playout. Event lists in, verdicts out."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Sequence

import pytest
from bargein_svc.domain.events import (
    AgentSpeech,
    AgentWords,
    CallerSpeech,
    CallerWords,
    CallOver,
    Decision,
    Event,
    Phase,
    PlayoutChanged,
    ProviderInterrupted,
    Rule,
    Verdict,
)
from bargein_svc.domain.packs import PACKS
from bargein_svc.domain.phrases import PhraseBook
from bargein_svc.domain.playout import MAX_GENERATIONS
from bargein_svc.domain.verdict import NEW, Policy, State, step

POLICY = Policy(phrases=PhraseBook([PACKS["en"], PACKS["es"]]))


def partial(at_ms: int, text: str) -> CallerWords:
    return CallerWords(event_id=f"p{at_ms}", at_ms=at_ms, final=False, text=text)


def final(at_ms: int, text: str) -> CallerWords:
    return CallerWords(event_id=f"f{at_ms}", at_ms=at_ms, final=True, text=text)


def preparing(generation: int, *, answers: int, at_ms: int = 0) -> PlayoutChanged:
    return _playout(generation, Phase.PREPARING, answers, at_ms or answers + 10)


def playing(generation: int, *, answers: int, at_ms: int = 0, said: str = "") -> PlayoutChanged:
    return _playout(generation, Phase.PLAYING, answers, at_ms or answers + 500, said)


def over(generation: int, *, answers: int, at_ms: int) -> PlayoutChanged:
    return _playout(generation, Phase.OVER, answers, at_ms)


def _playout(generation: int, phase: Phase, answers: int, at_ms: int, said: str = "") -> PlayoutChanged:
    return PlayoutChanged(at_ms=at_ms, generation=generation, phase=phase, answers_until_ms=answers, said_tail=said)


def agent_started(at_ms: int) -> AgentSpeech:
    return AgentSpeech(at_ms=at_ms, started=True)


def agent_stopped(at_ms: int) -> AgentSpeech:
    return AgentSpeech(at_ms=at_ms, started=False)


def interrupted(at_ms: int) -> ProviderInterrupted:
    return ProviderInterrupted(event_id=f"i{at_ms}", at_ms=at_ms)


def run(events: Iterable[Event], policy: Policy = POLICY) -> list[Verdict]:
    return [verdict for verdict in answers(events, policy) if verdict is not None]


def answers(events: Iterable[Event], policy: Policy = POLICY) -> list[Verdict | None]:
    """The answer to each event."""
    state, verdicts = NEW, []
    for event in events:
        state, verdict = step(state, event, policy)
        verdicts.append(verdict)
    return verdicts


def last(events: Sequence[Event], policy: Policy = POLICY) -> Verdict | None:
    return answers(events, policy)[-1]


def ruling(events: Sequence[Event], policy: Policy = POLICY) -> tuple[Decision, Rule] | None:
    """Decision and rule on the last event."""
    verdict = last(events, policy)
    return None if verdict is None else (verdict.decision, verdict.rule)


def cut_through(verdicts: Iterable[Verdict | None]) -> int:
    """The highest generation that a cut names; -1 without one."""
    cuts = [v.through_generation for v in verdicts if v is not None and v.decision is Decision.CUT]
    return max(cuts, default=-1)


def orders(*events: Event) -> Iterable[tuple[Event, ...]]:
    return itertools.permutations(events)


KEEP, CUT = Decision.KEEP, Decision.CUT


def test_words_need_no_verdict_when_nothing_plays() -> None:
    assert last([playing(1, answers=500), over(1, answers=500, at_ms=3_000), partial(4_000, "stop")]) is None


def test_a_cut_says_what_it_cuts_and_why() -> None:
    assert last([playing(3, answers=1_000, at_ms=1_500), partial(2_700, "okay, HOLD on")]) == Verdict(
        event_id="p2700",
        decision=CUT,
        rule=Rule.STOP_PHRASE,
        matched="hold on",
        word_count=3,
        language="en",
        through_generation=3,
        spoken_at_ms=2_700,
        playout_known=True,
        into_playout_ms=1_200,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("uh", (KEEP, Rule.FILLER)),
        ("", (KEEP, Rule.FILLER)),
        ("uh-huh", (KEEP, Rule.ACKNOWLEDGEMENT)),
        ("bus stop", (KEEP, Rule.TOO_FEW_WORDS)),
        ("I need", (CUT, Rule.OPENER)),
        ("table for four", (CUT, Rule.WORD_COUNT)),
        ("actually", (CUT, Rule.CORRECTION)),
        ("wait", (CUT, Rule.STOP_PHRASE)),
    ],
)
def test_words_over_playout_are_ruled_by_what_they_are(text: str, expected: tuple[Decision, Rule]) -> None:
    assert ruling([playing(1, answers=500), partial(2_000, text)]) == expected


@pytest.mark.parametrize("text", ["eight", "bus stop", "stop", "I need", "table for four"])
def test_while_an_answer_is_prepared_any_newer_words_make_it_stale(text: str) -> None:
    verdict = last([preparing(1, answers=500), partial(2_000, text)])
    assert verdict is not None
    assert verdict.decision is CUT
    assert verdict.into_playout_ms == 0


@pytest.mark.parametrize("text", ["uh", "okay", "mm-hmm", "yeah okay"])
def test_an_acknowledgement_does_not_make_an_answer_stale(text: str) -> None:
    assert cut_through(run([preparing(1, answers=500), partial(2_000, text), final(2_100, text)])) == -1


# Articles' defects, at the level of the verdict.


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.PLAYING])
@pytest.mark.parametrize("text", ["stop", "no", "I need a table"])
def test_d19_the_verdict_does_not_wait_for_the_model(phase: Phase, text: str) -> None:
    running = _playout(1, phase, 500, 600)
    verdict = last([running, partial(1_000, text)])
    assert verdict is not None
    assert (verdict.decision, verdict.through_generation) == (CUT, 1)


@pytest.mark.parametrize("delay_ms", [0, 1, 50, 700, 5_000])
def test_d21_a_generation_that_starts_after_the_words_that_cut_it_is_cut_on_arrival(delay_ms: int) -> None:
    earlier: list[Event] = [playing(1, answers=100), over(1, answers=100, at_ms=900)]
    verdicts = answers([*earlier, partial(2_000, "stop"), playing(2, answers=1_000, at_ms=2_000 + delay_ms)])
    assert verdicts[-2] is None
    late = verdicts[-1]
    assert late is not None
    assert (late.decision, late.through_generation, late.event_id) == (CUT, 2, "p2000")


def test_d22_an_answer_to_the_words_that_cut_is_never_cut_by_them() -> None:
    words, old, new = partial(2_000, "no, at nine"), playing(4, answers=900), playing(5, answers=2_000)
    for order in orders(words, old, new):
        assert cut_through(run(order)) == 4, order


def test_d23_a_late_stop_of_an_earlier_stretch_does_not_silence_the_present_one() -> None:
    stretches: list[Event] = [agent_started(1_000), agent_started(5_000), agent_stopped(3_000)]
    for order in orders(*stretches):
        assert ruling([*order, partial(6_000, "stop")]) == (CUT, Rule.STOP_PHRASE), order


def test_d23_a_stop_that_overtakes_its_start_leaves_nothing_playing() -> None:
    assert last([agent_stopped(3_000), agent_started(1_000), partial(6_000, "stop")]) is None


def test_d23_ends_of_speech_that_come_in_the_wrong_order_leave_nothing_playing() -> None:
    edges = [agent_started(1_000), agent_started(2_500), agent_stopped(3_000), agent_stopped(2_000)]
    for order in orders(*edges):
        assert last([*order, partial(4_000, "stop")]) is None, order


def test_d24_the_callers_own_voice_is_no_playout() -> None:
    events: list[Event] = [
        playing(1, answers=500),
        over(1, answers=500, at_ms=900),
        CallerSpeech(at_ms=1_000, started=True),
    ]
    assert run([*events, partial(1_500, "stop")]) == []


def test_d24_the_callers_voice_without_words_cuts_nothing() -> None:
    cough: list[Event] = [CallerSpeech(at_ms=1_000, started=True), CallerSpeech(at_ms=1_200, started=False)]
    assert run([playing(1, answers=500), *cough]) == []


# Stale words.


def test_words_that_the_playing_generation_answers_keep_it() -> None:
    assert ruling([playing(2, answers=2_000), final(2_000, "make that eight")]) == (KEEP, Rule.STALE_WORDS)


def test_a_late_partial_never_reopens_a_final() -> None:
    events: list[Event] = [playing(1, answers=500), final(2_000, "no problem"), partial(1_800, "no")]
    assert ruling(events) == (KEEP, Rule.STALE_WORDS)
    assert run([*events, preparing(2, answers=1_000)])[-1].decision is KEEP


def test_a_final_that_says_no_more_than_the_answered_partial_does_not_cut_the_answer() -> None:
    """On Vapi the request for an answer and the final race; session-svc then answers the last partial."""
    events: list[Event] = [partial(1_900, "I need a table for four"), preparing(1, answers=1_900)]
    assert ruling([*events, final(2_400, "I need a table for four.")]) == (KEEP, Rule.STALE_WORDS)
    assert ruling([*events, final(2_400, "I need a table for four, um, okay")]) == (KEEP, Rule.STALE_WORDS)
    assert ruling([*events, final(2_400, "I need a table for four please")]) == (CUT, Rule.OPENER)


def test_a_redelivered_final_is_no_newer_than_the_first() -> None:
    again = final(2_400, "I need a table")
    events: list[Event] = [partial(1_900, "I need a table"), again, preparing(1, answers=1_900), again]
    assert ruling(events) == (KEEP, Rule.STALE_WORDS)


def test_the_same_words_in_a_new_utterance_are_new() -> None:
    events: list[Event] = [final(1_000, "stop"), playing(2, answers=1_000), partial(3_000, "stop")]
    assert ruling(events) == (CUT, Rule.STOP_PHRASE)


def test_a_new_utterance_whose_predecessor_has_no_final_yet_is_new() -> None:
    events: list[Event] = [partial(1_000, "I need a table for four"), playing(2, answers=1_000), partial(3_000, "no")]
    assert ruling(events) == (CUT, Rule.CORRECTION)


def test_short_words_are_no_part_of_a_long_utterance_that_began_alike() -> None:
    events: list[Event] = [partial(1_000, "no I need a table for four"), playing(2, answers=1_000)]
    assert ruling([*events, partial(3_000, "no")]) == (CUT, Rule.CORRECTION)


# Already cut.


def test_a_second_partial_of_the_utterance_that_cut_changes_nothing() -> None:
    events: list[Event] = [playing(1, answers=500), partial(2_000, "wait"), partial(2_500, "wait I said nine")]
    assert ruling(events) == (KEEP, Rule.ALREADY_CUT)


def test_the_next_generation_is_cut_by_newer_words_again() -> None:
    events: list[Event] = [
        playing(1, answers=500),
        final(2_000, "wait"),
        over(1, answers=500, at_ms=2_010),
        playing(2, answers=2_000),
        partial(4_000, "no"),
    ]
    assert [v.through_generation for v in run(events) if v.decision is CUT] == [1, 2]


def test_three_corrections_leave_only_the_answer_to_the_last() -> None:
    events: list[Event] = [
        preparing(1, answers=1_000),
        final(1_200, "actually"),
        preparing(2, answers=1_200),
        final(1_400, "no wait"),
        preparing(3, answers=1_400),
        final(1_600, "make that 8pm"),
        preparing(4, answers=1_600),
    ]
    assert [v.through_generation for v in run(events) if v.decision is CUT] == [1, 2, 3]


def test_a_partial_that_its_final_takes_back_does_not_hide_the_utterance_before() -> None:
    events: list[Event] = [
        over(1, answers=100, at_ms=500),
        final(1_000, "stop"),
        partial(1_200, "no"),
        final(1_400, "no problem"),
    ]
    verdict = last([*events, playing(2, answers=900)])
    assert verdict is not None
    assert (verdict.decision, verdict.event_id) == (CUT, "f1000")


def test_what_is_newest_is_cut_first_and_covers_the_rest() -> None:
    """The provider still speaks generation 2, which its ingress calls over; 1 was never reported over."""
    events: list[Event] = [agent_started(1_000), preparing(1, answers=1), over(2, answers=1, at_ms=900)]
    assert [v.through_generation for v in run([*events, partial(2_000, "stop"), agent_started(1_000)])] == [2]


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


# What is remembered.


def test_a_generation_that_is_over_is_not_reopened_by_a_late_report() -> None:
    assert last([over(1, answers=500, at_ms=2_000), playing(1, answers=500), partial(3_000, "stop")]) is None


def test_a_generation_whose_speech_the_provider_has_ended_is_over() -> None:
    """The ingress that holds the output may not be the one that hears of it."""
    spoken: list[Event] = [playing(1, answers=500, at_ms=800), agent_started(1_000), agent_stopped(3_000)]
    assert last([*spoken, partial(4_000, "stop")]) is None


def test_a_call_that_is_over_gets_no_verdict() -> None:
    assert run([playing(1, answers=500), CallOver(), partial(2_000, "stop"), playing(2, answers=900)]) == []


def test_what_is_remembered_of_a_call_is_bounded() -> None:
    state: State = NEW
    texts = ["stop", "eight", "okay", "uh", "I need a table", "no problem"]
    for n in range(2_000):
        events: list[Event] = [
            partial(n * 100 + 1, texts[n % 6]),
            final(n * 100 + 50, texts[(n * 5) % 6]),
            playing(n + 1, answers=n * 100 + (n * 37) % 90),
        ]
        for event in events:
            state, _ = step(state, event, POLICY)
            assert len(state.heard) <= 6
            assert len(state.playout.generations) <= MAX_GENERATIONS
    assert _deep_size(state, set()) < 4_096


def test_an_idle_call_is_remembered_in_little_memory() -> None:
    """One that has had a turn and waits for the next."""
    state: State = NEW
    turn: list[Event] = [
        agent_started(1_000),
        agent_stopped(2_000),
        partial(3_000, "I need"),
        final(3_500, "I need a table for four"),
        preparing(1, answers=3_500),
        playing(1, answers=3_500, said="x" * 200),
        over(1, answers=3_500, at_ms=6_000),
    ]
    for event in turn:
        state, _ = step(state, event, POLICY)
    assert _deep_size(state, set()) < 2_048


def _deep_size(thing: object, seen: set[int]) -> int:
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    parts = thing if isinstance(thing, tuple) else ()
    return sys.getsizeof(thing) + sum(_deep_size(part, seen) for part in parts)


@pytest.mark.parametrize(
    ("min_words", "text", "decision"),
    [
        (0, "table", CUT),
        (0, "okay", KEEP),
        (1, "I", KEEP),
        (1, "can", CUT),
        (1, "bus", KEEP),
        (1, "bus stop", CUT),
        (4, "I need a", KEEP),
        (4, "I need a table", CUT),
        (4, "stop", CUT),
    ],
)
def test_min_words_moves_the_threshold_but_not_the_phrases(min_words: int, text: str, decision: Decision) -> None:
    policy = Policy(min_words=min_words, phrases=POLICY.phrases)
    verdict = last([playing(1, answers=500), partial(2_000, text)], policy)
    assert verdict is not None
    assert verdict.decision is decision
