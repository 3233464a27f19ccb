"""Floods, a model's server that fails, a full disk: what calls notice of it, and what is never lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest
import pytest_asyncio
from compose.stack import OURS, Stack, stack
from fakes import ledger, phone

WORDS = "I need a table for four tonight at 7pm."
FLOOD_S = 8.0
FLOODERS = 150
"""Each sends its next webhook when the last is answered: some twice what an ingress on one processor can take."""
ANSWERED_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def bad(built: None) -> Iterator[Stack]:
    with stack("bad", "bad_days.yaml", AGENTS_DIR="./tests/compose/agents", INGRESS_CPUS="0.5") as made:
        made.up("nginx")
        yield made


@pytest_asyncio.fixture
async def at(bad: Stack) -> AsyncIterator[phone.Line]:
    async with phone.line(bad.url, bad.secret()) as opened:
        yield opened


async def _answer(at: phone.Line, provider: str) -> phone.Answer:
    call = at.call(provider, metadata={"provider": provider})
    await call.begins()
    answer = await call.says(WORDS)
    await answer.is_over()
    await call.agent_stops(answer.text)
    await call.hangs_up()
    assert [post.statuses for post in call.posted if post.statuses != [200]] == []
    return answer


async def test_a_model_that_stalls_before_its_first_token_is_replaced_by_the_fallback(at: phone.Line) -> None:
    answer = await _answer(at, "stalls")
    assert answer.end == "done"
    assert "table" in answer.text
    assert answer.first_text_s - answer.asked_s < 3.0


async def test_a_model_that_drips_is_heard_word_by_word_to_its_end(at: phone.Line) -> None:
    answer = await _answer(at, "drips")
    assert answer.end == "done"
    assert answer.text.strip() == "It is four o'clock and all is well."
    assert len(answer.pieces) > 4


async def test_a_model_that_dies_in_its_answer_ends_that_answer_and_no_call(at: phone.Line) -> None:
    first = await _answer(at, "dies")
    assert first.end == "done", "the request was left open or broken"
    assert first.text.startswith("It is four")
    well = await _answer(at, "nobody")
    assert well.end == "done"


async def test_a_flood_is_answered_in_time_loses_nothing_and_leaves_no_trace(bad: Stack, at: phone.Line) -> None:
    at.patience_s = 30.0
    stop_s = time.monotonic() + FLOOD_S
    callers = [at.call("flood") for _ in range(FLOODERS)]
    await asyncio.gather(*(_floods(caller, stop_s) for caller in callers))
    attempts = [attempt for caller in callers for post in caller.posted for attempt in post.attempts]
    assert {status for status, _ in attempts} <= {200, 503}
    assert max(took_s for _, took_s in attempts) < ANSWERED_WITHIN_S
    assert len(attempts) > 20 * FLOODERS / 2
    ledger.check(await _log(bad), callers)
    after = await _answer(at, "after")
    assert after.end == "done"
    assert after.first_text_s - after.asked_s < 3.0
    for service in OURS:
        assert bad.one(service).attrs["RestartCount"] == 0, f"{service} did not survive"


async def _floods(caller: phone.Phone, stop_s: float) -> None:
    await caller.begins()
    number = 0
    while time.monotonic() < stop_s:
        number += 1
        await caller.partial(f"{WORDS} {number}")
        await caller.final(f"{WORDS} {number}")


async def _log(house: Stack) -> list[ledger.pb.LoggedEvent]:
    return await house.log()


async def test_a_full_disk_refuses_what_it_cannot_keep_and_keeps_what_it_took(built: None) -> None:
    with stack("disk", "small_disk.yaml") as house:
        await asyncio.to_thread(house.up, "nginx")
        async with phone.line(house.url, house.secret(), patience_s=5.0) as line:
            calls = [line.call("disk") for _ in range(4)]
            filling = asyncio.gather(*(_fills(call) for call in calls))
            refused = lambda: any(  # noqa: E731 - asked again and again
                status == 503 for call in calls for post in call.posted for status, _ in post.attempts
            )
            async with aclosing(_ticks()) as ticks, asyncio.timeout(90):
                async for _ in ticks:
                    if refused():
                        break
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)
            statuses = {status for call in calls for post in call.posted for status, _ in post.attempts}
            assert statuses == {200, 503}
        log = await house.log()
        for call in calls:
            kept = {logged.event.event_id for logged in ledger.log_of(log, call)}
            assert set(call.acknowledged) <= kept, "an acknowledged event is not in the log"
        assert house.one("session-svc").attrs["RestartCount"] == 0


async def _fills(call: phone.Phone) -> None:
    await call.begins()
    while True:
        await call.final(f"{WORDS} {'and so on ' * 400}")


async def _ticks() -> AsyncIterator[None]:
    while True:
        await asyncio.sleep(0.1)
        yield
