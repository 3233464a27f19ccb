"""Time, as an argument: wall time for what is stored or sent, monotonic time for what is measured."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a service's shell gets the time that it passes to its pure parts."""

    def now_ms(self) -> int:
        """Return milliseconds since the Unix epoch."""

    def monotonic_s(self) -> float:
        """Return seconds from an arbitrary start, never going back."""


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()
