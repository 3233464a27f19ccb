"""Keeps the services running: starts them, starts again what dies, and ends them in order.

It knows nothing of voicemesh: services, their order and their readiness are given.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from voicemesh_cli.child import Child, LogFile, Service, how_it_ended

_REFUSED = 2
"""Exit code of a service that cannot run with its settings."""
_STABLE_S = 30.0
"""A service that has lived so long starts again at once when it dies."""
_BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
_TOLD_TO_END = "the services were told to end before they were ready"
_ASK_AGAIN_S = 0.05
_OTHERS_S = 1.0


class CannotStart(Exception):
    """The services do not come up; the message is for the person at the terminal."""


def told(refused: Sequence[tuple[str, str]]) -> str:
    """Return for a person what services refuse: (service, problem), each problem once with all who have it."""
    by_problem: dict[str, list[str]] = {}
    for name, problem in refused:
        names = by_problem.setdefault(problem, [])
        names += [] if name in names else [name]
    lines = [f"{', '.join(names)}: {problem}" for problem, names in by_problem.items()]
    if len(lines) > 1:
        return "\n  ".join(["the services refuse their settings:", *lines])
    ((problem, names),) = by_problem.items()
    refuse = "refuses its settings" if len(names) == 1 else "refuse their settings"
    return f"{', '.join(names)} {refuse}: {problem}"


class Supervisor:
    """Runs ``services``. The first of ``stop_order`` is ended first and given time to drain, then the rest together."""

    def __init__(
        self,
        services: Sequence[Service],
        *,
        stop_first: Sequence[str],
        log_dir: Path,
        log_file_bytes: int,
        grace_s: float,
        say: Callable[[str], None],
        on_started: Callable[[dict[str, int]], None],
    ) -> None:
        """``on_started`` is told the process ids by service name, at each start of one."""
        self._services = services
        self._stop_first = frozenset(stop_first)
        self._grace_s = grace_s
        self._say = say
        self._on_started = on_started
        self._logs = {s.name: LogFile(log_dir / f"{s.name}.log", log_file_bytes) for s in services}
        self._children: dict[str, Child] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._is_up = False
        self._is_ending = False
        self._starting = asyncio.Lock()
        """Held while a child is being started: it is ours to end, and not yet among the children."""
        self._refused: list[tuple[str, str]] = []
        self._refusal: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self, ready: Callable[[], Awaitable[bool]], ready_s: float) -> None:
        """Start every service and wait until ``ready`` says so.

        Raises CannotStart when a service refuses its settings, when ``ready_s`` seconds were not enough, or at `stop`.
        """
        for service in self._services:
            await self._start(service)
            self._keepers.append(asyncio.create_task(self._keep(service)))
        waiting = asyncio.create_task(_until(ready))
        try:
            either: list[asyncio.Future[Any]] = [waiting, self._refusal]
            await asyncio.wait(either, timeout=ready_s, return_when=asyncio.FIRST_COMPLETED)
            if self._refusal.done():
                # Who else refuses does so at once.
                await asyncio.wait(self._keepers, timeout=_OTHERS_S if self._refused else 0)
                raise CannotStart(told(self._refused) if self._refused else self._refusal.result())
            if not waiting.done():
                raise CannotStart(f"the services did not come up within {ready_s:g} s{self._last_words()}")
            waiting.result()
        finally:
            waiting.cancel()
        self._is_up = True

    async def stop(self) -> None:
        """End every service: SIGTERM, and SIGKILL to what is left after the grace."""
        self._is_ending = True
        self._refuse(_TOLD_TO_END)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        async with self._starting:
            await self._end_all()
        for log in self._logs.values():
            log.close()

    def kill(self) -> None:
        """Kill every service at once."""
        self._is_ending = True
        for child in self._children.values():
            child.signal(signal.SIGKILL)

    async def _start(self, service: Service) -> None:
        async with self._starting:
            if self._is_ending:
                raise CannotStart(_TOLD_TO_END)
            child = Child(service, self._logs[service.name], self._say)
            await child.start()
            self._children[service.name] = child
        try:
            self._on_started({name: started.pid for name, started in self._children.items()})
        except OSError as error:
            # It runs, whoever may not know it.
            self._say(f"{service.name} runs, and that cannot be noted ({error.strerror or error})")

    async def _keep(self, service: Service) -> None:
        """Start ``service`` again as often as it dies."""
        deaths = 0
        while True:
            began_s = time.monotonic()
            code = await self._children[service.name].ended()
            if self._is_ending:
                return None
            if code == _REFUSED and not self._is_up:
                words = self._children[service.name].last_words or ["it did not say why"]
                self._refused += [(service.name, word) for word in words]
                return self._refuse("")
            deaths = 0 if time.monotonic() - began_s >= _STABLE_S else deaths
            delay_s = _BACKOFF_S[min(deaths, len(_BACKOFF_S) - 1)]
            deaths += 1
            if delay_s:
                self._say(f"{service.name} died ({how_it_ended(code)}); starting it again in {delay_s:g} s")
                await asyncio.sleep(delay_s)
            while not self._is_ending and (problem := await self._restarted(service)):
                delay_s = _BACKOFF_S[min(deaths, len(_BACKOFF_S) - 1)]
                deaths += 1
                self._say(f"{service.name} cannot be started ({problem}); trying again in {delay_s:g} s")
                await asyncio.sleep(delay_s)
            if self._is_ending:
                return None
            self._say(f"{service.name} died ({how_it_ended(code)}); restarted")

    async def _restarted(self, service: Service) -> str:
        """Start ``service`` again. Returns why that cannot be now (no process, no memory, no descriptor), or ""."""
        try:
            await self._start(service)
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _refuse(self, why: str) -> None:
        """Let `start` give up, if it still waits."""
        if not self._refusal.done():
            self._refusal.set_result(why)

    def _last_words(self) -> str:
        said = [f"{name}: {child.last_words[-1]}" for name, child in self._children.items() if child.last_words]
        return "; " + "; ".join(said) if said else ""

    async def _end_all(self) -> None:
        first = [child for name, child in self._children.items() if name in self._stop_first]
        rest = [child for name, child in self._children.items() if name not in self._stop_first]
        for group in (first, rest):
            await asyncio.gather(*(self._end(child) for child in group))

    async def _end(self, child: Child) -> None:
        child.signal(signal.SIGTERM)
        ended = asyncio.ensure_future(child.ended())
        await asyncio.wait([ended], timeout=self._grace_s)
        if not ended.done():
            self._say(f"{child.service.name} did not end within {self._grace_s:g} s; killed")
            child.signal(signal.SIGKILL)
        await ended


async def _until(ready: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await ready():
            return
        await asyncio.sleep(_ASK_AGAIN_S)
