"""A process that commits to a store until it is killed, and prints what was confirmed. Run by test_sqlite_store.py.

Arguments: the file, the slot, how many transactions to confirm before it ends by itself (0: never).
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import sys

from session_svc.adapters.sqlite_store import SqliteStore
from session_svc.adapters.store import CallClosed, CallOpened, CommitError, LogRow, Write

_CALLS = 20


async def main(path: str, slot: int, rounds: int) -> None:
    store = await SqliteStore.open(path)
    epoch = (await store.take_slots([slot], f"child-{os.getpid()}"))[slot]
    live = set(await store.live_calls([slot]))
    heights = {f"s{slot}-c{n}": len(await store.load_call(f"s{slot}-c{n}")) for n in range(_CALLS)}
    print(f"ready {epoch} {len(live)}", flush=True)

    def confirm(call_id: str, call_seq: int, error: CommitError | None) -> None:
        # One small write to a pipe is atomic: a line is there whole or not at all.
        os.write(1, f"{'landed' if error is None else type(error).__name__} {call_id} {call_seq}\n".encode())

    for turn in itertools.count(1):
        for call_id in heights:
            heights[call_id] = seq = heights[call_id] + 1
            row = LogRow(call_id, seq, f"{call_id}-{seq}", "words", seq, seq, os.urandom(200))
            closed = CallClosed(call_id, seq, "completed") if seq == 50 else None
            write = Write(slot, epoch, (row,), opened=CallOpened(call_id, 1) if seq == 1 else None, closed=closed)
            store.commit([write], functools.partial(confirm, call_id, seq))
        await asyncio.sleep(0.001)
        if turn == rounds:
            break
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
