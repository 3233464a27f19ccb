"""Vapi's custom-LLM endpoint: OpenAI chat completions over HTTP."""

from __future__ import annotations

import secrets

import orjson
from aiohttp import web
from svc_runtime.metrics import Counters
from svc_runtime.telemetry import parse_traceparent

from ingress_svc.adapters.calls import Calls
from ingress_svc.adapters.guard import Guard
from ingress_svc.domain import vapi_llm

REQUESTS = "voicemesh.llm.requests"
DROPPED = "voicemesh.llm.dropped_messages"


class CustomLlm:
    """`POST /vapi/llm` and its longer spellings. The answer is cancelled when the peer goes away."""

    def __init__(self, *, guard: Guard, calls: Calls, counters: Counters) -> None:
        self._guard = guard
        self._calls = calls
        self._counters = counters
        counters.declare(REQUESTS, "Requests for an answer.", answer=("served", "refused", "peer_closed"))
        counters.declare(DROPPED, "Messages of requests left out because their role is unknown.")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw, received_ns = await self._guard.llm(request)
        try:
            body = orjson.loads(raw)
            asked = vapi_llm.decode(body, header_call_id=request.headers.get("x-call-id"))
        except orjson.JSONDecodeError:
            return self._refused(vapi_llm.error_body("the body must be JSON in UTF-8", kind="invalid_request_error"))
        except vapi_llm.BadRequest as error:
            return self._refused(error.body())
        if asked.dropped_messages:
            self._counters.add(DROPPED, asked.dropped_messages)
        # A request that names no call (metadataSendMode off, or somebody trying the endpoint) is a call of its own.
        call_id = asked.call_id or f"vapi:unnamed-{secrets.token_hex(8)}"
        outside = request.headers.get("traceparent")
        attachment = self._calls.attach(
            call_id,
            asked,
            body=body,
            received_ns=received_ns,
            outside=parse_traceparent(outside) if outside else None,
        )
        answer = "peer_closed"
        try:
            response = await attachment.respond(request)
            answer = "served"
            return response
        finally:
            self._counters.add(REQUESTS, answer=answer)
            self._calls.detach(call_id, attachment, answered=answer == "served")

    def _refused(self, body: bytes) -> web.Response:
        self._counters.add(REQUESTS, answer="refused")
        return web.Response(status=400, body=body, content_type="application/json")
