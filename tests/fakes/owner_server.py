"""The owner's own server on loopback: what it was asked, and how it answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class FakeOwner:
    """Answers everything alike, as it is told."""

    answer: Any = field(default_factory=dict)
    """Sent as JSON; bytes as they are."""
    status: int = 200
    asked: list[dict[str, Any]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared, every answer waits."""
    left: int = 0
    """Clients that did not wait for theirs."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/ask"

    async def handle(self, request: web.BaseRequest) -> web.Response:
        raw = await request.read()
        self.raw.append(raw)
        self.asked.append(json.loads(raw))
        self.headers.append(dict(request.headers))
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        if isinstance(self.answer, bytes):
            return web.Response(body=self.answer, status=self.status, headers={"Location": "/elsewhere"})
        return web.json_response(self.answer, status=self.status)


@asynccontextmanager
async def owner_server() -> AsyncIterator[FakeOwner]:
    fake = FakeOwner()
    fake.go_on.set()
    server = web.Server(fake.handle, handler_cancellation=True, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    fake.port = listening.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        fake.go_on.set()
        listening.close()
        await server.shutdown(1.0)
