"""Our record of a call: what is known of it, in the order in which it was spoken.

The records here are named tuples because every event makes new ones: a changed copy costs a third of a dataclass's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from session_svc.domain.commands import Command, Pending
from session_svc.domain.events import Finish, Phase, ToolOutcome
from session_svc.domain.outcome import outcome_of


@dataclass(frozen=True, slots=True)
class ReportPolicy:
    """What the owner has decided of reports."""

    with_texts: bool = True
    """Whether what was said is in it."""
    wait_ms: int = 30_000
    """How long the provider's report is waited for."""
    pauses_ms: tuple[int, ...] = (1_000, 5_000, 30_000, 120_000, 600_000, 3_600_000)
    """Between two tries; the last is for all that follow."""
    give_up_ms: int = 24 * 3_600_000
    """So long after it was first due no further try is made."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the owner has decided."""

    prompt: str = ""
    """System prompt in place of the provider's; empty keeps the provider's."""
    report: ReportPolicy | None = None
    """None where the owner's system wants no reports."""
    idle_ms: int = 300_000
    """A call is given up when nothing was heard of it for so long: five minutes, as in the provider's own default."""


class Status(Enum):
    """How far a generation is."""

    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"
    CUT = "cut"


class Generation(NamedTuple):
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
    told_as: str = ""
    """The provider's message that shows what was heard; on the first of the generations which that message holds."""
    told_through: int = 0
    """The last of those."""
    finish: Finish | None = None

    @property
    def live(self) -> bool:
        return self.status in (Status.STARTING, Status.RUNNING)


class Utterance(NamedTuple):
    """A transcript. Sorts in the order of speech."""

    at_ms: int
    event_id: str
    party: str
    text: str


class Claim(NamedTuple):
    """One run of a tool, given to one ingress."""

    key: str
    ask_id: str
    """The newest ask of the ingress that has it."""
    ingress_id: str
    turn: int
    name: str
    arguments_json: str
    until_ms: int
    """Without a result by then, on our clock, it is lost."""
    outcome: ToolOutcome | None = None
    """None while it runs."""
    text: str = ""
    waiting: tuple[str, ...] = ()
    """Other ingress processes that want to know what became of it."""


class Cut(NamedTuple):
    """The last cut: it holds for every generation up to its number, and for answers to anything older."""

    through_generation: int = 0
    spoken_at_ms: int = 0

    def joined(self, through_generation: int, spoken_at_ms: int) -> Cut:
        """Return the cut that holds for both: cuts only grow."""
        return Cut(max(self.through_generation, through_generation), max(self.spoken_at_ms, spoken_at_ms))


class Tally(NamedTuple):
    """What a report says of a call that nothing else asks for."""

    started_ms: int = 0
    answered_ms: int = 0
    duration_ms: int = 0
    cost_usd: float | None = None
    cut_off: frozenset[int] = frozenset()
    """The generations that the caller cut."""
    tokens: Mapping[int, tuple[int, int]] = MappingProxyType({})
    """By generation: of its prompts, and of its answer."""


class Progress(NamedTuple):
    """How far the report of an ended call is."""

    attempt: int
    not_before_ms: int
    first_ms: int
    """When the first try was due."""
    over: str = ""
    """delivered, refused or given_up; empty while it is to be sent."""


class Call(NamedTuple):
    """Our record of one call. All of it but `recent` comes from durable events alone, so the log gives it back."""

    call_id: str
    agent: str = ""
    """The agent that has the call: the first that a durable event named. Empty before."""
    phase: Phase = Phase.RINGING
    status_reason: str | None = None
    """Why the call is over, by its status; None until that was reported."""
    report_reason: str | None = None
    """The same by the provider's report."""
    expired: bool = False
    ended_at_ms: int = 0
    clock_offset_ms: int | None = None
    """received_at_ms - at_ms, at its smallest: maps our clock onto the reporter's. None until a time was reported."""
    utterances: tuple[Utterance, ...] = ()
    """Finals."""
    recent: tuple[Utterance, ...] = ()
    """The caller's partials since the last final. Only requests for an answer read it; whoever keeps the log writes
    it down before such a request (see `adapters.call_table`)."""
    generations: tuple[Generation, ...] = ()
    """Number 1 first, without gaps."""
    cut: Cut = Cut()
    claims: Mapping[str, Claim] = MappingProxyType({})
    """By key, in the order in which they were given."""
    pending: tuple[Pending, ...] = ()
    tally: Tally = Tally()
    report: Progress | None = None
    """What has become of the owner's report; None before the call's end."""

    @property
    def ended(self) -> bool:
        return self.phase is Phase.ENDED

    @property
    def outcome(self) -> str:
        """The one word the call ended with; empty while it lives."""
        if not self.ended:
            return ""
        if self.expired and self.report_reason is None and self.status_reason is None:
            return "abandoned"
        return outcome_of(self.report_reason or self.status_reason or "")

    @property
    def latest(self) -> Generation | None:
        return self.generations[-1] if self.generations else None

    def spelling(self) -> Mapping[str, str]:
        """Return the provider's messages that show what we said → our own text of what was heard."""
        return {
            first.told_as: " ".join(
                generation.heard_text
                for generation in self.generations[first.number - 1 : first.told_through]
                if generation.heard_text
            )
            for first in self.generations
            if first.told_as
        }


class Step(NamedTuple):
    """What an event led to."""

    call: Call
    commands: tuple[Command, ...] = ()
