"""llm-svc's adapter against the litellm proxy: a server program of others that many put before their models."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.openai_server import FakeOpenAi, Mode, openai_server
from llm_svc.adapters.openai import OpenAiModel
from llm_svc.domain.chat import End, Finish, Message, Piece, Prompt, Text, ToolPiece
from llm_svc.domain.choice import Kind, ProviderError

CONFIG = Path(__file__).parent / "litellm/config.yaml"
KEY = "sk-0123456789abcdef0123456789abcdef"
READY_S = 120.0
LIVENESS_S = 20.0
SAID = "Perfect, a table for four."
TOOLS = ({"type": "function", "function": {"name": "book_table", "parameters": {"type": "object"}}},)


@dataclass
class Proxy:
    url: str
    behind_port: int
    """Where it looks for the model `behind`."""


@pytest.fixture(scope="module")
def proxy(litellm: str) -> Iterator[Proxy]:
    """The proxy, which takes half a minute to start and so is started once."""
    port, behind_port = _free_ports()
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {
        "LITELLM_MASTER_KEY": KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "BEHIND_URL": f"http://127.0.0.1:{behind_port}/v1",
    }
    arguments = [litellm, "--config", str(CONFIG), "--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(arguments, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            if not _ready(process, port):
                log.seek(0)
                pytest.fail(f"the proxy did not start: {log.read()[-2_000:].decode(errors='replace')}")
            yield Proxy(f"http://127.0.0.1:{port}/v1", behind_port)
        finally:
            # Asked to end it would wait for the request that nobody waits for.
            process.kill()
            process.wait()


def _ready(process: subprocess.Popen[bytes], port: int) -> bool:
    until_s = time.monotonic() + READY_S
    while time.monotonic() < until_s and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return True
    return False


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


@asynccontextmanager
async def modelling(proxy: Proxy, name: str, *, key: str = KEY, usage: bool = True) -> AsyncIterator[OpenAiModel]:
    model = OpenAiModel(name=name, base_url=proxy.url, api_key=key, include_usage=usage)
    try:
        yield model
    finally:
        await model.close()


@asynccontextmanager
async def behind(proxy: Proxy) -> AsyncIterator[tuple[OpenAiModel, FakeOpenAi]]:
    async with openai_server(proxy.behind_port) as server, modelling(proxy, "behind") as model:
        yield model, server


async def all_of(model: OpenAiModel, *, tools: bool = False) -> list[Piece | End]:
    prompt = Prompt((Message("user", "a table for four"),), tools=TOOLS if tools else ())
    async with asyncio.timeout(LIVENESS_S):
        return [piece async for piece in model.stream(prompt)]


async def failure_of(model: OpenAiModel) -> Kind:
    with pytest.raises(ProviderError) as caught:
        await all_of(model)
    return caught.value.kind


@pytest.mark.parametrize("usage", [True, False])
async def test_an_answer_comes_in_pieces_and_with_its_counts_where_they_are_asked_for(
    proxy: Proxy, usage: bool
) -> None:
    async with modelling(proxy, "well", usage=usage) as model:
        *pieces, end = await all_of(model)
    assert len(pieces) > 2
    assert "".join(piece.text for piece in pieces if isinstance(piece, Text)) == SAID
    assert isinstance(end, End)
    assert (end.finish, end.prompt_tokens > 0, end.completion_tokens > 0) == (Finish.STOP, usage, usage)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("busy", Kind.BUSY), ("broken", Kind.PROVIDER_ERROR), ("nobody", Kind.REJECTED)],
)
async def test_each_refusal_is_told_apart_from_the_others(proxy: Proxy, name: str, kind: Kind) -> None:
    async with modelling(proxy, name) as model:
        assert await failure_of(model) is kind


async def test_a_wrong_key_is_refused(proxy: Proxy) -> None:
    async with modelling(proxy, "well", key="sk-wrong") as model:
        # Without a database the proxy cannot look a key up, and says 400 where others say 401.
        assert await failure_of(model) in (Kind.MISCONFIGURED, Kind.REJECTED)


async def test_an_answer_that_nobody_waits_for_is_given_up(proxy: Proxy) -> None:
    async with modelling(proxy, "slow") as model:
        asking = asyncio.create_task(all_of(model))
        done, _ = await asyncio.wait((asking,), timeout=0.3)
        assert not done
        asking.cancel()
        await asyncio.wait((asking,), timeout=LIVENESS_S)
        assert asking.cancelled()


async def test_tool_calls_come_through_it(proxy: Proxy) -> None:
    async with behind(proxy) as (model, server):
        server.mode = Mode.TOOL_CALLS
        *pieces, end = await all_of(model, tools=True)
    calls = [piece for piece in pieces if isinstance(piece, ToolPiece)]
    assert [(call.index, call.id, call.name) for call in calls if call.name] == [
        (0, "call-1", "book_table"),
        (1, "call-2", "end_call"),
    ]
    assert "".join(call.arguments for call in calls if call.index == 0) == '{"party": 4}'
    assert isinstance(end, End)
    assert end.finish is Finish.TOOL_CALLS


async def test_who_leaves_in_mid_stream_stops_the_model_behind_it(proxy: Proxy) -> None:
    async with behind(proxy) as (model, server):
        server.mode = Mode.STALL_MIDDLE
        stream = model.stream(Prompt((Message("user", "a table for four"),)))
        assert await anext(stream) == Text("Perfect,")
        await stream.aclose()
        async with asyncio.timeout(LIVENESS_S):
            await server.disconnected.wait()


@pytest.mark.parametrize("mode", [Mode.CUT, Mode.MALFORMED, Mode.ERROR_EVENT])
async def test_an_answer_that_breaks_off_behind_it_is_a_failure(proxy: Proxy, mode: Mode) -> None:
    async with behind(proxy) as (model, server):
        server.mode = mode
        assert await failure_of(model) in (Kind.PROVIDER_ERROR, Kind.BAD_STREAM, Kind.UNREACHABLE)
