"""How long a bench takes its time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Scale:
    """The lengths of the runs."""

    directory: Path
    """For stores and logs; removed afterwards."""
    rounds: int
    """Each with ours and the baseline, one after the other."""
    open_s: float
    closed_events: int
    memory_calls: int
    cut_s: float
    token_pairs: int


def full(directory: Path) -> Scale:
    return Scale(directory, 3, 3.0, 6_000, 5_000, 10.0, 60)


def quick(directory: Path) -> Scale:
    return Scale(directory, 1, 2.0, 3_000, 1_000, 5.0, 15)
