"""The connections of the public port: plain webhooks are read here, every other request by aiohttp.

Webhooks are nearly all that arrives, and aiohttp's share of one was as large as all that ingress does for it. So a
connection begins here. The first request on it that is no plain webhook takes it to aiohttp for good, with all bytes
that were read and not served; aiohttp has the same handler for webhooks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Protocol, cast

from svc_runtime import logs

from ingress_svc.adapters.reply import Reply, SendReply, message, refused
from ingress_svc.domain import plain_http

_MOST_HEAD_BYTES = 16_384
_MOST_AHEAD_BYTES = 65_536
"""What a client may send before the request in front of it is answered."""
_SWEEP_S = 5.0


class Receive(Protocol):
    """Takes a webhook that was read whole; ``url`` is the one that it was sent to."""

    def __call__(self, headers: Mapping[str, str], raw: bytes, *, url: str, reply: SendReply) -> None: ...


class Front:
    """What the connections of one port share. Made on the loop that serves them."""

    def __init__(
        self,
        receive: Receive,
        *,
        paths: tuple[str, ...],
        other: Callable[[], asyncio.Protocol],
        draining: Callable[[], bool],
        max_body_bytes: int,
        keep_alive_s: float,
    ) -> None:
        self.receive = receive
        self.paths = frozenset(paths)
        self.starts = tuple(f"POST {path} ".encode() for path in paths)
        self.other = other
        self.draining = draining
        self.max_body_bytes = max_body_bytes
        self.connections: set[Connection] = set()
        self._keep_alive_s = keep_alive_s
        self._date = (0, "")
        self._empty = asyncio.Event()
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._keep_swept)

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return Connection(self)

    def date(self) -> str:
        """Return the value of a Date header."""
        now_s = int(time.time())
        if self._date[0] != now_s:
            self._date = now_s, formatdate(now_s, usegmt=True)
        return self._date[1]

    def left(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    async def close(self, within_s: float) -> None:
        """Let what is being answered end, for so long, and close everything."""
        self._sweeper.cancel()
        for connection in list(self.connections):
            connection.close_if_idle()
        self._empty.clear()
        if self.connections:
            try:
                async with asyncio.timeout(within_s):
                    await self._empty.wait()
            except TimeoutError:
                pass
        for connection in list(self.connections):
            connection.abort()

    def sweep(self, now_s: float) -> None:
        """Close what has been idle for the keep-alive time, half-sent requests included."""
        for connection in list(self.connections):
            if connection.touched_s < now_s - self._keep_alive_s:
                connection.close_if_idle()

    def _keep_swept(self) -> None:
        self.sweep(time.monotonic())
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._keep_swept)


class Connection(asyncio.Protocol):
    """One connection, one request at a time; what comes before its answer waits."""

    def __init__(self, front: Front) -> None:
        self.touched_s = time.monotonic()
        """When it was opened, or last answered."""
        self._front = front
        self._transport: asyncio.Transport | None = None
        self._data = b""
        """Read, and not served yet."""
        self._chunks: list[bytes] = []
        """More of it: a large body is put together once."""
        self._missing = 0
        """Bytes until the request at the front is whole; 0 while that is not known."""
        self._head: plain_http.Head | None = None
        self._busy = False
        self._jammed = False
        """The client does not read its answers."""
        self._held_back = False
        """It sends more than may wait, so nothing more is read for now."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._front.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._front.left(self)

    def pause_writing(self) -> None:
        self._jammed = True

    def resume_writing(self) -> None:
        self._jammed = False
        self._serve()

    def data_received(self, data: bytes) -> None:
        if self._missing > len(data):
            self._missing -= len(data)
            self._chunks.append(data)
            return
        self._missing = 0
        if self._data or self._chunks:
            self._data = b"".join((self._data, *self._chunks, data))
            self._chunks.clear()
        else:
            self._data = data
        if not self._busy and not self._jammed:
            self._serve()
        elif len(self._data) > _MOST_AHEAD_BYTES and self._transport is not None:
            self._held_back = True
            self._transport.pause_reading()

    def close_if_idle(self) -> None:
        if not self._busy and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _serve(self) -> None:
        """Serve what has been read, until something has to be waited for."""
        while self._data and not (self._busy or self._jammed or self._transport is None):
            head = self._head
            if head is None:
                end = self._data.find(b"\r\n\r\n") + 4
                if end < 4:
                    if len(self._data) > _MOST_HEAD_BYTES or not self._may_be_ours():
                        self._hand_over()
                    return
                head = plain_http.read(self._data[:end])
                if head is None or head.path not in self._front.paths or head.body_bytes > self._front.max_body_bytes:
                    self._hand_over()
                    return
                self._data = self._data[end:]
                self._head = head
            if len(self._data) < head.body_bytes:
                self._missing = head.body_bytes - len(self._data)
                return
            raw, self._data = self._data[: head.body_bytes], self._data[head.body_bytes :]
            self._head = None
            self._receive(head, raw)

    def _may_be_ours(self) -> bool:
        return any(self._data[: len(start)] == start[: len(self._data)] for start in self._front.starts)

    def _receive(self, head: plain_http.Head, raw: bytes) -> None:
        self._busy = True
        url = f"http://{head.headers['host']}{head.path}"
        try:
            self._front.receive(head.headers, raw, url=url, reply=self._reply)
        except Exception as error:  # noqa: BLE001 - the last line before the wire
            logs.get().exception("request.failed", error, path=head.path)
            if self._busy:
                self._reply(refused(500, "the request could not be handled; see the log of ingress-svc"))

    def _reply(self, reply: Reply) -> None:
        transport = self._transport
        self._busy = False
        self.touched_s = time.monotonic()
        if transport is None or transport.is_closing():
            return
        close = self._front.draining()
        transport.write(message(reply, date=self._front.date(), close=close))
        if close:
            # What came behind it has no effect either: nobody would hear of that.
            self._data = b""
            transport.close()
            return
        if self._held_back:
            self._held_back = False
            transport.resume_reading()
        if self._data:
            asyncio.get_running_loop().call_soon(self._serve)

    def _hand_over(self) -> None:
        """Leave the connection to aiohttp."""
        transport, data = self._transport, self._data
        assert transport is not None
        self._transport, self._data = None, b""
        self._front.left(self)
        protocol = self._front.other()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)
