"""Vapi's REST API on loopback: what it keeps, what it replaces, and what it refuses."""

from __future__ import annotations

import base64
import copy
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

KEY = "vapi-private-key"
ASSISTANT = "9c2f7a10-5b1e-4c3d-8a77-1f0e2d3c4b5a"
NUMBER = "2d8e6f4c-3a1b-4e5d-9c70-6b5a4f3e2d1c"
VOICE_CREDENTIAL = "11111111-1111-4111-8111-111111111111"
_LONGEST_NAME = 40
_READ_ONLY = ("id", "orgId", "createdAt", "updatedAt", "latestVersion")
_SERVER_MESSAGES = {
    "assistant.started",
    "assistant.speechStarted",
    "conversation-update",
    "end-of-call-report",
    "function-call",
    "hang",
    "handoff-destination-request",
    "model-output",
    "phone-call-control",
    "speech-update",
    "status-update",
    "tool-calls",
    "transcript",
    'transcript[transcriptType="final"]',
    "transfer-destination-request",
    "transfer-update",
    "user-interrupted",
    "voice-input",
}
_RANGES = {
    "stopSpeakingPlan.numWords": (0, 10),
    "stopSpeakingPlan.voiceSeconds": (0, 0.5),
    "stopSpeakingPlan.backoffSeconds": (0, 10),
    "startSpeakingPlan.waitSeconds": (0, 5),
    "server.timeoutSeconds": (1, 300),
    "server.backoffPlan.maxRetries": (0, 10),
    "server.backoffPlan.baseDelaySeconds": (0, 10),
    "model.timeoutSeconds": (0, 300),
}
_CUSTOM_LLM_FIELDS = {
    *("messages", "tools", "toolIds", "toolRefs", "knowledgeBase", "provider", "metadataSendMode", "headers", "url"),
    *("wordLevelConfidenceEnabled", "timeoutSeconds", "model", "temperature", "maxTokens"),
    *("emotionRecognitionEnabled", "numFastTurns"),
}


def assistant() -> dict[str, Any]:
    """Return an assistant as its owner has made it in the dashboard."""
    return {
        "id": ASSISTANT,
        "orgId": "3f0b6d0e-6a55-4a55-9d52-0d6f3c8d6a01",
        "createdAt": "2026-08-01T10:00:00.000Z",
        "updatedAt": "2026-08-20T10:00:00.000Z",
        "name": "Robin",
        "firstMessage": "Trattoria Uno, good evening.",
        "model": {
            "provider": "openai",
            "model": "gpt-4.1-mini",
            "temperature": 0.3,
            "messages": [{"role": "system", "content": "You are Robin. Keep answers short."}],
            "toolIds": ["0a0a0a0a-0000-4000-8000-000000000001"],
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "book_table", "parameters": {"type": "object", "properties": {}}},
                    "server": {"url": "https://tools.example.com/book"},
                }
            ],
            "fallbackModels": ["gpt-4.1-nano"],
        },
        "voice": {"provider": "11labs", "voiceId": "sarah"},
        "transcriber": {"provider": "deepgram", "model": "nova-3", "language": "en"},
        "server": {"url": "https://old.example.com/hook?token=hunter2", "headers": {"Authorization": "Bearer hunter3"}},
        "stopSpeakingPlan": {"numWords": 2, "voiceSeconds": None},
    }


def phone_number() -> dict[str, Any]:
    """Return a number that a squad answers."""
    return {
        "id": NUMBER,
        "provider": "twilio",
        "number": "+15005550006",
        "twilioAccountSid": "AC" + "0" * 32,
        "twilioAuthToken": "hunter4",
        "squadId": "5c000000-0000-4000-8000-000000000001",
    }


