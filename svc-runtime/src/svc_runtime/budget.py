"""The latency budget: what each hop may cost, and the judgement on hops that were measured.

The file gives a ``version`` and one table a hop: ``[hops."bargein.verdict"]`` with ``from`` and ``to`` (where the
measured time begins and ends, in words), ``budget_ms`` and, where there is one, ``aim_ms``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from svc_runtime.config import ConfigError

_KEYS = {"from": "a text", "to": "a text", "budget_ms": "a number above 0", "aim_ms": "a number above 0"}
_AN_HOUR_MS = 3_600_000


class BudgetError(ConfigError):
    """The budget file cannot be used; the message names the file, the key and what would be right, one to a line."""


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
        """Read the budget file. Raises BudgetError listing every problem."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise BudgetError(f"{path}: cannot be read ({error.strerror}); give the path of a budget file") from error
        return Budget.parse(text, name=str(path))

    @staticmethod
    def parse(text: str, *, name: str) -> Budget:
        """Return the budget in ``text``; ``name`` stands for the file in errors."""
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise BudgetError(f"{name}: is not TOML: {error}") from error
        problems = _problems(content)
        if problems:
            raise BudgetError("\n".join(f"{name}: {problem}" for problem in problems))
        hops = {
            hop: Limit(row["from"], row["to"], row["budget_ms"], row.get("aim_ms"))
            for hop, row in content["hops"].items()
        }
        return Budget(content["version"], MappingProxyType(hops))

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


def _problems(content: Mapping[str, Any]) -> list[str]:
    problems = [f"{key!r} is unknown; use 'version' and 'hops'" for key in content if key not in ("version", "hops")]
    version, hops = content.get("version"), content.get("hops")
    if not isinstance(version, int) or version is True or version < 1:
        problems.append(f"version is {version!r}; it must be a whole number from 1")
    if not isinstance(hops, dict) or not hops:
        return [*problems, 'there is no hop; give at least one table such as [hops."session.fold"]']
    for hop, row in hops.items():
        problems += _row_problems(f'hops."{hop}"', row)
    return problems


def _row_problems(where: str, row: object) -> list[str]:
    if not isinstance(row, dict):
        return [f"{where} is {row!r}; it must be a table with {', '.join(_KEYS)}"]
    if any(isinstance(value, dict) for value in row.values()):
        return [f'{where} holds a table; put the name of a hop in quotes, as in [hops."session.fold"]']
    problems = [f"{where}.{key} is unknown; use {', '.join(_KEYS)}" for key in row if key not in _KEYS]
    for key, form in _KEYS.items():
        if key not in row:
            if key != "aim_ms":
                problems.append(f"{where}.{key} is missing; it must be {form}")
        elif not _fits(key, row[key]):
            problems.append(f"{where}.{key} is {row[key]!r}; it must be {form}")
    if not problems and row.get("aim_ms", 0) > row["budget_ms"]:
        problems.append(f"{where}.aim_ms is {row['aim_ms']!r}; it must not be above budget_ms ({row['budget_ms']!r})")
    return problems


def _fits(key: str, value: object) -> bool:
    if key in ("from", "to"):
        return isinstance(value, str) and bool(value.strip())
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < _AN_HOUR_MS
