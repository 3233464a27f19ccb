"""What session-svc folds: the events of one call, as the wire brings them but without the wire."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Party(Enum):
    CALLER = "caller"
    AGENT = "agent"


class Phase(Enum):
    """How far a call is. The order is the order of a call's life."""

    RINGING = 1
    IN_PROGRESS = 2
    FORWARDING = 3
    ENDED = 4


class Finish(Enum):
    """Why a generation came to its end by itself."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    FAILED = "failed"


class CutReason(Enum):
    """Why a generation was cut, or an attachment closed without an answer."""

    BARGE_IN = "barge_in"
    PEER_CLOSED = "peer_closed"
    SUPERSEDED = "superseded"
    STALE = "stale"
    CALL_ENDED = "call_ended"
    INGRESS_LOST = "ingress_lost"


class ChatMessage(NamedTuple):
    role: str
    content: str
    tool_calls_json: str = ""
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class CallStatus:
    phase: Phase
    ended_reason: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    party: Party
    final: bool
    text: str


@dataclass(frozen=True, slots=True)
class SpeechEdge:
    party: Party
    started: bool


@dataclass(frozen=True, slots=True)
class HistoryReported:
    tail: tuple[ChatMessage, ...]


@dataclass(frozen=True, slots=True)
class CallReported:
    ended_reason: str = ""
    duration_ms: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class AnswerRequested:
    attachment_id: str
    ingress_id: str
    messages: tuple[ChatMessage, ...]
    """The whole history when the request comes in; only its tail when it comes from the log."""
    user_message_count: int


@dataclass(frozen=True, slots=True)
class GenerationStarted:
    generation: int
    attachment_id: str


@dataclass(frozen=True, slots=True)
class GenerationEnded:
    generation: int
    said_text: str
    finish: Finish
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class GenerationCut:
    generation: int
    said_text: str
    heard_text: str | None
    reason: CutReason
    spoken_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class AttachmentClosed:
    attachment_id: str


@dataclass(frozen=True, slots=True)
class CutRequested:
    through_generation: int
    spoken_at_ms: int
    rule: str = ""


class ToolOutcome(Enum):
    """What became of a tool."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """Nobody knows whether it has done its work."""
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True)
class ToolAsked:
    key: str
    ingress_id: str
    turn: int
    """0 where the provider runs the model, and keeps the result in its own history."""
    generation: int
    name: str
    arguments_json: str
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class ToolEnded:
    key: str
    ask_id: str
    outcome: ToolOutcome
    text: str


class ReportResult(Enum):
    """What came of one try to send a call's report."""

    DELIVERED = "delivered"
    AGAIN = "again"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ReportTried:
    attempt: int
    result: ReportResult
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class CallExpired:
    idle_ms: int


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that is kept in the log and changes nothing: an interruption, a silence, a judged turn."""

    kind: str


Body = (
    CallStatus
    | Words
    | SpeechEdge
    | HistoryReported
    | CallReported
    | AnswerRequested
    | GenerationStarted
    | GenerationEnded
    | GenerationCut
    | AttachmentClosed
    | CutRequested
    | ToolAsked
    | ToolEnded
    | ReportTried
    | CallExpired
    | Noted
)


class Event(NamedTuple):
    """One happening of a call."""

    event_id: str
    at_ms: int
    """When it happened, on the clock of whoever reported it."""
    received_at_ms: int
    """When ingress had read it."""
    has_reporter_time: bool
    """Whether at_ms is the reporter's; otherwise it equals received_at_ms."""
    body: Body
    agent: str = ""
    """The agent that ingress has chosen for the call; empty where it names none."""

    @property
    def durable(self) -> bool:
        """Whether it must be in the store before it is answered: all but partial words."""
        return not (isinstance(self.body, Words) and not self.body.final)
