"""The connections of the public port: plain webhooks are served at once, anything else goes to the full server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from fakes.ingress import SECRET, Edge, edge
from hypothesis import given, settings
from hypothesis import strategies as st
from ingress_svc.adapters.front import Connection, Front
from ingress_svc.adapters.reply import SendReply, taken

BODY = b'{"message": {"type": "hang", "call": {"id": "call-1"}}}'
PROOF = b"X-Vapi-Secret: " + SECRET.encode()


def request(body: bytes = BODY, *lines: bytes, path: bytes = b"/vapi/webhook") -> bytes:
    head = [b"POST " + path + b" HTTP/1.1", b"Host: localhost", PROOF, *lines, b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*head, b"", b""]) + body


class Wire(asyncio.Transport):
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        self.written = b""
        self.reading = True
        self.protocol: Any = None
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


class Other(asyncio.Protocol):
    """The full server, which keeps what it was given."""

    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data


class Desk:
    """A front, its wire, and the webhooks that it was handed."""

    def __init__(self, *, at_once: bool = True, draining: bool = False) -> None:
        self.bodies: list[bytes] = []
        self.replies: list[SendReply] = []
        self.other = Other()
        self.wire = Wire()
        self.front = Front(
            self._receive,
            paths=("/vapi/webhook",),
            other=lambda: self.other,
            draining=lambda: draining,
            max_body_bytes=1_000,
            keep_alive_s=75.0,
        )
        self._at_once = at_once
        self.connection = Connection(self.front)
        self.connection.connection_made(self.wire)

    def _receive(self, headers: Mapping[str, str], raw: bytes, *, url: str, reply: SendReply) -> None:
        if raw == b"defect":
            raise ValueError(raw)
        self.bodies.append(raw)
        if self._at_once:
            reply(taken("e"))
        else:
            self.replies.append(reply)

    @property
    def answers(self) -> int:
        return self.wire.written.count(b"HTTP/1.1 200 OK\r\n")


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.data())
async def test_requests_are_read_alike_however_their_bytes_are_split(bodies: list[bytes], data: st.DataObject) -> None:
    desk = Desk()
    sent = b"".join(map(request, bodies))
    while sent:
        cut = data.draw(st.integers(1, len(sent)))
        desk.connection.data_received(sent[:cut])
        await asyncio.sleep(0)
        sent = sent[cut:]
    assert [body for body in desk.bodies if body != b"defect"] == [body for body in bodies if body != b"defect"]
    assert desk.answers == len(desk.bodies)
    assert desk.wire.protocol is None


async def test_the_next_request_waits_for_the_answer_to_the_one_before() -> None:
    desk = Desk(at_once=False)
    desk.connection.data_received(request(b"1") + request(b"2"))
    assert desk.bodies == [b"1"]
    desk.replies[0](taken("e"))
    await asyncio.sleep(0)
    assert desk.bodies == [b"1", b"2"]


async def test_a_client_that_sends_far_ahead_of_its_answers_is_not_read() -> None:
    desk = Desk(at_once=False)
    desk.connection.data_received(request(b"1"))
    desk.connection.data_received(request(b"x" * 900) * 100)
    assert not desk.wire.reading
    desk.replies[0](taken("e"))
    assert desk.wire.reading


async def test_a_client_that_does_not_read_its_answers_gets_no_more_of_them() -> None:
    desk = Desk()
    desk.connection.pause_writing()
    desk.connection.data_received(request(b"1"))
    assert desk.bodies == []
    desk.connection.resume_writing()
    assert desk.bodies == [b"1"]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /healthz HTTP/1.1\r\n",
        b"POST /vapi/llm HTTP/1.1\r\nHost: a\r\n",
        b"POST /vapi/webhook?x=1 HTTP/1.1\r\n",
        b"POST /vapi/webhook HTTP/1.1\r\n" + b"X: y\r\n" * 3_000,
        b"\x16\x03\x01 not HTTP",
        request(b"x" * 1_001),
        request(BODY, b"Transfer-Encoding: chunked"),
    ],
)
async def test_what_is_no_plain_webhook_reaches_the_full_server_with_every_byte(sent: bytes) -> None:
    desk = Desk()
    desk.connection.data_received(request(b"1") + sent)
    await asyncio.sleep(0)
    assert desk.wire.protocol is desk.other
    assert desk.other.data == sent
    assert desk.bodies == [b"1"]
    assert not desk.front.connections


async def test_a_defect_of_ours_is_a_500_and_the_connection_lives() -> None:
    desk = Desk()
    desk.connection.data_received(request(b"defect") + request(b"2"))
    await asyncio.sleep(0)
    assert desk.wire.written.startswith(b"HTTP/1.1 500 ")
    assert desk.answers == 1


async def test_an_answer_to_somebody_who_has_left_is_dropped() -> None:
    desk = Desk(at_once=False)
    desk.connection.data_received(request(b"1"))
    desk.connection.connection_lost(None)
    desk.replies[0](taken("e"))
    assert desk.wire.written == b""


async def test_while_draining_an_answer_is_the_last_on_its_connection() -> None:
    desk = Desk(draining=True)
    desk.connection.data_received(request(b"1") + request(b"2"))
    await asyncio.sleep(0)
    assert desk.bodies == [b"1"]
    assert b"Connection: close\r\n" in desk.wire.written
    assert desk.wire.closed


async def test_d35_an_idle_connection_outlives_those_of_a_proxy_and_not_by_much() -> None:
    desk = Desk(at_once=False)
    desk.front.sweep(time.monotonic() + 74)
    assert not desk.wire.closed
    desk.connection.data_received(request(b"1"))
    desk.front.sweep(time.monotonic() + 80)
    assert not desk.wire.closed, "it waits for its answer"
    desk.replies[0](taken("e"))
    desk.front.sweep(time.monotonic() + 80)
    assert desk.wire.closed


# --- against the whole of ingress -------------------------------------------------------------------------------------


@pytest.fixture
async def at() -> AsyncIterator[Edge]:
    async with edge() as running:
        yield running


async def exchanged(at: Edge, sent: bytes) -> bytes:
    """Send bytes, and return all that comes back until the connection closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", at.ingress.port)
    writer.write(sent)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


LAST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def test_webhooks_and_other_requests_share_a_connection(at: Edge) -> None:
    answer = await exchanged(at, request() + request() + b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n" + request() + LAST)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 5
    assert answer.count(b"X-Voicemesh-Event-Id: ") == 3
    assert answer.endswith(b"ok\n")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(BODY, b"Connection: close"), b"200"),
        (request(BODY, b"Expect: 100-continue", b"Connection: close"), b"100"),
        (request(path=b"/vapi/webhook?a=b") + LAST, b"200"),
        (request().replace(b"Content-Length: ", b"Content-Length : ") + LAST, b"400"),
        (request(BODY, b"Content-Length: 3") + LAST, b"400"),
        (request(BODY, b"Content-Encoding: gzip", b"Connection: close"), b"415"),
        (request().replace(PROOF, b"X: y") + LAST, b"401"),
    ],
)
async def test_a_webhook_that_is_not_plain_is_answered_all_the_same(at: Edge, sent: bytes, status: bytes) -> None:
    assert (await exchanged(at, sent)).split(b" ", 2)[1] == status


async def test_a_chunked_webhook_is_taken(at: Edge) -> None:
    head = [b"POST /vapi/webhook HTTP/1.1", b"Host: a", PROOF, b"Transfer-Encoding: chunked", b"Connection: close"]
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    assert (await exchanged(at, b"\r\n".join([*head, b"", b""]) + body)).startswith(b"HTTP/1.1 200 ")
