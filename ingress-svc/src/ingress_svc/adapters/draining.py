"""Waiting at the end of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any


async def wait_in_drain(work: Awaitable[object], drain_s: float, hurry: asyncio.Event) -> None:
    """Wait for ``work``, for so long at most and while nobody is in a hurry; then leave it as it is."""
    waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(work), asyncio.ensure_future(hurry.wait())]
    await asyncio.wait(waits, timeout=drain_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
