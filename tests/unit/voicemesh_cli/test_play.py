"""The shell of the simulated Vapi against a server of its own."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fakes.virtual_vapi import recorded
from voicemesh_cli.play import Target, play, signed

SECRET = "of-this-test"
TURN = ({"at_ms": 0, "caller": "final", "text": "Hello."}, {"after": "agent_done", "hangup": True})
BRISK = {"endpointing_ms": 20, "tts_ms": 10, "ended_ms": 10, "report_ms": 20, "speech_words_per_s": 50}


class _Mesh:
    """Answers as ingress does, and keeps what came."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.closed = asyncio.Event()
        self.failures = 0
        """How many requests of each sort are refused with 503 before one is taken."""
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.chunk = b": a comment\n\n"

    async def webhook(self, request: web.Request) -> web.Response:
        raw = await request.read()
        signature = request.headers["x-timestamp"].encode() + b"." + raw
        assert hmac.new(SECRET.encode(), signature, hashlib.sha256).hexdigest() == request.headers["x-signature"]
        if self.failures:
            self.failures -= 1
            return web.Response(status=503)
        self.kinds.append(json.loads(raw)["message"]["type"])
        return web.json_response({}, headers={"X-Voicemesh-Event-Id": f"e{len(self.kinds)}"})

    async def llm(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == f"Bearer {SECRET}"
        self.asked.append(await request.json())
        if self.failures:
            self.failures -= 1
            return web.Response(status=503)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await response.write(self.chunk)
            for word in ("Good ", "day."):
                chunk = {"choices": [{"index": 0, "delta": {"content": word}}]}
                await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
            await self.may_end.wait()
            await response.write(b"data: [DONE]\n\n")
        except asyncio.CancelledError:
            self.closed.set()
            raise
        return response


@pytest.fixture
async def mesh() -> _Mesh:
    return _Mesh()


@pytest.fixture
async def target(mesh: _Mesh) -> AsyncIterator[Target]:
    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/vapi/webhook", mesh.webhook)
    app.router.add_post("/vapi/llm/chat/completions", mesh.llm)
    async with TestServer(app, handler_cancellation=True) as server:
        yield Target(str(server.make_url("")).rstrip("/"), SECRET)


async def test_a_call_is_played_signed_and_its_answer_is_read(mesh: _Mesh, target: Target) -> None:
    played = await play(recorded(*TURN, **BRISK), target, call_id="c-1")
    assert played.refused == []
    [reply] = played.replies
    assert (reply.text, reply.end, reply.status, reply.attempts) == ("Good day.", "done", 200, 1)
    assert all(delivery.event_id for delivery in played.deliveries)
    assert mesh.kinds[0] == "status-update"
    assert "end-of-call-report" in mesh.kinds
    assert mesh.asked[0]["call"]["id"] == "c-1"
    assert mesh.asked[0]["stream"] is True


async def test_a_webhook_that_fails_comes_again_until_it_is_taken(mesh: _Mesh, target: Target) -> None:
    mesh.failures = 1
    played = await play(recorded({"at_ms": 0, "webhook": {"message": {"type": "hang"}}}), target)
    [delivery] = played.deliveries
    assert (delivery.status, delivery.attempts) == (200, 2)


async def test_an_answer_that_is_refused_is_asked_for_again(mesh: _Mesh, target: Target) -> None:
    mesh.failures = 1
    line = {"at_ms": 0, "llm": {"messages": [{"role": "user", "content": "hi"}]}}
    [reply] = (await play(recorded(line), target)).replies
    assert (reply.text, reply.attempts) == ("Good day.", 2)


async def test_a_caller_who_goes_on_closes_the_connection_of_the_answer(mesh: _Mesh, target: Target) -> None:
    mesh.may_end.clear()
    line = {"at_ms": 0, "llm": {"messages": []}, "close_after_ms": 200}
    [reply] = (await play(recorded(line), target)).replies
    assert (reply.text, reply.end) == ("Good day.", "closed_by_caller")
    await asyncio.wait_for(mesh.closed.wait(), 5)


async def test_an_answer_that_is_no_stream_of_chunks_is_asked_for_again_and_then_ends_the_call(
    mesh: _Mesh, target: Target
) -> None:
    mesh.chunk = b"data: {broken\n\n"
    played = await play(recorded(*TURN, **BRISK), target)
    [reply] = played.replies
    assert (reply.text, reply.end, reply.attempts) == ("", "failed", 3)
    assert mesh.kinds[-1] == "end-of-call-report"


async def test_a_mesh_that_is_not_there_is_an_undelivered_webhook_and_no_exception() -> None:
    call = recorded({"at_ms": 0, "webhook": {"message": {"type": "hang"}}})
    async with asyncio.timeout(30):
        played = await play(call, Target("http://127.0.0.1:9", SECRET), webhook_retries=1)
    assert {(delivery.status, delivery.attempts) for delivery in played.deliveries} == {(0, 2)}


def test_the_signature_is_that_of_vapis_default_credential() -> None:
    vectors = json.loads((Path(__file__).parents[2] / "fixtures/vapi/auth/vectors.json").read_text())
    expected = vectors["vectors"][0]["headers"]
    headers = signed(vectors["body_utf8"].encode(), "test-secret", at_ms=int(expected["x-timestamp"]))
    assert headers["x-signature"] == expected["x-signature"]


def test_a_target_shows_no_secret_when_it_is_printed() -> None:
    assert SECRET not in repr(Target("http://x", SECRET, SECRET))
