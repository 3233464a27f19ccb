"""The decision: should the caller's words stop what the agent is saying?

A pure fold over one call's events, which may come in any order and twice. Words are judged when they come. Those that
could matter later are remembered as readings, and judged again when more of the playout is known: a cut holds whether
its words came before, during or after the start of what they cut, and never covers an answer to newer words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from bargein_svc.domain.events import (
    AgentSpeech,
    AgentWords,
    CallerSpeech,
    CallerWords,
    CallOver,
    Decision,
    Event,
    PlayoutChanged,
    ProviderInterrupted,
    Rule,
    Verdict,
)
from bargein_svc.domain.packs import PACKS
from bargein_svc.domain.phrases import Kind, PhraseBook, Reading
from bargein_svc.domain.playout import UNKNOWN, Audible, Playout, audible, fold, sounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How readily the agent yields."""

    min_words: int = 2
    """Words that open a turn and cut; without an opener it takes one more. Vapi's `numWords`."""
    greeting_interruptible: bool = True
    """Whether the provider's first message can be cut. Vapi's `firstMessageInterruptionsEnabled`."""
    phrases: PhraseBook = field(default_factory=lambda: PhraseBook([PACKS["en"]]))


class _Heard(NamedTuple):
    """Words of the caller, judged and perhaps to be judged again."""

    event_id: str
    at_ms: int
    spoken_at_ms: int
    """When the utterance first said this much. A final that adds nothing is not newer than its last partial."""
    open: bool
    """From a partial: the final of the same utterance replaces it."""
    weight: int
    """0 hesitation, 1 acknowledgement, 2 a few words, 3 an interruption."""
    reading: Reading


class _Peak(NamedTuple):
    """The most that the current utterance has said, and since when."""

    substance: int = 0
    at_ms: int = 0
    first: str = ""


class State(NamedTuple):
    """What is remembered of a call."""

    playout: Playout = UNKNOWN
    heard: tuple[_Heard, ...] = ()
    """At most six: per weight the newest that a final settled, and the newest that may still change."""
    peak: _Peak = _Peak()
    settled_ms: int = 0
    """Time of the newest final."""
    first_words_ms: int = 0
    """Time of the oldest words heard here; 0 before any. What was spoken before may have been heard elsewhere."""
    interrupted_id: str = ""
    interrupted_ms: int = 0
    """The provider's newest interruption."""
    cut_through: int = -1
    """The highest generation that a verdict has cut."""
    cut_spoken_ms: int = 0
    """The newest words that have cut."""
    over: bool = False


NEW = State()
_OVER = State(over=True)

_REVISED_WORDS = 1
"""By how many words a recogniser may shorten its own partial."""
_REPEATED_WITHIN_MS = 1_500
"""How long after its last news an utterance is repeated by its recogniser (Vapi's longest wait for an end of turn);
the same words later, or fewer words, are another utterance whose predecessor's final is still to come."""

_LONG_WORDS = 16
"""Fewer are told whole."""

_WEIGHTS = {
    Kind.STOP: 3,
    Kind.CORRECTION: 3,
    Kind.OPENER: 3,
    Kind.SPEECH: 3,
    Kind.SHORT: 2,
    Kind.ACKNOWLEDGEMENT: 1,
    Kind.MAYBE_ACKNOWLEDGEMENT: 1,
    Kind.FILLER: 0,
    Kind.NOTHING: 0,
}
_RULES = {
    Kind.STOP: Rule.STOP_PHRASE,
    Kind.CORRECTION: Rule.CORRECTION,
    Kind.OPENER: Rule.OPENER,
    Kind.SPEECH: Rule.WORD_COUNT,
    Kind.SHORT: Rule.TOO_FEW_WORDS,
    Kind.ACKNOWLEDGEMENT: Rule.ACKNOWLEDGEMENT,
    Kind.MAYBE_ACKNOWLEDGEMENT: Rule.ACKNOWLEDGEMENT,
    Kind.FILLER: Rule.FILLER,
    Kind.NOTHING: Rule.FILLER,
}


def step(state: State, event: Event, policy: Policy) -> tuple[State, Verdict | None]:
    """Return the next state, and a verdict if the event calls for one.

    Words get a verdict whenever something plays or is being prepared, or when that is not known. Other events get one
    only when they reveal something that words (or an interruption) received before have cut.
    """
    if state.over:
        return state, None
    match event:
        case CallOver():
            return _OVER, None
        case CallerSpeech():
            return state, None
        case CallerWords():
            return _on_words(state, event, policy)
        case ProviderInterrupted():
            if event.at_ms > state.interrupted_ms:
                state = state._replace(interrupted_id=event.event_id, interrupted_ms=event.at_ms)
            return _look_again(state, policy)
        case AgentWords() | AgentSpeech() | PlayoutChanged():
            playout = fold(state.playout, event)
            if playout == state.playout:
                return state, None
            return _look_again(state._replace(playout=playout), policy)


