"""`asyncio.timeout_at` for a deadline that moves with every token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Deadline:
    """When the block it was made for is cancelled."""

    def __init__(self, timeout: asyncio.Timeout, due_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._due_s = due_s
        self._looks_s = due_s
        self._timer = self._loop.call_at(due_s, self._look)

    def move(self, due_s: float) -> None:
        """Let the deadline be ``due_s``, in the loop's time.

        A later one only gets noted: the timer finds it when it rings, so that a token does not pay for a timer.
        """
        self._due_s = due_s
        if due_s < self._looks_s:
            self.close()
            self._arm()

    def close(self) -> None:
        self._timer.cancel()

    def _arm(self) -> None:
        self._looks_s = self._due_s
        self._timer = self._loop.call_at(self._due_s, self._look)

    def _look(self) -> None:
        if self._loop.time() < self._due_s:
            self._arm()
        else:
            self._timeout.reschedule(self._due_s)


@asynccontextmanager
async def deadline_at(due_s: float) -> AsyncIterator[Deadline]:
    """Raise TimeoutError out of the block when the deadline, at first ``due_s``, is over."""
    async with asyncio.timeout(None) as timeout:
        deadline = Deadline(timeout, due_s)
        try:
            yield deadline
        finally:
            deadline.close()
