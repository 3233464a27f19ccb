"""What the connections of the OpenAI adapter do, and what becomes of an answer that is strange on the wire."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from fakes.openai_server import KEY, Mode, openai_server
from llm_svc.adapters import openai as adapter
from llm_svc.adapters.openai import OpenAiModel
from llm_svc.domain.chat import End, Finish, Message, Piece, Prompt, Text
from llm_svc.domain.choice import Kind, ProviderError

PROMPT = Prompt((Message("user", "a table for four"),))
LIVENESS_S = 5.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
STOP = b'data: {"choices": [{"delta": {"content": "One."}, "finish_reason": "stop"}]}\n\n'
WHOLE = [Text("One."), End(Finish.STOP)]


@asynccontextmanager
async def modelling(url: str) -> AsyncIterator[OpenAiModel]:
    model = OpenAiModel(name="m", base_url=url, api_key=KEY)
    try:
        yield model
    finally:
        await model.close()


@asynccontextmanager
async def answering(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[OpenAiModel]:
    """Yield a model whose provider answers every request with ``handler``."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with modelling(f"http://127.0.0.1:{runner.addresses[0][1]}/v1") as model:
            yield model
    finally:
        await runner.cleanup()


@asynccontextmanager
async def saying(*answer: bytes) -> AsyncIterator[OpenAiModel]:
    """Yield a model whose provider reads a request, writes ``answer`` as it is, part by part, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in answer:
            writer.write(part)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, modelling(f"http://127.0.0.1:{port}/v1") as model:
        yield model


async def all_of(model: OpenAiModel) -> list[Piece | End]:
    async with asyncio.timeout(LIVENESS_S):
        return [piece async for piece in model.stream(PROMPT)]


async def failure_of(model: OpenAiModel) -> tuple[Kind, str]:
    with pytest.raises(ProviderError) as caught:
        await all_of(model)
    return caught.value.kind, caught.value.reason


# --- connections


async def test_two_turns_use_one_connection_with_a_refusal_between_them() -> None:
    async with openai_server() as server, modelling(server.url) as model:
        await all_of(model)
        server.mode = Mode.STATUS
        assert (await failure_of(model))[0] is Kind.PROVIDER_ERROR
        server.mode = Mode.WELL
        await all_of(model)
        assert len(server.connections) == 1


async def test_a_connection_is_kept_though_its_answer_ends_a_little_later_than_it_is_done() -> None:
    connections = set()

    async def late(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        connections.add(request.transport.get_extra_info("peername"))
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(STOP + b"data: [DONE]\n\n")
        await asyncio.sleep(0.01)
        return response

    async with answering(late) as model:
        assert await all_of(model) == await all_of(model) == WHOLE
    assert len(connections) == 1


async def test_an_answer_that_was_given_up_takes_its_connection_with_it() -> None:
    async with openai_server() as server, modelling(server.url) as model:
        server.mode = Mode.STALL_MIDDLE
        stream = model.stream(PROMPT)
        await anext(stream)
        await stream.aclose()
        async with asyncio.timeout(LIVENESS_S):
            await server.disconnected.wait()
        server.mode = Mode.WELL
        await all_of(model)
        assert len(server.connections) == 2


async def test_no_generation_waits_for_the_connection_of_another() -> None:
    async with openai_server() as server, modelling(server.url) as model:
        server.mode = Mode.STALL_FIRST
        many = [asyncio.create_task(all_of(model)) for _ in range(120)]
        async with asyncio.timeout(LIVENESS_S):
            while len(server.requests) < len(many):
                server.asked.clear()
                await server.asked.wait()
        for asking in many:
            asking.cancel()
        await asyncio.gather(*many, return_exceptions=True)
        assert len(server.connections) == len(many)


async def test_a_redirect_is_not_followed() -> None:
    asked: list[str] = []

    async def moved(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    async with answering(moved) as model:
        assert await failure_of(model) == (Kind.MISCONFIGURED, "answered HTTP 307")
    assert asked == ["/v1/chat/completions"]


async def test_the_proxy_that_the_environment_names_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with openai_server() as server:
        monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
        monkeypatch.setenv("NO_PROXY", "")
        async with modelling("http://provider.invalid/v1") as model:
            assert isinstance((await all_of(model))[-1], End)
        assert len(server.requests) == 1


async def test_a_server_that_takes_no_connection_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_CONNECT_S", 0.05)
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        # The kernel lets no more than these two wait, and answers no third.
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        async with modelling(f"http://127.0.0.1:{full.getsockname()[1]}/v1") as model:
            assert await failure_of(model) == (Kind.TIMEOUT, "did not connect within 0.05 s")
            await model.warm_up()


@pytest.mark.parametrize("answer", [b"", b"220 this is mail\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Enc"])
async def test_a_connection_that_ends_without_an_answer_is_lost_and_not_slow(answer: bytes) -> None:
    async with saying(answer) as model:
        assert (await failure_of(model))[0] is Kind.UNREACHABLE
        await model.warm_up()


@pytest.mark.parametrize("body", [b"zz\r\n" + STOP, b"80\r\n" + STOP])
async def test_a_body_that_is_broken_is_lost(body: bytes) -> None:
    head = HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked")
    async with saying(head + body[:60]) as model:
        assert (await failure_of(model))[0] is Kind.UNREACHABLE


# --- what the server says


async def test_an_answer_cut_anywhere_on_the_wire_is_the_same() -> None:
    stream = b"\xef\xbb\xbf: hello\r\n\r\n" + STOP.replace(b"\n", b"\r\n") + b"data: [DONE]\r\n\r\n"
    async with saying(HEAD, *(bytes([byte]) for byte in stream)) as model:
        assert await all_of(model) == WHOLE


async def test_an_answer_that_lacks_its_last_blank_line_is_whole() -> None:
    async with saying(HEAD, STOP.rstrip()) as model:
        assert await all_of(model) == WHOLE


async def test_a_compressed_answer_is_read() -> None:
    async with saying(
        HEAD.replace(b"Connection", b"Content-Encoding: gzip\r\nConnection"), gzip.compress(STOP)
    ) as model:
        assert await all_of(model) == WHOLE


@pytest.mark.parametrize(("count", "taken"), [("21", 21), ("2147483648", 0), ("-1", 0), ("true", 0), ('"21"', 0)])
async def test_a_count_that_cannot_be_one_is_none(count: str, taken: int) -> None:
    usage = f'data: {{"choices": [], "usage": {{"prompt_tokens": {count}}}}}\n\n'
    async with saying(HEAD, STOP + usage.encode()) as model:
        end = (await all_of(model))[-1]
    assert isinstance(end, End)
    assert end.prompt_tokens == taken


@pytest.mark.parametrize("index", ["1099511627776", "1024", "-1"])
async def test_a_tool_call_with_an_impossible_number_is_a_broken_stream(index: str) -> None:
    calls = f'[{{"index": {index}, "id": "a", "function": {{"name": "f", "arguments": ""}}}}]'
    chunk = f'data: {{"choices": [{{"delta": {{"tool_calls": {calls}}}}}]}}\n\n'
    async with saying(HEAD, chunk.encode() + STOP) as model:
        assert (await failure_of(model))[0] is Kind.BAD_STREAM


async def test_done_without_a_finish_reason_is_a_broken_stream_at_once() -> None:
    async def done(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"data: [DONE]\n\n")
        await asyncio.Event().wait()
        return response

    async with answering(done) as model:
        assert await failure_of(model) == (Kind.BAD_STREAM, "ended its stream without a finish reason")


@pytest.mark.parametrize("data", [b'{"message": "overloaded"}', b"overloaded", b'{"error": "overloaded"}'])
async def test_an_event_named_error_is_one_whatever_it_holds(data: bytes) -> None:
    async with saying(HEAD, b"event: error\ndata: " + data + b"\n\n" + STOP) as model:
        assert await failure_of(model) == (Kind.PROVIDER_ERROR, "sent an error in its stream")


async def test_an_event_without_end_is_refused() -> None:
    async with saying(HEAD, b"data: ", *[b"x" * 65_536] * 17) as model:
        assert await failure_of(model) == (Kind.BAD_STREAM, "sent an event of more than 1 MiB")


async def test_what_a_tool_call_holds_goes_out_even_where_it_is_no_proper_text() -> None:
    call = {"id": "1", "function": {"name": "note", "arguments": "half a pair: \ud83d"}, "big": 10**30}
    async with openai_server() as server, modelling(server.url) as model:
        async for _ in model.stream(Prompt((Message("user", "hi"), Message("assistant", "", tool_calls=(call,))))):
            pass
        assert server.requests[0]["messages"][1]["tool_calls"] == [call]
