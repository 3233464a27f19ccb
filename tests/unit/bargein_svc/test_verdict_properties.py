"""What holds of verdicts whatever comes, in whatever order, however often."""

from __future__ import annotations

from bargein_svc.adapters.wire import verdict_message
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
from bargein_svc.domain.phrases import Kind, PhraseBook
from bargein_svc.domain.verdict import NEW, Policy, State, step
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY = Policy(phrases=PhraseBook([PACKS["en"], PACKS["es"]]))
TEXTS = [
    *("stop", "no", "no no wait", "okay", "uh-huh", "yeah okay right", "uh", "", "four", "bus stop", "I", "I need"),
    *("I need a table for four", "actually", "actually make that eight", "make that", "for four people please"),
    *("okay so I need", "no problem", "para por favor", "espera un momento"),
]
TIMES = st.integers(min_value=1, max_value=60)

events = st.one_of(
    st.builds(CallerWords, event_id=st.just("w"), at_ms=TIMES, final=st.booleans(), text=st.sampled_from(TEXTS)),
    st.builds(AgentWords, at_ms=TIMES, text=st.sampled_from(["Shall I?", "We have a table."])),
    st.builds(AgentSpeech, at_ms=TIMES, started=st.booleans()),
    st.builds(CallerSpeech, at_ms=TIMES, started=st.booleans()),
    st.builds(ProviderInterrupted, event_id=st.just("i"), at_ms=TIMES),
    st.builds(
        PlayoutChanged,
        at_ms=TIMES,
        generation=st.integers(min_value=1, max_value=6),
        phase=st.sampled_from(Phase),
        answers_until_ms=st.integers(min_value=0, max_value=60),
        said_tail=st.sampled_from(["", "Shall I book it?", "It is booked."]),
    ),
)
calls = st.lists(events, max_size=30)


def run(happenings: list[Event]) -> list[Verdict | None]:
    state: State = NEW
    verdicts = []
    for event in happenings:
        state, verdict = step(state, event, POLICY)
        verdicts.append(verdict)
    return verdicts


def cuts(verdicts: list[Verdict | None]) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict is not None and verdict.decision is Decision.CUT]


@settings(deadline=None)
@given(calls)
def test_a_verdict_never_names_a_generation_above_the_highest_known(happenings: list[Event]) -> None:
    highest = 0
    for event, verdict in zip(happenings, run(happenings), strict=True):
        if isinstance(event, PlayoutChanged):
            highest = max(highest, event.generation)
        assert verdict is None or 0 <= verdict.through_generation <= highest


@settings(deadline=None)
@given(calls)
def test_a_cut_is_never_older_than_what_it_names_answers(happenings: list[Event]) -> None:
    answers: dict[int, int] = {}
    for event, verdict in zip(happenings, run(happenings), strict=True):
        if isinstance(event, PlayoutChanged):
            answers[event.generation] = max(answers.get(event.generation, 0), event.answers_until_ms)
        if verdict is not None and verdict.decision is Decision.CUT and verdict.through_generation:
            assert verdict.spoken_at_ms > answers[verdict.through_generation]


@settings(deadline=None)
@given(calls)
def test_no_generation_is_cut_twice(happenings: list[Event]) -> None:
    """By its own playout. Speech that the provider begins after a cut is named by time instead."""
    happenings = [event for event in happenings if not isinstance(event, AgentSpeech)]
    named = [cut.through_generation for cut in cuts(run(happenings)) if cut.through_generation]
    assert named == sorted(set(named))


@settings(deadline=None)
@given(calls)
def test_events_other_than_words_bring_only_cuts(happenings: list[Event]) -> None:
    for event, verdict in zip(happenings, run(happenings), strict=True):
        if not isinstance(event, CallerWords):
            assert verdict is None or verdict.decision is Decision.CUT


@settings(max_examples=300, deadline=None)
@given(st.lists(events, min_size=1, max_size=20), st.data())
def test_what_comes_again_cuts_nothing_again(happenings: list[Event], data: st.DataObject) -> None:
    """At once or later."""
    again = data.draw(st.sampled_from(happenings))
    verdict = run([*happenings, again])[-1]
    assert verdict is None or verdict.decision is Decision.KEEP


@settings(deadline=None)
@given(calls)
def test_the_same_events_give_the_same_verdicts_to_the_byte(happenings: list[Event]) -> None:
    def recorded() -> list[bytes]:
        return [
            b"" if verdict is None else verdict_message(verdict, call_id="c").SerializeToString(deterministic=True)
            for verdict in run(happenings)
        ]

    assert recorded() == recorded()


