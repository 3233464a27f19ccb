"""A restart changes nothing that a reload would not: what was in force is on disk, by its hash."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from svc_runtime import file_shelf, kept_versions
from svc_runtime.config import ConfigError
from svc_runtime.file_shelf import UNKNOWN, FileShelf, Version
from svc_runtime.kept_versions import KEPT, KEPT_S, KeptVersions
from svc_runtime.metrics import Counters
from svc_runtime.toml_file import TomlFile

Told = list[tuple[str, str, Mapping[str, object]]]
Check = Callable[[Mapping[str, Version[int]]], None]
BROKEN = "# broken\nm = 1"


def all_different(versions: Mapping[str, Version[int]]) -> None:
    if len({version.value for version in versions.values()}) < len(versions):
        raise ConfigError("two say the same")


class House:
    """Files, and a folder for their versions that outlives each process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.default = root / "x.toml"
        self.folder = root / "named"
        self.folder.mkdir()
        self.versions = root / "versions"
        self.counters = Counters()

    def put(self, name: str, text: str) -> None:
        (self.default if name == "default" else self.folder / f"{name}.toml").write_text(text)

    def start(self, reader: str = "one", check: Check = lambda versions: None) -> FileShelf[int]:
        """Return the shelf of a process that begins now."""

        def read(name: str, file: TomlFile) -> int:
            number: int = file.root.whole("n", 0)
            file.root.refuse_unknown()
            return number

        kept = KeptVersions(self.versions, reader)
        return FileShelf(self.default, self.folder, read, counters=self.counters, check=check, kept=kept)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    lines: Told = []

    class Log:
        def __getattr__(self, level: str) -> object:
            return lambda event, **fields: lines.append((level, event, fields))

    monkeypatch.setattr(file_shelf, "log", Log())
    monkeypatch.setattr(kept_versions, "log", Log())
    return lines


def values(shelf: FileShelf[int]) -> dict[str, int]:
    return {name: version.value for name, version in shelf.current.items()}


@pytest.mark.parametrize("name", ["default", "a"])
def test_a_file_that_is_broken_at_a_restart_leaves_its_last_good_version_in_force(
    house: House, told: Told, name: str
) -> None:
    house.put("default", "n = 1")
    house.put("a", "n = 2")
    before = house.start().current[name].reference
    house.put(name, BROKEN)
    shelf = house.start()
    assert values(shelf) == {"default": 1, "a": 2}
    assert shelf.current[name].reference == before
    assert shelf.degraded == [f"agent {name}"]
    (problem,) = (fields["problem"] for level, event, fields in told if (level, event) == ("error", "agent.refused"))
    assert str(problem).endswith(".toml:2: m is not known; the keys are n")
    loud = [fields["name"] for level, event, fields in told if (level, event) == ("error", "agent.loaded")]
    assert loud == [name]
    house.put(name, "n = 7")
    shelf.look()
    assert shelf.current[name].value == 7
    assert shelf.degraded == []


def test_a_first_start_with_a_broken_file_refuses_with_its_line(house: House) -> None:
    house.put("default", BROKEN)
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"x\.toml:2: m is not known; the keys are n"):
            house.start()


def test_what_one_reader_took_is_nothing_that_another_has_taken(house: House) -> None:
    house.put("default", "n = 1")
    house.start("one")
    house.put("default", BROKEN)
    assert values(house.start("one")) == {"default": 1}
    with pytest.raises(ConfigError):
        house.start("other")


def test_another_file_under_the_same_name_starts_anew(house: House) -> None:
    house.put("default", "n = 1")
    house.start()
    house.default = house.root / "y.toml"
    house.put("default", BROKEN)
    with pytest.raises(ConfigError, match=r"y\.toml:2"):
        house.start()


def test_a_new_file_that_is_broken_is_left_out_after_a_restart_as_after_a_reload(house: House, told: Told) -> None:
    house.put("default", "n = 1")
    house.start()
    house.put("new", BROKEN)
    shelf = house.start()
    assert values(shelf) == {"default": 1}
    assert shelf.degraded == ["agent new"]


