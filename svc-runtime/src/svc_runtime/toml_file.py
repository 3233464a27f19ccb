"""Settings in a TOML file: typed values out of its sections, and every problem with them told at once.

A getter notes what is wrong and returns its default, so that reading goes on; `TomlFile.check` raises in the end. Each
problem names the file, the line (`toml_lines` says how well), the key, its value, and what would be right.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from svc_runtime.config import ConfigError
from svc_runtime.toml_lines import KeyPath, line_of, lines_of

T = TypeVar("T")

_LONGEST_SHOWN = 80
_PLACE = re.compile(r"\(at line (\d+), column \d+\)")


class TomlFile:
    """One file, and what is wrong with it."""

    def __init__(self, name: str, content: Mapping[str, Any], lines: Mapping[KeyPath, int] | None = None) -> None:
        self.name = name
        self._lines = lines or {}
        self._problems: list[_Problem] = []
        self.root = Section(content, (), self._problems)

    @staticmethod
    def read(path: str | Path, *, hint: str, required: bool = True) -> TomlFile:
        """Read the file; one that does not exist is empty where it is not ``required``.

        ``hint`` says what to do about a file that cannot be read. Raises ConfigError.
        """
        try:
            return TomlFile.parse(Path(path).read_bytes(), name=str(path))
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not required:
                return TomlFile(str(path), {})
            raise ConfigError(f"{path}: cannot be read ({error.strerror}); {hint}") from error

    @staticmethod
    def parse(text: str | bytes, *, name: str) -> TomlFile:
        """Read ``text``; ``name`` stands for the file in errors. Raises ConfigError."""
        try:
            text = text if isinstance(text, str) else text.decode()
            content = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            place = _PLACE.search(str(error))
            where = f"{name}:{place[1]}" if place else name
            raise ConfigError(f"{where}: is not TOML: {error}") from error
        return TomlFile(name, content, lines_of(text))

    def add_problem(self, problem: str, *path: str, absent: bool = False) -> None:
        """Note what no getter can see; ``path`` leads to the key that it is about; ``absent``: it is not there."""
        self._problems.append(_Problem(path, problem, absent))

    def place(self, *path: str) -> str:
        """Return ``file:line`` of a key, or of what it is in."""
        line = line_of(self._lines, path)
        return f"{self.name}:{line}" if line else self.name

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found wrong so far."""
        return not self._problems

    def check(self) -> None:
        """Raise ConfigError with every problem, one to a line.

        What a slip of the pen leaves out is no problem of its own.
        """
        meant = [problem.meant for problem in self._problems if problem.meant]
        told = [
            problem
            for problem in self._problems
            if not (problem.absent and any(_is_within(problem.path, path) for path in meant))
        ]
        if told:
            raise ConfigError("\n".join(f"{self.place(*problem.path)}: {problem.text}" for problem in told))


class _Problem(NamedTuple):
    path: KeyPath
    text: str
    absent: bool = False
    """Something is missing there."""
    meant: KeyPath = ()
    """What was probably written there under another name, or in another form."""


def _is_within(one: KeyPath, other: KeyPath) -> bool:
    """Whether one of two paths leads through the other."""
    length = min(len(one), len(other))
    return one[:length] == other[:length]


