"""Against real child processes: small scripts that behave as a service does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from voicemesh_cli.child import LogFile, Service
from voicemesh_cli.supervisor import CannotStart, Supervisor

SERVES = """
    import os, signal, sys, time
    def end(*_):
        open(ends, "a").write(name + "\\n")
        sys.exit(0)
    name, ends = sys.argv[1:]
    signal.signal(signal.SIGTERM, end)
    print(name, "up", flush=True)
    while True:
        time.sleep(0.05)
"""
SLOW_TO_END = SERVES.replace('open(ends, "a")', 'time.sleep(0.4); open(ends, "a")')
DEAF = SERVES.replace("def end(*_):", "def end(*_):\n        return")
REFUSES = """
    import sys
    sys.stderr.write("VOICEMESH_X='soon' is not a number\\n")
    sys.exit(2)
"""
CRASHES = "import sys; sys.exit(1)"


async def _yes() -> bool:
    return True


async def _never() -> bool:
    return False


class _Stage:
    """Runs a supervisor over scripts in a directory, and notes what it says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[str] = []
        self.pids: dict[str, int] = {}
        self.starts = 0
        self._supervisors: list[Supervisor] = []

    def supervisor(self, *, grace_s: float = 5.0, **scripts: str) -> Supervisor:
        services = []
        for name, script in scripts.items():
            file = self.path / f"{name}.py"
            file.write_text(textwrap.dedent(script))
            services.append(Service(name, (sys.executable, str(file), name, str(self.ends)), dict(os.environ)))
        supervisor = Supervisor(
            services,
            stop_first=["ingress"],
            log_dir=self.path,
            log_file_bytes=100_000,
            grace_s=grace_s,
            say=self.said.append,
            on_started=self._note,
        )
        self._supervisors.append(supervisor)
        return supervisor

    @property
    def ends(self) -> Path:
        return self.path / "ends"

    def log(self, name: str) -> str:
        return (self.path / f"{name}.log").read_text()

    async def until_up(self, *names: str) -> None:
        await self.until(lambda: all(f"{name} up" in self.log(name) for name in names))

    async def until(self, done: Callable[[], bool], within_s: float = 20.0) -> None:
        began_s = time.monotonic()
        while not done():
            assert time.monotonic() - began_s < within_s, f"not within {within_s} s; it said {self.said}"
            await asyncio.sleep(0.02)

    def _note(self, pids: dict[str, int]) -> None:
        self.pids = pids
        self.starts += 1

    async def clear(self) -> None:
        for supervisor in self._supervisors:
            supervisor.kill()
            await supervisor.stop()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[_Stage]:
    stage = _Stage(tmp_path)
    yield stage
    await stage.clear()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False


async def _start(supervisor: Supervisor, ready: Callable[[], Awaitable[bool]] = _yes, ready_s: float = 20.0) -> None:
    await supervisor.start(ready, ready_s)


async def test_a_service_that_is_killed_runs_again_and_it_is_said(stage: _Stage) -> None:
    await _start(stage.supervisor(session=SERVES, ingress=SERVES))
    await stage.until_up("session", "ingress")
    killed, other = stage.pids["session"], stage.pids["ingress"]
    os.kill(killed, signal.SIGKILL)
    await stage.until(lambda: stage.log("session").count("session up") == 2)
    await stage.until(lambda: stage.said == ["session died (signal 9); restarted"])
    assert stage.pids["session"] != killed
    assert stage.pids["ingress"] == other


async def test_a_service_that_keeps_dying_is_started_again_with_growing_pauses(stage: _Stage) -> None:
    await _start(stage.supervisor(session=CRASHES))
    await stage.until(lambda: any("in 0.5 s" in line for line in stage.said))
    assert stage.said[0] == "session died (exit 1); restarted"


async def test_a_service_that_cannot_be_started_again_just_now_is_tried_until_it_can(stage: _Stage) -> None:
    supervisor = stage.supervisor(session=SERVES)
    await _start(supervisor)
    await stage.until_up("session")
    env = supervisor._services[0].env
    assert isinstance(env, dict)
    env["TOO_BIG"] = "x" * 3_000_000
    os.kill(stage.pids["session"], signal.SIGKILL)
    await stage.until(lambda: any("Argument list too long" in line for line in stage.said))
    assert stage.said[0] == "session cannot be started (Argument list too long); trying again in 0.5 s"
    del env["TOO_BIG"]
    await stage.until(lambda: stage.log("session").count("session up") == 2)
    assert stage.said[-1] == "session died (signal 9); restarted"


async def test_a_full_disk_stops_no_service_and_starts_none_twice(stage: _Stage) -> None:
    def full(pids: dict[str, int]) -> None:
        stage._note(pids)
        raise OSError(28, "No space left on device")

    supervisor = stage.supervisor(session=SERVES)
    supervisor._on_started = full
    await _start(supervisor)
    await stage.until_up("session")
    assert stage.said == ["session runs, and that cannot be noted (No space left on device)"]
    assert stage.starts == 1


async def test_a_service_that_refuses_its_settings_ends_the_start_with_its_own_words(stage: _Stage) -> None:
    supervisor = stage.supervisor(session=SERVES, ingress=REFUSES)
    with pytest.raises(CannotStart, match="ingress refuses its settings: VOICEMESH_X='soon' is not a number"):
        await _start(supervisor, _never)
    assert stage.starts == 2


