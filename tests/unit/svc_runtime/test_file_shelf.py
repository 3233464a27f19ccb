"""Files are read when they change and have settled; what cannot be used changes nothing but the log."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from fakes.streams import until
from svc_runtime import file_shelf
from svc_runtime.config import ConfigError
from svc_runtime.file_shelf import KEPT, UNKNOWN, FileShelf, Version
from svc_runtime.metrics import Counters
from svc_runtime.toml_file import TomlFile

Told = list[tuple[str, Mapping[str, object]]]


class Files:
    """A folder of files, each with one number in it, and a shelf over them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "named"
        self.counters = Counters()
        self._times = 0

    def put(self, name: str, text: str) -> Path:
        path = self.root / "x.toml" if name == "default" else self.folder / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        # A file system may have a clock coarser than this test is fast.
        self._times += 1
        os.utime(path, ns=(self._times, self._times))
        return path

    def shelf(self, **more: object) -> FileShelf[int]:
        def read(name: str, file: TomlFile) -> int:
            number: int = file.root.whole("n", 0)
            file.root.refuse_unknown()
            return number

        return FileShelf(self.root / "x.toml", self.folder, read, counters=self.counters, **more)  # type: ignore[arg-type]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    lines: Told = []

    class Log:
        def __getattr__(self, level: str) -> object:
            return lambda event, **fields: lines.append((event, fields))

    monkeypatch.setattr(file_shelf, "log", Log())
    return lines


def settle(shelf: FileShelf[int]) -> None:
    shelf.poll()
    shelf.poll()


def refused(told: Told) -> list[object]:
    return [fields["problem"] for event, fields in told if event == "agent.refused"]


def test_files_are_known_by_name_and_by_what_they_say(files: Files) -> None:
    files.put("default", "n = 1")
    files.put("a", "n = 2")
    (files.folder / "notes.txt").write_text("no file of ours")
    (files.folder / ".a.toml").write_text("nor this")
    shelf = files.shelf()
    assert {name: version.value for name, version in shelf.current.items()} == {"default": 1, "a": 2}
    same = Files(files.root / "other")
    same.root.mkdir()
    same.put("a", "n = 2")
    assert same.shelf().current["a"].reference == shelf.current["a"].reference
    assert same.shelf().current["default"].value == 0, "without a default file it says nothing"


def test_an_empty_reference_is_the_current_default(files: Files) -> None:
    shelf = files.shelf()
    files.put("default", "n = 5")
    shelf.look()
    assert shelf.of("").value == 5
    assert files.counters.value(UNKNOWN) == 0


def test_a_file_is_read_again_when_it_has_settled_and_old_work_keeps_its_version(files: Files) -> None:
    files.put("a", "n = 1")
    shelf = files.shelf()
    before = shelf.current["a"].reference
    files.put("a", "n = ")
    shelf.poll()
    files.put("a", "n = 2")
    shelf.poll()
    assert shelf.current["a"].value == 1, "somebody is writing still"
    shelf.poll()
    assert shelf.current["a"].value == 2
    assert shelf.of(before).value == 1


def test_who_watches_is_told_of_a_change_once(files: Files) -> None:
    files.put("a", "n = 1")
    shelf = files.shelf()
    seen: list[int] = []
    shelf.on_change.append(lambda: seen.append(shelf.current["a"].value))
    settle(shelf)
    files.put("a", "n = 1")
    settle(shelf)
    assert seen == [], "written again, and the same"
    files.put("a", "n = 2")
    settle(shelf)
    settle(shelf)
    assert seen == [2]


def test_a_broken_file_leaves_its_last_good_version_and_others_go_on(files: Files, told: Told) -> None:
    files.put("a", "n = 1")
    files.put("b", "n = 1")
    shelf = files.shelf()
    path = files.put("a", "# too\nm = 2")
    files.put("b", "n = 2")
    settle(shelf)
    settle(shelf)
    assert (shelf.current["a"].value, shelf.current["b"].value) == (1, 2)
    assert refused(told) == [f"{path}:2: m is not known; the keys are n"]
    assert [fields for event, fields in told if event == "agent.reloaded"] == [
        {"name": "b", "version": shelf.current["b"].version}
    ]
    files.put("a", "n = 3")
    settle(shelf)
    assert shelf.current["a"].value == 3


def test_a_default_file_that_is_gone_stays_in_force(files: Files, told: Told) -> None:
    files.put("default", "n = 1").unlink()
    shelf = files.shelf()
    path = files.put("default", "n = 2")
    shelf.look()
    path.unlink()
    settle(shelf)
    assert shelf.of("").value == 2
    assert refused(told) == [f"{path}: cannot be read (No such file or directory)"]


