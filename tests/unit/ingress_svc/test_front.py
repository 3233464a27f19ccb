"""The connections of the public port: plain webhooks are served at once, anything else goes to the full server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import pytest
from fakes.ingress import SECRET, Edge, edge
from fakes.streams import until
from hypothesis import given, settings
from hypothesis import strategies as st
from ingress_svc.adapters import front, http
from ingress_svc.adapters.front import Connection, Front
from ingress_svc.adapters.http import KEEP_ALIVE_S
from ingress_svc.adapters.reply import SendReply, taken
from ingress_svc.domain.body_room import BodyRoom

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
        self.ended = False

    def write_eof(self) -> None:
        self.ended = True

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

    def abort(self) -> None:
        self.closed = True


class Other(asyncio.Protocol):
    """The full server, which keeps what it was given."""

    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data


class Desk:
    """A front, its wire, and the webhooks that it was handed."""

    def __init__(self, *, at_once: bool = True, draining: bool = False, most_bytes: int = 1_000) -> None:
        self.bodies: list[bytes] = []
        self.replies: list[SendReply] = []
        self.other = Other()
        self.wire = Wire()
        self.front = Front(
            self._receive,
            paths=("/vapi/webhook",),
            other=lambda: self.other,
            draining=lambda: draining,
            max_body_bytes=most_bytes,
            room=BodyRoom(),
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
    bodies = [body for body in bodies if body != b"defect"]
    sent = b"".join(map(request, bodies))
    while sent:
        cut = data.draw(st.integers(1, len(sent)))
        desk.connection.data_received(sent[:cut])
        sent = sent[cut:]
    for _ in bodies:
        await asyncio.sleep(0)
    assert desk.bodies == bodies
    assert desk.answers == len(bodies)
    assert desk.wire.protocol is None


async def test_the_next_request_waits_for_the_answer_to_the_one_before() -> None:
    desk = Desk(at_once=False)
    desk.connection.data_received(request(b"1") + request(b"2"))
    assert desk.bodies == [b"1"]
    desk.replies[0](taken("e"))
    await asyncio.sleep(0)
    assert desk.bodies == [b"1", b"2"]


async def test_the_loop_comes_round_between_requests_that_came_together() -> None:
    desk = Desk()
    desk.connection.data_received(request(b"x") * 50)
    assert len(desk.bodies) == 1
    for _ in range(49):
        await asyncio.sleep(0)
    assert len(desk.bodies) == 50


async def test_a_second_answer_to_a_request_does_not_pass_for_that_to_the_next() -> None:
    desk = Desk(at_once=False)
    desk.connection.data_received(request(b"1") + request(b"2"))
    first = desk.replies[0]
    first(taken("of-1"))
    await asyncio.sleep(0)
    first(taken("of-1"))
    assert desk.answers == 1
    desk.replies[1](taken("of-2"))
    assert desk.wire.written.count(b"of-1") == desk.wire.written.count(b"of-2") == 1


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


async def test_a_client_that_reads_again_in_the_middle_of_a_body_is_read_on() -> None:
    desk = Desk(most_bytes=200_000)
    body = b"x" * 150_000
    desk.connection.pause_writing()
    desk.connection.data_received(request(body)[:100_000])
    assert not desk.wire.reading
    desk.connection.resume_writing()
    assert desk.wire.reading
    desk.connection.data_received(request(body)[100_000:])
    assert desk.bodies == [body]


class Peer(NamedTuple):
    """What a client does next."""

    kind: str
    amount: int


MOVES = st.builds(Peer, st.sampled_from(["send", "jam", "read", "answer", "turn"]), st.integers(1, 400))


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=120), min_size=1, max_size=5), st.lists(MOVES, max_size=60))
async def test_every_request_is_served_once_in_order_whatever_waits_for_what(
    bodies: list[bytes], moves: list[Peer]
) -> None:
    bodies = [body for body in bodies if body != b"defect"]
    desk = Desk(at_once=False)
    sent = b"".join(map(request, bodies))
    ends = [Peer("read", 1), Peer("send", len(sent)), *[Peer("answer", 1), Peer("turn", 1)] * (len(bodies) + 1)]
    for move in [*moves, *ends]:
        if move.kind == "send" and desk.wire.reading:
            piece, sent = sent[: move.amount], sent[move.amount :]
            if piece:
                desk.connection.data_received(piece)
        elif move.kind == "jam":
            desk.connection.pause_writing()
        elif move.kind == "read":
            desk.connection.resume_writing()
        elif move.kind == "answer":
            for reply in desk.replies:
                reply(taken("e"))
        else:
            await asyncio.sleep(0)
    assert desk.bodies == bodies
    assert desk.answers == len(bodies)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /healthz HTTP/1.1\r\n",
        b"POST /vapi/llm HTTP/1.1\r\nHost: a\r\n",
        b"POST /vapi/webhook?x=1 HTTP/1.1\r\n",
        b"POST /vapi/webhook HTTP/1.1\r\n" + b"X: y\r\n" * 3_000,
        request(BODY, *[b"X: y"] * 3_000),
        b"POST /vapi/webhook HTTP/1.1\nHost: a\n",
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


async def test_after_a_defect_of_ours_the_connection_is_closed() -> None:
    desk = Desk()
    desk.connection.data_received(request(b"defect") + request(b"2"))
    await asyncio.sleep(0)
    assert desk.wire.written.startswith(b"HTTP/1.1 500 ")
    assert desk.wire.closed
    assert desk.bodies == []


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


async def test_a_drain_answers_what_is_half_sent_and_hears_the_rest_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "_LEAVE_S", 0.0)
    desk = Desk(most_bytes=200_000)
    whole = request(b"x" * 100_000)
    desk.connection.data_received(whole[:90_000])
    closing = asyncio.create_task(desk.front.close(5.0))
    await until(lambda: desk.wire.ended)
    assert desk.wire.written.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nRetry-After: 1\r\n" in desk.wire.written
    assert b"\r\nConnection: close\r\n" in desk.wire.written
    desk.connection.data_received(whole[90_000:])
    await until(lambda: desk.wire.closed)
    desk.connection.connection_lost(None)
    await closing
    assert desk.bodies == []
    assert desk.front.room.taken_bytes == 0


def swept_after(desk: Desk, seconds: float) -> bool:
    """Return whether the sweep has closed the connection."""
    desk.front.sweep([desk.connection], time.monotonic() + seconds)
    return desk.wire.closed


async def test_d35_an_idle_connection_outlives_those_of_a_proxy_and_not_by_much() -> None:
    desk = Desk()
    desk.connection.data_received(request(b"1"))
    assert not swept_after(desk, 74)
    assert swept_after(desk, 76)


def test_d35_idle_connections_outlive_those_of_the_proxies_that_we_know() -> None:
    assert max(PROXIES_S.values()) < KEEP_ALIVE_S


PROXIES_S = {"nginx": 60, "the article's proposal": 75, "cloudflared": 90, "Cloudflare": 900}


@pytest.mark.parametrize("path", ["/vapi/webhook", "/healthz"])
async def test_d35_both_servers_keep_an_idle_connection_for_that_time_and_no_longer(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(front, "_SWEEP_S", 0.0)
    monkeypatch.setattr(http, "KEEP_ALIVE_S", 0.05)
    sent = request() if path == "/vapi/webhook" else b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    async with edge() as at:
        answer = await exchanged(at, sent)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), "answered first, then closed for being idle"
    monkeypatch.undo()
    async with edge() as at:
        reader, writer = await asyncio.open_connection("127.0.0.1", at.ingress.port)
        for _ in range(2):
            writer.write(sent)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
            await reader.read(100)
        writer.close()


async def test_a_request_that_does_not_end_is_given_up() -> None:
    desk = Desk()
    desk.connection.touched_s -= 74
    desk.connection.data_received(request(b"123")[:-1])
    assert not swept_after(desk, 59), "it has been idle for long, and begun just now"
    assert swept_after(desk, 61)


async def test_an_answer_that_never_comes_does_not_keep_the_connection() -> None:
    desk = Desk(at_once=False)
    desk.connection.data_received(request(b"1"))
    assert not swept_after(desk, 59)
    assert swept_after(desk, 61)


async def test_the_sweep_goes_on_in_small_parts_for_as_long_as_the_front_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(front, "_SWEEP_S", 0.0)
    desk = Desk()
    desk.connection.touched_s -= 1_000
    await until(lambda: desk.wire.closed)
    second, wire = Connection(desk.front), Wire()
    second.connection_made(wire)
    second.touched_s -= 1_000
    await until(lambda: wire.closed)
    await desk.front.close(0)


async def test_large_bodies_share_what_room_there_is() -> None:
    desk = Desk(most_bytes=200 << 20)
    desk.connection.data_received(request(b"")[:-4].replace(b"Length: 0", b"Length: %d" % (200 << 20)) + b"\r\n\r\n")
    other, wire = Connection(desk.front), Wire()
    other.connection_made(wire)
    other.data_received(request(b"")[:-4].replace(b"Length: 0", b"Length: %d" % (100 << 20)) + b"\r\n\r\n")
    assert wire.written.startswith(b"HTTP/1.1 503 ")
    assert wire.ended
    desk.connection.connection_lost(None)
    assert desk.front.room.taken_bytes == 0


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