def test_files_that_contradict_each_other_at_a_restart_change_nothing(house: House, told: Told) -> None:
    house.put("default", "n = 1")
    house.put("a", "n = 2")
    house.start(check=all_different)
    house.put("a", "n = 1")
    house.put("b", "n = 3")
    shelf = house.start(check=all_different)
    assert values(shelf) == {"default": 1, "a": 2}
    assert shelf.degraded == ["agent a", "agent b"]


def test_a_default_file_that_is_gone_at_a_restart_stays_in_force(house: House, told: Told) -> None:
    house.put("default", "n = 1")
    house.start()
    house.default.unlink()
    assert values(house.start()) == {"default": 1}


def test_a_folder_that_cannot_be_read_at_a_restart_leaves_its_agents_in_force(house: House, told: Told) -> None:
    house.put("default", "n = 1")
    house.put("a", "n = 2")
    house.start()
    (house.folder / "a.toml").unlink()
    house.folder.rmdir()
    house.folder.write_text("")
    assert values(house.start()) == {"default": 1, "a": 2}


def test_a_file_that_was_gone_before_a_restart_stays_gone(house: House) -> None:
    house.put("default", "n = 1")
    house.put("a", "n = 2")
    reference = house.start().current["a"].reference
    (house.folder / "a.toml").unlink()
    shelf = house.start()
    assert values(shelf) == {"default": 1}
    assert shelf.of(reference).value == 2, "a live call still has it"


def test_a_live_call_finds_its_older_version_after_a_restart_also_one_that_only_another_reader_saw(
    house: House,
) -> None:
    references = []
    for number in (1, 2, 3):
        house.put("default", f"n = {number}")
        references.append(house.start("one" if number != 2 else "other").current["default"].reference)
    shelf = house.start("one")
    assert [shelf.of(reference).value for reference in references] == [1, 2, 3]
    assert [version.value for version in shelf.versions()] == [3, 1, 2]
    assert house.counters.value(UNKNOWN) == 0
    assert shelf.current["default"].value == 3


@pytest.mark.parametrize(
    "reference", ["../x@00000000", "default@../../x", "default@", "@", "a/b@c", "default@00000000"]
)
def test_no_reference_leads_out_of_the_folder(house: House, reference: str) -> None:
    house.put("default", "n = 1")
    assert house.start().of(reference).value == 1


def test_a_version_whose_bytes_are_not_its_own_is_not_there(house: House) -> None:
    house.put("default", "n = 1")
    shelf = house.start()
    reference = shelf.current["default"].reference
    (house.versions / f"{reference}.toml").write_text("")
    house.put("default", BROKEN)
    with pytest.raises(ConfigError):
        house.start()


def test_versions_are_bounded_in_number_and_age_and_what_is_in_force_is_kept(house: House) -> None:
    house.put("old", "n = 99")
    for number in range(KEPT + 5):
        house.put("default", f"n = {number + 1}")
        house.start()
        for path in house.versions.glob("*.toml"):
            # The clock of a file system may be coarser than this test is fast.
            os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 10**9))
    assert len(list(house.versions.glob("default@*.toml"))) == KEPT + 1
    long_ago = time.time() - KEPT_S - 60
    for path in house.versions.glob("*.toml"):
        os.utime(path, (long_ago, long_ago))
    house.start()
    assert {path.name.partition("@")[0] for path in house.versions.glob("*.toml")} == {"default", "old"}
    assert len(list(house.versions.glob("*.toml"))) == 2


def test_only_their_owner_reads_what_is_kept(house: House) -> None:
    house.put("default", "n = 1")
    house.start()
    assert stat.S_IMODE(house.versions.stat().st_mode) & 0o077 == 0
    for path in house.versions.rglob("*.*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_written_is_told_once_and_stops_nobody(house: House, told: Told) -> None:
    house.versions.write_text("no folder")
    house.put("default", "n = 1")
    shelf = house.start()
    house.put("default", "n = 2")
    shelf.look()
    assert values(shelf) == {"default": 2}
    assert [fields["folder"] for _, event, fields in told if event == "agent.not_kept"] == [str(house.versions)]


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    kept = KeptVersions()
    kept.keep({})
    assert kept.last_good("default", tmp_path) is None
    assert kept.find("default", "00000000") is None
    assert kept.names() == []