async def test_services_that_refuse_their_settings_are_all_told(stage: _Stage) -> None:
    supervisor = stage.supervisor(session=REFUSES, llm=REFUSES.replace("VOICEMESH_X", "VOICEMESH_Y"), ingress=REFUSES)
    with pytest.raises(CannotStart) as raised:
        await _start(supervisor, _never)
    first, *lines = str(raised.value).splitlines()
    assert first == "the services refuse their settings:"
    told = {
        problem: sorted(names.strip().split(", ")) for names, _, problem in (line.partition(": ") for line in lines)
    }
    assert told == {
        "VOICEMESH_X='soon' is not a number": ["ingress", "session"],
        "VOICEMESH_Y='soon' is not a number": ["llm"],
    }


async def test_services_that_are_not_ready_in_time_end_the_start(stage: _Stage) -> None:
    with pytest.raises(CannotStart, match=r"within 0.3 s"):
        await _start(stage.supervisor(session=SERVES), _never, 0.3)


async def test_ingress_has_ended_before_anybody_else_is_asked_to(stage: _Stage) -> None:
    supervisor = stage.supervisor(session=SERVES, ingress=SLOW_TO_END, llm=SERVES)
    await _start(supervisor)
    await stage.until_up("session", "ingress", "llm")
    pids = stage.pids
    await supervisor.stop()
    assert stage.ends.read_text().splitlines()[0] == "ingress"
    assert sorted(stage.ends.read_text().split()) == ["ingress", "llm", "session"]
    assert not any(map(_is_alive, pids.values()))
    assert stage.said == []


async def test_a_service_that_does_not_end_is_killed_after_the_grace(stage: _Stage) -> None:
    supervisor = stage.supervisor(grace_s=0.3, session=DEAF)
    await _start(supervisor)
    await stage.until_up("session")
    pid = stage.pids["session"]
    await supervisor.stop()
    assert stage.said == ["session did not end within 0.3 s; killed"]
    assert not _is_alive(pid)


@pytest.mark.parametrize("steps", [0, 1, 2, 4, 6, 8])
async def test_a_service_that_is_just_being_started_is_ended_like_the_others(stage: _Stage, steps: int) -> None:
    supervisor = stage.supervisor(session=SERVES, ingress=SERVES)
    starting = asyncio.create_task(_start(supervisor, _never))
    for _ in range(steps):
        await asyncio.sleep(0)
    await supervisor.stop()
    with pytest.raises(CannotStart, match="told to end"):
        await starting
    assert not any(map(_is_alive, stage.pids.values()))


async def test_nothing_is_started_again_while_the_services_are_being_ended(stage: _Stage) -> None:
    supervisor = stage.supervisor(session=SERVES, ingress=SLOW_TO_END)
    await _start(supervisor)
    await stage.until_up("session", "ingress")
    starts, pid = stage.starts, stage.pids["session"]
    stopping = asyncio.create_task(supervisor.stop())
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    await stopping
    assert stage.starts == starts


async def test_warnings_of_a_service_are_said_in_one_line_and_the_rest_is_kept_in_its_file(stage: _Stage) -> None:
    script = """
        import time
        print('{"at": "t", "level": "info", "service": "s", "event": "all.well"}')
        print('{"at": "t", "level": "warning", "service": "s", "event": "store.slow", "took_ms": 31}')
        print("no json at all", flush=True)
        time.sleep(60)
    """
    await _start(stage.supervisor(session=script))
    await stage.until(lambda: "no json at all" in stage.log("session"))
    assert stage.said == ["session warning store.slow took_ms=31"]
    assert "all.well" in stage.log("session")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
async def test_services_die_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text(textwrap.dedent(DEAF))
    parent = tmp_path / "parent.py"
    parent.write_text(
        textwrap.dedent(f"""
            import asyncio, os, sys
            from pathlib import Path
            from voicemesh_cli.child import Child, LogFile, Service
            async def main():
                service = Service("s", (sys.executable, {str(child)!r}, "s", "ends"), dict(os.environ))
                child = Child(service, LogFile(Path({str(tmp_path)!r}) / "s.log", 1000), print)
                await child.start()
                print(child.pid, flush=True)
                await asyncio.sleep(60)
            asyncio.run(main())
        """)
    )
    process = await asyncio.create_subprocess_exec(sys.executable, str(parent), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    assert _is_alive(pid)
    process.kill()
    await process.wait()
    await _Stage(tmp_path).until(lambda: not _is_alive(pid))


def test_a_line_that_cannot_be_written_is_lost_and_no_more() -> None:
    log = LogFile(Path("/dev/full"), 100)
    log.write(b"line")
    log.close()


def test_a_log_file_that_has_grown_to_its_limit_is_begun_anew_and_one_old_one_is_kept(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "s.log", 100)
    for number in range(50):
        log.write(f"line {number:04}".encode())
    log.close()
    new, old = (tmp_path / "s.log").read_text(), (tmp_path / "s.log.1").read_text()
    assert new.endswith("line 0049\n")
    assert max(len(new), len(old)) <= 110
    assert sorted(file.name for file in tmp_path.iterdir()) == ["s.log", "s.log.1"]
