"""What a tool of the agent is, what is asked of it, and what becomes of a run."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MOST_ARGUMENTS_CHARS: Final = 65_536
"""Far above anything that a model writes in a turn."""
MOST_RESULT_CHARS: Final = 16_384
"""About 4,000 tokens: a longer result would be most of the prompt of every turn after it."""
DONE: Final = "done"
"""The result of a tool that returns nothing: models take an empty one for a failure."""
_MOST_MESSAGE_CHARS = 500
_BREAKS = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}
_GAPS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonSpec:
    """A callable of the owner's."""

    name: str
    target: str
    """``module:function``."""
    description: str = ""
    """Empty for the first paragraph of its docstring."""
    timeout_s: float
    speak_while_running: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What an endpoint wants to be told."""

    name: str
    kind: str
    """string, integer, number, boolean, object or array: the words of JSON Schema."""
    description: str = ""
    required: bool = True
    one_of: tuple[str, ...] = ()
    """The only texts that are right; empty for any."""
    items: str = ""
    """The kind of an array's elements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSpec:
    """An endpoint of the owner's. The address may hold a token, so it does not print."""

    name: str
    url: str = field(repr=False)
    loopback: bool
    description: str
    parameters: tuple[Parameter, ...] = ()
    timeout_s: float
    """For all tries together."""
    retries: int
    speak_while_running: str = ""


@dataclass(frozen=True, slots=True)
class AgentTools:
    """What one agent may do, in the order of its file."""

    specs: tuple[PythonSpec | HttpSpec, ...] = ()
    builtin: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One run that is asked for."""

    call_id: str
    turn: int
    generation: int
    name: str
    arguments_json: str = field(repr=False)
    idempotency_key: str
    agent: str = ""
    traceparent: str = ""


class Reason(enum.Enum):
    """Why a run has no result: closed, fit for a counter."""

    UNKNOWN_TOOL = "unknown_tool"
    BAD_ARGUMENTS = "bad_arguments"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    DEFECT = "defect"
    TOO_LARGE = "too_large"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Failure:
    reason: Reason
    message: str = field(repr=False)
    """One line for the model."""
    effect_unknown: bool = False
    """Whether the tool may have done its work all the same."""
    http_status: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    result: str = field(default="", repr=False)
    """One line; empty only beside a failure."""
    failure: Failure | None = None
    tries: int = 1

    @property
    def word(self) -> str:
        """Return ``result`` or the reason, for counters and spans."""
        return self.failure.reason.value if self.failure else "result"


OUTCOMES: Final = ("result", *(reason.value for reason in Reason))

_UNKNOWN = "It is not known whether it was done."


def failed(
    reason: Reason, message: str, *, effect_unknown: bool = False, http_status: int = 0, tries: int = 1
) -> Outcome:
    """Return a failure; where the effect is unknown, the message says so."""
    line = one_line(message)
    line = line if len(line) <= _MOST_MESSAGE_CHARS else f"{line[:_MOST_MESSAGE_CHARS]}…"
    return Outcome(
        failure=Failure(reason, f"{line} {_UNKNOWN}" if effect_unknown else line, effect_unknown, http_status),
        tries=tries,
    )


def returned_text(text: str, *, tries: int = 1) -> Outcome:
    """Return the outcome of a tool that returned ``text``, of any shape."""
    return _returned(one_line(text) or DONE, tries)


def returned_json(text: str, *, tries: int = 1) -> Outcome:
    """Return the outcome of a tool that returned a value, given as JSON without spaces between its parts.

    What breaks a line stands in strings only, and there it is escaped, so that the value stays what it was.
    """
    return _returned(_whole(text).translate(_BREAKS), tries)


def _returned(line: str, tries: int) -> Outcome:
    if len(line) <= MOST_RESULT_CHARS:
        return Outcome(line, tries=tries)
    return failed(
        Reason.TOO_LARGE,
        f"The tool has done its work, but its result is longer than {MOST_RESULT_CHARS:,} characters.",
        tries=tries,
    )


def one_line(text: str) -> str:
    """Return ``text`` without breaks and control characters, and fit for UTF-8."""
    return _GAPS.sub(" ", _whole(text)).strip()


def _whole(text: str) -> str:
    """Return ``text`` with a ? for each half of a character, which neither UTF-8 nor protobuf can hold."""
    return text.encode("utf-8", "replace").decode()


def definition(name: str, description: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the model is told of a tool, in the OpenAI chat format."""
    return {"type": "function", "function": {"name": name, "description": description, "parameters": dict(parameters)}}
