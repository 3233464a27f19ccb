"""What a simulated Vapi sends, and what comes back to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Webhook:
    """POST this to the server URL."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class OpenLlm:
    """POST this to the custom LLM and read the stream."""

    request: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CloseLlm:
    """Close the connection of a request, in the middle of its answer if need be."""

    request: int


@dataclass(frozen=True, slots=True)
class LlmText:
    """A piece of an answer came."""

    request: int
    text: str


@dataclass(frozen=True, slots=True)
class LlmDone:
    """An answer is complete."""

    request: int


@dataclass(frozen=True, slots=True)
class LlmFailed:
    """No answer came, and asking again did not help."""

    request: int


Effect = Webhook | OpenLlm | CloseLlm
Happening = LlmText | LlmDone | LlmFailed
