"""A process that does nothing but wake every millisecond, and notes when it woke late: the machine was not quiet then.

`python -m bench.canary RESULT` prints "ready"; at the end of its standard input it writes what it saw to the file
RESULT as JSON, and prints "done".
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

LATE_NS = 2_000_000
"""A stretch with so much lag says nothing about us."""
_TICK_S = 0.001


async def main() -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_reader(sys.stdin, stop.set)
    gc.disable()
    print("ready", flush=True)
    lags_us: list[int] = []
    late: list[tuple[int, int]] = []
    began_ns = before_ns = time.monotonic_ns()
    while not stop.is_set():
        await asyncio.sleep(_TICK_S)
        now_ns = time.monotonic_ns()
        lag_ns = now_ns - before_ns - int(_TICK_S * 1e9)
        lags_us.append(lag_ns // 1000)
        if lag_ns >= LATE_NS:
            late.append((before_ns, now_ns))
        before_ns = now_ns
    lags_us.sort()
    return {
        "began_ns": began_ns,
        "ended_ns": before_ns,
        "p99_us": lags_us[int(len(lags_us) * 0.99)],
        "max_us": lags_us[-1],
        "late": late,
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(asyncio.run(main())))
    print("done", flush=True)
