"""Our OAuth2 token endpoint over HTTP."""

from __future__ import annotations

import time

import orjson
from aiohttp import web
from svc_runtime.metrics import Counters

from ingress_svc.domain import oauth

TOKENS = "voicemesh.oauth.tokens"
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class Tokens:
    """`POST /oauth/token`. Keeps nothing: a token proves itself, at every ingress."""

    def __init__(self, endpoint: oauth.TokenEndpoint, counters: Counters) -> None:
        self._endpoint = endpoint
        self._counters = counters
        answers = ("issued", *(code.value for code in oauth.ErrorCode))
        counters.declare(TOKENS, "Requests for an OAuth2 token by how they were answered.", answer=answers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            raw = await _body(request)
            issued = self._endpoint.issue(request.headers.get("Authorization", ""), raw, time.time())
        except oauth.Refused as refusal:
            return self._refused(refusal)
        self._counters.add(TOKENS, answer="issued")
        answer = {"access_token": issued.access_token, "token_type": "Bearer", "expires_in": issued.expires_in_s}
        return web.Response(body=orjson.dumps(answer), content_type="application/json", headers=_NO_STORE)

    def _refused(self, refusal: oauth.Refused) -> web.Response:
        self._counters.add(TOKENS, answer=refusal.code.value)
        unknown = refusal.code is oauth.ErrorCode.INVALID_CLIENT
        headers = _NO_STORE | ({"WWW-Authenticate": 'Basic realm="voicemesh"'} if unknown else {})
        answer = {"error": refusal.code.value, "error_description": str(refusal)}
        return web.Response(
            status=401 if unknown else 400,
            body=orjson.dumps(answer),
            content_type="application/json",
            headers=headers,
        )


async def _body(request: web.Request) -> bytes:
    raw = b""
    async for chunk in request.content.iter_chunked(oauth.MOST_FORM_BYTES):
        raw += chunk
        if len(raw) > oauth.MOST_FORM_BYTES:
            text = f"the form is larger than {oauth.MOST_FORM_BYTES} bytes"
            raise oauth.Refused(oauth.ErrorCode.INVALID_REQUEST, text)
    return raw