def test_a_file_that_is_gone_is_chosen_no_more_and_its_versions_live_on(files: Files) -> None:
    path = files.put("a", "n = 1")
    shelf = files.shelf()
    before = shelf.current["a"].reference
    path.unlink()
    shelf.poll()
    assert "a" in shelf.current, "an editor may be putting it back"
    shelf.poll()
    assert "a" not in shelf.current
    assert shelf.of(before).value == 1


def test_so_many_versions_are_kept_of_a_name_and_the_newest_are_those(files: Files) -> None:
    shelf = files.shelf()
    references = []
    for number in range(KEPT + 3):
        files.put("a", f"n = {number + 1}")
        shelf.look()
        references.append(shelf.current["a"].reference)
    assert [shelf.of(reference).value for reference in references[3:]] == list(range(4, KEPT + 4))
    assert shelf.of(references[0]).value == KEPT + 3, "the current one stands in"
    assert len(list(shelf.versions())) == KEPT + 1
    files.put("a", "n = 4")
    shelf.look()
    files.put("a", "n = 99")
    shelf.look()
    assert shelf.of(references[3]).value == 4, "it was current again just now"


def test_what_is_not_known_is_stood_in_for_and_told_once(files: Files, told: Told) -> None:
    files.put("default", "n = 1")
    files.put("a", "n = 2")
    shelf = files.shelf()
    assert [shelf.of(reference).value for reference in ("a@00000000", "b@00000000", "b@00000000", "odd")] == [
        2,
        1,
        1,
        1,
    ]
    unknown = [fields for event, fields in told if event == "agent.unknown"]
    default = shelf.current["default"].reference
    assert unknown == [
        {"reference": "a@00000000", "used": shelf.current["a"].reference},
        {"reference": "b@00000000", "used": default},
        {"reference": "odd", "used": default},
    ]
    assert files.counters.value(UNKNOWN) == 3


def test_a_version_that_somebody_else_saw_first_is_looked_for_at_once(files: Files) -> None:
    files.put("a", "n = 1")
    ours, theirs = files.shelf(), files.shelf()
    files.put("a", "n = 2")
    theirs.look()
    assert ours.of(theirs.current["a"].reference).value == 2
    assert files.counters.value(UNKNOWN) == 0


def test_files_that_contradict_each_other_change_nothing(files: Files, told: Told) -> None:
    def all_different(versions: Mapping[str, Version[int]]) -> None:
        if len({version.value for version in versions.values()}) < len(versions):
            raise ConfigError("two say the same")

    files.put("a", "n = 1")
    files.put("b", "n = 2")
    shelf = files.shelf(check=all_different)
    files.put("a", "n = 3")
    files.put("b", "n = 3")
    settle(shelf)
    assert (shelf.current["a"].value, shelf.current["b"].value) == (1, 2)
    assert refused(told) == ["two say the same"]
    with pytest.raises(ConfigError, match="two say the same"):
        files.shelf(check=all_different)


def test_the_start_tells_every_problem_of_every_file(files: Files) -> None:
    paths = [files.put(name, "m = 1") for name in ("default", "a", "Big", "under_score")]
    odd = files.put("default-not", "n = 1").rename(files.folder / "default.toml")
    with pytest.raises(ConfigError) as raised:
        files.shelf()
    lines = str(raised.value).splitlines()
    assert lines[0] == f"{paths[0]}:1: m is not known; the keys are n"
    assert f"{paths[1]}:1: m is not known; the keys are n" in lines
    rule = "a name has lower-case letters, digits and dashes, at most 63 of them"
    assert f"{paths[2]}: 'Big' cannot be its name; {rule}" in lines
    assert f"{paths[3]}: 'under_score' cannot be its name; {rule}" in lines
    assert f"{odd}: 'default' cannot be its name; {paths[0]} is the default one" in lines


def test_a_default_file_in_the_folder_is_not_read_twice(files: Files) -> None:
    path = files.put("main", "n = 1")
    shelf = FileShelf(path, files.folder, lambda name, file: name, counters=files.counters)
    assert list(shelf.current) == ["default"]


def test_a_file_that_must_be_there_and_a_folder_that_is_none_stop_the_start(files: Files) -> None:
    with pytest.raises(ConfigError, match=r"x\.toml: cannot be read \(No such file or directory\); set X"):
        files.shelf(required=True, hint="set X")
    files.folder.write_text("")
    with pytest.raises(ConfigError, match=r"named: is no folder to read \(Not a directory\)"):
        files.shelf()


async def test_a_signal_makes_it_look_at_once(files: Files) -> None:
    files.put("a", "n = 1")
    shelf = files.shelf()
    keeping = asyncio.ensure_future(shelf.keep_fresh())
    try:
        await asyncio.sleep(0)
        files.put("a", "n = 2")
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: shelf.current["a"].value == 2)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