@settings(deadline=None)
@given(calls, st.lists(events, max_size=10))
def test_nothing_follows_the_end_of_a_call(before: list[Event], after: list[Event]) -> None:
    verdicts = run([*before, CallOver(), *after])
    assert verdicts[len(before) :] == [None] * (len(after) + 1)


@settings(deadline=None)
@given(
    calls,
    st.lists(st.sampled_from([*PACKS["en"].acknowledgement, *PACKS["en"].filler]), min_size=1, max_size=4),
    st.booleans(),
)
def test_an_acknowledgement_never_cuts_an_agent_that_asks_nothing(
    happenings: list[Event], parts: list[str], final: bool
) -> None:
    text = ", ".join(parts)
    if POLICY.phrases.read(text, final=final, min_words=2).kind not in (Kind.ACKNOWLEDGEMENT, Kind.FILLER):
        return
    quiet = [
        event
        for event in happenings
        if not (isinstance(event, AgentWords) or (isinstance(event, PlayoutChanged) and "?" in event.said_tail))
    ]
    verdict = run([*quiet, CallerWords(event_id="ack", at_ms=61, final=final, text=text)])[-1]
    assert verdict is None or verdict.decision is Decision.KEEP


@settings(deadline=None)
@given(calls)
def test_a_late_partial_never_reopens_a_final(happenings: list[Event]) -> None:
    settled = 0
    for event, verdict in zip(happenings, run(happenings), strict=True):
        if isinstance(event, CallerWords):
            if not event.final and event.at_ms <= settled:
                assert verdict is None or verdict.rule is Rule.STALE_WORDS
            elif event.final:
                settled = max(settled, event.at_ms)


def _agrees_with_its_partials(text: str) -> bool:
    """Whether the whole interrupts when any beginning of it does, and neither is a fragment.

    A final that takes back what its partial seemed to be ("no" before "no problem") is judged by what came first:
    nothing can be uncut. A fragment ("four") cuts what is being prepared but not what plays, so the order in which
    the start of playout and the fragment become known decides, as it does for the caller.
    """
    words = text.split()
    readings = [
        POLICY.phrases.read(" ".join(words[:count]), final=count == len(words), min_words=2).kind
        for count in range(1, len(words) + 1)
    ]
    loud = [kind in (Kind.STOP, Kind.CORRECTION, Kind.OPENER, Kind.SPEECH) for kind in readings]
    return Kind.SHORT not in readings and loud == sorted(loud)


AGREEING = [text for text in TEXTS if text and _agrees_with_its_partials(text)]


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[Event], set[int]]:
    """Utterances with partials, generations that answer some of them; and which generations must end up cut.

    Utterances stand 3 s apart: closer than 1.5 s, with the final between them missing, the same words count as one.
    """
    happenings: list[Event] = []
    finals = [0]
    loud_at = 0
    for number, text in enumerate(draw(st.lists(st.sampled_from(AGREEING), min_size=1, max_size=3, unique=True)), 1):
        words = text.split()
        for count in range(1, len(words) + 1):
            at_ms, final = number * 3_000 + count * 100, count == len(words)
            spoken = " ".join(words[:count])
            happenings.append(CallerWords(event_id=f"w{at_ms}", at_ms=at_ms, final=final, text=spoken))
        finals.append(at_ms)
        if POLICY.phrases.read(text, final=True, min_words=2).kind not in (Kind.ACKNOWLEDGEMENT, Kind.FILLER):
            loud_at = at_ms
    answered = sorted(draw(st.lists(st.sampled_from(finals), min_size=1, max_size=3)))
    for generation, answers_until_ms in enumerate(answered, 1):
        for phase in (Phase.PREPARING, Phase.PLAYING):
            at_ms = answers_until_ms + 10 * phase
            happenings.append(
                PlayoutChanged(at_ms=at_ms, generation=generation, phase=phase, answers_until_ms=answers_until_ms)
            )
    return happenings, {generation for generation, until_ms in enumerate(answered, 1) if until_ms < loud_at}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_interleaving_of_words_and_playout_ends_in_the_same_cuts(data: st.DataObject) -> None:
    happenings, expected = data.draw(scenes())
    order = data.draw(st.permutations(happenings))
    through = max((cut.through_generation for cut in cuts(run(order))), default=0)
    assert set(range(1, through + 1)) == expected
