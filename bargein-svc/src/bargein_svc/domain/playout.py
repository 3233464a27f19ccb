"""What the caller can hear, or is about to: folded from events in any order.

Each fact is a maximum or a minimum over what was reported, so the order of reports does not matter and a repeated one
changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from bargein_svc.domain.events import AgentSpeech, AgentWords, Phase, PlayoutChanged
from bargein_svc.domain.text import normalise

MAX_GENERATIONS = 3
"""Generations remembered: one that is heard, one that replaces it, and one over, lest a late report reopens it."""


class Generation(NamedTuple):
    """What is known of one of our answers."""

    number: int
    phase: Phase
    answers_until_ms: int
    playing_since_ms: int
    """0 while it has not played."""
    answered: tuple[str, ...] = ()
    """The last of the caller's words that it answers, normalised. Private."""


class Said(NamedTuple):
    """When the agent's words last ended with a question, and with anything else."""

    asked_ms: int = 0
    told_ms: int = 0


_NOTHING_SAID = Said()


class Playout(NamedTuple):
    """What is known of a call's output."""

    generations: tuple[Generation, ...] = ()
    """The newest, by number, rising."""
    speech_started_ms: int = 0
    speech_stopped_ms: int = 0
    """The provider's last edges of playback."""
    sent: Said = _NOTHING_SAID
    """By what our ingress has sent, which may be far ahead of the voice."""
    heard: Said = _NOTHING_SAID
    """By what the provider says has been spoken."""

    @property
    def known(self) -> bool:
        """Whether anything of this call's playout has been seen here."""
        return bool(self.generations or self.speech_started_ms or self.speech_stopped_ms)

    def asks(self, at_ms: int, since_ms: int) -> bool:
        """Return whether a question, put after ``since_ms``, was the last that the agent had said at ``at_ms``.

        What was sent stands in for what was heard only in calls whose provider does not report the agent's words.
        """
        said = self.heard if self.heard != _NOTHING_SAID else self.sent
        return since_ms <= said.asked_ms <= at_ms and not said.asked_ms < said.told_ms <= at_ms


UNKNOWN = Playout()


class Audible(NamedTuple):
    """Something that a verdict can cut."""

    generation: int
    """0: the provider's own speech, before any generation of ours."""
    answers_until_ms: int
    since_ms: int
    """Start of playout; 0 when it is being prepared or its start is unknown."""
    preparing: bool = False
    by_edges_only: bool = False
    """The provider speaks and no generation of ours is known to play."""
    answered: tuple[str, ...] = ()
    """The last of the caller's words that it answers, normalised. Private."""

    def knows(self, spoken_at_ms: int) -> bool:
        """Return whether words spoken then were spoken before it: answered by it, or earlier than its first sound."""
        return spoken_at_ms <= (
            max(self.answers_until_ms, self.since_ms) if self.by_edges_only else self.answers_until_ms
        )


def fold(playout: Playout, event: PlayoutChanged | AgentSpeech | AgentWords) -> Playout:
    """Return ``playout`` with what ``event`` adds."""
    match event:
        case AgentSpeech(started=True):
            return playout._replace(speech_started_ms=max(playout.speech_started_ms, event.at_ms))
        case AgentSpeech():
            return playout._replace(speech_stopped_ms=max(playout.speech_stopped_ms, event.at_ms))
        case AgentWords():
            return playout._replace(heard=_said(playout.heard, event.text, event.at_ms))
        case PlayoutChanged():
            sent = _said(playout.sent, event.said_tail, event.at_ms)
            return playout._replace(generations=_with_generation(playout.generations, event), sent=sent)


def audible(playout: Playout) -> list[Audible]:
    """Return what plays or is being prepared, newest first."""
    found = [_audible(one) for one in reversed(playout.generations) if not _is_over(playout, one)]
    if playout.speech_started_ms > playout.speech_stopped_ms and all(one.preparing for one in found):
        found.append(_unnamed(playout))
        found.sort(key=lambda one: -one.generation)
    return found


def sounding(playout: Playout, at_ms: int) -> list[Audible]:
    """Return what may have sounded at ``at_ms`` and is not over by its ingress's word, newest first.

    The provider's edges do not end a generation here: an interruption and the end of speech that it causes are
    reported in either order.
    """
    found = [_audible(one) for one in reversed(playout.generations) if one.phase is Phase.PLAYING]
    if playout.speech_started_ms > playout.speech_stopped_ms and not found:
        found.append(_unnamed(playout))
    return [one for one in found if one.since_ms <= at_ms]


def _with_generation(known: tuple[Generation, ...], event: PlayoutChanged) -> tuple[Generation, ...]:
    since_ms = event.at_ms if event.phase is Phase.PLAYING else 0
    answered = normalise(event.answered_tail).tokens if event.answered_tail else ()
    new = Generation(event.generation, event.phase, event.answers_until_ms, since_ms, answered)
    others = []
    for old in known:
        if old.number == new.number:
            new = _merge(old, new)
        else:
            others.append(old)
    return tuple(sorted([*others, new], key=lambda generation: generation.number)[-MAX_GENERATIONS:])


def _merge(one: Generation, other: Generation) -> Generation:
    starts = [start for start in (one.playing_since_ms, other.playing_since_ms) if start]
    return Generation(
        one.number,
        max(one.phase, other.phase),
        max(one.answers_until_ms, other.answers_until_ms),
        min(starts, default=0),
        one.answered or other.answered,
    )


def _said(said: Said, text: str, at_ms: int) -> Said:
    end = text.rstrip(" \t\n\"'”’»)")[-1:]
    if not end:
        return said
    if end in "?？":
        return said._replace(asked_ms=max(said.asked_ms, at_ms))
    return said._replace(told_ms=max(said.told_ms, at_ms))


def _is_over(playout: Playout, generation: Generation) -> bool:
    """A generation is over when its ingress says so, or when the provider began to speak it and has ceased."""
    began, ceased = playout.speech_started_ms, playout.speech_stopped_ms
    spoken_out = generation.phase is Phase.PLAYING and generation.playing_since_ms < began <= ceased
    return generation.phase is Phase.OVER or spoken_out


def _audible(generation: Generation) -> Audible:
    return Audible(
        generation.number,
        generation.answers_until_ms,
        generation.playing_since_ms,
        preparing=generation.phase is Phase.PREPARING,
        answered=generation.answered,
    )


def _unnamed(playout: Playout) -> Audible:
    """The provider speaks, and no generation of ours is known to: its own words, or one that was said to be over."""
    heard = [one for one in playout.generations if one.phase is not Phase.PREPARING]
    number, answers_until_ms = (heard[-1].number, heard[-1].answers_until_ms) if heard else (0, 0)
    return Audible(number, answers_until_ms, playout.speech_started_ms, by_edges_only=True)
