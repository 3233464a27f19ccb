"""What ingress keeps of a call that it has seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from voicemesh.bargein.v1 import bargein_pb2

from ingress_svc.adapters.attachment import Attachment
from ingress_svc.adapters.control_lines import ControlLine
from ingress_svc.adapters.generate import Run
from ingress_svc.adapters.turns import Turn
from ingress_svc.domain import vapi
from ingress_svc.domain.effects import Close, Write, WriteToolCall
from ingress_svc.domain.output import Output
from ingress_svc.domain.vapi_llm import ToolPiece


@dataclass(slots=True)
class LiveCall:
    """Lives in memory only."""

    call_id: str
    output: Output = field(default_factory=Output)
    attachments: dict[str, Attachment] = field(default_factory=dict)
    runs: dict[int, Run] = field(default_factory=dict)
    turn: Turn | None = None
    touched_s: float = 0.0
    caller_stopped_ms: int = 0
    """When the caller last fell silent, on the reporter's clock; 0 when not reported."""
    caller_stopped_seen_ns: int = 0
    """When that was received, on ours."""
    caller_speaks: bool = False
    """By the newest edge of the caller's speech."""
    edges: dict[vapi.Party, int] = field(default_factory=dict)
    """The time of the newest edge of each party's speech: one that is not newer was delivered late, or again."""
    playing: bargein_pb2.PlayoutChanged | None = None
    """What bargein-svc was last told of the output, unless that is over."""
    unjudged: dict[str, Callable[[], None]] = field(default_factory=dict)
    """What has no answer from bargein-svc yet, by event id, and what measures the way to its verdict."""
    control: ControlLine = field(default_factory=ControlLine)
    agent: str = ""
    """The agent that has the call, NAME@VERSION: our choice until session-svc has recorded one. Empty before either."""
    agent_settled: bool = False
    """Session-svc has it so."""

    @property
    def unsettled_agent(self) -> str:
        """What session-svc is told of the agent: nothing more once it has it."""
        return "" if self.agent_settled else self.agent

    def has_agent(self, agent: str) -> None:
        """Take what session-svc has recorded, if it has: it holds whatever was chosen here."""
        if agent:
            self.agent, self.agent_settled = agent, True

    def to_request(self, effect: Write | WriteToolCall | Close) -> None:
        """Hand an effect to the request that it concerns, if that is still open."""
        attachment = self.attachments.get(effect.attachment_id)
        if attachment is None:
            return
        if isinstance(effect, Write):
            attachment.push(effect.generation, effect.text)
        elif isinstance(effect, Close):
            attachment.close(effect.finish, effect.usage)
        else:
            attachment.push(effect.generation, ToolPiece(effect.index, effect.call_id, effect.name, effect.arguments))

    @property
    def busy(self) -> bool:
        """Whether somebody waits for something of it."""
        voice = self.output.voice
        return bool(self.attachments or self.runs) or (voice is not None and voice.running)
