"""The latency budget: what each hop may cost, and the judgement on hops that were measured.

The file gives a ``version`` and one table a hop: ``[hops."bargein.verdict"]`` with ``from`` and ``to`` (where the
measured time begins and ends, in words), ``budget_ms`` and, where there is one, ``aim_ms``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from svc_runtime.toml_file import Section, TomlFile

_AN_HOUR_MS = 3_600_000


class Limit(NamedTuple):
    """What one hop may cost."""

    begins: str
    """Where its time begins, in words: ``from`` in the file."""
    ends: str
    budget_ms: float
    """99th percentile."""
    aim_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Hop:
    """One measured hop: the slowest of its ``count`` occurrences."""

    name: str
    duration_us: int
    count: int = 1


class Judgement(NamedTuple):
    """Whether all hops kept their budgets, and which broke it by the largest factor (the culprit)."""

    kept: bool
    culprit: str
    """Empty when all were kept."""
    over: tuple[str, ...]
    """Every hop over its budget, worst first."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of all hops, by name."""

    version: int
    hops: Mapping[str, Limit]

    @staticmethod
    def load(path: str | Path) -> Budget:
        """Read the budget file. Raises ConfigError listing every problem."""
        return Budget._of(TomlFile.read(path, hint="give the path of a budget file"))

    @staticmethod
    def parse(text: str, *, name: str) -> Budget:
        """Return the budget in ``text``; ``name`` stands for the file in errors. Raises ConfigError."""
        return Budget._of(TomlFile.parse(text, name=name))

    @staticmethod
    def _of(file: TomlFile) -> Budget:
        version = file.root.whole("version", 0, required=True)
        hops = {name: _limit(file, row) for name, row in file.root.section("hops").sections()}
        if not hops:
            file.add_problem('there is no hop; give at least one table such as [hops."session.fold"]')
        file.root.refuse_unknown()
        file.check()
        return Budget(version, MappingProxyType(hops))

    def limit_us(self, hop: str) -> int:
        """Return the budget of ``hop`` in microseconds, 0 when it has none."""
        limit = self.hops.get(hop)
        return round(limit.budget_ms * 1000) if limit else 0

    def judge(self, hops: Sequence[Hop]) -> Judgement:
        """Judge the hops of one piece of work. A hop without a budget breaks none; on its budget is kept."""
        limits = [(hop, self.limit_us(hop.name)) for hop in hops]
        over = [(hop.duration_us / limit_us, hop.name) for hop, limit_us in limits if 0 < limit_us < hop.duration_us]
        worst_first = tuple(name for _, name in sorted(over, key=lambda pair: -pair[0]))
        return Judgement(not over, worst_first[0] if over else "", worst_first)


def _limit(file: TomlFile, row: Section) -> Limit:
    if row.tables:
        quotes = 'put the name of a hop in quotes, as in [hops."session.fold"]'
        file.add_problem(f"{row.heading} holds a table; {quotes}")
        return Limit("", "", 0.0)
    limit = Limit(
        begins=row.text("from", "", required=True),
        ends=row.text("to", "", required=True),
        budget_ms=row.value("budget_ms", 0.0, _is_time, "a number above 0", required=True),
        aim_ms=row.value("aim_ms", None, _is_time, "a number above 0"),
    )
    if limit.aim_ms is not None and 0 < limit.budget_ms < limit.aim_ms:
        row.wrong("aim_ms", f"at most budget_ms ({limit.budget_ms:g})")
    row.refuse_unknown()
    return limit


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < _AN_HOUR_MS
