"""What every store promises; each rule runs against the memory store and the SQLite store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from session_svc.adapters.memory_store import MemoryStore
from session_svc.adapters.sqlite_store import SqliteStore
from session_svc.adapters.store import (
    CallClosed,
    CallOpened,
    CallRow,
    CommitError,
    LogRow,
    OutboxAdd,
    OutboxRemove,
    Owner,
    SeqConflict,
    StaleEpoch,
    Store,
    StoreUnavailable,
    Tombstone,
    Write,
)

SLOT = 7


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else await SqliteStore.open(tmp_path / "store.db")
    await made.take_slots([SLOT, SLOT + 1], "replica-a")
    yield made
    await made.close()


def row(call_id: str, call_seq: int, *, received_at_ms: int = 0) -> LogRow:
    at_ms = received_at_ms or 1_000 + call_seq
    return LogRow(call_id, call_seq, f"{call_id}-{call_seq}", "words", at_ms - 5, at_ms, f"p{call_seq}\0".encode())


def write(call_id: str, *seqs: int, slot: int = SLOT, epoch: int = 1) -> Write:
    return Write(slot, epoch, tuple(row(call_id, seq) for seq in seqs))


async def commit(store: Store, *writes: Write) -> CommitError | None:
    return (await commit_each(store, [writes]))[0]


async def commit_each(store: Store, units: Sequence[Sequence[Write]]) -> list[CommitError | None]:
    """Commit the units without waiting between them, and return their errors in the order of `done`."""
    errors: list[CommitError | None] = []
    all_done = asyncio.Event()

    def done(error: CommitError | None) -> None:
        errors.append(error)
        if len(errors) == len(units):
            all_done.set()

    for unit in units:
        store.commit(unit, done)
    assert not errors, "done must not run within commit"
    await asyncio.wait_for(all_done.wait(), 20)
    return errors


async def landed(store: Store, *writes: Write) -> None:
    assert await commit(store, *writes) is None


async def cursors(store: Store) -> list[int]:
    return [cursor for cursor, _ in await store.events_after(0, 1_000)]


async def test_a_call_loads_as_it_was_committed(store: Store) -> None:
    await landed(store, Write(SLOT, 1, (row("c", 1), row("c", 2)), opened=CallOpened("c", 900)), write("c", 3))
    await landed(store, write("c", 4))
    assert await store.load_call("c") == [row("c", seq) for seq in (1, 2, 3, 4)]
    assert await store.load_call("unknown") == []


async def test_a_commit_with_a_second_row_of_one_number_lands_nowhere(store: Store) -> None:
    await landed(store, write("c", 1))
    before = await cursors(store)
    doubled = Write(
        SLOT,
        1,
        (row("c", 2), row("c", 2)),
        outbox_adds=(OutboxAdd("c", "cmd", "in", b""),),
        opened=CallOpened("other", 1),
        closed=CallClosed("c", 5, "completed"),
    )
    error = await commit(store, write("d", 1), doubled)
    assert isinstance(error, SeqConflict)
    assert (error.call_id, error.call_seq, error.expected) == ("c", 2, 3)
    assert await store.load_call("c") == [row("c", 1)]
    assert await store.load_call("d") == []
    assert await store.outbox() == []
    assert await store.tombstone("c") is None
    assert [call.call_id for call in await store.list_calls(10)] == ["c"]
    assert await cursors(store) == before


@pytest.mark.parametrize("call_seq", [1, 2, 4])
async def test_a_row_that_repeats_or_skips_a_number_is_refused(store: Store, call_seq: int) -> None:
    await landed(store, write("c", 1, 2))
    error = await commit(store, write("c", call_seq))
    assert isinstance(error, SeqConflict)
    assert error.expected == 3
    assert len(await store.load_call("c")) == 2


async def test_a_take_over_raises_the_epoch_and_fences_the_old_owner(store: Store) -> None:
    await landed(store, write("c", 1))
    assert await store.take_slots([SLOT, 200], "replica-b") == {SLOT: 2, 200: 1}
    error = await commit(store, write("c", 2))
    assert isinstance(error, StaleEpoch)
    assert (error.slot, error.epoch, error.current) == (SLOT, 1, 2)
    await landed(store, write("c", 2, epoch=2))
    assert await store.owners() == {
        SLOT: Owner("replica-b", 2),
        SLOT + 1: Owner("replica-a", 1),
        200: Owner("replica-b", 1),
    }


@pytest.mark.parametrize("epoch", [0, 1])
async def test_a_slot_that_nobody_took_takes_no_write(store: Store, epoch: int) -> None:
    assert isinstance(await commit(store, write("c", 1, slot=99, epoch=epoch)), StaleEpoch)


async def test_an_epoch_from_the_future_is_as_wrong_as_an_old_one(store: Store) -> None:
    assert isinstance(await commit(store, write("c", 1, epoch=2)), StaleEpoch)


async def test_commits_queued_before_a_take_over_land_and_those_after_it_do_not(store: Store) -> None:
    before = asyncio.create_task(commit_each(store, [[write("c", seq)] for seq in range(1, 40)]))
    await asyncio.sleep(0)
    take_over = asyncio.create_task(store.take_slots([SLOT], "replica-b"))
    await asyncio.sleep(0)
    after = await commit(store, write("c", 40))
    assert await before == [None] * 39
    assert await take_over == {SLOT: 2}
    assert isinstance(after, StaleEpoch)


async def test_bad_commits_leave_the_others_of_their_transaction_alone(store: Store) -> None:
    units = [
        [write("a", 1)],
        [write("b", 1, epoch=9)],
        [write("a", 2)],
        [write("c", 2)],
        [write("d", 1), write("e", 1, slot=SLOT + 1, epoch=9)],
        [write("a", 3)],
    ]
    errors = await commit_each(store, units)
    assert [type(error) for error in errors] == [
        type(None),
        StaleEpoch,
        type(None),
        SeqConflict,
        StaleEpoch,
        type(None),
    ]
    assert [(r.call_id, r.call_seq) for _, r in await store.events_after(0, 10)] == [("a", 1), ("a", 2), ("a", 3)]


async def test_no_row_that_was_built_upon_a_refused_one_lands(store: Store) -> None:
    errors = await commit_each(store, [[write("c", 1, epoch=9)], [write("c", 2)], [write("c", 3)], [write("c", 1)]])
    assert [type(error) for error in errors] == [StaleEpoch, SeqConflict, SeqConflict, type(None)]
    assert await store.load_call("c") == [row("c", 1)]


async def test_the_outbox_keeps_the_order_of_addition(store: Store) -> None:
    one, two, three = (OutboxAdd("c", name, "ingress-1", name.encode()) for name in ("one", "two", "three"))
    await landed(store, Write(SLOT, 1, outbox_adds=(one, two)))
    await landed(store, Write(SLOT + 1, 1, outbox_adds=(three,)))
    assert await store.outbox() == [one, two, three]
    assert await store.outbox([SLOT + 1]) == [three]
    assert await store.outbox([]) == []
    await landed(store, Write(SLOT, 1, outbox_removes=(OutboxRemove("c", "one"), OutboxRemove("c", "never"))))
    assert await store.outbox() == [two, three]


async def test_a_command_added_again_is_replaced_in_its_place(store: Store) -> None:
    await landed(store, Write(SLOT, 1, outbox_adds=(OutboxAdd("c", "one", "ingress-1", b"1"),)))
    await landed(store, Write(SLOT, 1, outbox_adds=(OutboxAdd("c", "two", "ingress-1", b"2"),)))
    await landed(store, Write(SLOT, 1, outbox_adds=(OutboxAdd("c", "one", "ingress-2", b"3"),)))
    assert await store.outbox() == [
        OutboxAdd("c", "one", "ingress-2", b"3"),
        OutboxAdd("c", "two", "ingress-1", b"2"),
    ]


async def test_a_batch_that_adds_and_removes_a_command_leaves_none(store: Store) -> None:
    kept = OutboxAdd("c", "kept", "in", b"")
    come_and_gone = Write(
        SLOT,
        1,
        outbox_adds=(OutboxAdd("c", "gone", "in", b""), kept),
        outbox_removes=(OutboxRemove("c", "gone"),),
    )
    await landed(store, come_and_gone)
    assert await store.outbox() == [kept]


async def test_outbox_changes_of_one_transaction_apply_in_the_order_of_their_commits(store: Store) -> None:
    def add(name: str) -> Write:
        return Write(SLOT, 1, outbox_adds=(OutboxAdd("c", name, "in", b""),))

    def remove(name: str) -> Write:
        return Write(SLOT, 1, outbox_removes=(OutboxRemove("c", name),))

    await landed(store, add("x"))
    units = [[add("a")], [remove("x")], [add("b")], [remove("a")], [add("x")], [add("a")], [remove("b")]]
    assert await commit_each(store, units) == [None] * len(units)
    assert [entry.command_id for entry in await store.outbox()] == ["x", "a"]


async def test_calls_are_live_until_closed_and_then_leave_a_tombstone(store: Store) -> None:
    await landed(store, Write(SLOT + 1, 1, (row("late", 1, received_at_ms=50),), opened=CallOpened("late", 50)))
    await landed(store, Write(SLOT, 1, (row("early", 1, received_at_ms=20),), opened=CallOpened("early", 20)))
    await landed(store, Write(SLOT, 1, (row("early", 2, received_at_ms=70),)))
    assert await store.live_calls() == ["early", "late"]
    assert await store.live_calls([SLOT + 1]) == ["late"]
    assert await store.tombstone("early") is None
    await landed(store, Write(SLOT, 1, (row("early", 3),), closed=CallClosed("early", 90, "completed")))
    assert await store.live_calls() == ["late"]
    assert await store.tombstone("early") == Tombstone(90, "completed")
    assert await store.tombstone("unknown") is None


async def test_opening_a_known_call_again_changes_nothing(store: Store) -> None:
    await landed(store, Write(SLOT, 1, opened=CallOpened("c", 10)))
    await landed(store, Write(SLOT, 1, opened=CallOpened("c", 99)))
    await landed(store, Write(SLOT, 1, closed=CallClosed("c", 20, "rejected")))
    await landed(store, Write(SLOT, 1, opened=CallOpened("c", 99)))
    assert await store.list_calls(5) == [CallRow("c", 10, 20, "rejected", 0)]


async def test_a_call_that_only_ended_is_a_tombstone_too(store: Store) -> None:
    await landed(store, Write(SLOT, 1, (row("c", 1),), closed=CallClosed("c", 20, "abandoned")))
    await landed(store, Write(SLOT, 1, closed=CallClosed("d", 30, "completed")))
    await landed(store, Write(SLOT, 1, closed=CallClosed("d", 31, "silence")))
    assert await store.list_calls(5) == [CallRow("c", 1_001, 20, "abandoned", 1), CallRow("d", 30, 31, "silence", 0)]
    assert await store.live_calls() == []


async def test_calls_are_listed_newest_first(store: Store) -> None:
    for call_id, started_at_ms in (("b", 20), ("a", 10), ("c", 30), ("d", 30)):
        await landed(store, Write(SLOT, 1, (row(call_id, 1),), opened=CallOpened(call_id, started_at_ms)))
    assert [call.call_id for call in await store.list_calls(10)] == ["d", "c", "b", "a"]
    assert [call.call_id for call in await store.list_calls(2)] == ["d", "c"]
    assert await store.list_calls(10, "a") == [CallRow("a", 10, 0, "", 1)]


async def test_the_log_pages_by_cursor_and_by_call(store: Store) -> None:
    for seq in range(1, 6):
        await landed(store, write("a", seq), write("b", seq))
    everything = await store.events_after(0, 100)
    assert [(r.call_id, r.call_seq) for _, r in everything] == [(c, seq) for seq in range(1, 6) for c in "ab"]
    first = await store.events_after(0, 4)
    assert first == everything[:4]
    assert await store.events_after(first[-1][0], 100) == everything[4:]
    of_b = await store.events_after(0, 2, "b")
    assert [r for _, r in of_b] == [row("b", 1), row("b", 2)]
    assert [r for _, r in await store.events_after(of_b[-1][0], 2, "b")] == [row("b", 3), row("b", 4)]
    assert await store.events_after(everything[-1][0], 100) == []
    assert await store.events_after(0, 100, "unknown") == []


async def test_cursors_rise_and_are_never_used_again(store: Store) -> None:
    await landed(store, Write(SLOT, 1, (row("c", 1), row("c", 2)), closed=CallClosed("c", 10, "completed")))
    used = await cursors(store)
    assert await store.forget_before(11) == 1
    await landed(store, write("d", 1, 2))
    assert used == sorted(set(used))
    assert min(await cursors(store)) > max(used)


async def test_retention_forgets_calls_that_ended_before_and_nothing_else(store: Store) -> None:
    command = OutboxAdd("old", "cmd", "in", b"")
    await landed(store, Write(SLOT, 1, (row("old", 1),), (command,), closed=CallClosed("old", 10, "completed")))
    await landed(store, Write(SLOT, 1, (row("new", 1),), closed=CallClosed("new", 20, "completed")))
    await landed(store, write("live", 1))
    assert await store.forget_before(20) == 1
    assert await store.forget_before(20) == 0
    assert await store.load_call("old") == []
    assert await store.tombstone("old") is None
    assert await store.outbox() == []
    assert sorted(call.call_id for call in await store.list_calls(9)) == ["live", "new"]
    assert len(await store.events_after(0, 9)) == 2
    await landed(store, write("old", 1))
    assert await store.load_call("old") == [row("old", 1)]


async def test_retention_forgets_many_calls(store: Store) -> None:
    units = [[Write(SLOT, 1, (row(f"c{n}", 1),), closed=CallClosed(f"c{n}", n, "completed"))] for n in range(100)]
    assert await commit_each(store, units) == [None] * 100
    assert await store.forget_before(90) == 90
    assert len(await store.list_calls(200)) == 10


async def test_a_storm_of_commits_lands_in_order(store: Store) -> None:
    dice = random.Random(5)
    heights = dict.fromkeys((f"c{n}" for n in range(12)), 0)
    results: dict[str, list[CommitError | None]] = {call_id: [] for call_id in heights}
    expected: list[tuple[str, int]] = []
    for n in range(1_500):
        call_id = dice.choice(list(heights))
        seqs = range(heights[call_id] + 1, heights[call_id] + dice.randint(1, 3) + 1)
        heights[call_id] = seqs[-1]
        expected += [(call_id, seq) for seq in seqs]
        store.commit([write(call_id, *seqs)], results[call_id].append)
        if n % 97 == 0:
            await asyncio.sleep(0)
    await landed(store, write("last", 1))
    assert all(error is None for errors in results.values() for error in errors)
    assert sum(map(len, results.values())) == 1_500
    found = await store.events_after(0, 10_000)
    assert [(r.call_id, r.call_seq) for _, r in found] == [*expected, ("last", 1)]


async def test_a_done_that_raises_costs_no_other_its_answer(store: Store) -> None:
    def fails(error: CommitError | None) -> None:
        raise RuntimeError("a defect of the caller")

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    store.commit([write("c", 1)], fails)
    await landed(store, write("c", 2))


async def test_a_write_that_done_confirmed_is_read_at_once(store: Store) -> None:
    for seq in range(1, 20):
        await landed(store, write("c", seq))
        assert len(await store.load_call("c")) == seq


async def test_closing_writes_what_is_queued_and_refuses_what_follows(store: Store) -> None:
    errors: list[CommitError | None] = []
    for seq in range(1, 301):
        store.commit([write("c", seq)], errors.append)
    await store.close()
    assert errors == [None] * 300
    assert isinstance(await commit(store, write("c", 301)), StoreUnavailable)
    await store.close()


async def test_refused_commits_do_not_make_the_store_sick(store: Store) -> None:
    assert isinstance(await commit(store, write("c", 1, epoch=9)), StaleEpoch)
    assert store.healthy
