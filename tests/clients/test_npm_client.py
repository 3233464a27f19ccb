"""The custom-LLM endpoint and the real npm client, which Vapi says it calls us with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from fakes.ingress import CALL, CALL_ID, SECRET, Edge, edge
from fakes.mesh_servers import Script
from fakes.streams import until
from voicemesh.llm.v1 import llm_pb2

CLIENT = Path(__file__).parent / "node/client.mjs"
WORDS = "a table for four"
WHOLE = "Four, then. For when?"
LIVENESS_S = 30.0
BASES = [
    "/vapi/llm",
    "/vapi/llm/",
    "/vapi/llm/chat/completions",
    # The client puts its own path into the query then, and leaves this one as it is.
    "/vapi/llm?assistant=abc",
]
REQUEST: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": WORDS}], "call": {"id": CALL}}


@pytest.fixture
async def at() -> AsyncIterator[Edge]:
    async with edge() as running:
        yield running


@dataclass
class Client:
    """The client's process, and what it tells."""

    process: asyncio.subprocess.Process
    told: list[dict[str, Any]] = field(default_factory=list)

    async def next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(LIVENESS_S):
            line = await self.process.stdout.readline()
        assert line, "the client ended before it had told all"
        self.told.append(json.loads(line))
        return self.told[-1]

    async def all(self) -> list[dict[str, Any]]:
        """Return all that it tells, without its last line."""
        while "end" not in await self.next():
            pass
        return self.told[:-1]


@asynccontextmanager
async def client(
    node: str, scenario: str, base_url: str, request: Mapping[str, Any] = REQUEST, **options: object
) -> AsyncIterator[Client]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(node, str(CLIENT), scenario, stdin=pipe, stdout=pipe)
    try:
        assert process.stdin is not None
        asked = {"options": {"baseURL": base_url, "apiKey": SECRET} | options, "request": dict(request)}
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        yield Client(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def text_of(told: list[dict[str, Any]]) -> str:
    deltas = [chunk["choices"][0]["delta"] for line in told if (chunk := line["chunk"])["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize("base", BASES)
async def test_it_reads_the_stream_at_every_spelling_of_the_address(node: str, at: Edge, base: str) -> None:
    async with client(node, "stream", at.url + base) as asking:
        told = await asking.all()
    assert text_of(told) == WHOLE
    assert told[0]["chunk"]["choices"][0]["delta"]["role"] == "assistant"
    assert told[-1]["chunk"]["choices"][0]["finish_reason"] == "stop"
    assert len(at.mesh.llm.generations) == 1


async def test_it_gathers_tool_calls_and_token_counts_from_the_stream(node: str, at: Edge) -> None:
    at.mesh.llm.script = Script(
        pieces=("One moment.",),
        finish=llm_pb2.FINISH_TOOL_CALLS,
        tool_calls=[
            llm_pb2.ToolCall(index=0, id="c1", name="book_table", arguments='{"party":'),
            llm_pb2.ToolCall(index=0, arguments="4}"),
            llm_pb2.ToolCall(index=1, id="c2", name="end_call", arguments="{}"),
        ],
        counts=(21, 6),
    )
    tools = [
        {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
        for name in ("book_table", "end_call")
    ]
    request = REQUEST | {"tools": tools, "stream_options": {"include_usage": True}}
    async with client(node, "gathered", at.url + "/vapi/llm", request) as asking:
        [told] = await asking.all()
    completion = told["completion"]
    [choice] = completion["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("One moment.", "tool_calls")
    called = [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in choice["message"]["tool_calls"]
    ]
    assert called == [("c1", "book_table", '{"party":4}'), ("c2", "end_call", "{}")]
    assert completion["usage"]["total_tokens"] == 27
    assert json.loads(at.mesh.llm.generations[0].request.tools_json) == tools


async def test_it_reads_a_completion_without_a_stream(node: str, at: Edge) -> None:
    async with client(node, "whole", at.url + "/vapi/llm") as asking:
        [told] = await asking.all()
    assert told["completion"]["choices"][0]["message"]["content"] == WHOLE


async def test_a_model_that_breaks_off_is_an_apology_and_no_error_to_it(node: str, at: Edge) -> None:
    at.mesh.llm.script = Script(pieces=("Four, ",), finish=llm_pb2.FINISH_FAILED)
    async with client(node, "stream", at.url + "/vapi/llm") as asking:
        told = await asking.all()
    assert text_of(told).startswith("Four,  Sorry")
    assert told[-1]["chunk"]["choices"][0]["finish_reason"] == "stop"


async def test_its_abort_in_mid_stream_cancels_the_generation(node: str, at: Edge) -> None:
    at.mesh.llm.script = Script(gate=1)
    async with client(node, "abort", at.url + "/vapi/llm") as asking:
        while "aborted" not in await asking.next():
            pass
        await until(lambda: at.mesh.llm.generations[0].cancelled)
        assert asking.process.returncode is None
    await until(lambda: "generation_cut" in at.mesh.session.kinds(CALL_ID))
    assert at.mesh.session.of("generation_cut")[0].said_text == "Four, "


@pytest.mark.parametrize(
    ("options", "request_", "kind", "status", "code"),
    [
        ({"apiKey": "wrong"}, REQUEST, "AuthenticationError", 401, "invalid_api_key"),
        ({}, REQUEST | {"messages": None}, "BadRequestError", 400, "no_messages"),
        ({}, REQUEST | {"metadata": "x" * 3_000}, "APIError", 413, "request_too_large"),
        ({"defaultHeaders": {"Content-Encoding": "gzip"}}, REQUEST, "APIError", 415, "unsupported_encoding"),
    ],
)
async def test_it_understands_why_it_is_refused_and_does_not_insist(
    node: str, options: dict[str, Any], request_: dict[str, Any], kind: str, status: int, code: str
) -> None:
    async with (
        edge(max_body_bytes=2_000) as at,
        client(node, "stream", at.url + "/vapi/llm", request_, **options) as asking,
    ):
        [told] = await asking.all()
    error = told["error"]
    assert (error["kind"], error["status"], error["code"]) == (kind, status, code)
    assert error["type"] == "invalid_request_error"


async def test_its_retry_of_an_answer_that_was_lost_gets_the_same_answer(node: str, at: Edge) -> None:
    """Something between the two loses the first answer; by default the client asks three times."""
    counts: list[str | None] = []

    async def lossy(request: web.Request) -> web.StreamResponse:
        counts.append(request.headers.get("x-stainless-retry-count"))
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type")}
        async with (
            aiohttp.ClientSession() as http,
            http.post(at.url + request.path, data=await request.read(), headers=headers) as answer,
        ):
            body = await answer.read()
            if len(counts) < 3:
                return web.Response(status=502, text="Bad Gateway")
            return web.Response(body=body, content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/{path:.*}", lossy)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        port = runner.addresses[0][1]
        async with client(node, "stream", f"http://127.0.0.1:{port}/vapi/llm") as asking:
            told = await asking.all()
    finally:
        await runner.cleanup()
    assert counts == ["0", "1", "2"]
    assert text_of(told) == WHOLE
    assert len(at.mesh.llm.generations) == 1
