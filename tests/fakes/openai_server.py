"""A server on loopback that speaks OpenAI's chat completions, and fails in the ways that servers fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from aiohttp import web

KEY = "test-key"


class Mode(Enum):
    """What the next completions are like."""

    WELL = "well"
    STATUS = "status"
    """Answers `FakeOpenAi.status` and an error body which quotes the prompt and the key."""
    SLOW_HEADERS = "slow headers"
    """Nothing at all for as long as the client waits."""
    STALL_FIRST = "stall before the first token"
    STALL_MIDDLE = "stall after the third token"
    CUT = "connection cut after the third token"
    CLEAN_CUT = "stream ended after the third token without a finish reason"
    MALFORMED = "a chunk that is not JSON after the third token"
    NOT_A_CHUNK = "JSON that is not a chunk after the third token"
    ERROR_EVENT = "an error object in the stream"
    TOOL_CALLS = "two tool calls"
    ONE_TOOL = "one tool call, and once its result is there the words and the result"
    FILTERED = "stopped by the content filter"
    NEVER_DONE = "finish reason, but the stream stays open"


@dataclass(slots=True)
class FakeOpenAi:
    """What the server does, and what it has seen."""

    mode: Mode = Mode.WELL
    status: int = 500
    words: Sequence[str] = ("Perfect,", " I", " can", " book", " that", ".")
    token_s: float = 0.0
    tool_call: dict[str, Any] = field(
        default_factory=lambda: {
            "index": 0,
            "id": "call-1",
            "type": "function",
            "function": {"name": "book_table", "arguments": '{"party": 4}'},
        }
    )
    requests: list[dict[str, Any]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)
    """Peer addresses of all requests: one for each connection."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a completion has been asked for."""
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client leaves a completion before its end."""
    url: str = ""

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Serve POST /v1/chat/completions."""
        asked = await request.json()
        self.requests.append(asked)
        self.asked.set()
        if request.transport is not None:
            self.connections.add(request.transport.get_extra_info("peername"))
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _error(401, f"Incorrect API key provided: {request.headers.get('Authorization')}")
        if self.mode is Mode.STATUS:
            return _error(self.status, f"cannot do this: {asked['messages'][-1]['content']}")
        try:
            return await self._stream(request, asked)
        except (asyncio.CancelledError, ConnectionError):
            self.disconnected.set()
            raise

    async def models(self, request: web.Request) -> web.Response:
        """Serve GET /v1/models."""
        if request.transport is not None:
            self.connections.add(request.transport.get_extra_info("peername"))
        return web.json_response({"object": "list", "data": []})

    async def _stream(self, request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        if self.mode is Mode.SLOW_HEADERS:
            await asyncio.Event().wait()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await _send(response, _chunk({"role": "assistant", "content": ""}))
        if self.mode is Mode.STALL_FIRST:
            await asyncio.Event().wait()
        if self.mode is Mode.ERROR_EVENT:
            await _send(response, {"error": {"message": f"overloaded by {asked['messages']}", "type": "server_error"}})
            return response
        finish = await self._say(request, response, asked)
        if finish is None:
            return response
        await _send(response, _chunk({}, finish))
        if self.mode is Mode.NEVER_DONE:
            await asyncio.Event().wait()
        if asked.get("stream_options", {}).get("include_usage"):
            usage = {"prompt_tokens": 21, "completion_tokens": len(self.words), "total_tokens": 21 + len(self.words)}
            await _send(response, {**_chunk({}), "choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _say(self, request: web.Request, response: web.StreamResponse, asked: dict[str, Any]) -> str | None:
        """Write the answer; return its finish reason, or None when the mode ends the stream here."""
        if self.mode is Mode.TOOL_CALLS:
            for delta in TOOL_CALL_DELTAS:
                await _send(response, _chunk({"tool_calls": [delta]}))
            return "tool_calls"
        told = asked["messages"][-1]
        if self.mode is Mode.ONE_TOOL and told["role"] != "tool":
            await _send(response, _chunk({"tool_calls": [self.tool_call]}))
            return "tool_calls"
        if self.mode is Mode.ONE_TOOL:
            await _send(response, _chunk({"content": f"It says: {told['content']}"}))
            return "stop"
        limit = asked.get("max_tokens", len(self.words))
        for number, word in enumerate(self.words[:limit], start=1):
            await asyncio.sleep(self.token_s)
            await _send(response, _chunk({"content": word}))
            if number == 3 and await self._break(request, response):
                return None
        if self.mode is Mode.FILTERED:
            return "content_filter"
        return "length" if limit < len(self.words) else "stop"

    async def _break(self, request: web.Request, response: web.StreamResponse) -> bool:
        """Do in mid-stream what the mode says; return whether the stream is over."""
        if self.mode is Mode.STALL_MIDDLE:
            await asyncio.Event().wait()
        if self.mode is Mode.CUT and request.transport is not None:
            request.transport.abort()
        if self.mode is Mode.MALFORMED:
            await response.write(b'data: {"choices": [{"del\n\n')
        if self.mode is Mode.NOT_A_CHUNK:
            await _send(response, {"choices": [{"delta": {"content": 17}}]})
        return self.mode in (Mode.CUT, Mode.CLEAN_CUT, Mode.MALFORMED, Mode.NOT_A_CHUNK)


TOOL_CALL_DELTAS: tuple[dict[str, Any], ...] = (
    {"index": 0, "id": "call-1", "type": "function", "function": {"name": "book_table", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"party"'}},
    {"index": 0, "function": {"arguments": ": 4}"}},
    {"index": 1, "id": "call-2", "type": "function", "function": {"name": "end_call", "arguments": "{}"}},
)


@asynccontextmanager
async def openai_server(port: int = 0) -> AsyncIterator[FakeOpenAi]:
    """Run the server, on a free port unless one is given; ``url`` is what goes into base_url."""
    fake = FakeOpenAi()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", fake.complete)
    app.router.add_get("/v1/models", fake.models)
    # Without it a handler learns of a client that left only when it writes.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield fake
    finally:
        await runner.cleanup()


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "test-model",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "error", "code": None}}, status=status)


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    await response.write(f"data: {json.dumps(event)}\n\n".encode())
