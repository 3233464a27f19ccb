"""A model that does exactly what a test plans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from llm_svc.domain.chat import End, Finish, Piece, Prompt, Text
from llm_svc.domain.choice import Kind, ProviderError

STALL = "stall"
"""In a plan: nothing more until cancelled."""

Step = Piece | End | ProviderError | Exception | str

DOWN = ProviderError(Kind.UNREACHABLE, "could not be reached")
WELL: Sequence[Step] = (Text("One"), Text(" moment."), End(Finish.STOP, 7, 2))


class PlannedModel:
    """Yields or raises the steps of its plan, a new plan for each prompt while there are several."""

    def __init__(self, label: str, *plans: Sequence[Step]) -> None:
        self.label = label
        self.plans = list(plans)
        self.asked: list[Prompt] = []
        self.running = 0
        self.stopped = asyncio.Event()
        """Set whenever a stream has ended, however it did."""

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Piece | End]:
        plan = self.plans[min(len(self.asked), len(self.plans) - 1)]
        self.asked.append(prompt)
        self.running += 1
        try:
            for step in plan:
                if step == STALL:
                    await asyncio.Event().wait()
                elif isinstance(step, Exception):
                    raise step
                elif not isinstance(step, str):
                    yield step
        finally:
            self.running -= 1
            self.stopped.set()

    async def warm_up(self) -> None:
        return None

    async def close(self) -> None:
        return None
