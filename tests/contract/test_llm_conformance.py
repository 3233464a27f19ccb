"""What every model promises; `check_llm` runs against the scripted one and against an OpenAI-compatible server's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest
from fakes.openai_server import KEY, FakeOpenAi, Mode, openai_server
from llm_svc.adapters.model import Model
from llm_svc.adapters.openai import OpenAiModel
from llm_svc.adapters.scripted import ScriptedModel
from llm_svc.domain.chat import End, Finish, Message, Piece, Prompt, Text, ToolPiece
from llm_svc.domain.choice import Kind, ProviderError

PROMPT = Prompt((Message("system", "Be short."), Message("user", "a table for four tonight at seven")))
LIVENESS_S = 5.0


async def all_of(model: Model, prompt: Prompt = PROMPT) -> list[Piece | End]:
    pieces: list[Piece | End] = []
    await collect(model, prompt, pieces.append)
    return pieces


async def collect(model: Model, prompt: Prompt, take: Callable[[Piece | End], None]) -> None:
    async with asyncio.timeout(LIVENESS_S):
        async for piece in model.stream(prompt):
            take(piece)


def text_of(pieces: list[Piece | End]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Text))


async def check_llm(model: Model, nothing_runs: Callable[[], Awaitable[None]]) -> None:
    """Check ``model``, which must answer `PROMPT` in three tokens or more, slowly enough to be cut in between.

    ``nothing_runs`` returns when the provider's side of a request that was given up has ended, or raises TimeoutError.
    """
    pieces = await all_of(model)
    assert [isinstance(piece, End) for piece in pieces] == [False] * (len(pieces) - 1) + [True], "one end, at the end"
    assert len(pieces) > 3, "the answer streams"
    assert all(piece.text for piece in pieces if isinstance(piece, Text)), "no piece is empty"
    assert isinstance(pieces[-1], End)
    assert pieces[-1].finish is Finish.STOP
    await _check_limit(model, text_of(pieces))
    await _check_streams_do_not_mix(model, text_of(pieces))
    await _check_giving_up(model, nothing_runs)
    assert text_of(await all_of(model)) == text_of(pieces), "it answers as before after being given up"


async def _check_limit(model: Model, whole: str) -> None:
    short = await all_of(model, Prompt(PROMPT.messages, max_tokens=2))
    assert isinstance(short[-1], End)
    assert short[-1].finish is Finish.LENGTH
    assert whole.startswith(text_of(short))
    assert len(text_of(short)) < len(whole)


async def _check_streams_do_not_mix(model: Model, whole: str) -> None:
    answers = await asyncio.gather(*(all_of(model) for _ in range(5)))
    assert [text_of(pieces) for pieces in answers] == [whole] * 5


async def _check_giving_up(model: Model, nothing_runs: Callable[[], Awaitable[None]]) -> None:
    tasks_before = len(asyncio.all_tasks())
    async with aclosing(model.stream(PROMPT)) as stream:
        await anext(stream)
    await nothing_runs()
    begun = asyncio.Event()
    cancelled = asyncio.create_task(collect(model, PROMPT, lambda _: begun.set()))
    await begun.wait()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await nothing_runs()
    assert len(asyncio.all_tasks()) <= tasks_before, "no task is left behind"


async def test_the_scripted_model_keeps_the_promises() -> None:
    async def nothing_runs() -> None:
        return None

    await check_llm(ScriptedModel(first_token_ms=30, token_ms=2), nothing_runs)


@pytest.fixture
async def server() -> AsyncIterator[FakeOpenAi]:
    async with openai_server() as fake:
        yield fake


@pytest.fixture
async def model(server: FakeOpenAi) -> AsyncIterator[OpenAiModel]:
    model = OpenAiModel(name="test-model", base_url=server.url, api_key=KEY, include_usage=True)
    yield model
    await model.close()


async def left(server: FakeOpenAi) -> None:
    """Wait until the server has noticed that a client left; far longer than it takes, so that only a leak fails."""
    async with asyncio.timeout(2.0):
        await server.disconnected.wait()
    server.disconnected.clear()


async def test_an_openai_compatible_server_keeps_the_promises(server: FakeOpenAi, model: OpenAiModel) -> None:
    server.token_s = 0.02
    await check_llm(model, lambda: left(server))


@pytest.mark.parametrize("mode", [Mode.SLOW_HEADERS, Mode.STALL_FIRST, Mode.STALL_MIDDLE])
async def test_a_server_sees_a_cancelled_request_leave_wherever_it_stands(
    server: FakeOpenAi, model: OpenAiModel, mode: Mode
) -> None:
    server.mode = mode
    asking = asyncio.create_task(all_of(model))
    async with asyncio.timeout(LIVENESS_S):
        await server.asked.wait()
    asking.cancel()
    await left(server)
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_what_is_asked_reaches_the_server_and_nothing_else_does(server: FakeOpenAi, model: OpenAiModel) -> None:
    call = {"id": "call-1", "type": "function", "function": {"name": "book_table", "arguments": "{}"}}
    tool = {"type": "function", "function": {"name": "book_table", "parameters": {}}}
    messages = (
        Message("user", "a table"),
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "booked", tool_call_id="call-1"),
    )
    await all_of(model, Prompt(messages, temperature=0.0, max_tokens=50, tools=(tool,)))
    assert server.requests == [
        {
            "model": "test-model",
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.0,
            "max_tokens": 50,
            "tools": [tool],
            "messages": [
                {"role": "user", "content": "a table"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "content": "booked", "tool_call_id": "call-1"},
            ],
        }
    ]


async def test_what_the_agent_sets_counts_where_the_prompt_is_silent(server: FakeOpenAi) -> None:
    model = OpenAiModel(name="m", base_url=server.url, api_key=KEY, temperature=0.4, max_tokens=9)
    await all_of(model)
    await all_of(model, Prompt(PROMPT.messages, temperature=0.9))
    await model.close()
    assert [(asked["temperature"], asked["max_tokens"]) for asked in server.requests] == [(0.4, 9), (0.9, 9)]
    assert "stream_options" not in server.requests[0]
    assert "tools" not in server.requests[0]


async def test_usage_is_what_the_server_counted(server: FakeOpenAi, model: OpenAiModel) -> None:
    assert (await all_of(model))[-1] == End(Finish.STOP, prompt_tokens=21, completion_tokens=len(server.words))


async def test_tool_calls_come_in_the_servers_pieces(server: FakeOpenAi, model: OpenAiModel) -> None:
    server.mode = Mode.TOOL_CALLS
    assert (await all_of(model))[:-1] == [
        ToolPiece(0, "call-1", "book_table", ""),
        ToolPiece(0, arguments='{"party"'),
        ToolPiece(0, arguments=": 4}"),
        ToolPiece(1, "call-2", "end_call", "{}"),
    ]
    assert isinstance((await all_of(model))[-1], End)


async def test_an_answer_that_the_filter_stopped_has_failed(server: FakeOpenAi, model: OpenAiModel) -> None:
    server.mode = Mode.FILTERED
    end = (await all_of(model))[-1]
    assert isinstance(end, End)
    assert end.finish is Finish.FAILED


async def test_a_server_that_never_closes_its_stream_does_not_hold_the_end_back(
    server: FakeOpenAi, model: OpenAiModel
) -> None:
    server.mode = Mode.NEVER_DONE
    end = (await all_of(model))[-1]
    assert isinstance(end, End)
    assert end.finish is Finish.STOP
    await left(server)


@pytest.mark.parametrize(
    ("mode", "kind", "tokens"),
    [
        (Mode.CUT, Kind.UNREACHABLE, 3),
        (Mode.CLEAN_CUT, Kind.BAD_STREAM, 3),
        (Mode.MALFORMED, Kind.BAD_STREAM, 3),
        (Mode.NOT_A_CHUNK, Kind.BAD_STREAM, 3),
        (Mode.ERROR_EVENT, Kind.PROVIDER_ERROR, 0),
    ],
)
async def test_d30_a_broken_stream_is_told_apart_from_an_answer(
    server: FakeOpenAi, model: OpenAiModel, mode: Mode, kind: Kind, tokens: int
) -> None:
    server.mode = mode
    pieces: list[Piece | End] = []
    with pytest.raises(ProviderError) as caught:
        await collect(model, PROMPT, pieces.append)
    assert caught.value.kind is kind
    assert len(pieces) == tokens


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Kind.REJECTED), (401, Kind.MISCONFIGURED), (429, Kind.BUSY), (500, Kind.PROVIDER_ERROR)],
)
async def test_d30_an_http_error_is_classified_and_never_quoted(
    server: FakeOpenAi, model: OpenAiModel, status: int, kind: Kind
) -> None:
    server.mode, server.status = Mode.STATUS, status
    with pytest.raises(ProviderError) as caught:
        await all_of(model)
    assert caught.value.kind is kind
    assert caught.value.reason == f"answered HTTP {status}"
    assert len(server.requests) == 1, "retries are not the client's business"


async def test_a_wrong_key_is_reported_without_the_key(server: FakeOpenAi) -> None:
    model = OpenAiModel(name="m", base_url=server.url, api_key="sk-very-secret")
    with pytest.raises(ProviderError) as caught:
        await all_of(model)
    await model.close()
    assert caught.value.kind is Kind.MISCONFIGURED
    assert "secret" not in str(caught.value)


async def test_d30_a_refused_connection_is_unreachable() -> None:
    async with openai_server() as gone:
        url = gone.url
    model = OpenAiModel(name="m", base_url=url, api_key=KEY)
    with pytest.raises(ProviderError) as caught:
        await all_of(model)
    await model.warm_up()
    await model.close()
    assert caught.value.kind is Kind.UNREACHABLE


async def test_the_warm_connection_is_the_one_that_calls_use(server: FakeOpenAi, model: OpenAiModel) -> None:
    await model.warm_up()
    for _ in range(3):
        await all_of(model)
    assert len(server.connections) == 1
