"""Versions of small files on disk, so that a process that starts again has those that it had.

Several processes may share a folder: a version is the same bytes for all of them, and stands there once. Which version
of a file was last good is each reader's own matter. Nothing here stops anybody: what cannot be written is told once in
the log, and what cannot be read is not there.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from svc_runtime import logs

log = logs.get()

KEPT = 16
"""Versions kept of one name: a day on which somebody tunes it, with work that began in the morning still running."""
KEPT_S = 7 * 86_400.0
"""For how long one is kept after it was last in force."""


class InForce(NamedTuple):
    """A version that its reader uses."""

    file: Path
    """Where it was read: what was good of another file says nothing of this one."""
    version: str
    raw: bytes


def version_of(raw: bytes) -> str:
    """Return the version of a file with these bytes."""
    return blake2b(raw, digest_size=4).hexdigest()


class KeptVersions:
    """The versions in a folder, as one reader has them."""

    def __init__(self, folder: str | Path = "", reader: str = "") -> None:
        """Without a ``folder`` nothing is kept. ``reader`` names the process among those that share it."""
        self._folder = Path(folder) if folder else None
        self._reader = reader
        self._told = False

    def last_good(self, name: str, file: Path) -> bytes | None:
        """Return what ``file`` said when this reader last took it; None where it never did."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            pointer = json.loads(self._pointer(name).read_text(encoding="utf-8"))
            if pointer["file"] == str(file.absolute()):
                return self.find(name, pointer["version"])
        return None

    def names(self) -> list[str]:
        """Return the names that were in force last."""
        with suppress(OSError):
            return sorted(path.stem for path in self._pointers.iterdir() if path.suffix == ".json")
        return []

    def find(self, name: str, version: str) -> bytes | None:
        """Return a version of a name; None where it is not there, or is not what it was."""
        # Names come from elsewhere, and must not lead out of the folder.
        if self._folder is None or not f"{name}{version}".replace("-", "").isalnum():
            return None
        with suppress(OSError):
            raw = self._place(name, version).read_bytes()
            # A power cut can leave an empty file.
            return raw if version_of(raw) == version else None
        return None

    def keep(self, current: Mapping[str, InForce]) -> None:
        """Note what is in force by name, all of it, and forget what nobody needs any more."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._pointers.mkdir(mode=0o700, exist_ok=True)
            for name, one in current.items():
                self._keep(name, one)
            for name in self.names():
                if name not in current:
                    self._pointer(name).unlink(missing_ok=True)
            self._forget(self._folder)
        except OSError as error:
            if not self._told:
                log.warning("agent.not_kept", folder=str(self._folder), error=error.strerror or str(error))
            self._told = True

    def _keep(self, name: str, one: InForce) -> None:
        place = self._place(name, one.version)
        if self.find(name, one.version) is None:
            _write(place, one.raw)
        os.utime(place)
        pointer = {"version": one.version, "file": str(one.file.absolute())}
        before: object = None
        with suppress(OSError, ValueError):
            before = json.loads(self._pointer(name).read_text(encoding="utf-8"))
        if before != pointer:
            if isinstance(before, dict):
                # Its time begins when it is no longer in force.
                with suppress(OSError):
                    os.utime(self._place(name, str(before.get("version"))))
            _write(self._pointer(name), json.dumps(pointer).encode())

    def _forget(self, folder: Path) -> None:
        pinned = set(_pinned(folder))
        by_name: dict[str, list[tuple[float, Path]]] = {}
        for path in folder.glob("*@*.toml"):
            with suppress(OSError):
                if path.stem not in pinned:
                    by_name.setdefault(path.stem.partition("@")[0], []).append((path.stat().st_mtime, path))
        oldest = time.time() - KEPT_S
        for found in by_name.values():
            for place, (at, path) in enumerate(sorted(found, reverse=True)):
                if place >= KEPT or at < oldest:
                    path.unlink(missing_ok=True)

    @property
    def _pointers(self) -> Path:
        return (self._folder or Path()) / self._reader

    def _pointer(self, name: str) -> Path:
        if self._folder is None:
            raise FileNotFoundError
        return self._pointers / f"{name}.json"

    def _place(self, name: str, version: str) -> Path:
        return (self._folder or Path()) / f"{name}@{version}.toml"


def _pinned(folder: Path) -> Iterator[str]:
    """Yield NAME@VERSION of what any reader has in force."""
    for path in folder.glob("*/*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            yield f"{path.stem}@{json.loads(path.read_text(encoding='utf-8'))['version']}"


def _write(path: Path, raw: bytes) -> None:
    """Write a file for its owner alone; who reads meanwhile sees the old one, or none."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(raw)
    fresh.replace(path)
