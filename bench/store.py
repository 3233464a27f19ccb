"""What the SQLite store costs: CPU per row on the writer thread and per commit on the loop, and commit-to-done times.

    .venv/bin/python -m bench store [normal|full]

First with 32 commits of one row in flight at once, then with 1,000 single commits a second, evenly.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Literal

import uvloop
from session_svc.adapters.sqlite_store import SqliteStore
from session_svc.adapters.store import CallOpened, CommitError, LogRow, Write

_BATCH = 32
_LIVE_CALLS = 100
_ROWS_PER_CALL = 80


class Traffic:
    """Events of many calls that come and go."""

    def __init__(self) -> None:
        self._payload = os.urandom(300)
        self._count = 0

    def next(self) -> Write:
        at, self._count = self._count, self._count + 1
        generation, seq = divmod(at // _LIVE_CALLS, _ROWS_PER_CALL)
        call_id = f"vapi:0d3c7a52-{generation:04d}-4f6a-9b1e-{at % _LIVE_CALLS:012d}"
        row = LogRow(call_id, seq + 1, f"words-{at:016d}", "words", at, at, self._payload)
        return Write(0, 1, (row,), opened=CallOpened(call_id, at) if seq == 0 else None)


class WriterCpu:
    """CPU time of the store's writer thread since it was last asked."""

    def __init__(self) -> None:
        writer = next(thread for thread in threading.enumerate() if thread.name == "store-writer")
        self._clock = time.pthread_getcpuclockid(writer.ident or 0)
        self._last_s = time.clock_gettime(self._clock)

    def us_per_row(self, rows: int) -> float:
        now_s = time.clock_gettime(self._clock)
        used_s, self._last_s = now_s - self._last_s, now_s
        return used_s / rows * 1e6


async def in_batches(store: SqliteStore, traffic: Traffic, batches: int) -> None:
    cpu = WriterCpu()
    commit_s = 0.0
    waits: list[float] = []
    for _ in range(batches):
        writes = [[traffic.next()] for _ in range(_BATCH)]
        landed = asyncio.Event()
        left = _BATCH

        def done(error: CommitError | None, landed: asyncio.Event = landed) -> None:
            nonlocal left
            assert error is None, error
            left -= 1
            if not left:
                landed.set()

        start = time.perf_counter()
        for unit in writes:
            store.commit(unit, done)
        commit_s += time.perf_counter() - start
        await landed.wait()
        waits.append(time.perf_counter() - start)
    per_commit_us = commit_s / batches / _BATCH * 1e6
    writer_us = cpu.us_per_row(batches * _BATCH)
    print(f"batches of {_BATCH}: commit() {per_commit_us:.2f} us on the loop, writer {writer_us:.1f} us CPU a row")
    print(f"    {spread(waits)}")


async def evenly(store: SqliteStore, traffic: Traffic, commits: int) -> None:
    cpu = WriterCpu()
    waits: list[float] = []
    loop = asyncio.get_running_loop()
    begin = loop.time()

    def landed(start: float, error: CommitError | None) -> None:
        assert error is None, error
        waits.append(time.perf_counter() - start)

    for n in range(commits):
        await asyncio.sleep(begin + n / 1_000 - loop.time())
        start = time.perf_counter()
        store.commit([traffic.next()], functools.partial(landed, start))
    await asyncio.sleep(0.5)
    print(f"1,000 a second: writer {cpu.us_per_row(commits):.1f} us CPU a row")
    print(f"    {spread(waits)}")


def spread(waits: list[float]) -> str:
    waits.sort()
    at = {f"p{share:g}": waits[int(len(waits) * share / 100)] for share in (50, 99, 99.9)}
    return "done after " + ", ".join(f"{name} {wait * 1e3:.2f} ms" for name, wait in at.items())


async def main(synchronous: Literal["normal", "full"]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = await SqliteStore.open(Path(directory) / "store.db", synchronous=synchronous)
        await store.take_slots([0], "bench")
        traffic = Traffic()
        await in_batches(store, traffic, 1_500)
        await evenly(store, traffic, 5_000)
        await store.close()


if __name__ == "__main__":
    sys.setswitchinterval(0.0005)
    uvloop.run(main("full" if "full" in sys.argv[1:] else "normal"))
