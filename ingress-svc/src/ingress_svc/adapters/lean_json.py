"""Parses a webhook for the few fields that are read.

Each of Vapi's events repeats the assistant's whole configuration and the conversation twice. To build all that only to
drop it costs four times as much as to pass over it.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

_HISTORIES = ("messagesOpenAIFormatted", "conversation", "messages")
"""Large, and read of a conversation-update only."""


class _Call(msgspec.Struct):
    id: Any = msgspec.UNSET
    phoneCallProviderId: Any = msgspec.UNSET
    transport: Any = msgspec.UNSET


class _Message(msgspec.Struct):
    """The fields that domain/vapi.py reads. A new one there needs a line here; a test compares the two ways."""

    call: _Call | msgspec.UnsetType = msgspec.UNSET
    callId: Any = msgspec.UNSET
    type: Any = msgspec.UNSET
    timestamp: Any = msgspec.UNSET
    role: Any = msgspec.UNSET
    status: Any = msgspec.UNSET
    transcript: Any = msgspec.UNSET
    text: Any = msgspec.UNSET
    transcriptType: Any = msgspec.UNSET
    isFinal: Any = msgspec.UNSET
    turn: Any = msgspec.UNSET
    turnId: Any = msgspec.UNSET
    streamId: Any = msgspec.UNSET
    endedReason: Any = msgspec.UNSET
    durationMs: Any = msgspec.UNSET
    durationSeconds: Any = msgspec.UNSET
    startedAt: Any = msgspec.UNSET
    endedAt: Any = msgspec.UNSET
    messagesOpenAIFormatted: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    conversation: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    messages: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Body(msgspec.Struct):
    message: _Message
    call: _Call | msgspec.UnsetType = msgspec.UNSET
    type: Any = msgspec.UNSET
    timestamp: Any = msgspec.UNSET


_decoder = msgspec.json.Decoder(_Body)


def parse(raw: bytes) -> object:
    """Return the body with at least the fields that are read, as dicts. Raises ValueError when it is not JSON."""
    try:
        body = _decoder.decode(raw)
        fields = _set_fields(body)
        message = fields["message"] = _set_fields(body.message)
        for part in (fields, message):
            if "call" in part:
                part["call"] = _set_fields(part["call"])
        wanted = "conversation-update" in (message.get("type"), fields.get("type"))
        for name in _HISTORIES:
            if (history := message.pop(name, None)) is not None and wanted:
                message[name] = orjson.loads(bytes(history))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # Another shape than Vapi's of today, or no JSON at all: the full parser reads it, or says so.
        return orjson.loads(raw)
    return fields


def _set_fields(struct: msgspec.Struct) -> dict[str, Any]:
    values = ((name, getattr(struct, name)) for name in struct.__struct_fields__)
    return {name: value for name, value in values if value is not msgspec.UNSET}
