"""What a Vapi webhook says, whichever of its shapes it came in: Vapi's own of today, or the older `{type, message}`.

Type aliases and call ids are read leniently; an unknown type is an answer (`Unknown`), never an error. A field that
decides what happens (role, speech status, the words, the history) must be usable, else `BadWebhook`; one that only
adorns (turn names, reasons, durations, the carrier's id) reads as absent when it is wrong. What Vapi asks is read in
domain/asks.py. Credentials that the body carries are never read, and phone numbers only where an answer turns on them.
The control URL is, for there is no other way to act on the call: as it was sent, to be checked before it is used, and
in a field that is not printed.
"""

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from ingress_svc.domain import asks
from ingress_svc.domain.asks import Ask, PhoneControl
from ingress_svc.domain.chat import MAX_TEXT_CHARS, ChatMessage, tail_of
from ingress_svc.domain.control_url import sent_control_url
from ingress_svc.domain.fields import MAX_NAME_CHARS, clean, duration_ms, instant_ms, line, visible

MAX_AHEAD_MS = 24 * 3_600_000
"""A time further ahead of our clock would make everything after it look late."""


class BadReason(enum.StrEnum):
    """Closed set, fit for a counter."""

    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    NO_TYPE = "no_type"
    NO_CALL_ID = "no_call_id"
    BAD_FIELD = "bad_field"


