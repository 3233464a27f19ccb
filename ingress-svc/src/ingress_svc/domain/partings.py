"""The two tools after which the agent says no more: end the call, hand the caller over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ingress_svc.domain.answers import Destination, chosen
from ingress_svc.domain.control import Command, EndCall, ToNumber, ToSip, Transfer

END_CALL: Final = "end_call"
TRANSFER_CALL: Final = "transfer_call"
PARTINGS: Final = frozenset({END_CALL, TRANSFER_CALL})

NOT_REACHED: Final = (
    "This cannot be done from here: the telephone provider gave no way to control the call. "
    "Say goodbye, and let the caller hang up."
)
NOBODY: Final = "There is nobody of that name to hand over to. Tell the caller so."
BAD_ARGUMENTS: Final = "The arguments are no JSON object with texts."

_FASTEST_MS_A_CHAR: Final = 40
"""Nobody speaks 25 characters a second."""
_LEAST_MS: Final = 4_000
_MS_A_CHAR: Final = 80
"""Slow speech: 12 characters a second."""
_MOST_MS: Final = 30_000


@dataclass(frozen=True, slots=True)
class Parting:
    """What is done to the call when the agent's last words were heard."""

    command: Command
    words: str = field(default="", repr=False)
    """The last that the caller is to hear before; empty for nothing."""


def parting(name: str, arguments_json: str, destinations: Sequence[Destination], *, reachable: bool) -> Parting | str:
    """Return how the call is left, or what the model is told where it is not.

    ``reachable``: there is a way to control the call. A transfer goes to a destination of the agent's file only: what a
    model writes is never dialled.
    """
    arguments = _texts(arguments_json)
    if arguments is None:
        return BAD_ARGUMENTS
    if not reachable:
        return NOT_REACHED
    if name == END_CALL:
        return Parting(EndCall(), arguments.get("farewell", ""))
    within = [each for each in destinations if _target(each) is not None]
    destination = chosen(within, arguments.get("destination", ""))
    target = _target(destination) if destination is not None else None
    if destination is None or target is None:
        return NOBODY
    return Parting(Transfer(target), arguments.get("message", "") or destination.say)


def heard_not_before_ms(words: str) -> int:
    """Return how long it takes at least to speak ``words``: a silence before that is the end of something else."""
    return _FASTEST_MS_A_CHAR * len(words)


def heard_after_ms(text: str) -> int:
    """Return in what time at most ``text`` has been spoken, for a provider that does not say when it was."""
    return min(_MOST_MS, _LEAST_MS + _MS_A_CHAR * len(text))


def _texts(arguments_json: str) -> dict[str, str] | None:
    try:
        sent = json.loads(arguments_json or "{}")
    except (ValueError, RecursionError):
        return None
    if not isinstance(sent, dict):
        return None
    given = {name: value for name, value in sent.items() if value is not None}
    return given if all(isinstance(value, str) for value in given.values()) else None


def _target(destination: Destination) -> ToNumber | ToSip | None:
    number, uri = destination.target.get("number"), destination.target.get("sipUri")
    if isinstance(number, str):
        return ToNumber(number)
    return ToSip(uri) if isinstance(uri, str) else None
