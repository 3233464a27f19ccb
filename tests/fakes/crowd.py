"""A small load: calls that talk, cut in and are answered, until they are told to hang up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fakes.phone import Answer, Line, Phone


async def _turn(call: Phone, number: int) -> None:
    answer = await call.says(f"A table for {2 + number % 7} tonight at {5 + number % 5}pm, please.")
    await answer.has(3)
    await call.agent_starts()
    if number % 3 == 0 and answer.end == "open":
        await call.caller_starts()
        await call.partial("Actually, no wait")
        await answer.is_over()
        await call.agent_stops(" ".join(answer.text.split()[:2]))
        await call.final("Actually, no wait, I have to think.")
        answer = call.ask("Actually, no wait, I have to think.")
    answer = await call.whole(answer)
    await call.agent_stops(answer.text)


class Crowd:
    def __init__(self, calls: list[Phone]) -> None:
        self.calls = calls
        self._leaving = asyncio.Event()

    async def talk(self, call: Phone, first_turn: int) -> None:
        # Not all of them in step.
        await asyncio.sleep(0.05 * first_turn)
        await call.begins()
        number = first_turn
        while not self._leaving.is_set():
            await _turn(call, number)
            number += 1
        await call.hangs_up()

    def leave(self) -> None:
        self._leaving.set()

    @property
    def posts(self) -> int:
        return sum(len(call.posted) for call in self.calls)

    def answers(self) -> list[Answer]:
        return [answer for call in self.calls for answer in call.answers]


@asynccontextmanager
async def crowd(line: Line, size: int) -> AsyncIterator[Crowd]:
    """Have ``size`` calls talk meanwhile. Leaving it waits until all have hung up; what failed on one is raised."""
    gathered = Crowd([line.call("crowd") for _ in range(size)])
    tasks = [asyncio.create_task(gathered.talk(call, number)) for number, call in enumerate(gathered.calls)]
    try:
        yield gathered
        gathered.leave()
        async with asyncio.timeout(60):
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
