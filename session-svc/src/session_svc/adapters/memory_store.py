"""A store that forgets with its process: for tests, held to the same conformance suite as the durable one."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

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
    refusal,
)


class MemoryStore:
    """Keeps all in dictionaries. `fail_with` lets a test take the disk away, and give it back with None."""

    def __init__(self) -> None:
        self._owners: dict[int, Owner] = {}
        self._log: list[tuple[int, LogRow]] = []
        self._rows: dict[str, list[LogRow]] = {}
        self._calls: dict[str, tuple[int, int, Tombstone | None]] = {}
        self._outbox: dict[tuple[str, str], tuple[int, OutboxAdd]] = {}
        self._queue: list[tuple[Sequence[Write], Done]] = []
        self._last_cursor = 0
        self._broken: str | None = None
        self._healthy = True
        self._closed = False

    @property
    def healthy(self) -> bool:
        return self._healthy

    def fail_with(self, reason: str | None) -> None:
        """Fail every write with StoreUnavailable from now on, or none any more when ``reason`` is None."""
        self._broken = reason
        if reason is None:
            self._healthy = True

    async def take_slots(self, slots: Sequence[int], owner: str) -> dict[int, int]:
        await self._settle()
        if self._broken is not None:
            self._healthy = False
            raise StoreUnavailable(self._broken)
        for slot in slots:
            self._owners[slot] = Owner(owner, self._epoch_of(slot) + 1)
        return {slot: self._owners[slot].epoch for slot in slots}

    async def owners(self) -> dict[int, Owner]:
        return dict(self._owners)

    def commit(self, writes: Sequence[Write], done: Done) -> None:
        if not self._queue:
            asyncio.get_running_loop().call_soon(self._flush)
        self._queue.append((writes, done))

    async def load_call(self, call_id: str) -> list[LogRow]:
        return list(self._rows.get(call_id, ()))

    async def live_calls(self, slots: Collection[int] | None = None) -> list[str]:
        alive = [
            (started_at_ms, call_id)
            for call_id, (slot, started_at_ms, tombstone) in self._calls.items()
            if tombstone is None and (slots is None or slot in slots)
        ]
        alive.sort(key=lambda call: call[0])
        return [call_id for _, call_id in alive]

    async def tombstone(self, call_id: str) -> Tombstone | None:
        call = self._calls.get(call_id)
        return call[2] if call else None

    async def outbox(self, slots: Collection[int] | None = None) -> list[OutboxAdd]:
        return [add for slot, add in self._outbox.values() if slots is None or slot in slots]

    async def events_after(self, cursor: int, limit: int, call_id: str = "") -> list[tuple[int, LogRow]]:
        found = [(at, row) for at, row in self._log if at > cursor and call_id in ("", row.call_id)]
        return found[:limit]

    async def list_calls(self, limit: int, call_id: str = "") -> list[CallRow]:
        newest_first = list(reversed(self._calls.items()))
        newest_first.sort(key=lambda item: -item[1][1])
        found = [
            CallRow(name, started, end.ended_at_ms if end else 0, end.outcome if end else "", self._last_seq_of(name))
            for name, (_, started, end) in newest_first
            if call_id in ("", name)
        ]
        return found[:limit]

    async def forget_before(self, ended_before_ms: int) -> int:
        await self._settle()
        gone = {name for name, (_, _, end) in self._calls.items() if end and end.ended_at_ms < ended_before_ms}
        for call_id in gone:
            del self._calls[call_id]
            self._rows.pop(call_id, None)
        self._log = [(at, row) for at, row in self._log if row.call_id not in gone]
        self._outbox = {key: entry for key, entry in self._outbox.items() if key[0] not in gone}
        return len(gone)

    async def close(self) -> None:
        await self._settle()
        self._closed = True

    async def _settle(self) -> None:
        self._flush()
        await asyncio.sleep(0)

    def _flush(self) -> None:
        queued, self._queue = self._queue, []
        outcomes = [(done, self._land(writes)) for writes, done in queued]
        loop = asyncio.get_running_loop()
        for done, error in outcomes:
            loop.call_soon(done, error)

    def _land(self, writes: Sequence[Write]) -> CommitError | None:
        if self._closed:
            return StoreUnavailable("the store is closed")
        if self._broken is not None:
            self._healthy = False
            return StoreUnavailable(self._broken)
        verdict = refusal(writes, self._epoch_of, self._last_seq_of)
        if isinstance(verdict, CommitError):
            return verdict
        for write in writes:
            self._apply(write)
        return None

    def _apply(self, write: Write) -> None:
        if (opened := write.opened) is not None:
            self._calls.setdefault(opened.call_id, (write.slot, opened.started_at_ms, None))
        for row in write.rows:
            self._calls.setdefault(row.call_id, (write.slot, row.received_at_ms, None))
            self._last_cursor += 1
            self._log.append((self._last_cursor, row))
            self._rows.setdefault(row.call_id, []).append(row)
        for add in write.outbox_adds:
            self._outbox[add.call_id, add.command_id] = (write.slot, add)
        for remove in write.outbox_removes:
            self._outbox.pop((remove.call_id, remove.command_id), None)
        if (closed := write.closed) is not None:
            slot, started_at_ms, _ = self._calls.get(closed.call_id, (write.slot, closed.ended_at_ms, None))
            self._calls[closed.call_id] = (slot, started_at_ms, Tombstone(closed.ended_at_ms, closed.outcome))

    def _epoch_of(self, slot: int) -> int:
        return self._owners[slot].epoch if slot in self._owners else 0

    def _last_seq_of(self, call_id: str) -> int:
        return len(self._rows.get(call_id, ()))
