"""What the one writer of a stream sleeps on while there is nothing to write."""

from __future__ import annotations

import asyncio

RIDES_WITHIN_S = 0.02
"""How long what nobody waits for may wait for a message to ride on: a message costs as much as 50 events in it."""


class Wakeup:
    """An event for one waiter, which can also be due soon.

    The waiter looks for itself what there is to do: it may be woken for nothing.
    """

    def __init__(self) -> None:
        self._is_due = False
        self._sleeper: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> None:
        """Wake the writer; one that is not asleep will not fall asleep."""
        self._is_due = True
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def soon(self) -> None:
        """Wake the writer within `RIDES_WITHIN_S`, unless something else does first."""
        if self._timer is None and not self._is_due:
            self._timer = asyncio.get_running_loop().call_later(RIDES_WITHIN_S, self._ride_ends)

    async def wait(self) -> None:
        """Sleep until there may be something to do."""
        if not self._is_due:
            self._sleeper = asyncio.get_running_loop().create_future()
            try:
                await self._sleeper
            finally:
                self._sleeper = None
        self._is_due = False

    def _ride_ends(self) -> None:
        self._timer = None
        self.now()