def _on_words(state: State, event: CallerWords, policy: Policy) -> tuple[State, Verdict | None]:
    reading = policy.phrases.read(event.text, final=event.final, min_words=policy.min_words)
    if not event.final and event.at_ms <= state.settled_ms:
        late = _Heard(event.event_id, event.at_ms, event.at_ms, True, 0, reading)
        known = state.playout.known
        kept = not known or audible(state.playout)
        return state, _verdict(late, Rule.STALE_WORDS, known=known) if kept else None
    settled_before_ms = state.settled_ms
    if not state.first_words_ms or event.at_ms < state.first_words_ms:
        state = state._replace(first_words_ms=event.at_ms)
    state, heard = _remember(state, event, reading)
    if not state.playout.known:
        return _judge_blindly(state, heard, settled_before_ms)
    return _judge(state, heard, policy)


def _remember(state: State, event: CallerWords, reading: Reading) -> tuple[State, _Heard]:
    peak, spoken_at_ms = _grow(state, event, reading)
    heard = _Heard(event.event_id, event.at_ms, spoken_at_ms, not event.final, _WEIGHTS[reading.kind], reading)
    rest = state.heard
    if event.final:
        rest = tuple(old for old in rest if not (old.open and old.at_ms <= event.at_ms))
    settled_ms = max(state.settled_ms, event.at_ms) if event.final else state.settled_ms
    return state._replace(heard=_newest_by_weight(rest, heard), peak=peak, settled_ms=settled_ms), heard


def _grow(state: State, event: CallerWords, reading: Reading) -> tuple[_Peak, int]:
    """Return the utterance's peak with ``event`` in it, and when the words of ``event`` had been spoken.

    A final often comes after the answer to its last partial has begun. When it says nothing more, it must not cut
    that answer, so it counts as spoken when that partial was.
    """
    peak = state.peak
    same = peak.first == reading.first and (event.at_ms <= state.settled_ms or peak.at_ms > state.settled_ms)
    no_news = peak.substance - _REVISED_WORDS <= reading.substance <= peak.substance
    if same and no_news and 0 <= event.at_ms - peak.at_ms <= _REPEATED_WITHIN_MS:
        return peak, peak.at_ms
    if same and event.at_ms < peak.at_ms and reading.substance < peak.substance:
        return peak, event.at_ms
    return _Peak(reading.substance, event.at_ms, reading.first), event.at_ms


def _newest_by_weight(olds: tuple[_Heard, ...], new: _Heard) -> tuple[_Heard, ...]:
    """Return the readings that can still decide something: none that a newer one of its weight or more outlasts."""
    if new.weight == 0 or any(_outlasts(old, new) for old in olds):
        return olds
    return (*(old for old in olds if not _outlasts(new, old)), new)


def _outlasts(one: _Heard, other: _Heard) -> bool:
    # What may still change must not displace what a final has settled.
    lasting = other.open or not one.open
    return lasting and one.weight >= other.weight and one.spoken_at_ms >= other.spoken_at_ms


def _judge_blindly(state: State, heard: _Heard, settled_before_ms: int) -> tuple[State, Verdict]:
    """Judge by words alone: this replica has not seen the call's playout. One cut an utterance is enough."""
    if heard.weight < 3:
        return state, _verdict(heard, _RULES[heard.reading.kind], known=False)
    already = state.cut_spoken_ms >= min(heard.spoken_at_ms, settled_before_ms + 1)
    state = state._replace(cut_spoken_ms=max(state.cut_spoken_ms, heard.spoken_at_ms))
    if already:
        return state, _verdict(heard, Rule.ALREADY_CUT, known=False)
    return state, _verdict(heard, _RULES[heard.reading.kind], decision=Decision.CUT, known=False)


def _judge(state: State, heard: _Heard, policy: Policy) -> tuple[State, Verdict | None]:
    """Judge words against everything that plays or is being prepared."""
    present = audible(state.playout)
    if not present:
        return state, None
    unaware = [one for one in present if not (one.knows(heard.spoken_at_ms) or _answers(state, one, heard))]
    if not unaware:
        return state, _verdict(heard, Rule.STALE_WORDS)
    uncut = [one for one in unaware if not _is_cut(state, one)]
    if not uncut:
        return state, _verdict(heard, Rule.ALREADY_CUT)
    for one in uncut:
        decision, rule = _decide(state.playout, one, heard, policy)
        if decision is Decision.CUT:
            return _cut(state, one, heard, rule)
    kept = uncut[0]
    rule = _decide(state.playout, kept, heard, policy)[1]
    return state, _verdict(heard, rule, into_playout_ms=_into_playout(state.playout, kept, heard.at_ms))


