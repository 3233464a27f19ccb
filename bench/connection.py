"""A keep-alive HTTP/1.1 connection that costs its process little: requests are bytes, of answers the status counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

_LENGTH = b"Content-Length: "

OnAnswer = Callable[["Connection", int], None]
"""Called with the status of each answer; 0 when the connection was lost with a request open."""


class Connection(asyncio.Protocol):
    """One request at a time, answered with a body of known length."""

    __slots__ = ("_busy", "_on_answer", "_rest", "_transport", "tag")

    def __init__(self, on_answer: OnAnswer) -> None:
        self.tag = 0
        """Whatever the user wants to remember of the request that is open."""
        self._on_answer = on_answer
        self._busy = False
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> None:
        assert self._transport is not None
        self._busy = True
        self._transport.write(request)

    def close(self) -> None:
        self._busy = False
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or len(data) < end + 4 + _body_length(data, end):
            self._rest = data
            return
        self._rest = b""
        self._busy = False
        self._on_answer(self, int(data[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        if self._busy:
            self._busy = False
            self._on_answer(self, 0)


async def connect(count: int, port: int, on_answer: OnAnswer) -> list[Connection]:
    """Open connections to loopback."""
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(lambda: Connection(on_answer), "127.0.0.1", port) for _ in range(count)]
    return [connection for _, connection in opened]


def _body_length(data: bytes, end: int) -> int:
    at = data.find(_LENGTH, 0, end)
    return int(data[at + len(_LENGTH) : data.find(b"\r\n", at)]) if at >= 0 else 0
