"""What the owner of an agent imports to write a tool.

A tool is a function that agent.toml names. Its type hints and its docstring become what the model is told; what it
returns is what the model gets: a text, or anything that goes into JSON.

    def free_table(day: str, party: int, context: ToolContext) -> str:
        \"\"\"Say whether a table is free.

        Args:
            day: The day, such as 2026-11-25.
            party: How many guests.
        \"\"\"
        if party > 12:
            raise ToolError("We have no table for more than twelve.")
        ...

A plain function runs in a thread of its own, an ``async`` one on the service's event loop, which it must not block.
"""

from __future__ import annotations

from dataclasses import dataclass


class ToolError(Exception):
    """The tool cannot do what was asked. The model is told the text; of any other exception it learns nothing."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """For whom a tool runs. A parameter with this type hint gets it, whatever its name; the model does not see it."""

    call_id: str
    """The call, ``vapi:<id>``."""
    turn: int
    generation: int
    idempotency_key: str
    """Names this run. Work that must not be done twice notes it, and does nothing when it comes again."""
    agent: str
    """The agent that has the call; empty for the default one."""
