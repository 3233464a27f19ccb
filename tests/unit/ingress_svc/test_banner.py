"""What an answer tells about the server: nothing. And where it listens: where it was told to."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator

import pytest
from fakes.ingress import ROOT, SECRET, Edge, edge
from ingress_svc.adapters import guard
from ingress_svc.domain.body_room import MOST_BYTES
from ingress_svc.domain.paths import LLM_PATHS
from svc_runtime.http_server import UNREADABLE

BANNERS = (b"server:", b"powered", b"python", b"aiohttp", b"uvloop", b"traceback", b".py")
CLIENT_SECRET = "client-secret"


@pytest.fixture
async def at() -> AsyncIterator[Edge]:
    async with edge(oauth_client_secrets=CLIENT_SECRET, llm_oauth=True, max_body_bytes=20_000) as running:
        yield running


async def exchanged(at: Edge, sent: bytes) -> bytes:
    """Send bytes, and return all that comes back until the connection closes."""
    reader, writer = await asyncio.open_connection(at.ingress.host, at.ingress.port)
    writer.write(sent)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


def post(path: str, body: bytes, *lines: str, method: str = "POST") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: a", *lines, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*head, "", ""]).encode() + body


HANG = json.dumps({"message": {"type": "hang", "call": {"id": "call-1"}}}).encode()
ASK = json.dumps({"messages": [{"role": "user", "content": "a table"}], "stream": True}).encode()
WHOLE = json.dumps({"messages": [{"role": "user", "content": "a table"}], "stream": False}).encode()
FORM = f"grant_type=client_credentials&client_id=vapi&client_secret={CLIENT_SECRET}".encode()
PROVEN = f"X-Vapi-Secret: {SECRET}"
CHUNKED = "Transfer-Encoding: chunked"
LAST = post("/healthz", b"", method="GET")
PLAIN = f"POST /vapi/webhook HTTP/1.1\r\nHost: a\r\n{PROVEN}\r\nContent-Length: "

EVERYTHING = {
    "webhook, plain": (200, f"{PLAIN}{len(HANG)}\r\n\r\n".encode() + HANG + LAST),
    "webhook, plain, unsigned": (401, f"{PLAIN.replace(SECRET, '?')}2\r\n\r\n".encode() + b"{}" + LAST),
    "webhook, plain, no JSON": (400, f"{PLAIN}2\r\n\r\n".encode() + b"{]" + LAST),
    "webhook by the full server": (200, post("/vapi/webhook", HANG, PROVEN, "Expect: 100-continue")),
    "webhook, unsigned": (401, post("/webhook/vapi", HANG)),
    "webhook, too large": (413, post("/vapi/webhook", b" " * 30_000, PROVEN)),
    "webhook, compressed": (415, post("/vapi/webhook", HANG, PROVEN, "Content-Encoding: gzip")),
    "webhook, wrong method": (405, post("/vapi/webhook", b"", method="GET")),
    "webhook, wrong chunks": (400, f"POST /vapi/webhook HTTP/1.1\r\nHost: a\r\n{CHUNKED}\r\n\r\nzz\r\n\r\n".encode()),
    "answer in pieces": (200, post("/vapi/llm", ASK, PROVEN)),
    "answer whole": (200, post("/vapi/llm/chat/completions", WHOLE, PROVEN)),
    "answer, unsigned": (401, post("/vapi/llm", ASK)),
    "answer, no JSON": (400, post("/vapi/llm", b"{]", PROVEN)),
    "answer, wrong method": (405, post("/vapi/llm", b"", PROVEN, method="PUT")),
    "answer, wrong expectation": (417, post("/vapi/llm", ASK, PROVEN, "Expect: a-miracle")),
    "token": (200, post("/oauth/token", FORM, "Content-Type: application/x-www-form-urlencoded")),
    "token, unknown client": (401, post("/oauth/token", b"grant_type=client_credentials&client_id=x&client_secret=y")),
    "health": (200, LAST),
    "readiness": (200, post("/readyz", b"", method="GET")),
    "metrics": (200, post("/metrics", b"", method="GET")),
    "nothing there": (404, post("/", b"", method="GET")),
    "no method": (400, b"\x16\x03\x01\x02\x00 no request\r\n\r\n"),
    "no header": (400, b"GET / HTTP/1.1\r\nno header\r\n\r\n"),
    "a long header": (400, b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
}


@pytest.mark.parametrize("name", EVERYTHING)
async def test_d31_no_answer_names_what_the_server_is_made_of(at: Edge, name: str) -> None:
    status, sent = EVERYTHING[name]
    answer = await exchanged(at, sent)
    statuses = [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d+) ", answer)]
    assert status in statuses, answer
    assert [word for word in BANNERS if word in answer.lower()] == []


async def test_d31_a_defect_says_nothing_of_us_either(at: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError(f"{SECRET} in some_file.py")

    monkeypatch.setattr(at.ingress.calls, "get", fails)
    said = json.dumps({"message": {"type": "status-update", "status": "in-progress", "call": {"id": "c"}}}).encode()
    for sent in (post("/vapi/webhook", said, PROVEN), post("/vapi/llm", ASK, PROVEN)):
        answer = await exchanged(at, sent)
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert [word for word in (*BANNERS, SECRET.encode()) if word in answer.lower()] == []


@pytest.mark.parametrize("path", LLM_PATHS)
async def test_whoever_asks_for_an_answer_reads_every_error_as_openais(
    at: Edge, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at.ingress.calls, "attach", None)
    sent = {
        "method_not_allowed": post(path, b"", method="GET"),
        "expectation_failed": post(path, ASK, PROVEN, "Expect: a-miracle"),
        "internal_error": post(path, ASK, PROVEN),
        "invalid_api_key": post(path, ASK),
        "unsupported_encoding": post(path, ASK, PROVEN, "Content-Encoding: br"),
    }
    for code, request in sent.items():
        answer = await exchanged(at, request)
        error = json.loads(answer.rpartition(b"\r\n\r\n")[2])["error"]
        assert error["code"] == code
        assert error["type"] == ("server_error" if code == "internal_error" else "invalid_request_error")
        assert error["message"]


@pytest.mark.parametrize("path", ["/vapi/llm", "/vapi/webhook"])
async def test_a_body_that_does_not_come_is_not_waited_for(
    at: Edge, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "READ_S", 0.0)
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\n{CHUNKED}\r\nConnection: close\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection(at.ingress.host, at.ingress.port)
    writer.write(head)
    async with asyncio.timeout(10):
        answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 408 ")
    writer.close()


@pytest.mark.parametrize("path", ["/vapi/llm", "/vapi/webhook"])
@pytest.mark.parametrize("chunked", [True, False])
async def test_bodies_that_the_full_server_reads_share_the_room_of_the_others(path: str, chunked: bool) -> None:
    async with edge() as at:
        room = at.ingress.room
        assert room.take(MOST_BYTES - 100_000)
        body = b" " * 150_000
        how = CHUNKED if chunked else f"Content-Length: {len(body)}"
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\n{how}\r\nConnection: close\r\n\r\n".encode()
        sent = head + (b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)
        answer = await exchanged(at, sent)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in answer
        assert room.taken_bytes == MOST_BYTES - 100_000
        small = await exchanged(at, post(path, b" " * 60_000))
        assert small.startswith(b"HTTP/1.1 401 ")


async def test_what_is_no_request_is_counted_and_told_of_once_a_minute(
    at: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(20):
            assert (await exchanged(at, b"\x16\x03\x01 no request\r\n\r\n")).startswith(b"HTTP/1.")
    assert at.ingress.counters.value(UNREADABLE) == 20
    told = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert [record.getMessage() for record in told] == ["request.unreadable"]


async def test_d31_it_listens_where_it_is_told_to_and_nowhere_else() -> None:
    assert "| `VOICEMESH_HTTP_HOST` | `127.0.0.1` |" in (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    async with edge(host="127.0.0.2") as at:
        assert (await exchanged(at, EVERYTHING["health"][1])).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", at.ingress.port)
