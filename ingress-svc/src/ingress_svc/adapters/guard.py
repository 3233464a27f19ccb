"""What every request passes first: its size, and whether it comes from whom it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import orjson
from aiohttp import web
from svc_runtime.metrics import Counters

from ingress_svc.adapters.refusals import Refusals
from ingress_svc.domain import vapi_llm
from ingress_svc.domain.body_room import BodyRoom, Hold
from ingress_svc.domain.signatures import Headers, MismatchReason, SignatureMismatch, Unsigned, Verifier

REFUSED = "voicemesh.requests.refused"
READ_S = 60.0
"""From the first byte of a body to its last; also for one whose chunks are none, which aiohttp does not tell us."""
UNPROVEN = "the request is not signed as configured"

_CLOSE = {"Connection": "close"}

Form = Callable[[str, str], str]
"""Makes the body of a refusal from its message and its code."""


class Door(NamedTuple):
    """What proves the requests of an endpoint, and who looks into those that it refuses."""

    verifier: Verifier | Unsigned
    refusals: Refusals | None = None


class Guard:
    """Reads a body within the limit and verifies it over its raw bytes. Nothing has been parsed by then."""

    def __init__(self, *, webhooks: Door, llm: Door, room: BodyRoom, max_body_bytes: int, counters: Counters) -> None:
        self._webhooks = webhooks
        self._llm = llm
        self._room = room
        self._max_body_bytes = max_body_bytes
        self._counters = counters
        reasons = (
            "too_large",
            "encoding",
            "no_room",
            "unreadable",
            "too_slow",
            *(reason.value for reason in MismatchReason),
        )
        counters.declare(REFUSED, "Requests refused before their body was parsed.", reason=reasons)

    async def webhook(self, request: web.Request) -> bytes:
        """Return the raw body of a webhook, for `proves` to judge. Raises the HTTP error to answer with."""
        return await self._body(request, plain_error)

    def proves(self, headers: Headers, raw: bytes, *, url: str, now_s: float) -> bool:
        """Return whether a webhook comes from whom it says; counted when it does not."""
        return self._proves(self._webhooks, headers, raw, url=url, now_s=now_s)

    async def llm(self, request: web.Request) -> tuple[bytes, int]:
        """Return the raw body of a proven custom-LLM request, and when its last byte had been read (wall clock, ns).

        Its peer reads OpenAI's error object. Raises the HTTP error to answer with.
        """
        raw = await self._body(request, openai_error)
        received_ns = time.time_ns()
        if not self._proves(self._llm, request.headers, raw, url=url_of(request), now_s=received_ns / 1e9):
            text = openai_error(UNPROVEN, "invalid_api_key")
            raise web.HTTPUnauthorized(text=text, content_type="application/json")
        return raw, received_ns

    def _proves(self, door: Door, headers: Headers, raw: bytes, *, url: str, now_s: float) -> bool:
        try:
            door.verifier.verify(headers, method="POST", url=url, body=raw, now_s=now_s)
        except SignatureMismatch as error:
            self._counters.add(REFUSED, reason=error.reason.value)
            if door.refusals is not None:
                door.refusals.look(error, headers, raw, url=url, now_s=now_s)
            return False
        return True

    async def _body(self, request: web.Request, form: Form) -> bytes:
        # aiohttp hands out inflated bytes, and the signature covers those that were sent.
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            self._counters.add(REFUSED, reason="encoding")
            text = form("send the body without Content-Encoding", "unsupported_encoding")
            raise web.HTTPUnsupportedMediaType(text=text, content_type="application/json")
        if (request.content_length or 0) > self._max_body_bytes:
            raise self._too_large(form)
        hold = self._room.hold()
        try:
            async with asyncio.timeout(READ_S):
                return await self._read(request, form, hold)
        except TimeoutError:
            self._counters.add(REFUSED, reason="too_slow")
            text = form(f"the body did not come within {READ_S:.0f} s", "request_timeout")
            raise web.HTTPRequestTimeout(text=text, content_type="application/json", headers=_CLOSE) from None
        finally:
            hold.release()

    async def _read(self, request: web.Request, form: Form, hold: Hold) -> bytes:
        count, chunks = 0, []
        roomy = hold.reach(request.content_length or 0)
        while roomy and (chunk := await request.content.readany()):
            count += len(chunk)
            if count > self._max_body_bytes:
                raise self._too_large(form)
            chunks.append(chunk)
            roomy = hold.reach(count)
        if roomy:
            return b"".join(chunks)
        self._counters.add(REFUSED, reason="no_room")
        text = form("too many large bodies are being read", "overloaded")
        headers = {"Retry-After": "1"} | _CLOSE
        raise web.HTTPServiceUnavailable(text=text, content_type="application/json", headers=headers)

    def _too_large(self, form: Form) -> web.HTTPException:
        self._counters.add(REFUSED, reason="too_large")
        return web.HTTPRequestEntityTooLarge(
            max_size=self._max_body_bytes,
            text=form(f"the body is larger than {self._max_body_bytes} bytes", "request_too_large"),
            content_type="application/json",
        )


def url_of(request: web.Request) -> str:
    """Return the URL that a request was sent to. Put together here: `request.url` raises at a Host that is none."""
    return f"{request.scheme}://{request.host}{request.path_qs}"


def error_text(message: str) -> str:
    """Return the body of an error."""
    return orjson.dumps({"error": message}).decode()


def plain_error(message: str, _: str) -> str:
    """Return the body of an error as every peer but the custom LLM's reads it."""
    return error_text(message)


def openai_error(message: str, code: str) -> str:
    """Return it as a client of OpenAI's does."""
    kind = "server_error" if code == "internal_error" else "invalid_request_error"
    return vapi_llm.error_body(message, kind=kind, code=code).decode()
