"""Vapi's end of live call control on loopback: what it takes, how it answers, and how it fails.

As Vapi does, it answers `Connection: close` to everything, knows its calls by the path, takes bare JSON, and refuses
with 4xx once a call is over.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

CALL = "01a02b10-7c1e-7d5a-9f3e-2b6c8d0e4f11"
_CONTROLS = {"mute-assistant", "unmute-assistant", "mute-customer", "unmute-customer", "say-first-message"}
_PHRASES = {
    200: "OK",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    429: "Too Many Requests",
}


class Mode(Enum):
    """How one request is answered."""

    WELL = "well"
    SLOW = "nothing for as long as the client waits"
    DROP = "closed without an answer"
    TORN = "closed in the middle of the status line"
    HALF = "200, then a body that never comes"
    ENDLESS = "200, then a body without an end"


@dataclass(slots=True)
class FakeControl:
    """What the server does, and what it has seen."""

    script: list[Mode | int] = field(default_factory=list)
    """How the next requests are answered, a number being a status; all others well."""
    calls: set[str] = field(default_factory=lambda: {CALL})
    """Calls that are live."""
    taken: list[dict[str, Any]] = field(default_factory=list)
    """Bodies that were accepted, in order."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Bodies of all requests."""
    heads: list[str] = field(default_factory=list)
    """Request line and headers of each."""
    at_once: int = 0
    most_at_once: int = 0
    port: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a request has been read."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client leaves a request that is not answered."""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    """Slow answers come once it is set."""

    def url(self, call: str = CALL, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{call}/control"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: one request, for the answer closes it."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length:")
            )
            asked = json.loads(await reader.readexactly(length))
            self.heads.append(head)
            self.asked.append(asked)
            self.arrived.set()
            await self._answer(self.script.pop(0) if self.script else Mode.WELL, head, asked, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            self.at_once -= 1
            writer.close()

    async def _answer(
        self,
        mode: Mode | int,
        head: str,
        asked: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        if mode is Mode.SLOW:
            await self._wait(reader)
        if mode is Mode.DROP:
            return
        if mode is Mode.TORN:
            writer.write(b"HTTP/1.1 2")
            return
        status = mode if isinstance(mode, int) else self._judge(head, asked)
        if status == 200:
            self.taken.append(asked)
        length = {Mode.HALF: 17, Mode.ENDLESS: 1 << 40}.get(mode, 0) if isinstance(mode, Mode) else 0
        writer.write(_answer_head(status, length))
        await writer.drain()
        while mode in (Mode.HALF, Mode.ENDLESS):
            if mode is Mode.ENDLESS:
                writer.write(b"x" * 65_536)
                await writer.drain()
            else:
                await self._wait(reader)
                return

    async def _wait(self, reader: asyncio.StreamReader) -> None:
        """Wait to be let on, or for the client to leave."""
        gone = asyncio.ensure_future(reader.read())
        go_on = asyncio.ensure_future(self.go_on.wait())
        done, waiting = await asyncio.wait({gone, go_on}, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        if gone in done:
            raise ConnectionResetError

    def _judge(self, head: str, asked: dict[str, Any]) -> int:
        """Return the status for a command, as its call and its form deserve."""
        method, path, _ = head.split("\r\n")[0].split(" ")
        call = path.removesuffix("/control").strip("/")
        if method != "POST" or call not in self.calls:
            return 404
        if not _well_formed(asked):
            return 400
        if asked["type"] in ("end-call", "transfer"):
            self.calls.discard(call)
        return 200


def _well_formed(asked: dict[str, Any]) -> bool:
    kind = asked.get("type")
    if kind == "say":
        return isinstance(asked.get("content"), str)
    if kind == "add-message":
        message = asked.get("message", {})
        return message.get("role") in ("system", "user", "assistant") and isinstance(message.get("content"), str)
    if kind == "control":
        return asked.get("control") in _CONTROLS
    if kind == "transfer":
        return asked.get("destination", {}).get("type") in ("number", "sip")
    return bool(kind == "end-call")


def _answer_head(status: int, length: int) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {_PHRASES.get(status, 'Status')}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
        "Connection: close",
    ]
    if status == 302:
        lines.append("Location: http://127.0.0.1:1/elsewhere")
    return "\r\n".join([*lines, "", ""]).encode()


@asynccontextmanager
async def control_server() -> AsyncIterator[FakeControl]:
    """Run the server on a free port of loopback."""
    fake = FakeControl()
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
