"""Threads for the owner's plain functions: bounded, and given up rather than waited for."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """One thread a call, at most so many at once.

    A pool of the standard library is joined when the process ends, so one function that hangs would hang the process.
    """

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self.busy = 0
        """Threads that run, those included whose result nobody waits for any longer."""

    async def run(self, work: Callable[[], T], began: Callable[[], None]) -> T:
        """Return what ``work`` returns, which should raise nothing; ``began`` is told when it has a thread.

        Cancelling the wait leaves the thread running; it counts until it ends.
        """
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[T] = loop.create_future()

        def settle(values: list[T]) -> None:
            self.busy -= 1
            self._free.release()
            if settled.done():
                return
            if values:
                settled.set_result(values[0])
            else:
                settled.set_exception(RuntimeError("the work of a thread raised"))

        def body() -> None:
            values: list[T] = []
            try:
                values.append(context.run(work))
            finally:
                with suppress(RuntimeError):  # The loop has ended, and with it all who could wait.
                    loop.call_soon_threadsafe(settle, values)

        context = contextvars.copy_context()
        self.busy += 1
        try:
            threading.Thread(target=body, name="tool", daemon=True).start()
        except RuntimeError:
            self.busy -= 1
            self._free.release()
            raise
        began()
        return await settled
