"""A whole mesh under `voicemesh up`: started as a process of a test, watched, hurt, and surely ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from session_svc.adapters.log_reader import read_log
from voicemesh.session.v1 import session_pb2 as pb

REPOSITORY = Path(__file__).parents[2]
SERVICES = ("session-svc", "bargein-svc", "llm-svc", "ingress-svc")
READY_S = 60.0
END_S = 25.0


class Mesh:
    """`voicemesh up` with its services. Times are those of `time.monotonic`, in seconds."""

    def __init__(self, directory: Path, **settings: str) -> None:
        """``settings`` are VOICEMESH_* variables without the prefix, laid over what a test wants anyway."""
        self.state = directory / "state"
        self.output = directory / "up.txt"
        self.exit_code: int | None = None
        self._directory = directory
        own = {
            "DEMO": "off",
            "HTTP_PORT": "0",
            "STATE_DIR": str(self.state),
            "AGENT_FILE": str(REPOSITORY / "agent.toml"),
            "BUDGET_FILE": str(REPOSITORY / "budget.toml"),
        }
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("VOICEMESH_")}
        self.env |= {f"VOICEMESH_{name}": value for name, value in (own | settings).items()}
        self._process: subprocess.Popen[bytes] | None = None

    # --- its life

    def launch(self) -> subprocess.Popen[bytes]:
        """Start `voicemesh up` in a process group of its own, and do not wait."""
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "voicemesh_cli", "up"],
                cwd=self._directory,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._process

    def start(self) -> None:
        """Start, and wait until it says that it is ready."""
        process = self.launch()
        self.until(lambda: process.poll() is not None or " is ready at " in self.said(), READY_S)
        assert process.poll() is None, f"`voicemesh up` ended with {process.poll()}: {self.said()}"

    def tell(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def interrupt(self) -> None:
        """Do what Ctrl-C in its terminal does."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGINT)

    def ended(self, within_s: float = END_S) -> int:
        """Wait for the end of `voicemesh up`. Returns its exit code."""
        assert self._process is not None
        self.exit_code = self._process.wait(within_s)
        return self.exit_code

    def clear(self) -> list[str]:
        """End whatever is left, and return what should not have been: processes that outlived `voicemesh up`."""
        process = self._process
        if process is not None and process.poll() is None:
            # Frozen by a test that failed: it could not end otherwise.
            for pid in self.survivors():
                _send(pid, signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        self.exit_code = process.returncode if process is not None else None
        left = self.survivors()
        names = [_command_line(pid) for pid in left]
        for pid in left:
            _send(pid, signal.SIGKILL)
        return names

    def survivors(self) -> list[int]:
        """Return the live processes that were given this mesh's state directory, `voicemesh up` left out."""
        mark = f"VOICEMESH_STATE_DIR={self.state}\0".encode()
        mine = {os.getpid(), self._process.pid if self._process else 0}
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) not in mine:
                with suppress(OSError):
                    if mark in (entry / "environ").read_bytes() + b"\0":
                        found.append(int(entry.name))
        return found

    # --- what it says

    def said(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def run(self) -> dict[str, Any]:
        run: dict[str, Any] = json.loads((self.state / "run.json").read_text())
        return run

    @property
    def url(self) -> str:
        return str(self.run()["url"])

    @property
    def secret(self) -> str:
        return (self.state / "vapi-secret").read_text().strip()

    def pid(self, service: str) -> int:
        return int(self.run()["pids"][service])

    def service_log(self, service: str) -> str:
        return "".join(path.read_text() for path in sorted((self.state / "logs").glob(f"{service}.log*"), reverse=True))

    def all_logs(self) -> str:
        return self.said() + "".join(map(self.service_log, SERVICES))

    def command(self, *arguments: str, within_s: float = 40.0) -> subprocess.CompletedProcess[str]:
        """Run another `voicemesh` command beside it."""
        return subprocess.run(
            [sys.executable, "-m", "voicemesh_cli", *arguments],
            cwd=self._directory,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def log(self) -> list[pb.LoggedEvent]:
        """Return the whole durable log from the file, texts included."""
        return log_in(self.run()["store"])

    async def settled(self, within_s: float = 20.0) -> list[pb.LoggedEvent]:
        """Wait until nothing more is written: reports of our own reach the log behind the words. Returns the log."""
        until_s = time.monotonic() + within_s
        before = self.log()
        while time.monotonic() < until_s:
            await asyncio.sleep(0.4)
            now = self.log()
            if len(now) == len(before):
                break
            before = now
        return self.log()

    # --- hurting it

    def send(self, service: str, number: signal.Signals) -> int:
        """Send a signal to a service. Returns the process id it had."""
        pid = self.pid(service)
        os.kill(pid, number)
        return pid

    async def restarted(self, service: str, old_pid: int, within_s: float = 30.0) -> float:
        """Wait until ``service`` listens again in a new process. Returns when it did."""
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            if self.pid(service) != old_pid and await self._listens(service):
                return time.monotonic()
            await asyncio.sleep(0.01)
        raise AssertionError(f"{service} does not listen again within {within_s} s: {self.said()[-2000:]}")

    async def ready(self, within_s: float = 30.0) -> float:
        """Wait until /readyz says so. Returns when it did."""
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            if (await asyncio.to_thread(get, f"{self.url}/readyz"))[0] == 200:
                return time.monotonic()
            await asyncio.sleep(0.02)
        raise AssertionError(f"not ready within {within_s} s: {get(self.url + '/readyz')} {self.said()[-2000:]}")

    async def _listens(self, service: str) -> bool:
        run = self.run()
        host, _, port = run["targets"].get(service, run["url"].removeprefix("http://")).rpartition(":")
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return False
        writer.close()
        return True

    @staticmethod
    def until(done: Callable[[], bool], within_s: float) -> None:
        """Wait until ``done``, or go on after ``within_s``: what follows says what is missing."""
        until_s = time.monotonic() + within_s
        while not done() and time.monotonic() < until_s:
            time.sleep(0.02)


def get(url: str) -> tuple[int, str]:
    """Return status and body; status 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def log_in(store: str | Path) -> list[pb.LoggedEvent]:
    """Return what a store's file holds."""
    return [
        pb.LoggedEvent(cursor=cursor, call_seq=row.call_seq, event=pb.CallEvent.FromString(row.payload))
        for cursor, row in read_log(store, 0, 1_000_000)
    ]


@contextmanager
def running(directory: Path, **settings: str) -> Iterator[Mesh]:
    """Run a mesh, and hold it to a clean end: exit code 0 and no process left."""
    mesh = Mesh(directory, **settings)
    try:
        mesh.start()
        yield mesh
    finally:
        left = mesh.clear()
    assert mesh.exit_code == 0, f"`voicemesh up` ended with {mesh.exit_code}: {mesh.said()[-3000:]}"
    assert left == [], "processes that outlived `voicemesh up`"


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return str(pid)
