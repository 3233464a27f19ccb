"""An owner's endpoint for a tool, on loopback: what it was asked, how it answers, and how it fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Mode(Enum):
    """How one request is answered."""

    SLOW = "nothing for as long as the client waits"
    DROP = "closed without an answer"
    CUT = "closed in the middle of the body"
    ENDLESS = "200, then a body without an end"
    GARBAGE = "what is no HTTP"


@dataclass(frozen=True, slots=True)
class Says:
    """An answer."""

    body: str = ""
    status: int = 200
    kind: str = "application/json"
    headers: tuple[str, ...] = ()


@dataclass(slots=True)
class Asked:
    """A request that came."""

    path: str
    headers: dict[str, str]
    """By names in lower case."""
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.raw)
        return found


@dataclass(slots=True)
class ToolEndpoint:
    """What the server does, and what it has seen."""

    script: list[Mode | Says] = field(default_factory=list)
    """How the next requests are answered; all others with their arguments."""
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a request has been read."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client leaves a request that is not answered."""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    """Slow answers come once it is set."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/tools/echo"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: one request."""
        try:
            asked = await _read(reader)
            self.asked.append(asked)
            self.arrived.set()
            mode = self.script.pop(0) if self.script else Says(json.dumps(asked.body["arguments"]))
            await self._answer(mode, asked, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            writer.close()

    async def _answer(
        self, mode: Mode | Says, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if mode is Mode.SLOW:
            await self._wait(reader)
            mode = Says(json.dumps(asked.body["arguments"]))
        if isinstance(mode, Says):
            writer.write(_head(mode, len(mode.body.encode())) + mode.body.encode())
        elif mode is Mode.CUT:
            writer.write(_head(Says(), 1_000) + b'{"half":')
        elif mode is Mode.GARBAGE:
            writer.write(b"220 mail.example.org ESMTP\r\n")
        elif mode is Mode.ENDLESS:
            writer.write(_head(Says(), 1 << 40))
            while True:
                writer.write(b'"' + b"x" * 65_536)
                await writer.drain()
        await writer.drain()

    async def _wait(self, reader: asyncio.StreamReader) -> None:
        """Wait to be let on, or for the client to leave."""
        gone = asyncio.ensure_future(reader.read())
        go_on = asyncio.ensure_future(self.go_on.wait())
        done, waiting = await asyncio.wait({gone, go_on}, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        if gone in done:
            raise ConnectionResetError


async def _read(reader: asyncio.StreamReader) -> Asked:
    request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Asked(request.split(" ")[1], headers, await reader.readexactly(int(headers["content-length"])))


def _head(says: Says, length: int) -> bytes:
    lines = [f"HTTP/1.1 {says.status} Status", f"Content-Length: {length}", *says.headers]
    if says.kind:
        lines.append(f"Content-Type: {says.kind}")
    return "\r\n".join([*lines, "", ""]).encode()


@asynccontextmanager
async def tool_endpoint() -> AsyncIterator[ToolEndpoint]:
    """Run the server on a free port of loopback."""
    fake = ToolEndpoint()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await fake.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
