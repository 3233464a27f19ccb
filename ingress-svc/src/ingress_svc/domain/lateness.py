"""Whether this process may have slept through a cut.

A process that was frozen (or whose loop was blocked) finds tokens and commands waiting side by side, and may pick up a
token first. So a writer that is late must hear what the other services have said meanwhile before it writes again.
"""

from __future__ import annotations

from dataclasses import dataclass

LATE_S = 0.2
"""Four missed ticks: design rule 1."""
TICK_S = 0.05


@dataclass(slots=True)
class Lateness:
    """Watches the gaps between ticks of the loop. Times are monotonic seconds."""

    last_tick_s: float
    slept: int = 0
    """Counts the gaps that were too long; a writer compares it with the count it has last cleared."""

    def tick(self, now_s: float) -> None:
        """The loop is alive. Also called by each writer, so that it sees a gap before the next timer does."""
        if now_s - self.last_tick_s > LATE_S:
            self.slept += 1
        self.last_tick_s = now_s
