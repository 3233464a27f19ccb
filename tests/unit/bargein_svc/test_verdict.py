"""Which words cut which playout. Event lists in, verdicts out."""

from __future__ import annotations

import pytest
from bargein_svc.domain.events import (
    CallerSpeech,
    Decision,
    Event,
    Phase,
    Rule,
    Verdict,
)
from bargein_svc.domain.verdict import Policy
from fakes.barge_in import (
    CUT,
    KEEP,
    POLICY,
    agent_started,
    agent_stopped,
    answers,
    cut_through,
    final,
    last,
    orders,
    over,
    partial,
    playing,
    playout,
    preparing,
    ruling,
    run,
)


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
    running = playout(1, phase, 500, 600)
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


# How many words it takes.


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
