"""Every query of the store's file. Each takes a connection and returns plain records."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection

from session_svc.adapters.store import CallRow, LogRow, OutboxAdd, Owner, Tombstone

_ROW = "call_id, call_seq, event_id, kind, at_ms, received_at_ms, payload"


def owners(connection: sqlite3.Connection) -> dict[int, Owner]:
    found = connection.execute("SELECT slot, owner, epoch FROM slots")
    return {slot: Owner(owner, epoch) for slot, owner, epoch in found}


def load_call(connection: sqlite3.Connection, call_id: str) -> list[LogRow]:
    found = connection.execute(
        f"SELECT {_ROW} FROM calls JOIN log USING (call_no) WHERE call_id = ? ORDER BY call_seq", (call_id,)
    )
    return [LogRow(*row) for row in found]


def live_calls(connection: sqlite3.Connection, slots: Collection[int] | None) -> list[str]:
    found = connection.execute(
        """
        SELECT call_id FROM calls
        WHERE ended_at_ms IS NULL AND (?1 IS NULL OR slot IN (SELECT value FROM json_each(?1)))
        ORDER BY started_at_ms, call_no
        """,
        (_json(slots),),
    )
    return [call_id for (call_id,) in found]


def tombstone(connection: sqlite3.Connection, call_id: str) -> Tombstone | None:
    found = connection.execute(
        "SELECT ended_at_ms, outcome FROM calls WHERE call_id = ? AND ended_at_ms IS NOT NULL", (call_id,)
    ).fetchone()
    return Tombstone(*found) if found else None


def outbox(connection: sqlite3.Connection, slots: Collection[int] | None) -> list[OutboxAdd]:
    found = connection.execute(
        """
        SELECT call_id, command_id, ingress_id, payload FROM outbox
        WHERE ?1 IS NULL OR slot IN (SELECT value FROM json_each(?1)) ORDER BY position
        """,
        (_json(slots),),
    )
    return [OutboxAdd(*row) for row in found]


def events_after(
    connection: sqlite3.Connection, cursor: int, limit: int, call_id: str = ""
) -> list[tuple[int, LogRow]]:
    if call_id:
        # call_seq and cursor rise together within a call, so the index of the call gives the order.
        found = connection.execute(
            f"SELECT cursor, {_ROW} FROM calls JOIN log USING (call_no) "
            "WHERE call_id = ? AND cursor > ? ORDER BY call_seq LIMIT ?",
            (call_id, cursor, limit),
        )
    else:
        found = connection.execute(
            f"SELECT cursor, {_ROW} FROM log JOIN calls USING (call_no) WHERE cursor > ? ORDER BY cursor LIMIT ?",
            (cursor, limit),
        )
    return [(at, LogRow(*row)) for at, *row in found]


def list_calls(connection: sqlite3.Connection, limit: int, call_id: str = "") -> list[CallRow]:
    found = connection.execute(
        """
        SELECT call_id, started_at_ms, coalesce(ended_at_ms, 0), outcome,
            (SELECT count(*) FROM log WHERE log.call_no = calls.call_no)
        FROM calls WHERE ?1 = '' OR call_id = ?1 ORDER BY started_at_ms DESC, call_no DESC LIMIT ?2
        """,
        (call_id, limit),
    )
    return [CallRow(*row) for row in found]


def _json(slots: Collection[int] | None) -> str | None:
    return None if slots is None else json.dumps(sorted(slots))
