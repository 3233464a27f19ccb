"""Reads a store's file from another program, beside a living session-svc or after a killed one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from session_svc.adapters import sqlite_file, sqlite_reads
from session_svc.adapters.store import CallRow, LogRow, StoreFileError


def read_log(path: str | Path, since: int, limit: int, call_id: str = "") -> list[tuple[int, LogRow]]:
    """Return up to ``limit`` (cursor, row) above the cursor ``since``, oldest first. Raises StoreFileError."""
    with _opened(path) as connection:
        return sqlite_reads.events_after(connection, since, limit, call_id)


def read_calls(path: str | Path, limit: int, call_id: str = "") -> list[CallRow]:
    """Return up to ``limit`` calls, newest first. Raises StoreFileError."""
    with _opened(path) as connection:
        return sqlite_reads.list_calls(connection, limit, call_id)


@contextmanager
def _opened(path: str | Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite_file.open_read_only(path)
    try:
        yield connection
    except sqlite3.Error as error:
        raise StoreFileError(f"{path}: reading failed: {error}") from error
    finally:
        connection.close()
