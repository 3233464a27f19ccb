"""What both ends of a resumable stream share. The rules stand in protos/voicemesh/type/v1/stream.proto.

The two ends are `svc_runtime.link` (the client, which sends events) and `svc_runtime.feed` (the server, which answers
them and sends items). They know nothing of what events and items mean: a `StreamShape` hands them the message classes
of one RPC, whose field names are the same in every resumable stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf.message_factory import GetMessageClass

STREAM_VERSION = 1

OK = 0
INVALID = 1
TOO_LARGE = 2
MOVED = 3
STORE_UNAVAILABLE = 4
OVERLOADED = 5
INTERNAL = 6
"""Answers to an event: 0, or the number of the ErrorCode in stream.proto."""

PEER_LOST = 100
"""The answer that a link gives by itself when it is closed with the event still unanswered."""


class Outcome(NamedTuple):
    """The answer to one event."""

    code: int = OK
    message: str = ""
    moved_to: str = ""
    moved_epoch: int = 0
    retry_after_ms: int = 0


TAKEN = Outcome()


@dataclass(frozen=True, slots=True)
class StreamShape:
    """The message classes of one resumable stream; `of` finds them all from the first two."""

    request: Any
    """Has hello, events, floor_seq, heartbeat, bye."""
    response: Any
    """Has welcome, acked_seqs, errors, items, heartbeat, draining."""
    hello: Any
    welcome: Any
    error: Any
    """Has seq, code, message, moved (slot, address, epoch), retry_after_ms."""
    item: Any

    @staticmethod
    def of(request: Any, response: Any) -> StreamShape:
        """Return the shape of the RPC with these messages. Raises KeyError for a field that they lack."""
        return StreamShape(
            request=request,
            response=response,
            hello=_class_in(request, "hello"),
            welcome=_class_in(response, "welcome"),
            error=_class_in(response, "errors"),
            item=_class_in(response, "items"),
        )


def _class_in(message: Any, field: str) -> Any:
    """Return the class of the messages in a field."""
    return GetMessageClass(message.DESCRIPTOR.fields_by_name[field].message_type)


class Overloaded(Exception):
    """The queue in front of a stream is full: the event was not taken and has no seq."""


class EventTooLarge(Exception):
    """The event is over the size limit: it was not taken and has no seq."""
