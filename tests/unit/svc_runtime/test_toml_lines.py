"""Every key that is written out is found on its line, whatever stands in the values around it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from svc_runtime.toml_lines import line_of, lines_of

ROOT = Path(__file__).parents[3]

TRAPS = '''# [no] table
top = "x" # = not a key

[a]
text = """
[b]
key = 1 \\""" still
"quoted" = 2
"""
literal = \'\'\'
[c]
ends = "in quotes"\'\'\'\'
list = [ # a comment with ] and "
  "[d]", \'e = 1\',
  { f = 1 },
]
dotted . "k.ey" = 3
inline = { x = 1, y = [2] }
  [ b . "c.d" ]
last = 1979-05-27
[[many]]
one = 1
[[many]]
one = 2
[many.below]
two = 2'''


def paths(table: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in table.items():
        found.append((*above, key))
        if isinstance(value, dict):
            found += paths(value, (*above, key))
    return found


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("top", 2),
        ("a", 4),
        ("a.text", 5),
        ("a.literal", 10),
        ("a.list", 13),
        ("a.dotted", 17),
        ("a.inline", 18),
        ("a.inline.y", 18),
        ("b", 19),
        ("many", 21),
        ("many[1].one", 22),
        ("many[2]", 23),
        ("many[2].one", 24),
        ("many[2].below.two", 26),
        ("none", 0),
    ],
)
def test_a_key_has_the_line_on_which_it_is_written(path: str, line: int) -> None:
    assert line_of(lines_of(TRAPS), tuple(path.split("."))) == line


def test_keys_with_dots_of_their_own_are_found() -> None:
    lines = lines_of(TRAPS)
    assert line_of(lines, ("a", "dotted", "k.ey")) == 17
    assert line_of(lines, ("b", "c.d", "last")) == 20


@pytest.mark.parametrize("name", ["agent.toml", "budget.toml", "pyproject.toml"])
def test_our_own_files_are_found_whole(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    rows = text.splitlines()
    lines = lines_of(text)
    for path in paths(tomllib.loads(text)):
        assert path[-1] in rows[line_of(lines, path) - 1], path


VALUES = st.sampled_from(
    [
        "1",
        "true",
        '"a = 1"',
        "'[x]'",
        '"""\n[y]\nz = 1\n"""',
        "'''\n# '''",
        "[\n1, # ]\n[2],\n]",
        '{ n = "}" }',
        '"\\""',
    ]
)
KEYS = st.sampled_from(["k", "a-b", '"a b"', "'c.d'", '"e\\"f"'])


@given(st.lists(st.tuples(st.booleans(), KEYS, VALUES, st.sampled_from(["", "# [t]", "  # k = 1"])), max_size=12))
def test_no_value_hides_what_follows_it(entries: list[tuple[bool, str, str, str]]) -> None:
    """Tables are numbered, so that no key comes twice."""
    rows: list[str] = []
    expected: dict[int, int] = {}
    for number, (is_table, key, value, comment) in enumerate(entries):
        expected[number] = len("\n".join(rows).splitlines()) + 1
        rows.append(f"[t{number}] {comment}" if is_table else f"[t{number}]\n{key} = {value} {comment}")
    text = "\n".join(rows)
    lines = lines_of(text)
    for path in paths(tomllib.loads(text)):
        number = int(path[0][1:])
        wanted = expected[number] if len(path) == 1 else expected[number] + 1
        assert line_of(lines, path) == wanted


@given(st.text(alphabet="[]\"'=#.\n\\ ab{},", max_size=40))
def test_no_text_is_too_odd_to_be_scanned(text: str) -> None:
    lines_of(text)
