"""What session-svc asks of a store: a durable log, an outbox of commands, the calls, and who owns which slot.

Payloads are opaque bytes: a store knows no proto. Records are named tuples because a store sees thousands a second:
they are made in a third of a frozen dataclass's time and bind to SQL as they are.

Rules that every store keeps (tests/contract/test_store_conformance.py):

 1. What one `commit` carries lands whole or not at all, and commits land in the order in which they were made.
 2. A commit whose slot epoch is not the current one fails with StaleEpoch; others in the same transaction still land.
 3. A call's rows count 1, 2, 3 …; a row out of that order fails its commit with SeqConflict. So no row that was
    built upon a failed write can land after it. A write without rows has no such guard: give every write its row.
 4. When `done(None)` runs, the write outlives this process, and every read begun from then on sees it.
 5. A cursor rises with every row and is never used twice, not even after rows were forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol


class LogRow(NamedTuple):
    """One durable event of a call."""

    call_id: str
    call_seq: int
    """Its place in its call: 1, 2, 3 …"""
    event_id: str
    kind: str
    at_ms: int
    received_at_ms: int
    payload: bytes


class OutboxAdd(NamedTuple):
    """A command that has no recorded effect yet. Adding its id again replaces the rest and keeps its place."""

    call_id: str
    command_id: str
    ingress_id: str
    payload: bytes


class OutboxRemove(NamedTuple):
    """A command whose effect was recorded. Removing an unknown one changes nothing."""

    call_id: str
    command_id: str


class CallOpened(NamedTuple):
    """Enters the call, with its start. For a call that is known already, ended or not, it changes nothing.

    A row of a call that nobody opened enters it too, at the row's received_at_ms.
    """

    call_id: str
    started_at_ms: int


class CallClosed(NamedTuple):
    """Makes the call a tombstone. A second one for the same call overwrites the first."""

    call_id: str
    ended_at_ms: int
    outcome: str


class Write(NamedTuple):
    """All that one event, or one batch of one call, changes. Additions to the outbox apply before removals."""

    slot: int
    epoch: int
    rows: tuple[LogRow, ...] = ()
    outbox_adds: tuple[OutboxAdd, ...] = ()
    outbox_removes: tuple[OutboxRemove, ...] = ()
    opened: CallOpened | None = None
    closed: CallClosed | None = None


class Owner(NamedTuple):
    """Who holds a slot, and since which take-over."""

    owner: str
    epoch: int


class Tombstone(NamedTuple):
    """How a call ended."""

    ended_at_ms: int
    outcome: str


class CallRow(NamedTuple):
    """What the store knows of a call without reading its events; ended_at_ms 0 and outcome "" while it lives."""

    call_id: str
    started_at_ms: int
    ended_at_ms: int
    outcome: str
    event_count: int


class CommitError(Exception):
    """A commit did not land; nothing of it did."""


class StaleEpoch(CommitError):
    """Another replica has taken the slot over: forget its calls."""

    def __init__(self, slot: int, epoch: int, current: int) -> None:
        super().__init__(f"slot {slot} is at epoch {current}, the write carried {epoch}; take the slot again to write")
        self.slot = slot
        self.epoch = epoch
        self.current = current


class SeqConflict(CommitError):
    """The writer's picture of the call is not the store's: forget the call and load it again."""

    def __init__(self, call_id: str, call_seq: int, expected: int) -> None:
        super().__init__(f"call {call_id}: the next call_seq is {expected}, the write carried {call_seq}")
        self.call_id = call_id
        self.call_seq = call_seq
        self.expected = expected


class Unstorable(CommitError):
    """A value of the write does not fit the store: sending it again cannot help."""


class StoreUnavailable(CommitError):
    """The store cannot write or read now: disk full, I/O error, locked, over its queue limit, closed. Try later."""


class StoreFileError(Exception):
    """The store's file cannot be used as it is: not ours, damaged, or of a newer version."""


Done = Callable[[CommitError | None], None]


class Store(Protocol):
    """One durable place for live calls, ended ones, and slot ownership. Belongs to one event loop.

    The asynchronous methods raise StoreUnavailable.
    """

    @property
    def healthy(self) -> bool:
        """Whether the last write that reached the medium succeeded. A sick store probes by itself until it is well."""

    async def take_slots(self, slots: Sequence[int], owner: str) -> dict[int, int]:
        """Make ``owner`` the holder of each slot, durably, and return their new epochs: one above the last, from 1."""

    async def owners(self) -> dict[int, Owner]:
        """Return the holders of the slots that were ever taken."""

    def commit(self, writes: Sequence[Write], done: Done) -> None:
        """Queue ``writes`` as one unit and return; ``done`` runs on the loop later, never within this call.

        ``done`` calls come in the order of the commits, but for commits over the queue limit, which fail first.
        Called on the loop's thread only.
        """

    async def load_call(self, call_id: str) -> list[LogRow]:
        """Return a call's rows by call_seq; none when it is unknown or forgotten."""

    async def live_calls(self, slots: Collection[int] | None = None) -> list[str]:
        """Return the calls that have not ended, of these slots or of all, oldest first."""

    async def tombstone(self, call_id: str) -> Tombstone | None:
        """Return how the call ended; None while it lives, or when it is unknown or forgotten."""

    async def outbox(self, slots: Collection[int] | None = None) -> list[OutboxAdd]:
        """Return the commands without recorded effect, of these slots or of all, in the order of their addition."""

    async def events_after(self, cursor: int, limit: int, call_id: str = "") -> list[tuple[int, LogRow]]:
        """Return up to ``limit`` rows with a cursor above ``cursor``, oldest first; ``call_id``: only this one's."""

    async def list_calls(self, limit: int, call_id: str = "") -> list[CallRow]:
        """Return up to ``limit`` calls, newest first; only this one if ``call_id`` is set."""

    async def forget_before(self, ended_before_ms: int) -> int:
        """Delete what is known of calls that ended before the time, tombstones too; return how many calls."""

    async def close(self) -> None:
        """Write what is queued, run every ``done``, and let go. Later commits fail with StoreUnavailable."""


def refusal(
    writes: Sequence[Write], epoch_of: Callable[[int], int], last_seq_of: Callable[[str], int]
) -> CommitError | dict[str, int]:
    """Return why these writes may not land, or each touched call's last call_seq once they have.

    The rule itself, shared by the stores. ``epoch_of`` gives 0 for a slot that nobody took, ``last_seq_of`` 0 for a
    call without rows.
    """
    reached: dict[str, int] = {}
    for write in writes:
        if (current := epoch_of(write.slot)) != write.epoch or current == 0:
            return StaleEpoch(write.slot, write.epoch, current)
        for row in write.rows:
            call_id = row.call_id
            last = reached[call_id] if call_id in reached else last_seq_of(call_id)
            if row.call_seq != last + 1:
                return SeqConflict(call_id, row.call_seq, last + 1)
            reached[call_id] = row.call_seq
    return reached