def _answers(state: State, one: Audible, heard: _Heard) -> bool:
    """Whether ``heard`` only repeats what ``one`` answers: a final whose partials went to a replica that is no more.

    A replica that was there when the answered words were spoken knows better: the same words again are new ones.
    """
    words, answered = heard.reading.tokens, one.answered
    if not words or state.first_words_ms <= one.answers_until_ms:
        return False
    if heard.at_ms - one.answers_until_ms > _REPEATED_WITHIN_MS:
        return False
    if len(words) > len(answered) >= _LONG_WORDS:
        # Of a long utterance only the end is known, and that may begin within a word.
        return words[1 - len(answered) :] == answered[1:]
    return answered[-len(words) :] == words


def _decide(playout: Playout, one: Audible, heard: _Heard, policy: Policy) -> tuple[Decision, Rule]:
    """Judge words that ``one`` does not answer."""
    if one.generation == 0 and not policy.greeting_interruptible:
        return Decision.KEEP, Rule.GREETING
    if heard.weight == 3:
        return Decision.CUT, _RULES[heard.reading.kind]
    if heard.weight >= 1 and not one.preparing and playout.asks(heard.at_ms, one.since_ms):
        return Decision.CUT, Rule.ANSWER_TO_QUESTION
    if heard.weight == 2 and one.preparing:
        return Decision.CUT, Rule.STALE_ANSWER
    return Decision.KEEP, _RULES[heard.reading.kind]


def _cut(state: State, one: Audible, heard: _Heard, rule: Rule) -> tuple[State, Verdict]:
    state = state._replace(
        cut_through=max(state.cut_through, one.generation),
        cut_spoken_ms=max(state.cut_spoken_ms, heard.spoken_at_ms),
    )
    return state, _verdict(
        heard,
        rule,
        decision=Decision.CUT,
        through_generation=one.generation,
        into_playout_ms=_into_playout(state.playout, one, heard.at_ms),
    )


def _look_again(state: State, policy: Policy) -> tuple[State, Verdict | None]:
    """Return the cut, if any, that earlier words or an earlier interruption have made of what is known now."""
    if not state.playout.known:
        return state, None
    for heard in sorted(state.heard, key=lambda heard: -heard.spoken_at_ms):
        judged, verdict = _judge(state, heard, policy)
        if verdict is not None and verdict.decision is Decision.CUT:
            return judged, verdict
    return _provider_cut(state, policy)


def _provider_cut(state: State, policy: Policy) -> tuple[State, Verdict | None]:
    """Cut what the provider has cut: what was audible at that moment, and nothing that answers words since.

    The verdict names no more than that playout. Its words may already be a final that the next generation answers,
    and that can carry an earlier time than the interruption it caused.
    """
    if not state.interrupted_ms:
        return state, None
    for one in sounding(state.playout, state.interrupted_ms):
        protected = one.generation == 0 and not policy.greeting_interruptible
        if not (protected or one.knows(state.interrupted_ms) or _is_cut(state, one)):
            verdict = Verdict(
                event_id=state.interrupted_id,
                decision=Decision.CUT,
                rule=Rule.PROVIDER_INTERRUPTED,
                through_generation=one.generation,
                spoken_at_ms=one.answers_until_ms + 1,
                into_playout_ms=_into_playout(state.playout, one, state.interrupted_ms),
            )
            cut_spoken_ms = max(state.cut_spoken_ms, one.since_ms + 1 if one.by_edges_only else 0)
            cut_through = max(state.cut_through, one.generation)
            return state._replace(cut_through=cut_through, cut_spoken_ms=cut_spoken_ms), verdict
    return state, None


def _is_cut(state: State, one: Audible) -> bool:
    """Return whether a verdict has named it. Speech without a generation is named by time."""
    if one.by_edges_only:
        return one.since_ms < state.cut_spoken_ms and one.generation <= state.cut_through
    return one.generation <= state.cut_through


def _into_playout(playout: Playout, one: Audible, at_ms: int) -> int:
    if one.preparing:
        return 0
    # The provider's edge is on the words' own clock, and the caller hears nothing before it.
    since_ms = max(one.since_ms, playout.speech_started_ms)
    return max(0, at_ms - since_ms) if since_ms else 0


def _verdict(
    heard: _Heard,
    rule: Rule,
    *,
    decision: Decision = Decision.KEEP,
    known: bool = True,
    through_generation: int = 0,
    into_playout_ms: int = 0,
) -> Verdict:
    return Verdict(
        event_id=heard.event_id,
        decision=decision,
        rule=rule,
        matched=heard.reading.matched,
        word_count=heard.reading.word_count,
        language=heard.reading.language,
        through_generation=through_generation,
        spoken_at_ms=heard.spoken_at_ms,
        playout_known=known,
        into_playout_ms=into_playout_ms,
    )
