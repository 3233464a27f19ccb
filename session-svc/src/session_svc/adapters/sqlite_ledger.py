"""The write side of the SQLite store: one connection, one transaction at a time, no threads of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from session_svc.adapters.store import (
    CallClosed,
    CommitError,
    OutboxAdd,
    StoreUnavailable,
    Unstorable,
    Write,
    refusal,
)

_MOST_KNOWN_CALLS = 20_000
_FORGET_AT_ONCE = 32
_PROBE_BYTES = 65_536

# One statement for many rows, because each step of a statement lets go of the interpreter lock, and getting it back
# from a busy event loop can take a whole switch interval.
_INSERT_MANY = {
    count: "INSERT INTO log (call_no, call_seq, event_id, kind, at_ms, received_at_ms, payload) VALUES "
    + ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * count)
    for count in (32, 16, 8, 4, 2, 1)
}
_COLUMNS = 7


class _Changes:
    """What the accepted writes of one transaction put into the tables."""

    def __init__(self) -> None:
        self.rows: list[object] = []
        """Column values of the log, row after row."""
        self.outbox_adds: dict[tuple[str, str], tuple[int, OutboxAdd]] = {}
        self.outbox_removes: list[tuple[str, str]] = []
        self.closed: list[tuple[int, CallClosed]] = []


class Ledger:
    """Lands writes in the file. Its methods are called on one thread; they raise only what they name."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._data_version = -1
        self._epochs: dict[int, int] = {}
        self._call_no: dict[str, int] = {}
        self._last_seq: dict[str, int] = {}

    def land(self, units: Sequence[Sequence[Write]]) -> list[CommitError | None]:
        """Write the units in one transaction and return each one's error; a bad one leaves the others alone."""
        try:
            return self._land_together(units)
        except sqlite3.OperationalError as error:
            return [_unavailable(error)] * len(units)
        except Exception as error:  # noqa: BLE001 - a value that SQLite refuses: find out whose, and spare the others
            if len(units) > 1:
                return [self.land([unit])[0] for unit in units]
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.DataError):
                return [_unavailable(error)]
            return [Unstorable(f"the store cannot hold a value of this write ({type(error).__name__})")]

    def take_slots(self, slots: Sequence[int], owner: str) -> dict[int, int]:
        """Give the slots to ``owner`` and return their new epochs. Raises StoreUnavailable."""
        with self._transaction() as execute:
            taken = {slot: self._take(execute, slot, owner) for slot in slots}
        self._epochs.update(taken)
        return taken

    def forget_some(self, ended_before_ms: int) -> int:
        """Delete a few calls that ended before the time; return how many, 0 when none is left."""
        with self._transaction() as execute:
            gone = execute(
                "SELECT call_no, call_id FROM calls WHERE ended_at_ms < ? LIMIT ?", (ended_before_ms, _FORGET_AT_ONCE)
            ).fetchall()
            for call_no, call_id in gone:
                execute("DELETE FROM log WHERE call_no = ?", (call_no,))
                execute("DELETE FROM outbox WHERE call_id = ?", (call_id,))
                execute("DELETE FROM calls WHERE call_no = ?", (call_no,))
        for _, call_id in gone:
            self._call_no.pop(call_id, None)
            self._last_seq.pop(call_id, None)
        return len(gone)

    def probe(self) -> bool:
        """Return whether the file takes a write that needs room."""
        try:
            with self._transaction() as execute:
                execute("INSERT OR REPLACE INTO meta VALUES ('probe', zeroblob(?))", (_PROBE_BYTES,))
            with self._transaction() as execute:
                execute("DELETE FROM meta WHERE key = 'probe'")
        except StoreUnavailable:
            return False
        return True

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _land_together(self, units: Sequence[Sequence[Write]]) -> list[CommitError | None]:
        try:
            self._begin()
            changes = _Changes()
            errors = [self._accept(unit, changes) for unit in units]
            self._write(changes)
            self._connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        return errors

    def _accept(self, unit: Sequence[Write], changes: _Changes) -> CommitError | None:
        verdict = refusal(unit, self._epoch_of, self._last_seq_of)
        if isinstance(verdict, CommitError):
            return verdict
        for write in unit:
            self._collect(write, changes)
        self._last_seq.update(verdict)
        return None

    def _collect(self, write: Write, changes: _Changes) -> None:
        if (opened := write.opened) is not None and not self._number_of(opened.call_id):
            self._enter(opened.call_id, write.slot, opened.started_at_ms)
        for row in write.rows:
            call_no = self._number_of(row.call_id) or self._enter(row.call_id, write.slot, row.received_at_ms)
            changes.rows.append(call_no)
            changes.rows += row[1:]
        for add in write.outbox_adds:
            changes.outbox_adds[add.call_id, add.command_id] = (write.slot, add)
        for remove in write.outbox_removes:
            # A command that came and went within one transaction never touches the file.
            changes.outbox_adds.pop(remove, None)
            changes.outbox_removes.append(remove)
        if write.closed is not None:
            changes.closed.append((write.slot, write.closed))

    def _write(self, changes: _Changes) -> None:
        self._write_rows(changes.rows)
        if changes.outbox_removes:
            self._connection.executemany(
                "DELETE FROM outbox WHERE call_id = ? AND command_id = ?", changes.outbox_removes
            )
        if changes.outbox_adds:
            self._connection.executemany(
                "INSERT INTO outbox (slot, call_id, command_id, ingress_id, payload) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (call_id, command_id) DO UPDATE SET ingress_id = excluded.ingress_id, "
                "payload = excluded.payload",
                [(slot, *add) for slot, add in changes.outbox_adds.values()],
            )
        for slot, closed in changes.closed:
            if not self._number_of(closed.call_id):
                self._enter(closed.call_id, slot, closed.ended_at_ms)
            self._connection.execute(
                "UPDATE calls SET ended_at_ms = ?, outcome = ? WHERE call_id = ?",
                (closed.ended_at_ms, closed.outcome, closed.call_id),
            )

    def _write_rows(self, values: list[object]) -> None:
        start = 0
        for count, statement in _INSERT_MANY.items():
            size = count * _COLUMNS
            while len(values) - start >= size:
                self._connection.execute(statement, values[start : start + size])
                start += size

    def _enter(self, call_id: str, slot: int, started_at_ms: int) -> int:
        made = self._connection.execute(
            "INSERT INTO calls (call_id, slot, started_at_ms) VALUES (?, ?, ?)", (call_id, slot, started_at_ms)
        )
        call_no = made.lastrowid or 0
        self._call_no[call_id] = call_no
        return call_no

    def _epoch_of(self, slot: int) -> int:
        return self._epochs.get(slot, 0)

    def _number_of(self, call_id: str) -> int:
        self._last_seq_of(call_id)
        return self._call_no[call_id]

    def _last_seq_of(self, call_id: str) -> int:
        if call_id in self._last_seq:
            return self._last_seq[call_id]
        found = self._connection.execute(
            "SELECT call_no, (SELECT max(call_seq) FROM log WHERE log.call_no = calls.call_no) "
            "FROM calls WHERE call_id = ?",
            (call_id,),
        ).fetchone()
        self._call_no[call_id], last_seq = (found[0], found[1] or 0) if found else (0, 0)
        self._last_seq[call_id] = last_seq
        return last_seq

    def _begin(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        if len(self._last_seq) > _MOST_KNOWN_CALLS:
            self._forget_what_is_known()
        # Rises when another process has written: what is remembered of epochs and calls may be wrong then.
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._data_version:
            self._forget_what_is_known()
            self._epochs = dict(self._connection.execute("SELECT slot, epoch FROM slots"))
            self._data_version = version

    def _roll_back(self) -> None:
        self._forget_what_is_known()
        self._data_version = -1
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _forget_what_is_known(self) -> None:
        self._call_no.clear()
        self._last_seq.clear()

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        try:
            self._begin()
            yield self._connection.execute
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            if isinstance(error, sqlite3.Error):
                raise _unavailable(error) from error
            raise

    @staticmethod
    def _take(execute: Callable[..., sqlite3.Cursor], slot: int, owner: str) -> int:
        epoch: int = execute(
            "INSERT INTO slots VALUES (?, ?, 1) "
            "ON CONFLICT (slot) DO UPDATE SET owner = excluded.owner, epoch = epoch + 1 RETURNING epoch",
            (slot, owner),
        ).fetchone()[0]
        return epoch


def _unavailable(error: sqlite3.Error) -> StoreUnavailable:
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreUnavailable(f"the store's file takes no write: {error} ({name})")
