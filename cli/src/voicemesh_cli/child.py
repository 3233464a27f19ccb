"""One service as a child process: started so that it dies with us, its log lines kept in a file."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LAUNCH = (sys.executable, "-S", "-E", str(Path(__file__).with_name("launch.py")))
"""12 ms at the start of a service."""
_MOST_LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Service:
    """What to run."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]


class LogFile:
    """A file of log lines that is renamed to ``.1`` when it has grown to its limit; the one before that is dropped."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._file = path.open("ab", buffering=0)

    def write(self, line: bytes) -> None:
        """Keep a line. On a full disk it is lost: whoever stopped reading would stop the service."""
        with suppress(OSError, ValueError):
            self._write(line)

    def _write(self, line: bytes) -> None:
        if self._file.tell() >= self._limit_bytes:
            self._file.close()
            self._path.replace(self._path.with_suffix(".log.1"))
            self._file = self._path.open("ab", buffering=0)
        self._file.write(line + b"\n")

    def close(self) -> None:
        self._file.close()


class Child:
    """One run of a service."""

    def __init__(self, service: Service, log: LogFile, say: Callable[[str], None]) -> None:
        self.service = service
        self.last_words: deque[str] = deque(maxlen=20)
        """Its last lines that were no log lines: what a process says that cannot start."""
        self._log = log
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *_LAUNCH,
            str(os.getpid()),
            *self.service.command,
            env=dict(self.service.env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # Ctrl-C in the terminal reaches the supervisor alone, which knows in what order to end the services.
            process_group=0,
        )
        self._reader = asyncio.create_task(self._read())

    async def ended(self) -> int:
        """Return the exit code once the process is gone and its output read; minus the signal that killed it."""
        assert self._process is not None
        assert self._reader is not None
        code = await self._process.wait()
        # A grandchild may hold the pipe open; its words are not waited for.
        await asyncio.wait([self._reader], timeout=1.0)
        self._reader.cancel()
        return code

    def signal(self, number: signal.Signals) -> None:
        if self._process and self._process.returncode is None:
            self._process.send_signal(number)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        rest = b""
        while chunk := await self._process.stdout.read(65_536):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[-_MOST_LINE_BYTES:]
            for line in lines:
                self._take(line)
        if rest:
            self._take(rest)

    def _take(self, line: bytes) -> None:
        self._log.write(line)
        text = line.decode(errors="replace").strip()
        try:
            entry = json.loads(text)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            self.last_words.append(text)
        elif entry.get("level") in ("warning", "error", "critical"):
            self._say(f"{self.service.name} {_short(entry)}")


def _short(entry: Mapping[str, object]) -> str:
    """Return a log line for a person: ``warning store.slow took_ms=31``."""
    fields = [f"{name}={value}" for name, value in entry.items() if name not in ("at", "level", "service", "event")]
    return " ".join([str(entry["level"]), str(entry.get("event", "")), *fields])[:200]


def how_it_ended(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit {code}"
