"""What the article's defects ask for beyond the tests of each part: bodies as bytes, large ones, and protobuf."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakes.ingress import ROOT, SECRET, Edge, edge, signed
from fakes.vapi_samples import AT_MS, CALL, sample
from ingress_svc.domain.answers import CAPS_S
from ingress_svc.domain.asks import Kind
from voicemesh.type.v1 import call_pb2

HANG = json.dumps({"message": {"type": "hang", "timestamp": AT_MS, "call": {"id": CALL}}}).encode()
CALL_ID = f"vapi:{CALL}"


@pytest.fixture
async def at() -> AsyncIterator[Edge]:
    async with edge() as running:
        yield running


async def posted(at: Edge, body: bytes) -> int:
    return (await at.provider.post("/vapi/webhook", body, signed(body)))[0]


@pytest.mark.parametrize(
    ("name", "party", "stability", "text"),
    [
        ("transcript.partial.user", call_pb2.PARTY_CALLER, call_pb2.STABILITY_PARTIAL, "I need"),
        ("transcript.final.user", call_pb2.PARTY_CALLER, call_pb2.STABILITY_FINAL, None),
        ("transcript.final.assistant", call_pb2.PARTY_AGENT, call_pb2.STABILITY_FINAL, None),
    ],
)
async def test_d1_words_are_the_protobuf_event_that_they_say(
    at: Edge, name: str, party: int, stability: int, text: str | None
) -> None:
    body = sample(f"server/{name}")
    message = body["message"]
    assert await posted(at, json.dumps(body).encode()) == 200
    assert await posted(at, HANG) == 200, "partials ride on the next message"
    (event,) = (event for event in at.mesh.session.events if event.WhichOneof("kind") == "words")
    assert (event.call_id, event.at_ms) == (CALL_ID, message["timestamp"])
    assert (event.words.party, event.words.stability) == (party, stability)
    assert event.words.text == (text or message["transcript"])


async def test_d1_the_agents_speech_and_the_end_are_protobuf_events_with_call_and_time(at: Edge) -> None:
    for name in ("speech-update.assistant-started", "status-update.ended", "end-of-call-report"):
        at.mesh.session.events.clear()
        body = sample(f"server/{name}")
        assert await posted(at, json.dumps(body).encode()) == 200
        event = at.mesh.session.events[0]
        assert (event.call_id, event.at_ms) == (CALL_ID, body["message"]["timestamp"])


async def test_d5_bytes_that_are_no_text_are_held_against_the_signature_as_they_are(at: Edge) -> None:
    body = HANG.replace(b'"hang"', b'"hang", "x": "\xff\xfe"')
    assert await posted(at, body) in (200, 400), "signed; whether the odd bytes are read at all is another matter"
    assert (await at.provider.post("/vapi/webhook", body, signed(body.replace(b"\xff", b"\xfe"))))[0] == 401
    words = {"type": "transcript", "role": "user", "transcriptType": "final", "transcript": "x", "call": {"id": CALL}}
    odd = json.dumps({"message": words}).encode().replace(b'"x"', b'"\xff"')
    assert await posted(at, odd) == 400
    assert at.mesh.session.of("words") == []


def test_d5_that_compressed_bodies_are_refused_is_written_down() -> None:
    page = " ".join((ROOT / "docs/authentication.md").read_text(encoding="utf-8").split())
    assert "A body with a `Content-Encoding` other than identity is 415" in page


@pytest.mark.parametrize("size", [110_000, 5_000_000])
async def test_d7_a_large_report_ends_its_call(at: Edge, size: int) -> None:
    report = sample("server/end-of-call-report")
    report["message"]["artifact"]["filler"] = "x" * size
    assert await posted(at, json.dumps(report).encode()) == 200
    assert "report" in at.mesh.session.kinds(CALL_ID)


@pytest.mark.parametrize("told", [True, False], ids=["length told", "in chunks"])
async def test_d7_a_body_over_the_limit_costs_less_memory_than_twice_the_limit(told: bool) -> None:
    limit = 2_000_000
    async with edge(max_body_bytes=limit) as at:
        reader, writer = await asyncio.open_connection("127.0.0.1", at.ingress.port)
        how = "Content-Length: 1000000000" if told else "Transfer-Encoding: chunked"
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            writer.write(f"POST /vapi/webhook HTTP/1.1\r\nHost: a\r\n{how}\r\n\r\n".encode())
            chunk = b" " * 65_536
            piece = chunk if told else b"%x\r\n%b\r\n" % (len(chunk), chunk)
            answering = asyncio.create_task(reader.readline())
            try:
                for _ in range(1_000):
                    if answering.done():
                        break
                    writer.write(piece)
                    await writer.drain()
            except ConnectionError:
                pass
            async with asyncio.timeout(10):
                answer = await answering
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            writer.close()
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert most - before < 2 * limit


@pytest.mark.parametrize(
    "line", [None, "Content-Type:", "Content-Type: \xe9", "Content-Type: text/plain; charset=utf-16"]
)
@pytest.mark.parametrize(("body", "status"), [(HANG, 200), (b"", 400), (b"hello", 400), (b"a=b&c=d", 400)])
async def test_d10_without_a_content_type_or_a_body_it_is_read_or_refused(
    at: Edge, line: str | None, body: bytes, status: int
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", at.ingress.port)
    head = ["POST /vapi/webhook HTTP/1.1", "Host: a", f"X-Vapi-Secret: {SECRET}", f"Content-Length: {len(body)}"]
    head += [line] if line is not None else []
    writer.write("\r\n".join([*head, "Connection: close", "", ""]).encode("latin-1") + body)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert int(answer.split(b" ", 2)[1]) == status


async def test_d10_a_request_that_announces_no_body_at_all_is_refused(at: Edge) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", at.ingress.port)
    writer.write(f"POST /vapi/webhook HTTP/1.1\r\nHost: a\r\nX-Vapi-Secret: {SECRET}\r\n".encode())
    writer.write(b"Connection: close\r\n\r\n")
    async with asyncio.timeout(10):
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()


def test_d14_no_question_is_answered_later_than_vapi_waits() -> None:
    vapi_waits_s: dict[Any, float] = {Kind.ASSISTANT: 7.5}
    assert CAPS_S[Kind.ASSISTANT] == 6.0
    assert set(CAPS_S) == set(Kind)
    assert all(cap_s < vapi_waits_s.get(kind, 20.0) for kind, cap_s in CAPS_S.items())
