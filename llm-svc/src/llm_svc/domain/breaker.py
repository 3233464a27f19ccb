"""When to stop asking a provider that keeps failing, and when to ask again.

    closed ──── failures in a row, or a bad share of recent tries, or one fatal failure ───▶ open
      ▲                                                                                      │ its pause is over
      │                                                                                      ▼
      └──────── the probe succeeded ──── half-open ────── the probe failed: a longer pause ──▶ open

- closed: every try is let through and its result counts.
- open: no try is let through until the pause is over.
- half-open: one try at a time, the probe, is let through. A probe that is abandoned (the caller cut in) says nothing
  about the provider; the next try becomes the probe.

A result counts only in the state its try began in: a try from before the breaker opened, which ends while another one
probes, decides nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class State(Enum):
    """The three states drawn above."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """When to open and for how long."""

    failures_in_a_row: int = 5
    recent_tries: int = 20
    """How many of the latest tries the share is taken over; fewer never open by share."""
    failed_share: float = 0.5
    """Open when at least this share of the recent tries failed."""
    pause_s: float = 10.0
    """Of the first opening. It doubles with each probe that fails."""
    longest_pause_s: float = 60.0
    """A provider that is back is found again within this time."""


class Permit(NamedTuple):
    """Leave for one try. Hand it back once: succeeded, failed or abandoned."""

    epoch: int


class Breaker:
    """Of one model. Times are seconds on any clock that does not go back."""

    def __init__(self, limits: BreakerLimits = BreakerLimits()) -> None:
        self._limits = limits
        self._epoch = 0
        self._in_a_row = 0
        self._recent: deque[bool] = deque(maxlen=limits.recent_tries)
        self._open_until_s: float | None = None
        self._pause_s = limits.pause_s
        self._probing = False

    def state(self, now_s: float) -> State:
        """Return the state at ``now_s``."""
        if self._open_until_s is None:
            return State.CLOSED
        return State.OPEN if now_s < self._open_until_s else State.HALF_OPEN

    def enter(self, now_s: float) -> Permit | None:
        """Return leave to try, or None when the provider is to be left alone."""
        state = self.state(now_s)
        if state is State.OPEN or (state is State.HALF_OPEN and self._probing):
            return None
        if state is State.HALF_OPEN:
            self._probing = True
        return Permit(self._epoch)

    def succeeded(self, permit: Permit) -> None:
        """Take note that a try answered."""
        if permit.epoch != self._epoch:
            return
        self._in_a_row = 0
        self._recent.append(True)
        if self._open_until_s is not None:
            self._close()

    def failed(self, permit: Permit, now_s: float, *, fatal: bool = False) -> bool:
        """Take note that a try failed; return whether this opened the breaker.

        ``fatal`` opens it at once: a refused key is refused again.
        """
        if permit.epoch != self._epoch:
            return False
        self._in_a_row += 1
        self._recent.append(False)
        if self._open_until_s is not None:
            self._pause_s = min(self._pause_s * 2, self._limits.longest_pause_s)
            self._open(now_s)
            return True
        if fatal or self._in_a_row >= self._limits.failures_in_a_row or self._bad_share():
            self._open(now_s)
            return True
        return False

    def abandoned(self, permit: Permit) -> None:
        """Take note that a try was given up for reasons of ours."""
        if permit.epoch == self._epoch:
            self._probing = False

    def _bad_share(self) -> bool:
        tries = len(self._recent)
        return tries == self._limits.recent_tries and self._recent.count(False) >= self._limits.failed_share * tries

    def _open(self, now_s: float) -> None:
        self._open_until_s = now_s + self._pause_s
        self._next_epoch()

    def _close(self) -> None:
        self._open_until_s = None
        self._pause_s = self._limits.pause_s
        self._next_epoch()

    def _next_epoch(self) -> None:
        self._epoch += 1
        self._probing = False
        self._in_a_row = 0
        self._recent.clear()
