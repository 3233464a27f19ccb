"""What a call's output decides, for the shell to carry out: to the model, to the caller, to the other services."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from ingress_svc.domain.chat import ChatMessage


class CutReason(Enum):
    """Why a generation was cut, or an attachment closed without an answer."""

    BARGE_IN = "barge_in"
    PEER_CLOSED = "peer_closed"
    SUPERSEDED = "superseded"
    STALE = "stale"
    CALL_ENDED = "call_ended"
    INGRESS_LOST = "ingress_lost"


class Finish(Enum):
    """Why a generation came to its end by itself."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counts them."""

    prompt: int
    completion: int


class PlayoutState(Enum):
    PREPARING = "preparing"
    PLAYING = "playing"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class OpenGenerate:
    """Run the model for this generation, and feed its pieces back."""

    generation: int
    turn: int
    attachment_id: str
    messages: tuple[ChatMessage, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CancelGenerate:
    generation: int


@dataclass(frozen=True, slots=True)
class Write:
    """Send text of a generation. The last writer asks `Output.may_write` once more before the bytes leave."""

    attachment_id: str
    generation: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WriteToolCall:
    """Send a piece of a tool call, as the model wrote it."""

    attachment_id: str
    generation: int
    index: int
    call_id: str
    name: str
    arguments: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Close:
    """End the attachment's answer in the way its protocol ends one."""

    attachment_id: str
    finish: Finish = Finish.STOP
    usage: Usage | None = None
    """None where the provider did not count, or was not let finish."""


@dataclass(frozen=True, slots=True)
class SayAnswer:
    """Say the answer to a slow turn by live call control. The last writer asks `Output.let_say` before it leaves, and
    tells `Output.said` or `Output.withheld` what became of it.
    """

    generation: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AskAgain:
    """Ask session-svc once more for an answer on this attachment: the one it had in mind is gone."""

    attachment_id: str


@dataclass(frozen=True, slots=True)
class PlayoutChanged:
    """Tell bargein-svc how far a generation's output is."""

    generation: int
    state: PlayoutState
    answers_until_ms: int
    said_tail: str = field(default="", repr=False)
    answered_tail: str = field(default="", repr=False)
    """The end of the caller's words that it answers."""


@dataclass(frozen=True, slots=True)
class Started:
    """Record that a generation has taken its attachment."""

    generation: int
    attachment_id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Record that a generation ran to its end."""

    generation: int
    turn: int
    said_text: str = field(repr=False)
    finish: Finish = Finish.STOP
    usage: Usage | None = None
    model: str = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """Record that a generation was cut."""

    generation: int
    turn: int
    said_text: str = field(repr=False)
    reason: CutReason
    spoken_at_ms: int = 0
    rule: str = ""


@dataclass(frozen=True, slots=True)
class AttachmentClosed:
    """Record that an attachment has no generation of its own any more."""

    attachment_id: str


@dataclass(frozen=True, slots=True)
class RequestCut:
    """Ask session-svc to cut at whichever ingress holds the output: it is not here."""

    through_generation: int
    spoken_at_ms: int
    rule: str


Effect = (
    OpenGenerate
    | CancelGenerate
    | Write
    | WriteToolCall
    | Close
    | SayAnswer
    | AskAgain
    | PlayoutChanged
    | Started
    | Ended
    | Cut
    | AttachmentClosed
    | RequestCut
)
