"""The table of figures: what must be, and what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

HEADINGS = ("figure", "must", "measured", "baseline", "ratio", "")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. ``kept`` is None where nothing is asked of it."""

    name: str
    must: str
    measured: str
    baseline: str = ""
    ratio: str = ""
    kept: bool | None = None
    values: dict[str, float] = field(default_factory=dict)
    """The same as numbers, for `--json`."""

    @property
    def verdict(self) -> str:
        return "" if self.kept is None else "ok" if self.kept else "missed"


def render(figures: Sequence[Figure]) -> str:
    """Return the table as Markdown, its columns aligned."""
    rows = [HEADINGS, *((f.name, f.must, f.measured, f.baseline, f.ratio, f.verdict) for f in figures)]
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(HEADINGS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
