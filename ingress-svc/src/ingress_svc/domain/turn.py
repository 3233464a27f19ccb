"""What a turn took: its hops as they are measured, and why it is worth a trace."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class TurnLog:
    """The measurements of one turn, from its first event to its end."""

    started_ns: int
    """Wall clock."""
    number: int = 0
    generation: int = 0
    cut: bool = False
    failed: bool = False
    hops: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Hop → (its slowest occurrence in microseconds, how many there were)."""

    def note(self, hop: str, duration_us: int) -> None:
        worst_us, count = self.hops.get(hop, (0, 0))
        self.hops[hop] = (max(worst_us, duration_us), count + 1)


def keep_reason(turn: TurnLog, *, over_budget: bool, sampled: bool) -> str:
    """Return why the turn's trace is kept, the most telling reason first; empty when it is not."""
    if turn.failed:
        return "failed"
    if turn.cut:
        return "cut"
    if over_budget:
        return "over_budget"
    return "sampled" if sampled else ""
