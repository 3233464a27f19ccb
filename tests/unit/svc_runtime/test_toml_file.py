"""A TOML file is read or refused as a whole; a problem names the file, the key, its value and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from svc_runtime.config import ConfigError
from svc_runtime.toml_file import TomlFile


def told(file: TomlFile) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        file.check()
    lines = str(raised.value).splitlines()
    assert all(line.startswith("x.toml:") for line in lines)
    return [line.removeprefix("x.toml:") for line in lines]


def test_values_come_out_in_their_types_and_what_is_not_said_has_its_default() -> None:
    file = TomlFile.parse(
        '[a]\ntext = "x"\nwhole = 3\nnumber = 2\nswitch = false\n[a."b.c"]\ntext = "deep"', name="x.toml"
    )
    section = file.root.section("a")
    assert section.text("text", "") == "x"
    assert section.whole("whole", 1) == 3
    assert section.number("number", None, least=0, most=2) == 2
    assert section.switch("switch", True) is False
    assert section.section("b.c").text("text", "") == "deep"
    assert (section.text("none", None), section.whole("none", 7), section.switch("none", True)) == (None, 7, True)
    assert file.root.section("none").text("text", "default") == "default"
    file.check()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("text = 3", "[s] text = 3 is not a text in quotes, not an empty one"),
        ('text = " "', '[s] text = " " is not a text in quotes, not an empty one'),
        ('word = "c"', '[s] word = "c" is not one of "a", "b"'),
        ("whole = 1.0", "[s] whole = 1.0 is not a whole number from 1 to 5"),
        ("whole = true", "[s] whole = true is not a whole number from 1 to 5"),
        ("whole = 6", "[s] whole = 6 is not a whole number from 1 to 5"),
        ("number = nan", "[s] number = nan is not a number from 0 to 2"),
        ("number = false", "[s] number = false is not a number from 0 to 2"),
        ("switch = 1", "[s] switch = 1 is not true or false"),
        ("below = [1, 'é']", '[s] below = [1, "é"] is not a table; write [s.below]'),
        ("text = {a = 1}", "[s] text = {…} is not a text in quotes, not an empty one"),
        ("wohle = 1", "[s] wohle is not known; did you mean whole?"),
        ('"a b" = 1', '[s] "a b" is not known; the keys are below, number, switch, text, whole, word'),
    ],
)
def test_a_problem_names_the_key_its_value_and_what_would_be_right(text: str, problem: str) -> None:
    file = TomlFile.parse(f"[s]\n{text}", name="x.toml")
    section = file.root.section("s")
    section.text("text", "")
    section.text("word", "", one_of=("a", "b"))
    section.whole("whole", 1, most=5)
    section.number("number", None, least=0, most=2)
    section.switch("switch", False)
    section.section("below")
    section.refuse_unknown()
    assert told(file) == [f"2: {problem}"]


def test_what_is_wrong_reads_as_its_default_so_that_all_problems_are_told() -> None:
    file = TomlFile.parse("a = 1\n[b]\nc = 2", name="x.toml")
    assert file.root.text("a", "default") == "default"
    assert file.root.section("b").text("d", "", required=True) == ""
    assert told(file) == [
        "1: a = 1 is not a text in quotes, not an empty one",
        "2: [b] d is missing; it must be a text in quotes, not an empty one",
    ]


def test_what_others_read_is_known_and_helps_to_guess_what_was_meant() -> None:
    file = TomlFile.parse('[s]\npromt = "x"\nname = "y"\n[tt]\n[z]', name="x.toml")
    section = file.root.section("s")
    section.leave("prompt", "name")
    section.refuse_unknown()
    file.root.leave("ttt")
    file.root.refuse_unknown()
    assert told(file) == [
        "2: [s] promt is not known; did you mean prompt?",
        "4: [tt] is not known; did you mean ttt?",
        "5: [z] is not known; the keys are s, ttt",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[bg]\nname = 'x'", "1: [bg] is not known; did you mean big?"),
        ("[BIG]\nname = 'x'", "1: [BIG] is not known; did you mean big?"),
        ("[big]\nnam = 'x'", "2: [big] nam is not known; did you mean name?"),
        ("big = 'x'", '1: big = "x" is not a table; write [big]'),
        ("[big]", "1: [big] name is missing; it must be a text in quotes, not an empty one"),
    ],
)
def test_one_slip_is_one_line(text: str, line: str) -> None:
    file = TomlFile.parse(text, name="x.toml")
    section = file.root.section("big")
    section.text("name", "", required=True)
    section.refuse_unknown()
    file.root.refuse_unknown()
    assert told(file) == [line]


def test_a_slip_hides_nothing_but_what_it_leaves_out() -> None:
    file = TomlFile.parse("[big]\nnam = 'x'\nsize = 'y'\n[small]", name="x.toml")
    for key in ("big", "small"):
        section = file.root.section(key)
        section.text("name", "", required=True)
        section.whole("size", 1, required=True)
        section.refuse_unknown()
    assert told(file) == [
        '3: [big] size = "y" is not a whole number from 1',
        "2: [big] nam is not known; did you mean name?",
        "4: [small] name is missing; it must be a text in quotes, not an empty one",
        "4: [small] size is missing; it must be a whole number from 1",
    ]


@pytest.mark.parametrize("slip", ["bargein", "barge-in", "Barge_In", "BARGEIN", "barge_inn"])
def test_a_table_under_a_name_that_is_almost_right_does_not_pass(slip: str) -> None:
    file = TomlFile.parse(f"[{slip}]\nmin_words = 3", name="x.toml")
    file.root.section("barge_in").whole("min_words", 1)
    file.root.leave("agent", "model")
    file.root.refuse_unknown()
    assert told(file) == [f"1: [{slip}] is not known; did you mean barge_in?"]


def test_a_table_that_is_not_there_has_no_line() -> None:
    file = TomlFile.parse("", name="x.toml")
    file.root.section("s").whole("a", 1, required=True)
    assert told(file) == [" [s] a is missing; it must be a whole number from 1"]
    assert (file.place("s"), TomlFile.parse("s = 1", name="x.toml").place("s", "a")) == ("x.toml", "x.toml:1")


def test_a_long_value_is_not_quoted_in_full() -> None:
    file = TomlFile.parse(f'a = "{"x" * 10_000}"', name="x.toml")
    file.root.whole("a", 1)
    assert len(told(file)[0]) < 150


def test_a_file_that_is_not_there_is_empty_only_where_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    assert TomlFile.read(path, hint="set X", required=False).root.text("a", "default") == "default"
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read \(No such file or directory\); set X"):
        TomlFile.read(path, hint="set X")
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        TomlFile.read(tmp_path, hint="set X", required=False)


@pytest.mark.parametrize(
    ("content", "place"), [(b"\na = 1 2", r"x\.toml:2"), (b"a = ", r"x\.toml"), (b'a = "\xff"', r"x\.toml")]
)
def test_what_is_not_toml_is_told_with_the_place(tmp_path: Path, content: bytes, place: str) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{place}: is not TOML: .+"):
        TomlFile.read(path, hint="")


def test_a_list_of_tables_is_read_one_by_one_and_a_problem_says_in_which() -> None:
    file = TomlFile.parse("[[s.list]]\nwhole = 1\n[[s.list]]\nwohle = 2", name="x.toml")
    tables = file.root.section("s").each("list")
    assert [table.whole("whole", 7) for table in tables] == [1, 7]
    for table in tables:
        table.refuse_unknown()
    tables[0].missing('"half"')
    assert told(file) == ["4: [s.list[2]] wohle is not known; did you mean whole?", '1: [s.list[1]] needs "half"']


@pytest.mark.parametrize("text", ["list = 3", "list = [1]", "[s.list]"])
def test_a_list_of_tables_is_nothing_else(text: str) -> None:
    file = TomlFile.parse(f"[s]\n{text}", name="x.toml")
    assert file.root.section("s").each("list") == []
    assert told(file)[0].endswith("is not a list of tables; write [[s.list]]")
    assert TomlFile.parse("", name="x.toml").root.section("s").each("list") == []


def test_a_problem_can_be_told_without_the_value() -> None:
    file = TomlFile.parse('[s]\nurl = "http://example.org/sesame"', name="x.toml")
    file.root.section("s").note("url", "is not https://")
    assert told(file) == ["2: [s] url is not https://"]
