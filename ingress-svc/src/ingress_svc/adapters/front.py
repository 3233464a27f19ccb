"""The connections of the public port: plain webhooks are read here, every other request by aiohttp.

Webhooks are nearly all that arrives, and aiohttp's share of one was as large as all that ingress does for it. So a
connection begins here. The first request on it that is no plain webhook takes it to aiohttp for good, with all bytes
that were read and not served; aiohttp has the same handler for webhooks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import formatdate
from functools import partial
from typing import Protocol, cast

from svc_runtime import logs

from ingress_svc.adapters.reply import Reply, SendReply, message, refused
from ingress_svc.domain import plain_http
from ingress_svc.domain.body_room import BodyRoom

_MOST_HEAD_BYTES = 16_384
_MOST_AHEAD_BYTES = 65_536
"""What a client may send before the request in front of it is answered."""
_READ_S = 60.0
"""From the first byte of a request to its last."""
_ANSWER_S = 60.0
"""Far above every cap of ours: an answer that has not come by then will never come."""
_LEAVE_S = 1.0
"""For a peer that was refused in the middle of its request to read that, and to close."""
_SWEEP_S = 5.0
_SWEPT_AT_ONCE = 1_000
"""About a millisecond of work."""


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
        room: BodyRoom,
        keep_alive_s: float,
    ) -> None:
        self.receive = receive
        self.paths = frozenset(paths)
        self.starts = tuple(f"POST {path} ".encode() for path in paths)
        self.other = other
        self.draining = draining
        self.max_body_bytes = max_body_bytes
        self.room = room
        self.connections: set[Connection] = set()
        self._keep_alive_s = keep_alive_s
        self._date = (0, "")
        self._empty = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep_some, [])

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
        """Let what is being answered end, for so long, and close everything. What is half sent is refused."""
        self._sweeper.cancel()
        for connection in list(self.connections):
            connection.close_unless_busy()
        self._empty.clear()
        if self.connections:
            try:
                async with asyncio.timeout(within_s):
                    await self._empty.wait()
            except TimeoutError:
                pass
        for connection in list(self.connections):
            connection.abort()

    def sweep(self, connections: Iterable[Connection], now_s: float) -> None:
        """Close what has been idle for the keep-alive time, and what waits for the end of a request, or its answer."""
        for connection in connections:
            limit_s = _ANSWER_S if connection.busy else _READ_S if connection.reading else self._keep_alive_s
            if connection.touched_s < now_s - limit_s:
                connection.abort()

    def _sweep_some(self, connections: list[Connection]) -> None:
        """Sweep in small parts: the loop has calls to cut meanwhile."""
        connections = connections or list(self.connections)
        self.sweep(connections[:_SWEPT_AT_ONCE], time.monotonic())
        rest = connections[_SWEPT_AT_ONCE:]
        self._sweeper = self._loop.call_later(0.05 if rest else _SWEEP_S, self._sweep_some, rest)


class Connection(asyncio.Protocol):
    """One connection, one request at a time; what comes before its answer waits."""

    def __init__(self, front: Front) -> None:
        self.touched_s = time.monotonic()
        """When it was opened, or its latest request began, was read, or was answered."""
        self.busy = False
        """A request has been read, and is not answered."""
        self._front = front
        self._transport: asyncio.Transport | None = None
        self._data = b""
        """Read, and not served yet."""
        self._chunks: list[bytes] = []
        """More of it: a large body is put together once."""
        self._missing = 0
        """Bytes until the request at the front is whole; 0 while that is not known."""
        self._head: plain_http.Head | None = None
        self._hold = front.room.hold()
        self._served = 0
        """How many requests were read. An answer names its request: a second one to an earlier must not pass for it."""
        self._jammed = False
        """The client does not read its answers."""
        self._held_back = False
        """It sends more than may wait, so nothing more is read for now."""
        self._refused = False
        """It was refused in the middle of a request: what still comes is the rest of that."""

    @property
    def reading(self) -> bool:
        """Whether a request has begun and is not whole."""
        return bool(self._data or self._chunks or self._head)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._front.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._release()
        self._front.left(self)

    def pause_writing(self) -> None:
        self._jammed = True

    def resume_writing(self) -> None:
        self._jammed = False
        self._serve()
        self._read_on()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if not (self.busy or self.reading):
            self.touched_s = time.monotonic()
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
        if not self.busy and not self._jammed:
            self._serve()
        elif len(self._data) > _MOST_AHEAD_BYTES and self._transport is not None:
            self._held_back = True
            self._transport.pause_reading()

    def close_unless_busy(self) -> None:
        """Close; a request that has not come whole is answered that it may come again."""
        if self.busy or self._transport is None:
            return
        if self.reading:
            self._refuse_half(refused(503, "ingress-svc is being stopped; send it again", retry_after_s=1))
        else:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _serve(self) -> None:
        """Serve the request that has been read, if it is whole.

        One at a time, also where the client has sent a thousand: the loop comes round between them.
        """
        if self.busy or self._jammed or self._transport is None or not (self._data or self._head):
            return
        head = self._head or self._read_head()
        if head is None:
            return
        if len(self._data) < head.body_bytes:
            self._missing = head.body_bytes - len(self._data)
            return
        raw, self._data = self._data[: head.body_bytes], self._data[head.body_bytes :]
        self._head = None
        self._release()
        self._receive(head, raw)

    def _read_head(self) -> plain_http.Head | None:
        """Return the head of the next request; None while it is not whole, or when it was left to aiohttp."""
        end = self._data.find(b"\r\n\r\n") + 4
        if end < 4:
            if len(self._data) > _MOST_HEAD_BYTES or not self._may_be_ours():
                self._hand_over()
            return None
        head = plain_http.read(self._data[:end]) if end <= _MOST_HEAD_BYTES else None
        if head is None or head.path not in self._front.paths or head.body_bytes > self._front.max_body_bytes:
            self._hand_over()
            return None
        self._data = self._data[end:]
        self._head = head
        if head.body_bytes > len(self._data) and not self._hold.reach(head.body_bytes):
            self._refuse_half(refused(503, "too many large bodies are being read", retry_after_s=1))
            return None
        return head

    def _may_be_ours(self) -> bool:
        line = self._data.find(b"\n")
        if line >= 0 and not self._data.endswith(b"\r", 0, line):
            return False  # no end of a head will ever come
        return any(self._data[: len(start)] == start[: len(self._data)] for start in self._front.starts)

    def _refuse_half(self, reply: Reply) -> None:
        """Answer a request that has not come whole, and close once its peer has had time to read that.

        To close at once would lose the answer: whoever is still sending is told of the closed connection first.
        """
        transport = self._transport
        assert transport is not None
        self._release()
        self._refused = True
        self._data, self._head = b"", None
        self._chunks.clear()
        transport.write(message(reply, date=self._front.date(), close=True))
        self._held_back = False
        transport.resume_reading()
        transport.write_eof()
        asyncio.get_running_loop().call_later(_LEAVE_S, self.abort)

    def _release(self) -> None:
        self._hold.release()

    def _receive(self, head: plain_http.Head, raw: bytes) -> None:
        self.busy = True
        self._served += 1
        self.touched_s = time.monotonic()
        url = f"http://{head.headers['host']}{head.path}"
        try:
            self._front.receive(head.headers, raw, url=url, reply=partial(self._reply, self._served))
        except Exception as error:  # noqa: BLE001 - the last line before the wire
            logs.get().exception("request.failed", error, path=head.path)
            text = "the request could not be handled; see the log of ingress-svc"
            self._reply(self._served, refused(500, text), last=True)

    def _reply(self, number: int, reply: Reply, *, last: bool = False) -> None:
        transport = self._transport
        if number != self._served or not self.busy:
            return
        self.busy = False
        self.touched_s = time.monotonic()
        if transport is None or transport.is_closing():
            return
        last = last or self._front.draining()
        transport.write(message(reply, date=self._front.date(), close=last))
        if last:
            # What came behind it has no effect either: nobody would hear of that.
            self._data, self._head = b"", None
            transport.close()
            return
        self._read_on()
        if self._data:
            asyncio.get_running_loop().call_soon(self._serve)

    def _read_on(self) -> None:
        if self._held_back and self._transport is not None and not self.busy:
            self._held_back = False
            self._transport.resume_reading()

    def _hand_over(self) -> None:
        """Leave the connection to aiohttp."""
        transport, data = self._transport, self._data
        assert transport is not None
        self._read_on()
        self._transport, self._data = None, b""
        self._front.left(self)
        protocol = self._front.other()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)
