"""When a turn is slow, and what is said then."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlowTurn:
    """Off where ``after_ms`` is 0."""

    after_ms: int = 0
    """From the request to when the filler is said, unless the model has begun by then."""
    fillers: tuple[str, ...] = ()

    def filler(self, generation: int) -> str:
        """Return what to say; turns of a call take turns."""
        return self.fillers[generation % len(self.fillers)]
