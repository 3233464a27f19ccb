"""Watches an event loop from a thread: how late it runs, and whether it stands still.

gRPC answers pings from its own threads, so a process whose loop is blocked looks healthy from outside.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from svc_runtime import logs

log = logs.get()

EXIT_LOOP_BLOCKED = 70
"""The process's exit code when its loop stood still too long; a supervisor starts it again."""

_TICK_S = 0.05
_LAG_WINDOW_S = 5.0


def _exit_now() -> None:
    # Lines of code only, no values: what blocks the loop can be read there.
    faulthandler.dump_traceback(sys.__stderr__ or 2)
    os._exit(EXIT_LOOP_BLOCKED)


class LoopWatch:
    """Reports a loop that stands still for ``limit_s``, and ends the process after four times that.

    ``on_change`` is called from the watching thread: False when the loop stands still, True when it runs again.
    Standing time is counted in the thread's own ticks, so a process that was frozen as a whole is not ended for it.
    """

    def __init__(
        self, on_change: Callable[[bool], None], *, limit_s: float = 5.0, give_up: Callable[[], None] = _exit_now
    ) -> None:
        self._on_change = on_change
        self._limit_s = limit_s
        self._give_up = give_up
        self._beats = 0
        self._due_s = 0.0
        self._lags: deque[tuple[float, float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop-watch", daemon=True)

    @property
    def lag_ms(self) -> float:
        """How late the loop ran a timer at worst, over the last five seconds."""
        oldest_s = time.monotonic() - _LAG_WINDOW_S
        return max((lag_s for at_s, lag_s in list(self._lags) if at_s >= oldest_s), default=0.0) * 1_000

    def start(self) -> None:
        """Watch the running loop."""
        self._due_s = time.monotonic()
        self._beat(asyncio.get_running_loop())
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = time.monotonic()
        self._beats += 1
        self._lags.append((now_s, max(0.0, now_s - self._due_s)))
        while self._lags[0][0] < now_s - _LAG_WINDOW_S:
            self._lags.popleft()
        self._due_s = now_s + _TICK_S
        self._timer = loop.call_later(_TICK_S, self._beat, loop)

    def _watch(self) -> None:
        tick_s = min(self._limit_s / 10, 0.5)
        seen, still_s, blocked = 0, 0.0, False
        while not self._stopped.wait(tick_s):
            still_s = still_s + tick_s if seen == self._beats else 0.0
            seen = self._beats
            if blocked != (still_s > self._limit_s):
                blocked = not blocked
                self._on_change(not blocked)
                if blocked:
                    log.error("loop.blocked", limit_s=self._limit_s)
                else:
                    log.info("loop.runs_again")
            if still_s > 4 * self._limit_s:
                log.error("loop.given_up", still_s=round(still_s, 1))
                self._give_up()
                return
