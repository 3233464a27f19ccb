"""Child processes of a bench: started, measured from outside, and surely ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STOP_S = 10.0


class BenchFailed(Exception):
    """A process of the bench did not do its part; the message says which, and what it last wrote."""


class Child:
    """`python -m MODULE ARGUMENTS`, from the root of the repository. Its standard error goes to a file."""

    def __init__(self, module: str, *arguments: str, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.module = module
        self.log = log
        # Settings of whoever runs the bench must not change what is measured.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("VOICEMESH_")}
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env={**clean, **(env or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    @property
    def cpu_s(self) -> float:
        """CPU time so far, user and system, of all its threads."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    @property
    def rss_bytes(self) -> int:
        return int(self._proc("statm").split()[1]) * _PAGE_BYTES

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def hush(self) -> None:
        """End its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def hear(self, within_s: float = 60.0) -> str:
        """Return the next line of its standard output; it is killed when none comes in time. Raises BenchFailed."""
        assert self._process.stdout is not None
        killer = threading.Timer(within_s, self._process.kill)
        killer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            killer.cancel()
        if not line:
            raise BenchFailed(f"{self.module} ended, or said nothing for {within_s:g} s: {self.last_words()}")
        return line.decode().strip()

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2_000:].strip() or "it wrote nothing"

    def stop(self) -> None:
        """End it: asked first, then forced."""
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _proc(self, name: str) -> str:
        try:
            return Path(f"/proc/{self._process.pid}/{name}").read_text()
        except OSError:
            raise BenchFailed(f"{self.module} ended: {self.last_words()}") from None


@contextlib.contextmanager
def child(module: str, *arguments: str, log: Path, env: Mapping[str, str] | None = None) -> Iterator[Child]:
    process = Child(module, *arguments, log=log, env=env)
    try:
        yield process
    finally:
        process.stop()
