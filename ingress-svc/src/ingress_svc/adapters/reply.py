"""The answer to a webhook, whichever server writes it."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

from aiohttp import web

from ingress_svc.adapters.guard import error_text

EVENT_ID = "X-Voicemesh-Event-Id"


class Reply(NamedTuple):
    """A status and a body, JSON unless it says otherwise. Every 2xx names its event, if that was read."""

    status: int
    body: bytes
    event_id: str = ""
    retry_after_s: int = 0
    content_type: str = "application/json"


SendReply = Callable[[Reply], None]
"""Called once, now or later."""


def taken(event_id: str) -> Reply:
    return Reply(200, b"{}", event_id)


def spoken(event_id: str, samples: bytes) -> Reply:
    return Reply(200, samples, event_id, content_type="application/octet-stream")


def refused(status: int, message: str, *, retry_after_s: int = 0) -> Reply:
    """Return an error as JSON: what is wrong and what would be right, nothing of what was sent."""
    return Reply(status, error_text(message).encode(), "", retry_after_s)


def response(reply: Reply) -> web.Response:
    """Return what aiohttp writes."""
    headers = {"Content-Type": reply.content_type} | dict(_fields(reply))
    return web.Response(status=reply.status, body=reply.body, headers=headers)


def message(reply: Reply, *, date: str, close: bool) -> bytes:
    """Return the bytes of an HTTP/1.1 response. ``date`` is the value of its header."""
    extra = "".join(f"{name}: {value}\r\n" for name, value in _fields(reply))
    head = (
        f"HTTP/1.1 {reply.status} {_PHRASES[reply.status]}\r\nContent-Type: {reply.content_type}\r\n"
        f"Content-Length: {len(reply.body)}\r\nDate: {date}\r\n{extra}{_CLOSE if close else ''}\r\n"
    )
    return head.encode("ascii") + reply.body


_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_CLOSE = "Connection: close\r\n"


def _fields(reply: Reply) -> list[tuple[str, str]]:
    if reply.event_id:
        return [(EVENT_ID, reply.event_id)]
    return [("Retry-After", str(reply.retry_after_s))] if reply.retry_after_s else []
