"""What one check of `voicemesh doctor` found."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.Enum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the doctor's answer."""

    name: str
    state: State
    what: str
    """What was found; of a skipped check, why it was skipped."""
    remedy: str = ""
    """What to do about it; never empty for a warning or a failure."""


def ok(name: str, what: str) -> Result:
    return Result(name, State.OK, what)


def warn(name: str, what: str, remedy: str) -> Result:
    return Result(name, State.WARN, what, remedy)


def fail(name: str, what: str, remedy: str) -> Result:
    return Result(name, State.FAIL, what, remedy)


def skipped(name: str, why: str) -> Result:
    return Result(name, State.SKIPPED, why)
