"""What bears on barge-in, and what is said about it.

`at_ms` is when a thing happened on its reporter's clock, ms since the epoch; it orders the things of one call. Words
and speech edges are on the provider's clock, playout is on ingress's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerWords:
    """A transcript of the caller: the utterance so far, or the whole of it."""

    event_id: str
    at_ms: int
    final: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentWords:
    """What the provider says that the agent has said by now."""

    at_ms: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpeech:
    """An edge of playout as the provider reports it."""

    at_ms: int
    started: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerSpeech:
    """An edge of the caller's voice. Decides nothing: a cough and a word look the same until there are words."""

    at_ms: int
    started: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderInterrupted:
    """The provider has cut the agent off by itself."""

    event_id: str
    at_ms: int


class Phase(IntEnum):
    """How far a generation's output is. Never goes back."""

    PREPARING = 1
    PLAYING = 2
    OVER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayoutChanged:
    """A generation's output went from one phase to the next, or has said more."""

    at_ms: int
    generation: int
    phase: Phase
    answers_until_ms: int
    """When the last caller word that it answers was spoken."""
    said_tail: str = ""
    """The end of what it has said; empty when nothing is known."""
    answered_tail: str = ""
    """The end of the caller's words that it answers. Private."""


@dataclass(frozen=True, slots=True)
class CallOver:
    """The call has ended."""


Event = CallerWords | AgentWords | AgentSpeech | CallerSpeech | ProviderInterrupted | PlayoutChanged | CallOver


class Decision(StrEnum):
    """What to do about the caller's words."""

    KEEP = "keep"
    CUT = "cut"


class Rule(StrEnum):
    """Why: the closed list, in the order in which the rules are asked.

    Before the first stands a rule that gives no verdict: nothing plays and nothing is being prepared.
    """

    STALE_WORDS = "stale_words"
    """KEEP: what plays answers these words already, or a final has replaced this partial."""
    ALREADY_CUT = "already_cut"
    """KEEP: a verdict to cut has named everything that could be meant."""
    GREETING = "greeting"
    """KEEP: the provider's first message plays, and the agent's file says not to interrupt it."""
    PROVIDER_INTERRUPTED = "provider_interrupted"
    """CUT: the provider has stopped the playout by itself."""
    STOP_PHRASE = "stop_phrase"
    """CUT: "wait", "hold on"."""
    CORRECTION = "correction"
    """CUT: "no", "actually", "make that"."""
    OPENER = "opener"
    """CUT: `min_words` or more that begin like a turn: "I need", "can you"."""
    WORD_COUNT = "word_count"
    """CUT: more than `min_words`, whatever they are."""
    FILLER = "filler"
    """KEEP: "uh", or no words."""
    ANSWER_TO_QUESTION = "answer_to_question"
    """CUT: the agent's last words were a question, and these are an answer: "yes", "four"."""
    ACKNOWLEDGEMENT = "acknowledgement"
    """KEEP: "uh-huh", "yeah okay", or a partial that may still become one."""
    STALE_ANSWER = "stale_answer"
    """CUT: nothing is audible yet, and the answer in preparation does not know these words."""
    TOO_FEW_WORDS = "too_few_words"
    """KEEP: the rest."""


class Verdict(NamedTuple):
    """A decision and its reasons. CUT means every generation up to ``through_generation``."""

    event_id: str
    """The words (or the provider's interruption) that were judged."""
    decision: Decision
    rule: Rule
    matched: str = ""
    """Private."""
    word_count: int = 0
    language: str = ""
    through_generation: int = 0
    """0 names only the provider's own speech."""
    spoken_at_ms: int = 0
    """Answers to anything spoken before are stale too."""
    playout_known: bool = True
    into_playout_ms: int = 0
    """Compares two clocks where the provider reports no playback edges; never below 0."""
