"""What only a store in a file promises: it outlives its process, a full disk, and a second writer."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import stat
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path

import pytest
from session_svc.adapters import sqlite_file
from session_svc.adapters.log_reader import read_calls, read_log
from session_svc.adapters.sqlite_store import SqliteStore
from session_svc.adapters.store import (
    CallClosed,
    CallOpened,
    CallRow,
    CommitError,
    LogRow,
    StaleEpoch,
    StoreFileError,
    StoreUnavailable,
    Unstorable,
    Write,
)

_CHILD = Path(__file__).with_name("store_child.py")


def row(call_id: str, call_seq: int, payload: bytes = b"p") -> LogRow:
    return LogRow(call_id, call_seq, f"{call_id}-{call_seq}", "words", call_seq, call_seq, payload)


async def commit_each(store: SqliteStore, units: Sequence[Sequence[Write]]) -> list[CommitError | None]:
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[CommitError | None]] = [loop.create_future() for _ in units]
    for unit, future in zip(units, futures, strict=True):
        store.commit(unit, future.set_result)
    return await asyncio.wait_for(asyncio.gather(*futures), 20)


async def commit(store: SqliteStore, *writes: Write) -> CommitError | None:
    return (await commit_each(store, [writes]))[0]


async def start_child(path: Path, slot: int = 0, rounds: int = 0) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(_CHILD), str(path), str(slot), str(rounds), stdout=PIPE, limit=2**24
    )


async def lines_of(child: Process) -> list[list[str]]:
    assert child.stdout is not None
    return [line.split() for line in (await asyncio.wait_for(child.stdout.read(), 30)).decode().splitlines()]


async def test_what_was_confirmed_outlives_kill_9_whole_in_order_and_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    dice = random.Random()
    confirmed: dict[str, int] = {}
    for life in range(1, 5):
        child = await start_child(path)
        assert child.stdout is not None
        ready = (await asyncio.wait_for(child.stdout.readline(), 20)).split()
        assert ready[:2] == [b"ready", str(life).encode()]
        await asyncio.sleep(dice.uniform(0.05, 0.4))
        child.kill()
        for word, call_id, seq in await lines_of(child):
            assert word == "landed"
            confirmed[call_id] = int(seq)
        await child.wait()
        found = read_log(path, 0, 1_000_000)
        kept: dict[str, list[int]] = {}
        for _, kept_row in found:
            kept.setdefault(kept_row.call_id, []).append(kept_row.call_seq)
            assert len(kept_row.payload) == 200
        for call_id, seqs in kept.items():
            assert seqs == list(range(1, len(seqs) + 1))
            assert len(seqs) >= confirmed.get(call_id, 0)
        assert set(confirmed) <= set(kept)
        cursors = [cursor for cursor, _ in found]
        assert cursors == sorted(set(cursors))
        for call in read_calls(path, 100):
            assert call.event_count == len(kept[call.call_id])
            assert (call.outcome == "completed") == (call.event_count >= 50)
    assert sum(confirmed.values()) > 100, "the children were killed before they had committed anything worth losing"


async def test_a_second_process_that_takes_the_slot_fences_the_first(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await SqliteStore.open(path)
    assert await store.take_slots([0, 1], "first") == {0: 1, 1: 1}
    assert await commit(store, Write(0, 1, (row("mine", 1),))) is None
    child = await start_child(path, slot=0, rounds=3)
    words = await lines_of(child)
    assert words[0] == ["ready", "2", "1"]
    assert {line[0] for line in words[1:]} == {"landed"}
    errors = await commit_each(store, [[Write(0, 1, (row("mine", 2),))], [Write(1, 1, (row("other", 1),))]])
    assert isinstance(errors[0], StaleEpoch)
    assert (errors[0].slot, errors[0].epoch, errors[0].current) == (0, 1, 2)
    assert errors[1] is None
    assert len(await store.load_call("s0-c0")) == 3
    assert await store.take_slots([0], "first") == {0: 3}
    assert await commit(store, Write(0, 3, (row("s0-c0", 4),))) is None
    await store.close()


async def test_several_processes_write_their_own_slots_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    children = [await start_child(path, slot, rounds=30) for slot in range(3)]
    for child in children:
        words = await lines_of(child)
        assert {line[0] for line in words[1:]} == {"landed"}
        assert len(words) == 1 + 30 * 20
    assert len(read_log(path, 0, 10_000)) == 3 * 30 * 20


async def test_a_full_disk_fails_writes_and_recovers_by_itself_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await SqliteStore.open(path)
    await store.take_slots([0], "a")
    writing = store._ledger._connection
    pages = writing.execute("PRAGMA page_count").fetchone()[0]
    writing.execute(f"PRAGMA max_page_count = {pages + 4}")
    errors = [await commit(store, Write(0, 1, (row("c", seq, bytes(3_000)),))) for seq in range(1, 9)]
    landed = errors.index(next(filter(None, errors)))
    assert 0 < landed < 8
    assert isinstance(errors[landed], StoreUnavailable)
    assert "SQLITE_FULL" in str(errors[landed])
    assert not store.healthy
    assert len(await store.load_call("c")) == landed
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(store.take_slots(range(1_000, 3_000), "a"), 10)
    writing.execute("PRAGMA max_page_count = 1000000")
    async with asyncio.timeout(10):
        while not store.healthy:  # noqa: ASYNC110 - its own probe, on its own thread, makes it well
            await asyncio.sleep(0.05)
    assert await commit(store, Write(0, 1, (row("c", landed + 1, bytes(3_000)),))) is None
    assert len(await store.load_call("c")) == landed + 1
    await store.close()


async def test_a_value_that_the_file_cannot_hold_fails_its_own_commit_alone(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    await store.take_slots([0], "a")
    huge = row("b", 1)._replace(at_ms=2**70)
    mangled = row("d", 1)._replace(event_id="\ud800")
    errors = await commit_each(store, [[Write(0, 1, (each,))] for each in (row("a", 1), huge, mangled, row("e", 1))])
    assert [type(error) for error in errors] == [type(None), Unstorable, Unstorable, type(None)]
    assert [kept.call_id for _, kept in await store.events_after(0, 9)] == ["a", "e"]
    assert store.healthy
    await store.close()


async def test_a_locked_file_fails_writes_until_the_lock_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "store.db"
    store = await SqliteStore.open(path)
    await store.take_slots([0], "a")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert isinstance(await commit(store, Write(0, 1, (row("c", 1),))), StoreUnavailable)
    other.execute("ROLLBACK")
    other.close()
    assert await commit(store, Write(0, 1, (row("c", 1),))) is None
    assert store.healthy
    await store.close()


async def test_commits_over_the_queue_limit_fail_at_once(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db", max_queued=0)
    assert isinstance(await commit(store, Write(0, 1)), StoreUnavailable)
    await store.close()


async def test_a_store_reopens_with_all_that_it_held(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "store.db"
    store = await SqliteStore.open(path, synchronous="full")
    await store.take_slots([0], "a")
    rows = (row("c", 1), row("c", 2))
    await commit(store, Write(0, 1, rows, opened=CallOpened("c", 5), closed=CallClosed("c", 9, "completed")))
    await store.close()
    assert not list(path.parent.glob("*-wal"))
    again = await SqliteStore.open(path)
    assert await again.load_call("c") == list(rows)
    assert await again.list_calls(5) == [CallRow("c", 5, 9, "completed", 2)]
    assert await again.take_slots([0], "b") == {0: 2}
    assert await commit(again, Write(0, 2, (row("c", 3),))) is None
    await again.close()


async def test_only_the_owner_may_read_the_file_and_its_side_files(tmp_path: Path) -> None:
    path = tmp_path / "state" / "store.db"
    store = await SqliteStore.open(path)
    await store.take_slots([0], "a")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}
    await store.close()


async def test_the_log_is_read_beside_a_living_writer_and_after_it_closed(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await SqliteStore.open(path)
    await store.take_slots([0], "a")
    await commit(store, Write(0, 1, tuple(row("c", seq) for seq in range(1, 6)), opened=CallOpened("c", 1)))
    living = read_log(path, 0, 3)
    assert [kept for _, kept in living] == [row("c", seq) for seq in (1, 2, 3)]
    await store.close()
    assert [kept for _, kept in read_log(path, living[-1][0], 10, "c")] == [row("c", 4), row("c", 5)]
    assert read_calls(path, 10) == [CallRow("c", 1, 0, "", 5)]
    again = await SqliteStore.open(path)
    await again.close()


@pytest.mark.parametrize("opener", ["writer", "reader"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("noise", "not a database"),
        ("newer", "schema_version is 2, this build knows 1"),
        ("foreign", "not a voicemesh store"),
        ("directory", "store.db: "),
    ],
)
async def test_a_file_that_is_not_ours_is_refused_and_left_as_it_was(
    tmp_path: Path, content: str, said: str, opener: str
) -> None:
    path = tmp_path / "store.db"
    if content == "directory":
        path.mkdir()
    elif content == "noise":
        path.write_bytes(random.Random(1).randbytes(8_192))
    else:
        with sqlite3.connect(path) as made:
            made.execute("CREATE TABLE meta (key, value)" if content == "newer" else "CREATE TABLE cats (name)")
            if content == "newer":
                made.execute("INSERT INTO meta VALUES ('schema_version', 2)")
        made.close()
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreFileError, match=said):
        _ = read_calls(path, 1) if opener == "reader" else await SqliteStore.open(path)
    assert before == (path.read_bytes() if path.is_file() else None)


def test_reading_a_file_that_does_not_exist_says_so_and_makes_none(tmp_path: Path) -> None:
    with pytest.raises(StoreFileError, match="no such file"):
        read_log(tmp_path / "store.db", 0, 1)
    assert not list(tmp_path.iterdir())


async def test_a_damaged_file_gives_an_error_and_no_invented_rows(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await SqliteStore.open(path)
    await store.take_slots([0], "a")
    await commit(store, Write(0, 1, tuple(row(f"c{n}", 1, bytes(3_000)) for n in range(50))))
    await store.close()
    content = bytearray(path.read_bytes())
    content[40_960:] = random.Random(2).randbytes(len(content) - 40_960)
    path.write_bytes(content)
    with pytest.raises(StoreFileError):
        read_log(path, 0, 100)
    again = await SqliteStore.open(path)
    with pytest.raises(StoreUnavailable):
        await again.events_after(0, 100)
    await again.close()


async def test_a_store_with_an_unknown_sync_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreFileError, match="neither 'normal' nor 'full'"):
        await SqliteStore.open(tmp_path / "store.db", synchronous="off")  # type: ignore[arg-type]


async def test_checkpoints_keep_the_side_file_small(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await SqliteStore.open(path)
    await store.take_slots([0], "a")
    for seq in range(1, 4_001):
        assert await commit(store, Write(0, 1, (row("c", seq, bytes(2_000)),))) is None
    # Without any, it would hold some 12,000 pages of 4 KiB.
    assert path.with_name("store.db-wal").stat().st_size < 25_000_000
    await store.close()
