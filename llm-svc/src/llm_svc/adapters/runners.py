"""The models of all agents, made when they are first needed and closed when no agent's version can ask for them again.

A model is known by what describes it, so versions and agents that ask for the same one share its connections and its
breaker. Making one may take seconds (an import, certificates) and happens in a thread: others are talking meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

from svc_runtime import logs

from llm_svc.adapters.generation import Contender, Runner

M = TypeVar("M", bound=Hashable)
"""What describes a model."""


class Lent(NamedTuple):
    """A runner that somebody uses, until it is given back."""

    runner: Runner
    models: tuple[Hashable, ...]


class Runners(Generic[M]):
    """Runs the generations of every agent. Belongs to one event loop."""

    def __init__(
        self,
        models_of: Callable[[str], tuple[M, ...]],
        in_reach: Callable[[], Iterable[tuple[M, ...]]],
        make: Callable[[M], Contender],
        *,
        token_gap_s: float,
        total_s: float,
    ) -> None:
        """``models_of`` returns an agent's models, the fallback second; ``in_reach`` all that it may still return.

        ``make`` is called in a thread.
        """
        self._models_of = models_of
        self._in_reach = in_reach
        self._make = make
        self._token_gap_s = token_gap_s
        self._total_s = total_s
        self._contenders: dict[Hashable, Contender] = {}
        self._runners: dict[tuple[Hashable, ...], Runner] = {}
        self._lent: Counter[tuple[Hashable, ...]] = Counter()
        self._making = asyncio.Lock()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def borrow(self, agent: str) -> Lent:
        """Return the runner of an agent, made if it is new. Give it back."""
        models = self._models_of(agent)
        runner = self._runners.get(models)
        if runner is None:
            runner = await self._made(models)
        self._lent[models] += 1
        return Lent(runner, models)

    def give_back(self, lent: Lent) -> None:
        self._lent[lent.models] -= 1
        if not self._lent[lent.models]:
            del self._lent[lent.models]
            if not any(lent.models == models for models in self._in_reach()):
                self.changed()

    def changed(self) -> None:
        """Note that other models are in reach now."""
        self._changed.set()

    async def keep_ready(self) -> None:
        """After each change make what is new, and close what nobody can ask for any more."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.ready()

    async def ready(self) -> None:
        """Make all models that are in reach and begin to open their connections; close the others when idle."""
        for models in set(self._in_reach()):
            if models not in self._runners:
                await self._made(models)
        await self._close_unreachable()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for contender in self._contenders.values():
            await contender.model.close()

    async def _made(self, models: tuple[M, ...]) -> Runner:
        async with self._making:
            if models in self._runners:
                return self._runners[models]
            for one in models:
                if one not in self._contenders:
                    contender = await asyncio.to_thread(self._make, one)
                    self._contenders[one] = contender
                    task = asyncio.ensure_future(contender.model.warm_up())
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
            runner = Runner(
                *(self._contenders[one] for one in models), token_gap_s=self._token_gap_s, total_s=self._total_s
            )
            self._runners[models] = runner
            return runner

    async def _close_unreachable(self) -> None:
        async with self._making:
            wanted = {*self._in_reach(), *self._lent}
            for models in [models for models in self._runners if models not in wanted]:
                del self._runners[models]
            needed = {one for models in wanted for one in models}
            for one in [one for one in self._contenders if one not in needed]:
                model = self._contenders.pop(one).model
                logs.get().info("llm.model.closed", model=model.label)
                await model.close()