@dataclass(slots=True)
class FakeVapiApi:
    """What the organisation has, how Vapi behaves today, and what it was asked."""

    assistants: dict[str, dict[str, Any]] = field(default_factory=lambda: {ASSISTANT: assistant()})
    numbers: dict[str, dict[str, Any]] = field(default_factory=lambda: {NUMBER: phone_number()})
    credentials: list[dict[str, Any]] = field(
        default_factory=lambda: [{"id": VOICE_CREDENTIAL, "provider": "11labs", "name": "voice", "apiKey": "hunter5"}]
    )
    busy: int = 0
    """So many requests from now on are answered ``busy_status``."""
    busy_status: int = 429
    loses: set[str] = field(default_factory=set)
    """serverMessages that a PATCH silently loses."""
    lists_credentials: bool = True
    makes_credentials: bool = True
    takes_null: bool = True
    dislikes_everyone: bool = False
    """Cloudflare refuses this network."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of each request that got past Cloudflare and the key."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    """Of the requests that change something."""
    url: str = ""

    # --- what each route does

    async def list_credentials(self, _: web.Request) -> web.Response:
        if not self.lists_credentials:
            return _refused(404, "Cannot GET /credential")
        return web.json_response([_without(item, "apiKey", "authenticationPlan") for item in self.credentials])

    async def make_credential(self, request: web.Request) -> web.Response:
        if not self.makes_credentials:
            return _refused(403, "Forbidden resource")
        body = await self._body(request)
        problems = list(_credential_problems(body))
        if problems:
            return _refused(400, problems)
        made = {**body, "id": f"cccccccc-0000-4000-8000-{len(self.credentials):012d}"}
        self.credentials.append(made)
        return web.json_response(_without(made, "apiKey", "authenticationPlan"), status=201)

    async def get_assistant(self, request: web.Request) -> web.Response:
        return self._get(self.assistants, request.match_info["id"])

    async def patch_assistant(self, request: web.Request) -> web.Response:
        kept = self.assistants.get(request.match_info["id"])
        if kept is None:
            return _refused(404, "Not Found")
        body = await self._body(request)
        problems = [*_assistant_problems(body), *self._unknown_credentials(body), *self._nulls(body)]
        if problems:
            return _refused(400, problems)
        _lay(kept, body)
        if "serverMessages" in kept:
            kept["serverMessages"] = [message for message in kept["serverMessages"] if message not in self.loses]
        return self._get(self.assistants, request.match_info["id"])

    async def get_number(self, request: web.Request) -> web.Response:
        return self._get(self.numbers, request.match_info["id"])

    async def patch_number(self, request: web.Request) -> web.Response:
        kept = self.numbers.get(request.match_info["id"])
        if kept is None:
            return _refused(404, "Not Found")
        body = await self._body(request)
        if body.get("provider") != kept["provider"]:
            return _refused(
                400, ["provider must be one of the following values: byo-phone-number, twilio, vonage, vapi"]
            )
        _lay(kept, body)
        if sum(bool(kept.get(name)) for name in ("assistantId", "squadId", "workflowId")) > 1:
            return _refused(400, ["only one of assistantId, squadId, workflowId may be set"])
        return self._get(self.numbers, request.match_info["id"])

    def _get(self, kept: dict[str, dict[str, Any]], id_: str) -> web.Response:
        if id_ not in kept:
            return _refused(404, "Not Found")
        shown = copy.deepcopy(kept[id_])
        for inline in shown.get("credentials") or []:
            inline.pop("apiKey", None)
        return web.json_response(shown)

    async def _body(self, request: web.Request) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(await request.read())
        self.bodies.append(body)
        return body

    def _unknown_credentials(self, body: dict[str, Any]) -> Iterator[str]:
        known = {item["id"] for item in self.credentials}
        named = [*(body.get("credentialIds") or []), (body.get("server") or {}).get("credentialId")]
        yield from (f"credential {id_} does not exist" for id_ in named if id_ and id_ not in known)

    def _nulls(self, body: dict[str, Any]) -> Iterator[str]:
        if not self.takes_null:
            yield from (f"{name} must not be null" for name, value in body.items() if value is None)

    # --- what stands before each of them

    @web.middleware
    async def _gate(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        agent = request.headers.get("User-Agent", "")
        if self.dislikes_everyone or not agent or agent.startswith("Python/"):
            text = "<html><title>Access denied | api.vapi.ai used Cloudflare</title>error code: 1010</html>"
            return web.Response(status=403, text=text, content_type="text/html")
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _refused(401, f"Invalid Key {request.headers.get('Authorization')}")
        self.requests.append((request.method, request.path))
        if self.busy:
            self.busy -= 1
            return _refused(self.busy_status, "Too Many Requests")
        return await handler(request)


@asynccontextmanager
async def vapi_api() -> AsyncIterator[FakeVapiApi]:
    """Run it on a free port; ``url`` is what goes into --base-url."""
    fake = FakeVapiApi()
    app = web.Application(middlewares=[fake._gate])
    app.router.add_get("/credential", fake.list_credentials)
    app.router.add_post("/credential", fake.make_credential)
    app.router.add_get("/assistant/{id}", fake.get_assistant)
    app.router.add_patch("/assistant/{id}", fake.patch_assistant)
    app.router.add_get("/phone-number/{id}", fake.get_number)
    app.router.add_patch("/phone-number/{id}", fake.patch_number)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()


def _lay(kept: dict[str, Any], body: dict[str, Any]) -> None:
    """PATCH replaces every nested object and list it is given; null unsets."""
    for name, value in body.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = copy.deepcopy(value)


def _credential_problems(body: dict[str, Any]) -> Iterator[str]:
    if len(body.get("name", "")) > _LONGEST_NAME:
        yield f"name must be shorter than or equal to {_LONGEST_NAME} characters"
    if body.get("provider") == "custom-llm":
        if not body.get("apiKey"):
            yield "apiKey should not be empty"
    elif body.get("provider") == "custom-credential":
        plan = body.get("authenticationPlan")
        if not isinstance(plan, dict):
            yield "authenticationPlan must be an object"
        else:
            yield from _plan_problems(plan)
    else:
        yield "provider must be one of the following values: custom-llm, custom-credential"


_PLANS: dict[str, tuple[set[str], set[str]]] = {
    "hmac": (
        {"secretKey", "algorithm"},
        {
            *("signatureHeader", "timestampHeader", "signaturePrefix", "includeTimestamp", "payloadFormat"),
            *("messageIdHeader", "signatureEncoding", "secretIsBase64"),
        },
    ),
    "bearer": ({"token"}, {"headerName", "bearerPrefixEnabled"}),
    "oauth2": ({"url", "clientId", "clientSecret"}, {"scope"}),
}
"""By type: what a plan must have, and what else it may."""


def _plan_problems(plan: dict[str, Any]) -> Iterator[str]:
    needed, others = _PLANS.get(plan.get("type", ""), (set(), set()))
    if not needed:
        yield "authenticationPlan.type must be one of the following values: oauth2, hmac, bearer"
    yield from (f"authenticationPlan.{name} should not be empty" for name in needed if not plan.get(name))
    strange = set(plan) - needed - others - {"type"}
    yield from (f"authenticationPlan.property {name} should not exist" for name in strange if needed)


def proven(plan: dict[str, Any], body: bytes, url: str, *, token: str = "", now_s: float = 0.0) -> dict[str, str]:
    """Return the headers that Vapi sends with ``body`` under a credential's plan, by its documented defaults."""
    if plan["type"] == "oauth2":
        return {"Authorization": f"Bearer {token}"}
    if plan["type"] == "bearer":
        prefix = "Bearer " if plan.get("bearerPrefixEnabled", True) else ""
        return {plan.get("headerName", "Authorization"): prefix + plan["token"]}
    stamp = str(int((now_s or time.time()) * 1000))
    text = plan.get("payloadFormat", "{timestamp}.{body}").encode("latin-1")
    named = {b"{timestamp}": stamp.encode(), b"{method}": b"POST", b"{url}": url.encode(), b"{svix-id}": b"msg_7"}
    for name, value in {**named, b"{body}": body}.items():
        text = text.replace(name, value)
    secret = plan["secretKey"]
    key = base64.b64decode(secret.removeprefix("whsec_")) if plan.get("secretIsBase64") else secret.encode()
    digest = hmac.digest(key, text, plan["algorithm"])
    shown = digest.hex() if plan.get("signatureEncoding", "hex") == "hex" else base64.b64encode(digest).decode()
    headers = {plan.get("signatureHeader", "x-signature"): plan.get("signaturePrefix", "") + shown}
    if plan.get("includeTimestamp", True):
        headers[plan.get("timestampHeader", "x-timestamp")] = stamp
    if plan.get("messageIdHeader"):
        headers[plan["messageIdHeader"]] = "msg_7"
    return headers