class BadWebhook(Exception):
    """The body cannot be understood. The text names the field and what would be right, never what it held."""

    def __init__(self, reason: BadReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Party(enum.Enum):
    CALLER = "caller"
    AGENT = "agent"


class Phase(enum.Enum):
    RINGING = "ringing"
    IN_PROGRESS = "in_progress"
    FORWARDING = "forwarding"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class CallStatus:
    phase: Phase
    ended_reason: str = ""
    provider_call_sid: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    party: Party
    final: bool
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SpeechEdge:
    party: Party
    started: bool
    provider_turn: str = ""


@dataclass(frozen=True, slots=True)
class ProviderInterrupted:
    provider_turn: str = ""


@dataclass(frozen=True, slots=True)
class HistoryReported:
    """From the second-last user message on; from the first message behind the prompt while there are fewer."""

    tail: tuple[ChatMessage, ...]
    user_message_count: int


@dataclass(frozen=True, slots=True)
class AgentSilent:
    pass


@dataclass(frozen=True, slots=True)
class CallReported:
    ended_reason: str = ""
    duration_ms: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing for us: to be counted and answered 200."""

    type_name: str
    """As sent (aliases resolved) where it is short and plain, else "other"."""

    @property
    def counted_as(self) -> str:
        """From a closed set, fit for a counter: one of `UNKNOWN_TYPES`."""
        return self.type_name if self.type_name in UNKNOWN_TYPES else "other"


Body: TypeAlias = (
    CallStatus
    | Words
    | SpeechEdge
    | ProviderInterrupted
    | HistoryReported
    | AgentSilent
    | CallReported
    | Ask
    | PhoneControl
    | Unknown
)


@dataclass(frozen=True, slots=True)
class Webhook:
    call_id: str
    """`vapi:<id>`, at most 200 characters; empty only where none is needed: beside `Unknown`, an ask, an order."""
    event_id: str
    """24 hex digits, the same for every delivery of one happening; see `decode`."""
    at_ms: int
    has_time: bool
    """True where Vapi gave a credible time, so `at_ms` is on its clock; else `at_ms` is when we received it."""
    body: Body
    dropped_chars: int = 0
    """At least so many characters went over the caps of this module and were left out."""
    control_url: str = field(default="", repr=False)
    """Private: whoever has it can speak on the call. As sent, for `ControlUrl.read`; empty where there is none."""


def decode(body: object, *, received_at_ms: int, header_call_id: str | None, raw: bytes) -> Webhook:
    """Read one webhook. ``raw`` are the bytes that ``body`` was parsed from; ``header_call_id`` is `x-call-id`.

    Vapi numbers neither events nor deliveries, so the event id is a hash of what stays the same when it sends one
    again: call, type, time, role, status, finality, turn and words (presigned URLs in the rest do change). Without a
    time it is a hash of the raw bytes: then a repeated happening with equal bytes (the caller says "yes" twice) passes
    for one delivered twice, and a delivery whose bytes differ for a second happening.

    Raises BadWebhook and nothing else, whatever the body holds.
    """
    if not isinstance(body, dict):
        raise BadWebhook(BadReason.NOT_AN_OBJECT, "the body must be a JSON object")
    inner = body.get("message")
    fields = inner if isinstance(inner, dict) else body
    type_name, finality = _type_of(fields, body)
    call = _call_of(fields, body)
    call_id = _call_id(call, fields, header_call_id)
    reader = _READERS.get(type_name)
    if reader is None:
        reading = _asked(type_name, fields, call)
    elif not call_id:
        raise BadWebhook(
            BadReason.NO_CALL_ID,
            f"message.call.id must be 1 to {MAX_NAME_CHARS} visible ASCII characters",
        )
    else:
        reading = reader(_Message(fields, call, finality))
    sent_ms = instant_ms(fields.get("timestamp", body.get("timestamp")))
    has_time = sent_ms is not None and sent_ms <= received_at_ms + MAX_AHEAD_MS
    return Webhook(
        call_id=call_id,
        event_id=_event_id(call_id, type_name, sent_ms, reading, raw),
        at_ms=sent_ms if sent_ms is not None and has_time else received_at_ms,
        has_time=has_time,
        body=reading.body,
        dropped_chars=reading.dropped_chars,
        control_url=sent_control_url(call),
    )


def ends_call(body: Body) -> bool:
    """Whether it says that the call is over."""
    return isinstance(body, CallReported) or (isinstance(body, CallStatus) and body.phase is Phase.ENDED)


def may_cut(body: Body) -> bool:
    """Whether barge-in may turn on it at once; anything else only helps to judge what comes later."""
    if isinstance(body, Words):
        return body.party is Party.CALLER
    return isinstance(body, ProviderInterrupted) or (isinstance(body, SpeechEdge) and body.party is Party.AGENT)


_TYPE_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ALIASES = {
    "transcript.partial": ("transcript", "partial"),
    "transcript.final": ("transcript", "final"),
    "assistant.speech-started": ("assistant.speechStarted", ""),
    "assistant-speech-started": ("assistant.speechStarted", ""),
    "assistant-started": ("assistant.started", ""),
    "language-changed": ("language-change-detected", ""),
}
_PARTIES = {"user": Party.CALLER, "assistant": Party.AGENT, "bot": Party.AGENT}
_PHASES = {
    "scheduled": Phase.RINGING,
    "queued": Phase.RINGING,
    "ringing": Phase.RINGING,
    "in-progress": Phase.IN_PROGRESS,
    "forwarding": Phase.FORWARDING,
    "ended": Phase.ENDED,
}
_EDGES = {"started": True, "stopped": False}


class _Message(NamedTuple):
    fields: Mapping[str, object]
    call: Mapping[str, object]
    finality: str
    """What the type string itself says of a transcript: "partial", "final" or ""."""


class _Reading(NamedTuple):
    body: Body
    identity: str = ""
    """What tells this happening from another of its type, call and millisecond."""
    dropped_chars: int = 0


def _asked(type_name: str, fields: Mapping[str, object], call: Mapping[str, object]) -> _Reading:
    read = asks.READERS.get(type_name)
    if read is None:
        return _Reading(Unknown(type_name))
    ask, identity = read(fields, call)
    # What tells asks apart may be any text, lone surrogates included.
    return _Reading(ask, clean(identity))


def _type_of(fields: Mapping[str, object], body: Mapping[str, object]) -> tuple[str, str]:
    name = fields.get("type")
    if not isinstance(name, str):
        name = body.get("type")
    if not isinstance(name, str):
        raise BadWebhook(BadReason.NO_TYPE, "message.type must be a string")
    base, bracket, filters = name.partition("[")
    if bracket and base == "transcript":
        return base, "final" if "final" in filters else ""
    if name in _ALIASES:
        return _ALIASES[name]
    return (name if _TYPE_NAME.fullmatch(name) else "other"), ""


def _call_of(fields: Mapping[str, object], body: Mapping[str, object]) -> Mapping[str, object]:
    call = fields.get("call")
    if not isinstance(call, dict):
        call = body.get("call")
    return call if isinstance(call, dict) else {}


def _call_id(call: Mapping[str, object], fields: Mapping[str, object], header: str | None) -> str:
    for candidate in (call.get("id"), fields.get("callId"), header):
        if usable := visible(candidate):
            return f"vapi:{usable}"
    return ""


def _event_id(call_id: str, type_name: str, sent_ms: int | None, reading: _Reading, raw: bytes) -> str:
    if sent_ms is None:
        digest = blake2b(raw, digest_size=12, person=b"raw")
        digest.update(call_id.encode())
        return digest.hexdigest()
    # The identity stands last: it may hold anything, the fields before it are free of the separator.
    key = f"{call_id}\n{type_name}\n{sent_ms}\n{reading.identity}"
    return blake2b(key.encode(), digest_size=12).hexdigest()


def _party(message: _Message, *, when_missing: Party) -> Party:
    role = message.fields.get("role")
    if role is None:
        return when_missing
    party = _PARTIES.get(role) if isinstance(role, str) else None
    if party is None:
        raise BadWebhook(BadReason.BAD_FIELD, "message.role must be user, assistant or bot")
    return party


def _provider_turn(fields: Mapping[str, object]) -> str:
    if turn_id := visible(fields.get("turnId")):
        return turn_id
    turn = fields.get("turn")
    if isinstance(turn, int) and not isinstance(turn, bool) and 0 <= turn < 1_000_000:
        return f"turn:{turn}"
    return visible(fields.get("streamId"))


def _reason(fields: Mapping[str, object]) -> str:
    return line(fields.get("endedReason"))


def _read_status(message: _Message) -> _Reading:
    status = message.fields.get("status")
    if not isinstance(status, str):
        raise BadWebhook(BadReason.BAD_FIELD, "message.status must be a string such as in-progress or ended")
    phase = _PHASES.get(status)
    if phase is None:
        return _Reading(Unknown("status-update"), clean(status))
    transport = message.call.get("transport")
    sid = visible(message.call.get("phoneCallProviderId"))
    if not sid and isinstance(transport, dict):
        sid = visible(transport.get("callSid"))
    reason = _reason(message.fields) if phase is Phase.ENDED else ""
    return _Reading(CallStatus(phase, reason, sid), status)


def _read_words(message: _Message) -> _Reading:
    """Only `final` or `isFinal: true` make words final; anything else leaves them partial, which commits nothing."""
    fields = message.fields
    party = _party(message, when_missing=Party.CALLER)
    text = fields.get("transcript")
    if text is None:
        text = fields.get("text")
    if not isinstance(text, str):
        raise BadWebhook(BadReason.BAD_FIELD, "message.transcript must be a string")
    stability = fields.get("transcriptType")
    final = (message.finality if stability is None else stability) == "final" or fields.get("isFinal") is True
    kept = clean(text[:MAX_TEXT_CHARS])
    identity = f"{party.value}\n{final}\n{_provider_turn(fields)}\n{kept}"
    return _Reading(Words(party, final, kept), identity, max(0, len(text) - MAX_TEXT_CHARS))


def _read_speech(message: _Message) -> _Reading:
    """Vapi names the speaker; the article's shape names none and means the agent."""
    party = _party(message, when_missing=Party.AGENT)
    status = message.fields.get("status")
    started = _EDGES.get(status) if isinstance(status, str) else None
    if started is None:
        raise BadWebhook(BadReason.BAD_FIELD, "message.status must be started or stopped")
    turn = _provider_turn(message.fields)
    return _Reading(SpeechEdge(party, started, turn), f"{party.value}\n{started}\n{turn}")


def _read_interrupted(message: _Message) -> _Reading:
    turn = _provider_turn(message.fields)
    return _Reading(ProviderInterrupted(turn), turn)


def _read_silent(message: _Message) -> _Reading:
    return _Reading(AgentSilent())


def _read_history(message: _Message) -> _Reading:
    fields = message.fields
    names = ("messagesOpenAIFormatted", "conversation", "messages")
    lists = [found for name in names if isinstance(found := fields.get(name), list)]
    if not lists:
        raise BadWebhook(BadReason.BAD_FIELD, "message.messagesOpenAIFormatted must be a list of messages")
    tail, count, dropped = tail_of(next((found for found in lists if found), lists[0]))
    last = tail[-1].content if tail else ""
    return _Reading(HistoryReported(tail, count), f"{count}\n{last}", dropped)


def _read_report(message: _Message) -> _Reading:
    return _Reading(
        CallReported(_reason(message.fields), _length_ms(message.fields), _cost(message.fields.get("cost")))
    )


def _cost(value: object) -> float | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1_000_000
    return float(value) if fits else None  # type: ignore[arg-type]  # a number, as was just seen


def _length_ms(fields: Mapping[str, object]) -> int:
    for name, unit_ms in (("durationMs", 1), ("durationSeconds", 1000)):
        if length_ms := duration_ms(fields.get(name), unit_ms=unit_ms):
            return length_ms
    started_ms, ended_ms = instant_ms(fields.get("startedAt")), instant_ms(fields.get("endedAt"))
    if started_ms is None or ended_ms is None:
        return 0
    return duration_ms(ended_ms - started_ms, unit_ms=1) or 0


_READERS: dict[str, Callable[[_Message], _Reading]] = {
    "status-update": _read_status,
    "transcript": _read_words,
    "speech-update": _read_speech,
    "user-interrupted": _read_interrupted,
    "conversation-update": _read_history,
    "hang": _read_silent,
    "end-of-call-report": _read_report,
}
UNKNOWN_TYPES = frozenset(
    {
        "other",
        # Read, but a status that we do not know is nothing for us either.
        "status-update",
        "assistant.speechStarted",
        "assistant.started",
        "call.artifact.upload",
        "call.delete.failed",
        "call.deleted",
        "chat.created",
        "chat.deleted",
        "language-change-detected",
        "model-output",
        "session.created",
        "session.deleted",
        "session.updated",
        "transfer-update",
        "voice-input",
    }
)
"""What an unknown webhook is counted as: the types of Vapi's documentation without effect here, in their names of
today, and "other"."""
