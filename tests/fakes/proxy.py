"""A reverse proxy on loopback that does what proxies do to requests, right and wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum

import aiohttp
from aiohttp import web


class Manner(Enum):
    """How it passes requests on."""

    FAITHFUL = "as they are"
    REWRITES_JSON = "parses bodies and writes them again"
    SMALL = "refuses bodies over 1 MB"
    BUFFERS = "sends an answer once it has all of it"
    IMPATIENT = "gives up on an answer in the middle"
    ASKS_PASSWORD = "asks for a password below /vapi"
    ANSWERS_ITSELF = "takes everything without passing it on"
    LOST = "has nothing behind it"
    STRANGE = "serves another site"


@asynccontextmanager
async def proxy(target: str, manner: Manner) -> AsyncIterator[str]:
    """Run one in front of ``target``; yields its URL."""
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        app = web.Application(client_max_size=1_000_000 if manner is Manner.SMALL else 1 << 24)
        app.router.add_route("*", "/{path:.*}", _Proxy(http, target, manner).handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


class _Proxy:
    def __init__(self, http: aiohttp.ClientSession, target: str, manner: Manner) -> None:
        self._http = http
        self._target = target
        self._manner = manner

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        match self._manner:
            case Manner.LOST:
                return web.Response(status=502, text="Bad Gateway")
            case Manner.STRANGE:
                return web.Response(text="<html>Welcome to nginx!</html>")
            case Manner.ASKS_PASSWORD if request.path.startswith("/vapi"):
                return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
            case Manner.ANSWERS_ITSELF:
                return web.Response(text="ok")
            case Manner.REWRITES_JSON if body:
                body = json.dumps(json.loads(body), ensure_ascii=False, separators=(",", ":")).encode()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN}
        async with self._http.request(
            request.method, self._target + request.path_qs, data=body or None, headers=headers
        ) as answer:
            return await self._pass_back(request, answer)

    async def _pass_back(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in _OWN}
        if self._manner is Manner.BUFFERS:
            return web.Response(status=answer.status, headers=headers, body=await answer.read())
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
            if self._manner is Manner.IMPATIENT and b"chat.completion" in piece:
                break
        await response.write_eof()
        return response


_OWN = {"host", "content-length", "transfer-encoding", "connection", "date", "server"}