class Section:
    """One table of a file; empty where the file has none."""

    def __init__(self, table: Mapping[str, Any], path: Sequence[str], problems: list[_Problem]) -> None:
        self._table = table
        self._path = tuple(path)
        self._problems = problems
        self._asked: dict[str, None] = {}

    @property
    def heading(self) -> str:
        """How the file writes the section, such as ``[hops."a.b"]``."""
        return f"[{_dotted(self._path)}]"

    @property
    def tables(self) -> list[str]:
        """The keys that hold tables."""
        return [key for key, value in self._table.items() if isinstance(value, dict)]

    def has(self, key: str) -> bool:
        """Whether ``key`` is written there, with whatever value."""
        return key in self._table

    def section(self, key: str) -> Section:
        """Return the table below ``key``."""
        path = (*self._path, key)
        table = self._take(key, {})
        below = Section(table if isinstance(table, dict) else {}, path, self._problems)
        if not isinstance(table, dict):
            problem = f"{self._named(key)} = {_shown(table)} is not a table; write {below.heading}"
            self._problems.append(_Problem(path, problem, meant=path))
        return below

    def sections(self) -> Iterator[tuple[str, Section]]:
        """Yield every key with the table below it: for a section whose keys are names."""
        for key in self._table:
            yield key, self.section(key)

    def each(self, key: str) -> list[Section]:
        """Return the tables of a list of them, which the file writes as ``[[…]]``."""
        tables = self._take(key, [])
        if isinstance(tables, list) and all(isinstance(table, dict) for table in tables):
            return [Section(table, (*self._path, f"{key}[{at}]"), self._problems) for at, table in enumerate(tables, 1)]
        self.note(key, f"= {_shown(tables)} is not a list of tables; write [[{_dotted((*self._path, key))}]]")
        return []

    def text(
        self, key: str, default: T, *, required: bool = False, one_of: Sequence[str] = (), right: str = ""
    ) -> str | T:
        """Return a text with at least one visible character, ``one_of`` those where they are given."""
        if not right:
            right = f"one of {', '.join(map(_shown, one_of))}" if one_of else "a text in quotes, not an empty one"
        found: str | T = self.value(key, default, lambda value: _is_text(value, one_of), right, required=required)
        return found

    def number(self, key: str, default: T, *, least: float, most: float) -> float | T:
        """Return a number in these bounds, whole or not."""
        right = f"a number from {least:g} to {most:g}"
        found: float | T = self.value(key, default, lambda value: _is_number(value, least, most), right)
        return found

    def whole(
        self, key: str, default: T, *, least: int = 1, most: int | None = None, required: bool = False
    ) -> int | T:
        """Return a whole number in these bounds."""
        right = f"a whole number from {least}" + ("" if most is None else f" to {most}")
        found: int | T = self.value(
            key, default, lambda value: type(value) is int and _is_number(value, least, most), right, required=required
        )
        return found

    def switch(self, key: str, default: bool) -> bool:
        """Return true or false."""
        found: bool = self.value(key, default, lambda value: isinstance(value, bool), "true or false")
        return found

    def value(
        self,
        key: str,
        default: Any,
        fits: Callable[[Any], bool],
        right: str,
        *,
        required: bool = False,
        private: bool = False,
    ) -> Any:
        """Return what stands at ``key`` if it ``fits``, and ``default`` otherwise. ``right`` says what would fit.

        A ``private`` value is not shown.
        """
        if key not in self._table:
            self._take(key, default)
            if required:
                self.note(key, f"is missing; it must be {right}", absent=True)
            return default
        found = self._take(key, default)
        if fits(found):
            return found
        if private:
            self.note(key, f"is not {right}")
        else:
            self.wrong(key, right)
        return default

    def wrong(self, key: str, right: str) -> None:
        """Note that the value of ``key`` is not ``right``: for what two values must be together."""
        self.note(key, f"= {_shown(self._table[key])} is not {right}")

    def note(self, key: str, problem: str, *, absent: bool = False) -> None:
        """Note what is wrong at ``key``, in words that follow its name; ``absent`` where it is not there."""
        self._problems.append(_Problem((*self._path, key), f"{self._named(key)} {problem}", absent))

    def leave(self, *keys: str) -> None:
        """Take ``keys`` for known: somebody else reads them."""
        self._asked.update(dict.fromkeys(keys))

    def missing(self, what: str) -> None:
        """Note that the section lacks something: for what may stand at several keys."""
        self._problems.append(_Problem(self._path, f"{self.heading} needs {what}", absent=True))

    def refuse_unknown(self) -> None:
        """Note every key that was not asked for: a slip of the pen would leave a default in force and say nothing."""
        for key, value in self._table.items():
            if key not in self._asked:
                near = _near(key, self._asked)
                help_ = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(sorted(self._asked))}"
                is_table = not self._path and isinstance(value, dict)
                named = f"[{_bare(key)}]" if is_table else self._named(key)
                meant = (*self._path, near[0]) if near else ()
                self._problems.append(_Problem((*self._path, key), f"{named} is not known; {help_}", meant=meant))

    def _take(self, key: str, default: Any) -> Any:
        self._asked[key] = None
        return self._table.get(key, default)

    def _named(self, key: str) -> str:
        return f"{self.heading} {_bare(key)}" if self._path else _bare(key)


def _near(key: str, known: Iterable[str]) -> list[str]:
    """Return the name that was probably meant, if any: case and dashes are the smallest of slips."""
    return difflib.get_close_matches(key.lower().replace("-", "_"), known, n=1)


def _dotted(path: Sequence[str]) -> str:
    return ".".join(_bare(part) for part in path)


def _is_text(value: object, one_of: Sequence[str]) -> bool:
    return isinstance(value, str) and (value in one_of if one_of else bool(value.strip()))


def _is_number(value: object, least: float, most: float | None) -> bool:
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return is_one and least <= value and (most is None or value <= most)  # type: ignore[operator]


def _bare(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+(\[[0-9]+\])?", key) else _shown(key)


def _shown(value: object) -> str:
    """Return a value as the file writes it, but not all of a long one."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, list):
        text = f"[{', '.join(map(_shown, value))}]"
    elif isinstance(value, dict):
        text = "{…}"
    else:
        text = str(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
