"""Counters and gauges of a process, as Prometheus text.

Names are written as in docs/telemetry.md (dots, no unit, no ``_total``); `render` turns them into Prometheus' form.
Every counter and every value of its labels is declared first, so the set of series is closed and no id becomes one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

_UNITS = {"s": "_seconds", "By": "_bytes", "": ""}


class Counters:
    """Counts by name and labels; used from one thread."""

    def __init__(self) -> None:
        self._meanings: dict[str, str] = {}
        self._labels: dict[str, tuple[str, ...]] = {}
        self._values: dict[tuple[str, ...], int] = {}

    def declare(self, name: str, meaning: str, **labels: Sequence[str]) -> None:
        """Make ``name`` countable, with all values that each label can take; again is harmless."""
        self._meanings[name] = meaning
        self._labels[name] = tuple(labels)
        for values in product(*labels.values()):
            self._values.setdefault((name, *values), 0)

    def add(self, name: str, count: int = 1, **labels: str) -> None:
        """Count. Raises KeyError for a name or a label value that was not declared."""
        self._values[self._key(name, labels)] += count

    def value(self, name: str, **labels: str) -> int:
        """Return the count so far."""
        return self._values[self._key(name, labels)]

    def lines(self) -> list[str]:
        """Return the counters in Prometheus' text format."""
        lines = []
        for name, meaning in self._meanings.items():
            series = f"{_flat(name)}_total"
            lines += [f"# HELP {series} {meaning}", f"# TYPE {series} counter"]
            for key, count in self._values.items():
                if key[0] == name:
                    pairs = ",".join(
                        f'{label}="{value}"' for label, value in zip(self._labels[name], key[1:], strict=True)
                    )
                    lines.append(f"{series}{{{pairs}}} {count}" if pairs else f"{series} {count}")
        return lines

    def _key(self, name: str, labels: dict[str, str]) -> tuple[str, ...]:
        if not labels:
            return (name,)
        return (name, *[labels[label] for label in self._labels[name]])


class Gauge(NamedTuple):
    """A figure that is read when it is asked for, such as the lag of the event loop."""

    name: str
    meaning: str
    read: Callable[[], float]
    unit: str = ""
    """s, By or nothing."""


def render(counters: Counters, gauges: Sequence[Gauge] = ()) -> str:
    """Return everything in Prometheus' text format (version 0.0.4)."""
    lines = counters.lines()
    for gauge in gauges:
        series = _flat(gauge.name) + _UNITS[gauge.unit]
        lines += [f"# HELP {series} {gauge.meaning}", f"# TYPE {series} gauge", f"{series} {gauge.read():g}"]
    return "\n".join(lines) + "\n"


def _flat(name: str) -> str:
    return name.replace(".", "_")
