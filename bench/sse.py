"""The listening end of a streamed answer, at the cost of a few comparisons."""

from __future__ import annotations

import asyncio
import time
from typing import cast

_LAST_CHUNK = b"0\r\n\r\n"
_TEXT = b'"content"'


class Stream(asyncio.Protocol):
    """One answer at a time on one connection. Times in nanoseconds of the monotonic clock."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.first: asyncio.Future[int] = loop.create_future()
        """Done with the time of the first text."""
        self.end: asyncio.Future[int] = loop.create_future()
        """Done with the time of the last byte, or with 0 when the connection was lost before it."""
        self.tail = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.first, self.end, self.tail = loop.create_future(), loop.create_future(), b""
        assert self._transport is not None
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        if not self.first.done() and _TEXT in data:
            self.first.set_result(now_ns)
        self.tail = (self.tail + data)[-256:]
        if self.tail.endswith(_LAST_CHUNK) and not self.end.done():
            self.end.set_result(now_ns)

    def connection_lost(self, error: Exception | None) -> None:
        for future in (self.first, self.end):
            if not future.done():
                future.set_result(0)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def listen(port: int) -> Stream:
    """Open a connection to loopback."""
    _, stream = await asyncio.get_running_loop().create_connection(Stream, "127.0.0.1", port)
    return stream
