"""A deadline that moves cuts off its block when the last one that was set is over, and at no other time."""

from __future__ import annotations

import asyncio

import pytest
from llm_svc.adapters.deadline import deadline_at

SOON_S = 0.02
LATE_S = 60.0
LIVENESS_S = 5.0


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def passed(when_s: float) -> None:
    """Return once the loop's time is ``when_s``."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_at(when_s, over.set)
    await over.wait()


async def hang(due_s: float, *moved_s: float, wait_s: float = 0.0) -> None:
    """Wait for ever under a deadline of ``due_s`` that is moved; before its last move until ``wait_s``."""
    async with deadline_at(due_s) as deadline:
        for moved in moved_s:
            if wait_s and moved == moved_s[-1]:
                await passed(wait_s)
            deadline.move(moved)
        await asyncio.Event().wait()


async def ended_s(hanging: asyncio.Task[None]) -> float:
    """Return when ``hanging`` was cut off."""
    async with asyncio.timeout(LIVENESS_S):
        await asyncio.wait((hanging,))
    assert isinstance(hanging.exception(), TimeoutError)
    return now_s()


async def test_a_deadline_that_nobody_moves_ends_its_block() -> None:
    due_s = now_s() + SOON_S
    assert await ended_s(asyncio.create_task(hang(due_s))) >= due_s


async def test_a_deadline_moved_away_counts_from_then_on() -> None:
    begin_s = now_s()
    moved_s = begin_s + 3 * SOON_S
    assert await ended_s(asyncio.create_task(hang(begin_s + SOON_S, begin_s + LATE_S, moved_s))) >= moved_s


async def test_a_deadline_moved_nearer_ends_its_block_then() -> None:
    begin_s = now_s()
    assert await ended_s(asyncio.create_task(hang(begin_s + LATE_S, begin_s + SOON_S))) < begin_s + LIVENESS_S


async def test_a_deadline_moved_away_can_still_be_moved_nearer_when_its_first_time_has_passed() -> None:
    begin_s = now_s()
    hanging = hang(begin_s + SOON_S, begin_s + LATE_S, begin_s + 4 * SOON_S, wait_s=begin_s + 2 * SOON_S)
    assert begin_s + 4 * SOON_S <= await ended_s(asyncio.create_task(hanging)) < begin_s + LIVENESS_S


async def test_a_block_that_has_ended_is_cut_off_no_more() -> None:
    async with deadline_at(now_s() + SOON_S):
        pass
    await passed(now_s() + 2 * SOON_S)


async def test_a_cancelled_block_is_cancelled_and_not_late() -> None:
    waiting = asyncio.create_task(hang(now_s() + LATE_S))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
