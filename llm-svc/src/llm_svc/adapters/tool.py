"""What every kind of tool looks like from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from llm_svc.adapters.tool_schema import Arguments
from llm_svc.domain.tools import Ask, Outcome


class Tool(Protocol):
    """One tool of one agent. ``tests/contract/test_tool_conformance.py`` says what it must keep."""

    name: str
    kind: str
    """python or http."""
    description: str
    arguments: Arguments
    timeout_s: float
    speak_while_running: str

    async def run(self, arguments: dict[str, Any], ask: Ask) -> Outcome:
        """Return within ``timeout_s`` what became of it; raises nothing.

        Cancelling it gives the work up at once: it is not waited for.
        """


@dataclass(frozen=True, slots=True)
class Toolset:
    """What one agent may do."""

    tools: Mapping[str, Tool]
    """By name, in the order of agent.toml."""
    builtin: tuple[str, ...] = ()
    """Those that ingress carries out."""
