"""Work that runs as long as its process, such as a sweep every few seconds.

Nobody awaits such work, so its death would go unseen. Here it is logged, ends readiness, and the work starts again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from svc_runtime import logs

log = logs.get()

_PAUSE_S = 1.0
_SOUND_S = 5.0
"""Work that has run so long since its last start is well again."""


class Background:
    """The background work of a process. Made on its loop."""

    def __init__(self, *, pause_s: float = _PAUSE_S, sound_s: float = _SOUND_S) -> None:
        """``pause_s`` lies between a death and the next start."""
        self._pause_s = pause_s
        self._sound_s = sound_s
        self._tasks: list[asyncio.Task[None]] = []
        self._failing: set[str] = set()

    @property
    def ok(self) -> bool:
        """Whether all of it runs, and has not just died: a condition of readiness."""
        return not self._failing

    def keep(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run ``work`` until `close`; it ought never to end by itself. ``name`` is for the log."""
        self._tasks.append(asyncio.create_task(self._keep(name, work), name=name))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            sound = asyncio.get_running_loop().call_later(self._sound_s, self._failing.discard, name)
            try:
                await work()
                log.error("background.ended", task=name)
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # It awaited something that somebody else had cancelled.
                log.exception("background.failed", error, task=name)
            except Exception as error:
                log.exception("background.failed", error, task=name)
            finally:
                sound.cancel()
            self._failing.add(name)
            await asyncio.sleep(self._pause_s)
