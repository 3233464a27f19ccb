"""What a docstring says of a function: its first paragraph, and the lines of its Args section."""

from __future__ import annotations

import inspect
import re
from typing import NamedTuple

_ARGS = re.compile(r"(Args|Arguments|Parameters):\s*")
_SECTION = re.compile(r"[A-Z][A-Za-z ]*:\s*")
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)")


class Docstring(NamedTuple):
    description: str
    """The first paragraph as one line; empty without one."""
    parameters: dict[str, str]


def parse(docstring: str | None) -> Docstring:
    """Return what ``docstring`` says. An entry is ``name: text`` or ``name (type): text``, and may go on below it."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    begin = next((number for number, line in enumerate(lines) if _ARGS.fullmatch(line)), len(lines))
    return Docstring(_first_paragraph(lines[:begin]), _entries(lines[begin + 1 :]))


def _first_paragraph(lines: list[str]) -> str:
    paragraph = []
    for line in lines:
        if not line.strip() or _SECTION.fullmatch(line):
            break
        paragraph.append(line.strip())
    return " ".join(paragraph)


def _entries(lines: list[str]) -> dict[str, str]:
    entries: dict[str, list[str]] = {}
    name, indent = "", 0
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if line.strip() and not depth:
            break  # The next section, which like this one begins at the margin.
        entry = _ENTRY.fullmatch(line.strip()) if not indent or depth <= indent else None
        if entry:
            name, indent = entry[1], depth
            entries[name] = [entry[2]]
        elif name:
            entries[name].append(line.strip())
    return {name: " ".join(part for part in parts if part) for name, parts in entries.items()}
