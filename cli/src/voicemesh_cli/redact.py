"""One line of the durable log as plain data, without anything private.

Text passes only where it is named here: a field that is added to the contract is hidden until somebody decides.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.message import Message
from voicemesh.session.v1 import session_pb2

OPEN_TEXT = frozenset(
    {
        "CallEvent.event_id",
        "CallEvent.call_id",
        "TraceContext.traceparent",
        "CallStatus.ended_reason",
        "CallStatus.provider_call_sid",
        "SpeechEdge.provider_turn",
        "ProviderInterrupted.provider_turn",
        "CallReported.ended_reason",
        "AnswerRequested.attachment_id",
        "AnswerRequested.ingress_id",
        "ChatMessage.role",
        "ChatMessage.tool_call_id",
        "GenerationStarted.attachment_id",
        "GenerationEnded.model",
        "GenerationCut.rule",
        "AttachmentClosed.attachment_id",
        "CutRequested.rule",
        "ToolAsked.key",
        "ToolAsked.ingress_id",
        "ToolAsked.name",
        "ToolEnded.key",
        "ToolEnded.ask_id",
        "TurnEnded.trace_id",
        "TurnEnded.reason",
        "TurnEnded.culprit",
        "Hop.name",
    }
)


def redacted(logged: session_pb2.LoggedEvent) -> dict[str, Any]:
    """Return what `voicemesh events` prints of ``logged``: every field but the private texts, which are counted."""
    event = logged.event
    kind = event.WhichOneof("kind") or ""
    line: dict[str, Any] = {
        "cursor": logged.cursor,
        "call_id": event.call_id,
        "call_seq": logged.call_seq,
        "event_id": event.event_id,
        "kind": kind,
        "at_ms": event.at_ms,
        "received_at_ms": event.received_at_ms,
    }
    if event.agent:
        line["agent"] = event.agent
    return {**line, **_fields(getattr(event, kind))} if kind else line


def _fields(message: Message) -> dict[str, Any]:
    return {field.name: _shown(field, message) for field in message.DESCRIPTOR.fields if _is_there(field, message)}


def _is_there(field: Any, message: Message) -> bool:
    return not field.has_presence or message.HasField(field.name)


def _shown(field: Any, message: Message) -> Any:
    """``field`` is a FieldDescriptor, of which protobuf has two classes that share no type."""
    value = getattr(message, field.name)
    return [_value(field, item) for item in value] if field.is_repeated else _value(field, value)


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _fields(value)
    if field.enum_type is not None:
        return enum_word(field.enum_type, value)
    if isinstance(value, str | bytes) and f"{field.containing_type.name}.{field.name}" not in OPEN_TEXT:
        return {"redacted": True, "chars": len(value)}
    return value


def enum_word(enum: Any, number: int) -> str:
    """Return `caller` for PARTY_CALLER; a number that this version does not know as it is."""
    known = enum.values_by_number.get(number)
    if known is None:
        return str(number)
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.name).upper() + "_"
    return str(known.name).removeprefix(prefix).lower()
