"""Happenings of a call as bargein-svc hears of them, and what its verdicts on a list of them are."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from bargein_svc.domain.events import (
    AgentSpeech,
    CallerWords,
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
from bargein_svc.domain.verdict import NEW, Policy, step

POLICY = Policy(phrases=PhraseBook([PACKS["en"], PACKS["es"]]))


def partial(at_ms: int, text: str) -> CallerWords:
    return CallerWords(event_id=f"p{at_ms}", at_ms=at_ms, final=False, text=text)


def final(at_ms: int, text: str) -> CallerWords:
    return CallerWords(event_id=f"f{at_ms}", at_ms=at_ms, final=True, text=text)


def preparing(generation: int, *, answers: int, at_ms: int = 0) -> PlayoutChanged:
    return playout(generation, Phase.PREPARING, answers, at_ms or answers + 10)


def playing(generation: int, *, answers: int, at_ms: int = 0, said: str = "") -> PlayoutChanged:
    return playout(generation, Phase.PLAYING, answers, at_ms or answers + 500, said)


def over(generation: int, *, answers: int, at_ms: int) -> PlayoutChanged:
    return playout(generation, Phase.OVER, answers, at_ms)


def playout(generation: int, phase: Phase, answers: int, at_ms: int, said: str = "") -> PlayoutChanged:
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
