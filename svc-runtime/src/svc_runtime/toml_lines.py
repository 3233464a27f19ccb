"""On which line of a TOML file a key stands: tomllib gives values without their places.

Only for text that tomllib has read. Headers and ``key =`` at the start of a statement are found, dotted and quoted ones
too; the tables of ``[[name]]`` are called ``name[1]`` and so on. What stands inside a value (an inline table, an entry
of a list) has the line of the key before it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

KeyPath = tuple[str, ...]

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_DOTTED = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_STATEMENT = re.compile(rf"[ \t]*(?:(?P<list>\[?)\[[ \t]*(?P<header>{_DOTTED})[ \t]*\]\]?|(?P<key>{_DOTTED})[ \t]*=)")
_PART = re.compile(_KEY)
# What a value is made of, as far as it tells where the value ends. Long quotes come first.
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}' + r"|'''.*?'{3,5}" + r'|"(?:\\.|[^"\\\n])*"' + r"|'[^'\n]*'" + r"|#[^\n]*|[\[\]{}\n]",
    re.DOTALL,
)


def lines_of(text: str) -> Mapping[KeyPath, int]:
    """Return the line, from 1, of every table and key that is written out."""
    lines: dict[KeyPath, int] = {}
    entries: dict[KeyPath, int] = {}
    table: KeyPath = ()
    at = 0
    while at < len(text):
        statement = _STATEMENT.match(text, at)
        if statement is not None:
            header = statement["header"]
            line = text.count("\n", 0, statement.start()) + 1
            path = _path(header or statement["key"])
            if header:
                _note(lines, path, line)
                path = table = _entered(path, entries, is_new=bool(statement["list"]))
            else:
                path = (*table, *path)
            _note(lines, path, line)
            at = statement.end()
        at = _next_statement(text, at)
    return lines


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """Return the line of ``path``, or of what it is in; 0 for nowhere."""
    return next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), 0)


def _entered(path: KeyPath, entries: dict[KeyPath, int], *, is_new: bool) -> KeyPath:
    """Return the path of a header with the number of each list's entry that it is in."""
    if is_new:
        entries[path] = entries.get(path, 0) + 1
    return tuple(
        f"{key}[{entries[path[: at + 1]]}]" if path[: at + 1] in entries else key for at, key in enumerate(path)
    )


def _note(lines: dict[KeyPath, int], path: KeyPath, line: int) -> None:
    # `a.b = 1` makes a table `a` as well.
    for length in range(1, len(path) + 1):
        lines.setdefault(path[:length], line)


def _next_statement(text: str, at: int) -> int:
    """Return where the line begins that follows the value at ``at``."""
    depth = 0
    for token in _TOKEN.finditer(text, at):
        if token[0] in ("[", "{"):
            depth += 1
        elif token[0] in ("]", "}"):
            depth -= 1
        elif token[0] == "\n" and depth <= 0:
            return token.end()
    return len(text)


def _path(dotted: str) -> KeyPath:
    return tuple(map(_plain, _PART.findall(dotted)))


def _plain(key: str) -> str:
    if key[0] == "'":
        return key[1:-1]
    if key[0] != '"':
        return key
    try:
        plain: str = json.loads(key)
    except ValueError:
        # An escape that only TOML has: such a key has no line of its own.
        return key
    return plain
