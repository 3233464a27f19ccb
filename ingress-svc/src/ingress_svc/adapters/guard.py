"""What every request passes first: its size, and whether it comes from whom it says."""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson
from aiohttp import web
from svc_runtime.metrics import Counters

from ingress_svc.domain import vapi_llm
from ingress_svc.domain.signatures import MismatchReason, SignatureMismatch, Verifier

REFUSED = "voicemesh.requests.refused"

Form = Callable[[str, str], str]
"""Makes the body of a refusal from its message and its code."""


class Guard:
    """Reads a body within the limit and verifies it over its raw bytes. Nothing has been parsed by then."""

    def __init__(self, *, webhooks: Verifier, llm: Verifier, max_body_bytes: int, counters: Counters) -> None:
        self._webhooks = webhooks
        self._llm = llm
        self._max_body_bytes = max_body_bytes
        self._counters = counters
        reasons = ("too_large", "encoding", *(reason.value for reason in MismatchReason))
        counters.declare(REFUSED, "Requests refused before their body was parsed.", reason=reasons)

    async def webhook(self, request: web.Request) -> tuple[bytes, int]:
        """Return the raw body of a webhook, and when its last byte had been read (wall clock, ns).

        Raises the HTTP error to answer with.
        """
        return await self._body(request, self._webhooks, lambda message, _: error_text(message))

    async def llm(self, request: web.Request) -> tuple[bytes, int]:
        """The same for a custom-LLM request, whose peer reads OpenAI's error object."""
        return await self._body(request, self._llm, _openai_error_text)

    async def _body(self, request: web.Request, verifier: Verifier, form: Form) -> tuple[bytes, int]:
        # aiohttp hands out inflated bytes, and the signature covers those that were sent.
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            self._counters.add(REFUSED, reason="encoding")
            text = form("send the body without Content-Encoding", "unsupported_encoding")
            raise web.HTTPUnsupportedMediaType(text=text, content_type="application/json")
        if (request.content_length or 0) > self._max_body_bytes:
            raise self._too_large(form)
        try:
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise self._too_large(form) from None
        received_ns = time.time_ns()
        # Put together here: `request.url` raises at a Host header that is none.
        url = f"{request.scheme}://{request.host}{request.path_qs}" if verifier.signs_url else ""
        try:
            verifier.verify(request.headers, method=request.method, url=url, body=raw, now_s=received_ns / 1e9)
        except SignatureMismatch as error:
            self._counters.add(REFUSED, reason=error.reason.value)
            text = form("the request is not signed as configured", "invalid_api_key")
            raise web.HTTPUnauthorized(text=text, content_type="application/json") from None
        return raw, received_ns

    def _too_large(self, form: Form) -> web.HTTPException:
        self._counters.add(REFUSED, reason="too_large")
        return web.HTTPRequestEntityTooLarge(
            max_size=self._max_body_bytes,
            text=form(f"the body is larger than {self._max_body_bytes} bytes", "request_too_large"),
            content_type="application/json",
        )


def refused(status: int, message: str, *, retry_after_s: int = 0) -> web.Response:
    """Return an error as JSON: what is wrong and what would be right, nothing of what was sent."""
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s else {}
    return web.Response(status=status, text=error_text(message), content_type="application/json", headers=headers)


def error_text(message: str) -> str:
    """Return the body of an error."""
    return orjson.dumps({"error": message}).decode()


def _openai_error_text(message: str, code: str) -> str:
    return vapi_llm.error_body(message, kind="invalid_request_error", code=code).decode()
