"""What a last writer does in a process that slept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

CaughtUp = Callable[[], Awaitable[None]]


class CatchUp:
    """Has one writer hear what was decided while the process slept, before it lets anything more go."""

    def __init__(self, slept: Callable[[], int], caught_up: CaughtUp) -> None:
        self._slept = slept
        self._caught_up = caught_up
        self._cleared = slept()

    async def __call__(self) -> None:
        while self._cleared != (sleeps := self._slept()):
            await self._caught_up()
            self._cleared = sleeps
