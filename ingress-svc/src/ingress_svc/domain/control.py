"""What can be done to a live Vapi call, and what became of it.

The bodies are Vapi's live call control. There is none that merely stops the agent's speech: `Say` with ``interrupt``
replaces it, `Mute` hides it, and Vapi's own barge-in is faster than both.
"""

import enum
import json
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ingress_svc.domain.fields import clean
from ingress_svc.domain.vapi import Party

MAX_BODY_BYTES = 64 * 1024
"""Far above anything that is spoken at once."""


@dataclass(frozen=True, slots=True)
class Say:
    """Queue speech. What is None is left to Vapi, whose defaults are: no, no, and what the assistant says."""

    content: str = field(repr=False)
    end_call_after: bool | None = None
    interrupt: bool | None = None
    """Whether it takes the place of what the agent is saying."""
    interruptible: bool | None = None
    """Whether the caller may cut it off."""


@dataclass(frozen=True, slots=True)
class AddMessage:
    """Put a message into Vapi's history; ``trigger_response`` asks for an answer to it at once."""

    role: str
    """system, user or assistant."""
    content: str = field(repr=False)
    trigger_response: bool = True


@dataclass(frozen=True, slots=True)
class Mute:
    party: Party


@dataclass(frozen=True, slots=True)
class Unmute:
    party: Party


@dataclass(frozen=True, slots=True)
class SayFirstMessage:
    pass


@dataclass(frozen=True, slots=True)
class EndCall:
    pass


@dataclass(frozen=True, slots=True)
class ToNumber:
    number: str = field(repr=False)
    """E.164, such as +15005550199."""


@dataclass(frozen=True, slots=True)
class ToSip:
    uri: str = field(repr=False)
    """sip:user@host."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Hand the caller over; ``content`` is said before, nothing where it is empty."""

    destination: ToNumber | ToSip
    content: str = field(default="", repr=False)


Command: TypeAlias = Say | AddMessage | Mute | Unmute | SayFirstMessage | EndCall | Transfer

KINDS: Final = (
    "say",
    "add-message",
    "mute-assistant",
    "mute-customer",
    "unmute-assistant",
    "unmute-customer",
    "say-first-message",
    "end-call",
    "transfer",
)
"""Every kind of command in Vapi's words: closed, fit for a counter."""

_PARTY = {Party.AGENT: "assistant", Party.CALLER: "customer"}


def kind(command: Command) -> str:
    """Return one of `KINDS`."""
    if isinstance(command, Mute):
        return f"mute-{_PARTY[command.party]}"
    if isinstance(command, Unmute):
        return f"unmute-{_PARTY[command.party]}"
    return _KIND[type(command)]


_KIND: dict[type, str] = {
    Say: "say",
    AddMessage: "add-message",
    SayFirstMessage: "say-first-message",
    EndCall: "end-call",
    Transfer: "transfer",
}


def body(command: Command) -> bytes:
    """Return the JSON that Vapi takes, in ASCII."""
    return _encode(_fields(command)).encode("ascii")


_encode = json.JSONEncoder(separators=(",", ":")).encode


def _fields(command: Command) -> dict[str, object]:
    fields: dict[str, object]
    if isinstance(command, Say):
        fields = {"type": "say", "content": clean(command.content)}
        switches = {
            "endCallAfterSpoken": command.end_call_after,
            "interruptAssistantEnabled": command.interrupt,
            "interruptionsEnabled": command.interruptible,
        }
        fields.update((name, value) for name, value in switches.items() if value is not None)
        return fields
    if isinstance(command, AddMessage):
        message = {"role": command.role, "content": clean(command.content)}
        return {"type": "add-message", "message": message, "triggerResponseEnabled": command.trigger_response}
    if isinstance(command, Transfer):
        fields = {"type": "transfer", "destination": _destination(command.destination)}
        if command.content:
            fields["content"] = clean(command.content)
        return fields
    if isinstance(command, EndCall):
        return {"type": "end-call"}
    return {"type": "control", "control": kind(command)}


def _destination(destination: ToNumber | ToSip) -> dict[str, object]:
    if isinstance(destination, ToNumber):
        return {"type": "number", "number": clean(destination.number)}
    return {"type": "sip", "sipUri": clean(destination.uri)}


class Result(enum.StrEnum):
    ACCEPTED = "accepted"
    """Vapi took it. Not that it was spoken: of accepted speech some was never heard, and nothing tells of it."""
    GONE = "gone"
    """The call is over, or has moved on where this can no longer be done."""
    WITHHELD = "withheld"
    """It was taken back before it left."""
    FAILED = "failed"


class Failure(enum.StrEnum):
    """Closed set, fit for a counter."""

    NO_URL = "no_url"
    """The call is not known here, or nothing that came for it named a control URL that may be used."""
    QUEUE_FULL = "queue_full"
    TOO_LARGE = "too_large"
    BUSY = "busy"
    """No connection came free in time."""
    NAME = "name_not_found"
    ADDRESS = "address_refused"
    """The name leads to an address that is not on the public internet."""
    CONNECT = "not_connected"
    TLS = "tls"
    TIMEOUT = "timeout"
    """It was sent, and no answer came in time."""
    LOST = "connection_lost"
    """It was sent, and the connection ended before an answer that can be read."""
    REDIRECT = "redirect"
    UNAUTHORIZED = "unauthorized"
    """The assistant's `monitorPlan` wants a key with each control request: VOICEMESH_CONTROL_TOKEN."""
    REFUSED = "refused"
    SERVER_ERROR = "server_error"
    STOPPED = "stopped"
    """Ingress ended first."""
    DEFECT = "defect"


@dataclass(frozen=True, slots=True)
class Outcome:
    result: Result
    failure: Failure | None = None
    """Why it failed; None unless it did."""
    tries: int = 1
    """Requests that were made for it; 0 where it was not sent at all."""


ACCEPTED: Final = Outcome(Result.ACCEPTED)
GONE: Final = Outcome(Result.GONE)
WITHHELD: Final = Outcome(Result.WITHHELD, tries=0)


def failed(failure: Failure, *, tries: int = 1) -> Outcome:
    return Outcome(Result.FAILED, failure, tries)


def answered(status: int) -> Outcome:
    """Return what an HTTP status means.

    Vapi documents no statuses here; it answers 4xx once the call has moved on. Those 4xx that speak of the sender, or
    of its pace, are failures: taken for a call that is over they would hide a setting that is wrong.
    """
    if 200 <= status < 300:
        return ACCEPTED
    if 300 <= status < 400:
        return failed(Failure.REDIRECT)
    if status in (401, 403, 407):
        return failed(Failure.UNAUTHORIZED)
    if status in (408, 413, 415, 425, 429, 431):
        return failed(Failure.REFUSED)
    if 400 <= status < 500:
        return GONE
    return failed(Failure.SERVER_ERROR if 500 <= status < 600 else Failure.LOST)


_NEVER_LEFT = {Failure.NAME, Failure.CONNECT}
_MAY_HAVE_BEEN_DONE = {Failure.TIMEOUT, Failure.LOST, Failure.SERVER_ERROR}
_HARMLESS_TWICE = (Mute, Unmute, EndCall)
"""They set a state, and setting it again changes nothing. The others do something each time: speech is heard twice, a
message stands twice in the history and is answered twice, a transfer rings a second time."""


def may_repeat(command: Command, outcome: Outcome) -> bool:
    """Whether a command that ended so may be sent once more."""
    if outcome.failure in _NEVER_LEFT:
        return True
    return outcome.failure in _MAY_HAVE_BEEN_DONE and isinstance(command, _HARMLESS_TWICE)
