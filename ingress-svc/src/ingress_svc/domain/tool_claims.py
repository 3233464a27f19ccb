"""Which tools this ingress has asked to run, may run, runs, and has run. Pure: the shell asks, runs and reports.

    asked ── RunTool ──▶ running ── ended ──▶ ended ── recorded ──▶ settled
      │  └─ TakeToolResult ──▶ settled: somebody else ran it, or nobody may
      └─ nobody waits any more ──▶ given up: a RunTool for it is answered with NOT_RUN

A run that has begun goes on when nobody waits for it any longer: what it did must stand in the history of the call.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

MOST_ENDED: Final = 1_024
"""Results kept for an order that comes a second time, and for asks of the same key."""
MOST_ASKS: Final = 1_000


class ToolOutcome(Enum):
    """What became of a tool."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """Nobody knows whether it has done its work."""
    NOT_RUN = "not_run"


class ToolEnd(NamedTuple):
    """What became of a tool, and what the model is told."""

    outcome: ToolOutcome
    text: str
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class ToolAsk:
    """One run that is wanted."""

    call_id: str
    key: str
    """The same for every ask for the same work."""
    turn: int
    """0 where the provider runs the model."""
    generation: int
    name: str
    arguments_json: str = field(repr=False)
    timeout_ms: int

    @property
    def place(self) -> tuple[str, str]:
        return self.call_id, self.key


@dataclass(frozen=True, slots=True)
class AskForTool:
    """Tell session-svc ToolAsked, with this event id."""

    ask: ToolAsk
    ask_id: str


@dataclass(frozen=True, slots=True)
class StartTool:
    """Run it, call `Claims.ended`, and once that is recorded `Claims.recorded`."""

    ask: ToolAsk


@dataclass(frozen=True, slots=True)
class RecordTool:
    """Tell session-svc ToolEnded."""

    call_id: str
    key: str
    ask_id: str
    end: ToolEnd


@dataclass(frozen=True, slots=True)
class SettleTool:
    """Tell whoever waits for it."""

    place: tuple[str, str]
    end: ToolEnd


Effect: TypeAlias = AskForTool | StartTool | RecordTool | SettleTool


@dataclass(slots=True)
class _Wanted:
    ask: ToolAsk
    waiting: int = 1
    ask_ids: list[str] = field(default_factory=list)
    running_for: str = ""
    """The ask that led to the run; empty while there is none."""
    end: ToolEnd | None = None
    """What it came to, until that is recorded: nobody is told before."""


def key_of(call_id: str, turn: int, name: str, arguments_json: str) -> str:
    """Return the key of what a model of ours asks for: the same tool with the same arguments in one turn is one run."""
    return f"{turn}-{name}-{_digest(call_id, str(turn), name, _canonical(arguments_json))}"


def provider_key(call_id: str, tool_call_id: str, name: str, arguments_json: str) -> str:
    """Return the key of what the provider's model asks for: the same tool call of it, sent again, is the same run.

    Where it has no id, the same tool with the same arguments is.
    """
    parts = (tool_call_id,) if tool_call_id else (name, _canonical(arguments_json))
    return f"provider-{name}-{_digest(call_id, *parts)}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _canonical(arguments_json: str) -> str:
    try:
        return json.dumps(json.loads(arguments_json or "{}"), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return arguments_json


class Claims:
    """Of one ingress process, whose `client_id` makes its event ids its own."""

    def __init__(self, client_id: str) -> None:
        self._client_id = client_id
        self._asks = 0
        self._wanted: dict[tuple[str, str], _Wanted] = {}
        self._ended: OrderedDict[tuple[str, str], tuple[str, ToolEnd]] = OrderedDict()

    def ask(self, ask: ToolAsk) -> list[Effect]:
        """Somebody wants it: ask for the claim, or join who wants it already."""
        if (known := self._ended.get(ask.place)) is not None:
            return [SettleTool(ask.place, known[1])]
        wanted = self._wanted.get(ask.place)
        if wanted is not None:
            wanted.waiting += 1
            if wanted.running_for or wanted.ask.generation >= ask.generation:
                return []
            # The older generation has lost the voice, or is about to: in its name the claim would be refused.
            wanted.ask, wanted.ask_ids = ask, []
            return [self._asked(wanted)]
        wanted = self._wanted[ask.place] = _Wanted(ask)
        return [self._asked(wanted)]

    def again(self, place: tuple[str, str]) -> list[Effect]:
        """No answer for a while: ask once more, unless it runs or nobody waits."""
        wanted = self._wanted.get(place)
        if wanted is None or wanted.running_for or len(wanted.ask_ids) >= MOST_ASKS:
            return []
        return [self._asked(wanted)]

    def leave(self, place: tuple[str, str]) -> None:
        """One of those who wait does so no longer."""
        wanted = self._wanted.get(place)
        if wanted is None:
            return
        wanted.waiting -= 1
        if not wanted.waiting and not wanted.running_for:
            del self._wanted[place]

    def runs(self, place: tuple[str, str]) -> bool:
        """Whether it runs here at this moment, or has come to an end that is not recorded yet."""
        wanted = self._wanted.get(place)
        return wanted is not None and bool(wanted.running_for)

    def run(self, call_id: str, key: str, ask_id: str) -> list[Effect]:
        """Obey RunTool. A second delivery begins nothing."""
        place = (call_id, key)
        if (known := self._ended.get(place)) is not None:
            return [RecordTool(call_id, key, *known)]
        wanted = self._wanted.get(place)
        if wanted is None or (not wanted.running_for and ask_id not in wanted.ask_ids):
            # That ask was given up. Its NOT_RUN frees the claim unless a newer ask has it.
            return [RecordTool(call_id, key, ask_id, ToolEnd(ToolOutcome.NOT_RUN, ""))]
        if wanted.end is not None:
            return [RecordTool(call_id, key, wanted.running_for, wanted.end)]
        if wanted.running_for:
            return []
        wanted.running_for = ask_id
        return [StartTool(wanted.ask)]

    def ended(self, place: tuple[str, str], end: ToolEnd) -> list[Effect]:
        """The run has come to its end. Who asks from now on waits for the record too: see `recorded`."""
        wanted = self._wanted.get(place)
        if wanted is None or wanted.end is not None:
            return []
        wanted.end = end
        return [RecordTool(*place, wanted.running_for, end)]

    def recorded(self, place: tuple[str, str]) -> list[Effect]:
        """Session-svc has the end of the run, or was waited for long enough."""
        wanted = self._wanted.get(place)
        if wanted is None or wanted.end is None:
            return []
        del self._wanted[place]
        self._ended[place] = (wanted.running_for, wanted.end)
        while len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)
        return [SettleTool(place, wanted.end)]

    def taken(self, call_id: str, key: str, end: ToolEnd, ask_id: str = "") -> list[Effect]:
        """Obey TakeToolResult: somebody else ran it, or nobody may, who asks by ``ask_id``."""
        wanted = self._wanted.get((call_id, key))
        if wanted is None or wanted.running_for:
            return []
        if end.outcome is ToolOutcome.NOT_RUN and ask_id not in wanted.ask_ids:
            return []
        del self._wanted[wanted.ask.place]
        return [SettleTool(wanted.ask.place, end)]

    def _asked(self, wanted: _Wanted) -> AskForTool:
        self._asks += 1
        ask_id = f"tool:{self._client_id}-{self._asks}"
        wanted.ask_ids.append(ask_id)
        return AskForTool(wanted.ask, ask_id)
