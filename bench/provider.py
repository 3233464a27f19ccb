"""A language model's server on loopback: OpenAI's streaming chat completions, each token a note of when it was sent.

`python -m bench.provider FIRST_MS TOKEN_MS TOKENS RESULT` prints its port. A token's text is the time at which it was
written, the first one's also the time at which its request had arrived ("arrived:sent"). At SIGTERM it writes to RESULT
when each client went away before the end of its answer: [last user message, time] pairs. Nanoseconds, monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp import web
from svc_runtime import server


class Provider:
    def __init__(self, *, first_s: float, token_s: float, tokens: int) -> None:
        self.left: list[tuple[str, int]] = []
        self._first_s = first_s
        self._token_s = token_s
        self._tokens = tokens

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Serve POST /v1/chat/completions."""
        asked: dict[str, Any] = await request.json()
        arrived_ns = time.monotonic_ns()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await self._say(response, arrived_ns)
        except (asyncio.CancelledError, ConnectionError):
            self.left.append((asked["messages"][-1]["content"], time.monotonic_ns()))
            raise
        return response

    async def models(self, _: web.Request) -> web.Response:
        """Serve GET /v1/models, which warms a connection up."""
        return web.json_response({"object": "list", "data": []})

    async def _say(self, response: web.StreamResponse, arrived_ns: int) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self._first_s
        for number in range(self._tokens):
            await asyncio.sleep(due_s - loop.time())
            due_s += self._token_s
            stamp = f"{time.monotonic_ns()} "
            await response.write(_chunk({"content": stamp if number else f"{arrived_ns}:{stamp}"}))
        await response.write(_chunk({}, "stop") + b"data: [DONE]\n\n")


async def main(first_ms: float, token_ms: float, tokens: int) -> Provider:
    provider = Provider(first_s=first_ms / 1_000, token_s=token_ms / 1_000, tokens=tokens)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", provider.complete)
    app.router.add_get("/v1/models", provider.models)
    # Without it a handler learns of a client that left only when it writes.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.freeze_startup()
    print(runner.addresses[0][1], flush=True)
    await server.StopSignals().first.wait()
    await runner.cleanup()
    return provider


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    event = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "bench", "choices": [choice]}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


async def _serve() -> None:
    provider = await main(float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
    Path(sys.argv[4]).write_text(json.dumps(provider.left))  # noqa: ASYNC240 - all work is done by now


if __name__ == "__main__":
    server.run(_serve())
