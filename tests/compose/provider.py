"""A model's server with a bad day: which one, the model's name says."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

WORDS = ("It ", "is ", "four ", "o'clock ", "and ", "all ", "is ", "well. ")
DRIP_S = 0.5


async def complete(request: web.Request) -> web.StreamResponse:
    day = (await request.json())["model"]
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    if day == "stalls":
        await asyncio.Event().wait()
    for number, word in enumerate(WORDS):
        await response.write(chunk({"content": word}, None))
        if day == "drips":
            await asyncio.sleep(DRIP_S)
        if day == "dies" and number == 2 and request.transport is not None:
            request.transport.abort()
            return response
    await response.write(chunk({}, "stop"))
    await response.write(b"data: [DONE]\n\n")
    return response


def chunk(delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


async def ready(_: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": []})


app = web.Application()
app.router.add_post("/v1/chat/completions", complete)
app.router.add_get("/{path:.*}", ready)
web.run_app(app, port=8080, access_log=None)