def _assistant_problems(body: dict[str, Any]) -> Iterator[str]:
    yield from (f"property {name} should not exist" for name in _READ_ONLY if name in body)
    if len(body.get("name") or "") > _LONGEST_NAME:
        yield f"name must be shorter than or equal to {_LONGEST_NAME} characters"
    for path, (least, most) in _RANGES.items():
        value: Any = body
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None and not least <= value <= most:
            yield f"{path} must not be less than {least} or greater than {most}"
    for message in body.get("serverMessages") or []:
        if message not in _SERVER_MESSAGES:
            yield f"each value in serverMessages must be one of the following values; {message} is none"
    model = body.get("model")
    if model is not None:
        yield from _model_problems(model)


def _model_problems(model: dict[str, Any]) -> Iterator[str]:
    if not model.get("provider"):
        yield "model.provider must be one of the following values: custom-llm, openai, …"
    elif model["provider"] == "custom-llm":
        yield from (f"model.property {name} should not exist" for name in model if name not in _CUSTOM_LLM_FIELDS)
        yield from (f"model.{name} should not be empty" for name in ("url", "model") if not model.get(name))


def _without(item: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in names}


def _refused(status: int, message: str | list[str]) -> web.Response:
    return web.json_response({"message": message, "error": "Refused", "statusCode": status}, status=status)
