"""Our record of a call: what is known of it, in the order in which it was spoken."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from session_svc.domain import history
from session_svc.domain.commands import Command, Pending
from session_svc.domain.events import Finish, Phase
from session_svc.domain.outcome import outcome_of


@dataclass(frozen=True, slots=True)
class Policy:
    """What the owner has decided."""

    prompt: str = ""
    """System prompt in place of the provider's; empty keeps the provider's."""
    idle_ms: int = 300_000
    """A call is given up when nothing was heard of it for so long: five minutes, as in the provider's own default."""


class Status(Enum):
    """How far a generation is."""

    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Generation:
    """One attempt at an answer."""

    number: int
    turn: int
    request_key: str
    """The same for every request that asks for the answer to the same words of the same turn."""
    attachment_id: str
    ingress_id: str
    requested_at_ms: int
    answers_until_ms: int
    status: Status = Status.STARTING
    said_text: str = ""
    heard_text: str | None = None
    """What the caller heard of it; None while unknown."""
    finish: Finish | None = None

    @property
    def live(self) -> bool:
        return self.status in (Status.STARTING, Status.RUNNING)


@dataclass(frozen=True, slots=True, order=True)
class Utterance:
    """A final transcript, in the order of speech."""

    at_ms: int
    event_id: str
    party: str
    text: str


@dataclass(frozen=True, slots=True)
class Cut:
    """The last cut: it holds for every generation up to its number, and for answers to anything older."""

    through_generation: int = 0
    spoken_at_ms: int = 0

    def joined(self, through_generation: int, spoken_at_ms: int) -> Cut:
        """Return the cut that holds for both: cuts only grow."""
        return Cut(max(self.through_generation, through_generation), max(self.spoken_at_ms, spoken_at_ms))


@dataclass(frozen=True, slots=True)
class Call:
    """Our record of one call."""

    call_id: str
    started_at_ms: int
    last_received_at_ms: int
    phase: Phase = Phase.RINGING
    status_reason: str | None = None
    report_reason: str | None = None
    expired: bool = False
    ended_at_ms: int = 0
    clock_offset_ms: int | None = None
    """received_at_ms - at_ms, at its smallest: maps our clock onto the reporter's. None until a time was reported."""
    utterances: tuple[Utterance, ...] = ()
    recent: tuple[tuple[int, tuple[str, ...]], ...] = ()
    """The caller's latest transcripts, partials too: (at_ms, words). Not kept in the log; a recovered call has none."""
    generations: tuple[Generation, ...] = ()
    cut: Cut = Cut()
    pending: tuple[Pending, ...] = ()

    @property
    def ended(self) -> bool:
        return self.phase is Phase.ENDED

    @property
    def outcome(self) -> str:
        """The one word the call ended with; empty while it lives."""
        if not self.ended:
            return ""
        reason = self.report_reason or self.status_reason
        if reason is None and self.expired:
            return "abandoned"
        return outcome_of(reason or "")

    @property
    def latest(self) -> Generation | None:
        return self.generations[-1] if self.generations else None

    def said(self) -> list[history.Said]:
        return [history.Said(g.number, g.said_text) for g in self.generations]


@dataclass(frozen=True, slots=True)
class Step:
    """What an event led to."""

    call: Call
    commands: tuple[Command, ...] = ()
