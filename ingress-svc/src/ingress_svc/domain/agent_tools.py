"""The tools that an agent brings, and what a model asks for of them in one round.

A round is one run of the model. What it asks for of the agent's own tools is kept back and done here; what it asks for
of the request's tools passes on to whoever sent them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ingress_svc.domain.chat import ChatMessage, json_text

MOST_ROUNDS: Final = 6
"""Of one answer. In the last no tool is offered: a model that goes in a circle has to say something."""
MOST_CALLS: Final = 16
"""Of one round, at once."""
MOST_ARGUMENTS_CHARS: Final = 32_768


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    definition_json: str
    """One element of a request's `tools`."""
    builtin: bool = False
    """Carried out by ingress itself."""
    speak_while_running: str = ""
    timeout_ms: int = 0


Tools = Mapping[str, Tool]
"""By name."""
NONE: Final[Tools] = {}


class Offer(NamedTuple):
    """What a model may ask for."""

    own: Tools
    tools_json: str
    """Of the request and of the agent; empty for none."""


class OwnCall(NamedTuple):
    """A call of one of the agent's own tools."""

    id: str
    name: str
    arguments_json: str


def offer(own: Tools, asked_json: str) -> Offer:
    """Return what is offered: the request's tools, then ours.

    Of two with one name the request's holds: whoever sent it waits for the call.
    """
    taken = _names(asked_json) if own and asked_json else frozenset()
    ours = {name: tool for name, tool in own.items() if name not in taken}
    if not ours:
        return Offer(NONE, asked_json)
    definitions = ",".join(tool.definition_json for tool in ours.values())
    return Offer(ours, f"{asked_json[:-1]},{definitions}]" if asked_json else f"[{definitions}]")


def _names(tools_json: str) -> frozenset[str]:
    functions = (tool.get("function") for tool in json.loads(tools_json))
    return frozenset(str(function.get("name")) for function in functions if isinstance(function, dict))


@dataclass(slots=True)
class _Begun:
    id: str
    """As it came."""
    name: str
    passes_as: int | None
    """None where it is ours."""
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Round:
    """What a model says and asks for until it stops."""

    own: Tools
    said: list[str] = field(default_factory=list)
    _begun: list[_Begun] = field(default_factory=list)
    _open: dict[int, _Begun] = field(default_factory=dict)
    """By the model's index."""

    def take(self, index: int, call_id: str, name: str, arguments: str) -> int | None:
        """Take a piece of a tool call. Returns the index under which it passes on, None where it is ours.

        What passes is numbered without gaps: readers of the format count on it.
        """
        begun = self._open.get(index)
        # Some servers number every whole call 0.
        if begun is None or (name and call_id and call_id != begun.id):
            passes_as = None if name in self.own else sum(each.passes_as is not None for each in self._begun)
            begun = self._open[index] = _Begun(call_id, name, passes_as)
            self._begun.append(begun)
        begun.arguments.append(arguments)
        return begun.passes_as

    @property
    def calls(self) -> list[OwnCall]:
        """Of our own tools, in the order of the model."""
        return [
            OwnCall(each.id or f"call_{place}", each.name, "".join(each.arguments) or "{}")
            for place, each in enumerate(self._begun)
            if each.passes_as is None
        ]

    @property
    def passes(self) -> bool:
        """Whether tools of the request were asked for as well."""
        return any(each.passes_as is not None for each in self._begun)

    def history(self, results: Sequence[str]) -> list[ChatMessage]:
        """Return the messages that tell the next round of this one; ``results`` are by place of `calls`."""
        asked = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_json}}
            for call in self.calls
        ]
        told = [ChatMessage("tool", text, tool_call_id=call.id) for call, text in zip(self.calls, results, strict=True)]
        return [ChatMessage("assistant", "".join(self.said), json_text(asked)), *told]
