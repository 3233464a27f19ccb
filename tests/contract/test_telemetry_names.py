"""docs/telemetry.md lists every name that we emit, and nothing that we do not."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from bargein_svc.domain.events import Rule
from contract.emitted_names import Emitted, read_sources, read_trees
from svc_runtime.budget import Budget

ROOT = Path(__file__).parents[2]
ROOTS = {
    "bargein-svc": ROOT / "bargein-svc/src",
    "cli": ROOT / "cli/src",
    "ingress-svc": ROOT / "ingress-svc/src",
    "llm-svc": ROOT / "llm-svc/src",
    "session-svc": ROOT / "session-svc/src",
    "svc-runtime": ROOT / "svc-runtime/src",
}
PACKAGES = {"cli": "voicemesh_cli", **{name: name.replace("-", "_") for name in ROOTS if name != "cli"}}
SECTIONS = {
    "span": "Spans",
    "attribute": "Attributes",
    "private attribute": "Private attributes",
    "log": "Log events",
    "metric": "Metrics",
    "rule": "Barge-in rules",
}
EXTERNAL = "(external)"
NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")


@dataclass(frozen=True)
class Row:
    name: str
    by: tuple[str, ...]
    """Who emits it."""
    external: bool


def listed() -> dict[str, list[Row]]:
    """Return the rows of each section's tables; the first column holds a name in backticks, the second who emits it."""
    sections: dict[str, list[Row]] = {}
    heading = ""
    for line in (ROOT / "docs/telemetry.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif row := re.match(r"\| `([^`]+)` \| ([^|]*) \|", line):
            by = tuple(part.strip() for part in row[2].split(",") if part.strip())
            sections.setdefault(heading, []).append(Row(row[1], by, EXTERNAL in line))
    return sections


def rows(kind: str) -> list[Row]:
    found = listed()[SECTIONS[kind]]
    if kind == "attribute":
        return found + listed()[SECTIONS["private attribute"]]
    return found


@pytest.fixture(scope="module")
def emitted() -> Emitted:
    return read_trees(list(ROOTS.values()))


@pytest.mark.parametrize("kind", ["span", "attribute", "log", "metric"])
def test_every_emitted_name_is_listed_with_who_emits_it(emitted: Emitted, kind: str) -> None:
    allowed = {row.name: {PACKAGES[by] for by in row.by} for row in rows(kind)}
    missing = {
        name: sorted(packages - allowed.get(name, set()))
        for name, packages in sorted(emitted.of(kind).items())
        if not packages <= allowed.get(name, set())
    }
    assert not missing, f"add to the {SECTIONS[kind]} of docs/telemetry.md: {missing}"


@pytest.mark.parametrize("kind", ["span", "attribute", "log", "metric"])
def test_every_listed_name_is_emitted_by_whom_it_says(emitted: Emitted, kind: str) -> None:
    unused = [
        f"{row.name} by {by}"
        for row in rows(kind)
        for by in row.by
        if not row.external and PACKAGES[by] not in emitted.of(kind).get(row.name, set())
    ]
    assert not unused, f"strike from the {SECTIONS[kind]} of docs/telemetry.md: {unused}"


def test_every_name_is_written_down_before_it_is_emitted(emitted: Emitted) -> None:
    assert emitted.problems == []


def test_no_text_looks_like_a_name_of_ours_and_is_none(emitted: Emitted) -> None:
    known = {row.name for kind in ("span", "attribute", "log", "metric") for row in rows(kind)}
    assert {name: by for name, by in emitted.of("other").items() if name not in known} == {}


@pytest.mark.parametrize("section", SECTIONS.values())
def test_names_are_lower_case_words_between_dots_and_listed_once(section: str) -> None:
    names = [row.name for row in listed()[section]]
    assert [name for name in names if not NAME.fullmatch(name)] == []
    assert sorted(names) == sorted(set(names))


def test_private_attributes_are_those_that_the_recorder_keeps_back() -> None:
    assert all(".pii." in row.name for row in listed()[SECTIONS["private attribute"]])
    assert not any(".pii." in row.name for row in listed()[SECTIONS["attribute"]])


def test_barge_in_rules_are_the_closed_list_of_the_code() -> None:
    assert [row.name for row in rows("rule")] == [rule.value for rule in Rule]


def test_every_judged_span_has_a_budget() -> None:
    hops = Budget.load(ROOT / "budget.toml").hops
    judged = [row.name for row in rows("span") if "budget" in _line_of(row.name)]
    assert judged
    assert [name for name in judged if name not in hops] == []


def _line_of(name: str) -> str:
    text = (ROOT / "docs/telemetry.md").read_text(encoding="utf-8")
    return next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))


def test_the_reader_sees_literals_constants_and_choices() -> None:
    found = read_sources(
        one='HOP = "a.hop"\n'
        "recorder.note(HOP, span)\n"
        'self._recorder.note("b.hop" if x else "c.hop", span, attributes={"voicemesh.x": 1})\n'
        'logs.get().info("d.done", name="not.a.name")\n'
        'counters.add("voicemesh.lost", reason="full")\n'
        'attributes["error.type"] = "timeout"\n'
    )
    assert set(found.of("span")) == {"a.hop", "b.hop", "c.hop"}
    assert set(found.of("attribute")) == {"voicemesh.x", "error.type"}
    assert set(found.of("log")) == {"d.done"}
    assert set(found.of("metric")) == {"voicemesh.lost"}
    assert found.problems == []


def test_the_reader_follows_a_name_through_the_functions_that_hand_it_on() -> None:
    found = read_sources(
        one="def outer(event):\n    inner(1, name=event)\n"
        "def inner(x, *, name):\n    log.warning(name)\n"
        'outer("a.b")\n'
        'inner(2, name="c.d")\n'
    )
    assert set(found.of("log")) == {"a.b", "c.d"}
    assert found.problems == []


def test_the_reader_follows_a_public_function_through_the_package_and_a_private_one_through_its_file() -> None:
    found = read_sources(
        one="class Turns:\n    def note(self, turn, name):\n        self._recorder.note(name, turn.span)\n"
        "def _tell(event):\n    log.info(event)\n",
        two='self.turns.note(turn, "a.hop")\n_tell("no.event")\nturn.log.note(hop, end - start)\n',
    )
    assert set(found.of("span")) == {"a.hop"}
    assert set(found.of("log")) == set()
    assert found.problems == []


def test_the_reader_reports_a_name_that_is_put_together() -> None:
    found = read_sources(one='log.info(f"{service}.started")\nrecorder.note(name_of(hop), span)')
    assert len(found.problems) == 2


def test_the_reader_reports_a_name_of_ours_in_any_other_place() -> None:
    assert set(read_sources(one='names = ["voicemesh.turn.number", "voicemesh.db"]').of("other")) == {
        "voicemesh.turn.number"
    }
