"""Versions of a few TOML files by name: read at the start, read again when they change, older ones kept for a while.

One file is called `default`; the others lie in a folder as NAME.toml. A version is known by its reference NAME@VERSION,
and VERSION is a hash of the file's bytes: processes that see the same files speak of the same versions without asking
each other. What a file says is for its reader to know.

A file that cannot be used leaves its last good version in force, and the log tells what is wrong. So it is after a
restart too, where the versions are kept on disk (`kept_versions`); without a good one it stops the start.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

from svc_runtime import logs
from svc_runtime.config import ConfigError
from svc_runtime.kept_versions import KEPT as KEPT
from svc_runtime.kept_versions import InForce, KeptVersions
from svc_runtime.kept_versions import version_of as version_of
from svc_runtime.metrics import Counters
from svc_runtime.toml_file import TomlFile

log = logs.get()

T = TypeVar("T")

DEFAULT = "default"
LOOK_S = 1.0
_TOLD = 256
UNKNOWN = "voicemesh.agent.unknown"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_NAME_RULE = "lower-case letters, digits and dashes, at most 63 of them"
_Stamps = Mapping[Path, object]


@dataclass(frozen=True, slots=True)
class Version(Generic[T]):
    """What one file said at one time."""

    name: str
    version: str
    reference: str
    value: T
    file: Path = field(default=Path(), repr=False)
    raw: bytes = field(default=b"", repr=False, compare=False)


class _Found(NamedTuple, Generic[T]):
    """What a look at all files has found."""

    current: dict[str, Version[T]]
    """The good version of each file, the last one where there is no newer."""
    problems: list[str]
    refused: list[str]
    """The names whose file cannot be used."""


class FileShelf(Generic[T]):
    """The files of a process. Belongs to one event loop; ``read`` may be called in a thread."""

    def __init__(
        self,
        file: str | Path,
        folder: str | Path,
        read: Callable[[str, TomlFile], T],
        *,
        counters: Counters,
        required: bool = False,
        hint: str = "",
        check: Callable[[Mapping[str, Version[T]]], None] = lambda versions: None,
        kept: KeptVersions | None = None,
    ) -> None:
        """``file`` is the default one; without ``required`` it may be absent, and then says nothing.

        ``read`` gets a name and its file, and notes there what is wrong with it. ``check`` raises ConfigError for
        what files say against each other. Raises ConfigError with every problem of every file, one to a line, unless
        ``kept`` has what was in force before.
        """
        self._file = Path(file)
        self._folder = Path(folder)
        self._read = read
        self._check = check
        self._required = required
        self._hint = hint
        self._counters = counters
        self._on_disk = kept or KeptVersions()
        self.refused: Sequence[str] = ()
        """The names whose file cannot be used as it is: an older version is in force, or none at all."""
        self.on_change: list[Callable[[], None]] = []
        """Called after versions have come or gone."""
        self.current: Mapping[str, Version[T]] = {}
        """The newest good version of each name. Another object after each change."""
        self._kept: dict[str, dict[str, Version[T]]] = {}
        self._by_reference: dict[str, Version[T]] = {}
        self._told: dict[str, None] = {}
        counters.declare(UNKNOWN, "References to versions that this process does not have; another stood in.")
        self._seen = self._taken = self._stamps()
        self._begin(self._read_all())

    @property
    def degraded(self) -> list[str]:
        """What a health check may tell of it; the log says more."""
        return [f"agent {name}" for name in self.refused]

    def of(self, reference: str) -> Version[T]:
        """Return a version; "" for the current default. One that is not known here is stood in for by the current one
        of its name, and that by the current default."""
        version = self._by_reference.get(reference)
        return version if version is not None else self._stand_in(reference)

    def versions(self) -> Iterator[Version[T]]:
        """Yield all that are kept, current or not."""
        yield from self._by_reference.values()

    def look(self) -> None:
        """Read at once what has changed since it was read last."""
        self._seen = self._stamps()
        if self._seen != self._taken:
            self._adopt(self._seen, self._read_all())

    def poll(self) -> None:
        """Read what has changed, once two polls have found it the same: nobody is writing it any more."""
        if (stamps := self._settled()) is not None:
            self._adopt(stamps, self._read_all())

    async def keep_fresh(self) -> None:
        """Poll every second, and look at once on SIGHUP, for as long as the process runs."""
        loop = asyncio.get_running_loop()
        hung_up = asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, hung_up.set)
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await hung_up.wait()
                if hung_up.is_set():
                    hung_up.clear()
                    self._seen = self._stamps()
                if (stamps := self._settled()) is not None:
                    await self._reload(stamps)
        finally:
            loop.remove_signal_handler(signal.SIGHUP)

    def _stand_in(self, reference: str) -> Version[T]:
        stand_in = self.current.get(reference.partition("@")[0], self.current[DEFAULT])
        if not reference or reference in self._told:
            return stand_in
        # Whoever speaks of it may have seen the files a moment before us.
        self.look()
        if reference in self._by_reference or self._recall(reference):
            return self._by_reference[reference]
        stand_in = self.current.get(reference.partition("@")[0], self.current[DEFAULT])
        self._told[reference] = None
        if len(self._told) > _TOLD:
            del self._told[next(iter(self._told))]
        self._counters.add(UNKNOWN)
        log.warning("agent.unknown", reference=reference, used=stand_in.reference)
        return stand_in

    async def _reload(self, stamps: _Stamps) -> None:
        """Read in a thread: what a file names may be large, and others are waiting."""
        before = self.current
        found = await asyncio.to_thread(self._read_all)
        # If not, somebody has looked meanwhile and read as much.
        if self.current is before:
            self._adopt(stamps, found)

    def _settled(self) -> _Stamps | None:
        """Return how the files are when that is news and was so at the last look."""
        before, self._seen = self._seen, self._stamps()
        return self._seen if before == self._seen != self._taken else None

    def _begin(self, found: _Found[T]) -> None:
        """Take what the files say at the start. Raises ConfigError where that cannot be, and no older version is."""
        current, problems, refused = found
        if problems and (DEFAULT not in current or not self._has_begun()):
            raise ConfigError("\n".join(problems))
        try:
            self._check(current)
        except ConfigError as error:
            problems = problems + str(error).splitlines()
            before = {name: version for name in current if (version := self._last_good(name, current[name].file))}
            if DEFAULT not in before:
                raise ConfigError("\n".join(problems)) from error
            self._check(before)
            refused = refused + [n for n in current if n not in before or current[n].version != before[n].version]
            current = before
        for problem in problems:
            log.error("agent.refused", problem=problem)
        self.refused = refused
        self._keep(current)
        for version in current.values():
            if version.name in refused:
                log.error("agent.loaded", name=version.name, version=version.version, is_older=True)
            else:
                log.info("agent.loaded", name=version.name, version=version.version, is_older=False)

    def _adopt(self, stamps: _Stamps, found: _Found[T]) -> None:
        self._taken = stamps
        current, problems, refused = found
        try:
            self._check(current)
        except ConfigError as error:
            problems = problems + str(error).splitlines()
            refused = refused + [name for name, one in current.items() if self.current.get(name) is not one]
            current = dict(self.current)
        for problem in problems:
            log.error("agent.refused", problem=problem)
        self.refused = refused
        before, after = self.current, current
        changed = [version for name, version in after.items() if before.get(name) is not version]
        gone = [name for name in before if name not in after]
        if not changed and not gone:
            return
        self._keep(after)
        for version in changed:
            log.info("agent.reloaded", name=version.name, version=version.version)
        for name in gone:
            log.info("agent.removed", name=name)
        for tell in self.on_change:
            tell()

    def _keep(self, current: dict[str, Version[T]]) -> None:
        self.current = MappingProxyType(current)
        for version in current.values():
            self._put(version)
        self._on_disk.keep({name: InForce(one.file, one.version, one.raw) for name, one in current.items()})
        for reference in self._by_reference:
            self._told.pop(reference, None)

    def _put(self, version: Version[T]) -> None:
        kept = self._kept.setdefault(version.name, {})
        # Last, also one that was there before.
        kept.pop(version.version, None)
        kept[version.version] = version
        if len(kept) > KEPT:
            in_force = self.current.get(version.name)
            del kept[next(one for one in kept if in_force is None or one != in_force.version)]
        self._by_reference = {one.reference: one for kept in self._kept.values() for one in kept.values()}

    def _recall(self, reference: str) -> bool:
        """Whether a version could be had that was in force before this process began."""
        name, _, version = reference.partition("@")
        raw = self._on_disk.find(name, version)
        if raw is None:
            return False
        path = self._file if name == DEFAULT else self._folder / f"{name}.toml"
        try:
            recalled = self._parsed(name, path, raw)
        except ConfigError as error:
            log.error("agent.refused", problem=str(error).splitlines()[0])
            return False
        self._put(recalled)
        log.info("agent.recalled", name=name, version=version)
        return True

    def _has_begun(self) -> bool:
        """Whether these files were in force before this process began."""
        return self._on_disk.last_good(DEFAULT, self._file) is not None

    def _last_good(self, name: str, path: Path) -> Version[T] | None:
        """Return what was in force of a file, in this process or the one before; None where nothing was."""
        if name in self.current:
            return self.current[name]
        raw = None if self.current else self._on_disk.last_good(name, path)
        with suppress(ConfigError):
            return None if raw is None else self._parsed(name, path, raw)
        return None

    def _read_all(self) -> _Found[T]:
        current: dict[str, Version[T]] = {}
        problems: list[str] = []
        refused: list[str] = []
        try:
            paths = self._paths()
        except OSError as error:
            problems.append(f"{self._folder}: is no folder to read ({error.strerror})")
            paths = [(DEFAULT, self._file)]
            names = [name for name in self.current or self._on_disk.names() if name != DEFAULT]
            found = [(name, self._last_good(name, self._folder / f"{name}.toml")) for name in names]
            current |= {name: version for name, version in found if version is not None}
            refused += names
        for name, path in paths:
            try:
                current[name] = self._read_one(name, path)
            except ConfigError as error:
                problems += str(error).splitlines()
                refused.append(name)
                if (last := self._last_good(name, path)) is not None:
                    current[name] = last
        return _Found(current, problems, refused)

    def _read_one(self, name: str, path: Path) -> Version[T]:
        if path != self._file and (name == DEFAULT or not _NAME.fullmatch(name)):
            right = f"{self._file} is the default one" if name == DEFAULT else f"a name has {_NAME_RULE}"
            raise ConfigError(f"{path}: {name!r} cannot be its name; {right}")
        raw = self._bytes_of(name, path)
        version = version_of(raw)
        known = self._kept.get(name, {}).get(version)
        return known if known is not None else self._parsed(name, path, raw)

    def _parsed(self, name: str, path: Path, raw: bytes) -> Version[T]:
        """Return what these bytes say; what they name is looked for from ``path``, also if they are no longer there."""
        file = TomlFile.parse(raw, name=str(path))
        value = self._read(name, file)
        file.check()
        version = version_of(raw)
        return Version(name, version, f"{name}@{version}", value, path, raw)

    def _bytes_of(self, name: str, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            absent = isinstance(error, FileNotFoundError)
            last = self.current[DEFAULT].raw if self.current else self._on_disk.last_good(DEFAULT, path)
            was_absent = not last
            if absent and was_absent and name == DEFAULT and not self._required:
                return b""
            hint = f"; {self._hint}" if self._hint and name == DEFAULT else ""
            raise ConfigError(f"{path}: cannot be read ({error.strerror}){hint}") from error

    def _paths(self) -> list[tuple[str, Path]]:
        """Raises OSError for a folder that is there and cannot be read."""
        found = [(DEFAULT, self._file)]
        with suppress(FileNotFoundError):
            for path in sorted(self._folder.iterdir()):
                is_ours = path.suffix == ".toml" and not path.name.startswith(".")
                if is_ours and path.absolute() != self._file.absolute():
                    found.append((path.stem, path))
        return found

    def _stamps(self) -> _Stamps:
        try:
            return {path: _stamp(path) for _, path in self._paths()}
        except OSError as error:
            return {self._folder: error.errno}


def _stamp(path: Path) -> object:
    try:
        status = path.stat()
    except OSError as error:
        return error.errno
    return status.st_mtime_ns, status.st_size, status.st_ino
