"""What goes into a language model and what comes out, whoever provides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat history. Its text is private, so it does not print."""

    role: str
    """system, user, assistant or tool."""
    content: str = field(repr=False)
    tool_calls: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    """The assistant's tool calls, in the shape of the OpenAI chat format."""
    tool_call_id: str = ""
    """On a tool message: the call it answers."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that a model is asked."""

    messages: tuple[Message, ...]
    temperature: float | None = None
    """None for the model's own."""
    max_tokens: int | None = None
    """None for the model's own."""
    tools: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)


class Finish(Enum):
    """Why a generation ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    FAILED = "failed"
    """The provider failed after its first token."""


class Text(NamedTuple):
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolPiece:
    """A piece of a tool call."""

    index: int
    """Which of several calls."""
    id: str = ""
    """On the call's first piece."""
    name: str = ""
    """On the call's first piece."""
    arguments: str = ""
    """The next piece of its JSON."""


class End(NamedTuple):
    """The model has said all that it will; counts are the provider's, 0 when it does not say."""

    finish: Finish
    prompt_tokens: int = 0
    completion_tokens: int = 0


Piece = Text | ToolPiece
