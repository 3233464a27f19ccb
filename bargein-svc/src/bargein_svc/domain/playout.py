"""What the caller can hear, or is about to: folded from events in any order.

Each fact is a maximum or a minimum over what was reported, so the order of reports does not matter and a repeated one
changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bargein_svc.domain.events import AgentSpeech, AgentWords, Phase, PlayoutChanged

MAX_GENERATIONS = 3
"""Generations remembered: one that is heard, one that replaces it, and one over, lest a late report reopens it."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What is known of one of our answers."""

    number: int
    phase: Phase
    answers_until_ms: int
    playing_since_ms: int
    """0 while it has not played."""


@dataclass(frozen=True, slots=True)
class Playout:
    """What is known of a call's output."""

    generations: tuple[Generation, ...] = ()
    """The newest, by number, rising."""
    speech_started_ms: int = 0
    speech_stopped_ms: int = 0
    """The provider's last edges of playback."""
    asked_ms: int = 0
    told_ms: int = 0
    """When the agent's words last ended with a question, and with anything else."""

    @property
    def known(self) -> bool:
        """Whether anything of this call's playout has been seen here."""
        return bool(self.generations or self.speech_started_ms or self.speech_stopped_ms)

    def asks(self, at_ms: int, since_ms: int) -> bool:
        """Return whether a question, put after ``since_ms``, was the last that the agent had said at ``at_ms``."""
        return since_ms <= self.asked_ms <= at_ms and not self.asked_ms < self.told_ms <= at_ms


UNKNOWN = Playout()


@dataclass(frozen=True, slots=True)
class Audible:
    """Something that a verdict can cut."""

    generation: int
    """0: the provider's own speech, before any generation of ours."""
    answers_until_ms: int
    since_ms: int
    """Start of playout; 0 when it is being prepared or its start is unknown."""
    preparing: bool = False
    by_edges_only: bool = False
    """The provider speaks and no generation of ours is known to play."""

    def knows(self, spoken_at_ms: int) -> bool:
        """Return whether words spoken then were spoken before it: answered by it, or earlier than its first sound."""
        return spoken_at_ms <= (
            max(self.answers_until_ms, self.since_ms) if self.by_edges_only else self.answers_until_ms
        )


def fold(playout: Playout, event: PlayoutChanged | AgentSpeech | AgentWords) -> Playout:
    """Return ``playout`` with what ``event`` adds."""
    match event:
        case AgentSpeech(started=True):
            return replace(playout, speech_started_ms=max(playout.speech_started_ms, event.at_ms))
        case AgentSpeech():
            return replace(playout, speech_stopped_ms=max(playout.speech_stopped_ms, event.at_ms))
        case AgentWords():
            return _said(playout, event.text, event.at_ms)
        case PlayoutChanged():
            return _said(_with_generation(playout, event), event.said_tail, event.at_ms)


def audible(playout: Playout) -> list[Audible]:
    """Return what plays or is being prepared, newest first."""
    found = [_audible(generation) for generation in playout.generations if not _is_over(playout, generation)]
    speaking = playout.speech_started_ms > playout.speech_stopped_ms
    if speaking and all(one.preparing for one in found):
        heard = [generation for generation in playout.generations if generation.phase is not Phase.PREPARING]
        number, answers_until_ms = (heard[-1].number, heard[-1].answers_until_ms) if heard else (0, 0)
        found.append(Audible(number, answers_until_ms, playout.speech_started_ms, by_edges_only=True))
    return sorted(found, key=lambda one: -one.generation)


def _with_generation(playout: Playout, event: PlayoutChanged) -> Playout:
    since_ms = event.at_ms if event.phase is Phase.PLAYING else 0
    new = Generation(event.generation, event.phase, event.answers_until_ms, since_ms)
    others = []
    for old in playout.generations:
        if old.number == new.number:
            new = _merge(old, new)
        else:
            others.append(old)
    newest = sorted([*others, new], key=lambda generation: generation.number)[-MAX_GENERATIONS:]
    return replace(playout, generations=tuple(newest))


def _merge(one: Generation, other: Generation) -> Generation:
    starts = [start for start in (one.playing_since_ms, other.playing_since_ms) if start]
    return Generation(
        one.number,
        max(one.phase, other.phase),
        max(one.answers_until_ms, other.answers_until_ms),
        min(starts, default=0),
    )


def _said(playout: Playout, tail: str, at_ms: int) -> Playout:
    tail = tail.rstrip(" \t\n\"'”’»)")
    if not tail:
        return playout
    if tail.endswith(("?", "？")):
        return replace(playout, asked_ms=max(playout.asked_ms, at_ms))
    return replace(playout, told_ms=max(playout.told_ms, at_ms))


def _is_over(playout: Playout, generation: Generation) -> bool:
    """A generation is over when its ingress says so, or when the provider began to speak it and has ceased."""
    began, ceased = playout.speech_started_ms, playout.speech_stopped_ms
    spoken_out = generation.phase is Phase.PLAYING and generation.playing_since_ms < began <= ceased
    return generation.phase is Phase.OVER or spoken_out


def _audible(generation: Generation) -> Audible:
    preparing = generation.phase is Phase.PREPARING
    return Audible(generation.number, generation.answers_until_ms, generation.playing_since_ms, preparing=preparing)
