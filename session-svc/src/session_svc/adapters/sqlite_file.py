"""The SQLite file: where it lies, what stands in it, and who may open it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Literal

from session_svc.adapters.store import StoreFileError

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 2.0
"""How long a write waits for another process's transaction."""

Synchronous = Literal["normal", "full"]
"""What an acknowledged write outlives: a killed process (normal) or a power cut (full)."""

# A row names its call by number: calls that live at the same time have neighbouring numbers, so the index entries of
# one transaction fall on a few pages. With the text id in the index, each row dirtied a page of its own.
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE slots (slot INTEGER PRIMARY KEY, owner TEXT NOT NULL, epoch INTEGER NOT NULL);
CREATE TABLE calls (
    call_no INTEGER PRIMARY KEY,
    call_id TEXT NOT NULL UNIQUE,
    slot INTEGER NOT NULL,
    started_at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER,
    outcome TEXT NOT NULL DEFAULT ''
);
CREATE INDEX calls_by_start ON calls (started_at_ms);
CREATE INDEX calls_by_end ON calls (ended_at_ms);
CREATE TABLE log (
    cursor INTEGER PRIMARY KEY AUTOINCREMENT,
    call_no INTEGER NOT NULL,
    call_seq INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    received_at_ms INTEGER NOT NULL,
    payload BLOB NOT NULL
);
CREATE UNIQUE INDEX log_by_call ON log (call_no, call_seq);
CREATE TABLE outbox (
    position INTEGER PRIMARY KEY,
    slot INTEGER NOT NULL,
    call_id TEXT NOT NULL,
    command_id TEXT NOT NULL,
    ingress_id TEXT NOT NULL,
    payload BLOB NOT NULL,
    UNIQUE (call_id, command_id)
);
"""


def open_for_writing(path: str | Path, synchronous: Synchronous) -> sqlite3.Connection:
    """Open the file, or make it (mode 0600, with its directory). Raises StoreFileError."""
    if synchronous not in ("normal", "full"):
        raise StoreFileError(f"synchronous={synchronous!r} is neither 'normal' nor 'full'")
    try:
        _make(Path(path))
        connection = _connect(path)
    except (OSError, sqlite3.Error) as error:
        raise StoreFileError(f"{path}: cannot open it for writing: {error}") from error
    try:
        # One transaction around the look and the making: two processes may start on the same new file.
        connection.execute("BEGIN IMMEDIATE")
        if _is_empty(connection):
            for statement in _SCHEMA.split(";")[:-1]:
                connection.execute(statement)
            connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", (SCHEMA_VERSION,))
        else:
            _check_version(connection, path)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
    except sqlite3.Error as error:
        connection.close()
        raise StoreFileError(f"{path}: not usable as a voicemesh store: {error}") from error
    except StoreFileError:
        connection.close()
        raise
    return connection


def open_beside(path: str | Path) -> sqlite3.Connection:
    """Open a second connection of the writing process: it reads, and it may checkpoint."""
    connection = _connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def open_read_only(path: str | Path) -> sqlite3.Connection:
    """Open the file for another program, beside a living writer or after a killed one. Raises StoreFileError."""
    if not Path(path).is_file():
        raise StoreFileError(f"{path}: there is no such file; VOICEMESH_STORE names it")
    try:
        connection = _connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True)
        try:
            if _is_empty(connection):
                raise StoreFileError(f"{path}: the store is empty; has session-svc run with it?")
            _check_version(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise StoreFileError(f"{path}: cannot read it as a voicemesh store: {error}") from error
    return connection


def _connect(database: str | Path, *, uri: bool = False) -> sqlite3.Connection:
    # Each connection is made on one thread and then used on one other: no two ever use it at once.
    return sqlite3.connect(database, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, uri=uri)


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


def _check_version(connection: sqlite3.Connection, path: str | Path) -> None:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
        raise StoreFileError(f"{path}: an SQLite file, but not a voicemesh store (it has no table `meta`)")
    found = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    if found != (SCHEMA_VERSION,):
        version = found[0] if found else None
        raise StoreFileError(
            f"{path}: schema_version is {version!r}, this build knows {SCHEMA_VERSION}; "
            "run the build that wrote it, or name another file in VOICEMESH_STORE"
        )
