"""The last writer: what it asks before bytes leave, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from fakes.streams import until
from ingress_svc.adapters.attachment import NO_GENERATION, Attachment
from ingress_svc.domain.effects import Finish
from ingress_svc.domain.vapi_llm import LlmRequest, ToolPiece


@dataclass
class Around:
    """What stands around a writer."""

    fence: int = 0
    sleeps: int = 0
    barriers: int = 0
    caught_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def catch_up(self) -> None:
        self.barriers += 1
        await self.caught_up.wait()


@asynccontextmanager
async def writing(around: Around, *, stream: bool = True) -> AsyncIterator[tuple[Attachment, asyncio.Task[str]]]:
    """An attachment that answers a request, and the body that comes of it."""
    attachment = Attachment(
        "a",
        LlmRequest(None, (), 0, stream),
        received_ms=0,
        received_ns=0,
        may_write=lambda generation: generation > around.fence,
        caught_up=around.catch_up,
        slept=lambda: around.sleeps,
    )
    app = web.Application()
    app.router.add_get("/", attachment.respond)
    async with TestClient(TestServer(app)) as client:

        async def body() -> str:
            async with client.get("/") as response:
                return await response.text()

        reading = asyncio.ensure_future(body())
        try:
            yield attachment, reading
        finally:
            reading.cancel()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_frame_that_is_fenced_while_it_waits_does_not_leave(stream: bool) -> None:
    around = Around()
    async with writing(around, stream=stream) as (attachment, reading):
        attachment.push(1, "stale")
        attachment.push(2, "fresh")
        around.fence = 1
        attachment.close(Finish.STOP)
        body = await reading
    assert "stale" not in body
    assert "fresh" in body


async def test_a_body_holds_nothing_that_was_cut_before_it_was_whole() -> None:
    """Otherwise what came before the cut would leave after it."""
    around = Around()
    async with writing(around, stream=False) as (attachment, reading):
        attachment.push(1, "cut")
        await until(lambda: not attachment._wake.is_set())
        around.fence = 1
        attachment.close(Finish.STOP)
        assert "cut" not in await reading


async def test_a_body_does_not_hold_a_tool_call_that_broke_off() -> None:
    async with writing(Around(), stream=False) as (attachment, reading):
        attachment.push(1, ToolPiece(0, "c", "book", '{"par'))
        attachment.close(Finish.FAILED)
        assert "book" not in await reading


@pytest.mark.parametrize("stream", [True, False])
async def test_a_writer_that_slept_catches_up_and_then_looks_at_the_fence(stream: bool) -> None:
    around = Around()
    async with writing(around, stream=stream) as (attachment, reading):
        around.sleeps = 1
        attachment.push(1, "stale")
        await until(lambda: around.barriers == 1)
        around.fence = 1  # what it heard
        around.caught_up.set()
        attachment.close(Finish.STOP)
        body = await reading
    assert "stale" not in body
    assert "stop" in body


async def test_a_sleep_while_catching_up_is_caught_up_with_too() -> None:
    around = Around()
    async with writing(around) as (attachment, reading):
        around.sleeps = 1
        attachment.push(1, "word")
        await until(lambda: around.barriers == 1)
        around.sleeps = 2
        around.caught_up.set()
        attachment.close(Finish.STOP)
        await reading
    assert around.barriers == 2


async def test_a_writer_that_did_not_sleep_asks_nobody() -> None:
    around = Around()
    async with writing(around) as (attachment, reading):
        attachment.push(1, "word")
        attachment.close(Finish.STOP)
        await reading
    assert around.barriers == 0


async def test_nothing_follows_the_end() -> None:
    around = Around()
    async with writing(around) as (attachment, reading):
        attachment.push(NO_GENERATION, "Sorry.")
        attachment.close(Finish.FAILED)
        attachment.push(1, "late")
        attachment.close(Finish.TOOL_CALLS)
        body = await reading
    assert "Sorry." in body
    assert "late" not in body
    assert "tool_calls" not in body


async def test_a_closed_answer_is_reported_once() -> None:
    around = Around()
    closed: list[str] = []
    async with writing(around) as (attachment, reading):
        attachment.on_closed.append(lambda: closed.append("closed"))
        attachment.close(Finish.STOP)
        await reading
    assert closed == ["closed"]
