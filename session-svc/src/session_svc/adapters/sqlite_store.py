"""The durable store: one SQLite file in WAL mode, one thread that writes, one that reads and checkpoints.

While a transaction runs, commits queue; the next one takes all of them. So a quiet store answers at once, and a busy
one pays a transaction for many. Another process that takes a slot fences this one: see StaleEpoch.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from svc_runtime import logs

from session_svc.adapters import sqlite_file, sqlite_reads
from session_svc.adapters.sqlite_file import Synchronous
from session_svc.adapters.sqlite_ledger import Ledger
from session_svc.adapters.store import (
    CallRow,
    CommitError,
    Done,
    LogRow,
    OutboxAdd,
    Owner,
    StoreUnavailable,
    Tombstone,
    Write,
)

T = TypeVar("T")

_MOST_COMMITS_AT_ONCE = 512
"""From so many on a transaction takes no more of what is queued."""
_PROBE_EVERY_S = 1.0
_CHECKPOINT_PAGES = 1_000
_BACKSTOP_PAGES = 4_000


class _Commit(NamedTuple):
    writes: Sequence[Write]
    done: Done


class _Task(NamedTuple):
    """Something else for the writer thread, between two transactions."""

    run: Callable[[], Any]
    future: asyncio.Future[Any]
    last: bool = False


class SqliteStore:
    """A Store in a file. Made by `open`, on the loop that will use it."""

    def __init__(
        self, ledger: Ledger, reading: sqlite3.Connection, *, loop: asyncio.AbstractEventLoop, max_queued: int
    ) -> None:
        self._ledger = ledger
        self._reading = reading
        self._loop = loop
        self._max_queued = max_queued
        self._queue: SimpleQueue[list[_Commit] | _Task] = SimpleQueue()
        self._handing: list[_Commit] = []
        self._waiting = 0
        """Commits without an answer yet."""
        self._healthy = True
        self._closed = False
        self._pages = 0
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        threading.Thread(target=self._write_on, name="store-writer", daemon=True).start()

    @classmethod
    async def open(
        cls, path: str | Path, *, synchronous: Synchronous = "normal", max_queued: int = 20_000
    ) -> SqliteStore:
        """Open the store, making the file where there is none. Raises StoreFileError.

        ``max_queued`` is how many commits may wait for the disk; those beyond it fail at once.
        """
        loop = asyncio.get_running_loop()

        def connect() -> tuple[sqlite3.Connection, sqlite3.Connection]:
            writing = sqlite_file.open_for_writing(path, synchronous)
            # A checkpoint within a commit makes that commit wait for the disk, so the reader thread does them. But the
            # WAL starts over only when all of it was carried across, which a thread beside a busy writer never
            # achieves: then the writer carries the little that is left, one commit in several hundred.
            writing.execute(f"PRAGMA wal_autocheckpoint = {_BACKSTOP_PAGES}")
            return writing, sqlite_file.open_beside(path)

        writing, reading = await asyncio.to_thread(connect)
        return cls(Ledger(writing), reading, loop=loop, max_queued=max_queued)

    @property
    def healthy(self) -> bool:
        return self._healthy

    def commit(self, writes: Sequence[Write], done: Done) -> None:
        if self._closed:
            self._loop.call_soon(done, StoreUnavailable("the store is closed"))
        elif self._waiting >= self._max_queued:
            self._loop.call_soon(done, StoreUnavailable(f"{self._max_queued} commits wait for the disk already"))
        else:
            # All of a message's commits are handed over at once: each time wakes the writer, which then fights us for
            # the interpreter lock.
            if not self._handing:
                self._loop.call_soon(self._hand_over)
            self._handing.append(_Commit(writes, done))
            self._waiting += 1

    async def take_slots(self, slots: Sequence[int], owner: str) -> dict[int, int]:
        return await self._between(lambda: self._ledger.take_slots(slots, owner))

    async def forget_before(self, ended_before_ms: int) -> int:
        forgotten = 0
        while some := await self._between(lambda: self._ledger.forget_some(ended_before_ms)):
            forgotten += some
        return forgotten

    async def owners(self) -> dict[int, Owner]:
        return await self._read(sqlite_reads.owners)

    async def load_call(self, call_id: str) -> list[LogRow]:
        return await self._read(sqlite_reads.load_call, call_id)

    async def live_calls(self, slots: Collection[int] | None = None) -> list[str]:
        return await self._read(sqlite_reads.live_calls, slots)

    async def tombstone(self, call_id: str) -> Tombstone | None:
        return await self._read(sqlite_reads.tombstone, call_id)

    async def outbox(self, slots: Collection[int] | None = None) -> list[OutboxAdd]:
        return await self._read(sqlite_reads.outbox, slots)

    async def events_after(self, cursor: int, limit: int, call_id: str = "") -> list[tuple[int, LogRow]]:
        return await self._read(sqlite_reads.events_after, cursor, limit, call_id)

    async def list_calls(self, limit: int, call_id: str = "") -> list[CallRow]:
        return await self._read(sqlite_reads.list_calls, limit, call_id)

    async def close(self) -> None:
        if self._closed:
            return
        drained = self._ask(lambda: None)
        self._closed = True
        await drained
        # The reader goes first: the last connection to close empties the WAL into the file and removes it.
        await self._loop.run_in_executor(self._reader, self._reading.close)
        self._reader.shutdown(wait=False)
        await self._ask(self._ledger.close, last=True)

    async def _read(self, query: Callable[..., T], *arguments: object) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        try:
            return await self._loop.run_in_executor(self._reader, query, self._reading, *arguments)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the store's file cannot be read: {error}") from error

    async def _between(self, run: Callable[[], T]) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return await self._ask(run)

    def _hand_over(self) -> None:
        if self._handing:
            self._queue.put(self._handing)
            self._handing = []

    def _ask(self, run: Callable[[], T], *, last: bool = False) -> asyncio.Future[T]:
        self._hand_over()
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Task(run, future, last))
        return future

    def _deliver(self, commits: Sequence[_Commit], errors: Sequence[CommitError | None]) -> None:
        self._waiting -= len(commits)
        for commit, error in zip(commits, errors, strict=True):
            try:
                commit.done(error)
            except Exception as defect:  # noqa: BLE001 - one caller's defect must not cost the others their answer
                logs.get().exception("store.done_failed", defect)

    # What follows runs on the writer thread.

    def _write_on(self) -> None:
        while True:
            commits, task = self._gather()
            if commits:
                self._land(commits)
            if task is not None:
                self._run(task)
                if task.last:
                    return
            if not commits and task is None:
                self._healthy = self._ledger.probe()

    def _gather(self) -> tuple[list[_Commit], _Task | None]:
        """Wait for work and take what is queued, up to a task; nothing when it is time to probe a sick disk."""
        commits: list[_Commit] = []
        try:
            job = self._queue.get(timeout=None if self._healthy else _PROBE_EVERY_S)
            while isinstance(job, list):
                commits += job
                if len(commits) >= _MOST_COMMITS_AT_ONCE:
                    return commits, None
                job = self._queue.get_nowait()
        except Empty:
            return commits, None
        return commits, job

    def _land(self, commits: list[_Commit]) -> None:
        errors = self._ledger.land([commit.writes for commit in commits])
        failed = next((error for error in errors if isinstance(error, StoreUnavailable)), None)
        if failed is not None and self._healthy:
            logs.get().error("store.unavailable", reason=str(failed), commits=len(commits))
        if failed is not None or None in errors:
            self._healthy = failed is None
        self._tell(self._deliver, commits, errors)
        self._pages += 4 + len(commits)
        if self._pages >= _CHECKPOINT_PAGES:
            self._pages = 0
            self._reader.submit(self._checkpoint)

    def _run(self, task: _Task) -> None:
        try:
            result = task.run()
        except Exception as error:  # noqa: BLE001 - it belongs to whoever awaits the task
            if isinstance(error, StoreUnavailable):
                self._healthy = False
            self._tell(_settle, task.future, None, error)
        else:
            self._tell(_settle, task.future, result, None)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            # The loop was closed before the store: nobody is left to hear it.
            logs.get().warning("store.loop_closed")

    # What follows runs on the reader thread.

    def _checkpoint(self) -> None:
        try:
            self._reading.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            logs.get().warning("store.checkpoint_failed", reason=str(error))


def _settle(future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
