"""Parses a webhook for the few fields that are read.

Each of Vapi's events repeats the assistant's whole configuration and the conversation twice. To build all that only to
drop it costs four times as much as to pass over it.
"""

from __future__ import annotations

from typing import Any, Required, TypedDict, cast

import msgspec
import orjson

from ingress_svc.domain import asks

_ASKING = frozenset(asks.READERS)
"""Rare, and read in many fields."""
_HISTORIES = ("messagesOpenAIFormatted", "conversation", "messages")
"""Large, and read of a conversation-update only."""


class _Monitor(TypedDict, total=False):
    controlUrl: Any


class _Call(TypedDict, total=False):
    id: Any
    phoneCallProviderId: Any
    transport: Any
    monitor: _Monitor | None


class _Message(TypedDict, total=False):
    """The fields that domain/vapi.py reads. A new one there needs a line here; a test compares the two ways."""

    call: _Call
    callId: Any
    type: Any
    timestamp: Any
    role: Any
    status: Any
    transcript: Any
    text: Any
    transcriptType: Any
    isFinal: Any
    turn: Any
    turnId: Any
    streamId: Any
    endedReason: Any
    cost: Any
    durationMs: Any
    durationSeconds: Any
    startedAt: Any
    endedAt: Any
    messagesOpenAIFormatted: msgspec.Raw
    conversation: msgspec.Raw
    messages: msgspec.Raw


class _Body(TypedDict, total=False):
    message: Required[_Message]
    call: _Call
    type: Any
    timestamp: Any


_decoder = msgspec.json.Decoder(_Body)


def whole(raw: bytes) -> object:
    """Return all of a body that `parse` has read; nothing of one that has more in it than can be read."""
    try:
        return orjson.loads(raw)
    except ValueError:
        return {}


def parse(raw: bytes) -> object:
    """Return the body with at least the fields that are read. Raises ValueError when it is not JSON."""
    try:
        body = _decoder.decode(raw)
        message = cast(dict[str, Any], body["message"])
        if any(isinstance(name, str) and name in _ASKING for name in (message.get("type"), body.get("type"))):
            return orjson.loads(raw)
        wanted = "conversation-update" in (message.get("type"), body.get("type"))
        for name in _HISTORIES:
            if (history := message.pop(name, None)) is not None and wanted:
                message[name] = orjson.loads(bytes(history))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Another shape than Vapi's of today, or no JSON at all: the full parser reads it, or says so.
        return orjson.loads(raw)
    return body
