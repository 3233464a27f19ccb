"""What session-svc tells ingress to do. Each is idempotent by its `command_id` within the call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from session_svc.domain.events import ChatMessage, CutReason, ToolOutcome


@dataclass(frozen=True, slots=True)
class StartGeneration:
    turn: int
    generation: int
    attachment_id: str
    answers_until_ms: int
    messages: tuple[ChatMessage, ...]
    agent: str = ""

    @property
    def command_id(self) -> str:
        return f"start:{self.generation}"


@dataclass(frozen=True, slots=True)
class CutGeneration:
    through_generation: int
    spoken_at_ms: int
    reason: CutReason
    rule: str = ""

    @property
    def command_id(self) -> str:
        return f"cut:{self.through_generation}:{self.spoken_at_ms}"


@dataclass(frozen=True, slots=True)
class MoveOutput:
    generation: int
    attachment_id: str

    @property
    def command_id(self) -> str:
        return f"move:{self.generation}:{self.attachment_id}"


@dataclass(frozen=True, slots=True)
class ReplayAnswer:
    generation: int
    attachment_id: str
    said_text: str
    answers_until_ms: int

    @property
    def command_id(self) -> str:
        return f"replay:{self.attachment_id}"


@dataclass(frozen=True, slots=True)
class RefuseAnswer:
    attachment_id: str
    reason: CutReason

    @property
    def command_id(self) -> str:
        return f"refuse:{self.attachment_id}"


@dataclass(frozen=True, slots=True)
class RunTool:
    key: str
    ask_id: str
    """The event id of the ask that it answers."""

    @property
    def command_id(self) -> str:
        return f"tool:{self.key}:{self.ask_id}"


@dataclass(frozen=True, slots=True)
class TakeToolResult:
    key: str
    outcome: ToolOutcome
    text: str
    ask_id: str = ""
    """The ask that is refused, where it may not be run."""

    @property
    def command_id(self) -> str:
        return f"told:{self.key}"


class ReportedTurn(NamedTuple):
    party: str
    at_ms: int
    text: str


class ReportedTool(NamedTuple):
    name: str
    turn: int
    outcome: ToolOutcome | None
    """None where no result has come."""


@dataclass(frozen=True, slots=True)
class ReportCall:
    """For any ingress. A later one takes the place of the one before."""

    attempt: int
    not_before_ms: int
    agent: str
    outcome: str
    ended_reason: str
    started_at_ms: int
    answered_at_ms: int
    ended_at_ms: int
    duration_ms: int
    turns: tuple[ReportedTurn, ...]
    turn_count: int
    cut_count: int
    tools: tuple[ReportedTool, ...]
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    provider_reported: bool
    command_id: ClassVar[str] = "report"


Order = (
    StartGeneration | CutGeneration | MoveOutput | ReplayAnswer | RefuseAnswer | RunTool | TakeToolResult | ReportCall
)


class Command(NamedTuple):
    """An order and the ingress process it goes to; "" for any one."""

    ingress_id: str
    order: Order


class Pending(NamedTuple):
    """A command whose effect is not recorded yet: what the outbox holds."""

    command_id: str
    ingress_id: str
    generation: int
    """The generation whose effect settles it (for a cut: the highest it names); 0 when only an attachment does."""
    attachment_id: str
    """The attachment that it names; empty for a cut."""
    apart: bool = False
    """It concerns no generation and no attachment: nothing but its own effect settles it."""
    outlives: bool = False
    """Not even the end of the call does."""

    @property
    def is_cut(self) -> bool:
        return not self.apart and not self.attachment_id

    @property
    def is_refusal(self) -> bool:
        return not self.apart and self.generation == 0
