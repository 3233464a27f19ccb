"""What a live call on which nothing happens costs in memory, over all services."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench import traffic
from bench.client import Spec
from bench.load import drive
from bench.mesh import SECRET, mesh
from bench.scale import Scale
from bench.table import Figure

_SETTLE_S = 2.0


def measure(scale: Scale) -> Iterator[Figure]:
    calls, steps = scale.memory_calls, len(traffic.MIXES["opening"])
    with mesh(scale.directory) as ours:

        def open_calls(count: int) -> dict[str, int]:
            spec = Spec(ours.port, SECRET, "opening", 1_024, count, count * steps, staggered=False)
            failed = drive(spec, ours.children, scale.directory).failed
            assert not failed, f"{failed} events of {count} calls were not acknowledged"
            time.sleep(_SETTLE_S)
            return ours.rss_bytes()

        # What the first calls bring with them (imports, buffers, connections) is no cost of a call.
        before = open_calls(500)
        after = open_calls(calls)
    kb = {name: (after[name] - before[name]) / calls / 1_000 for name in after}
    total = sum(kb.values())
    yield Figure(
        f"memory of an idle live call ({calls:,} calls)",
        "≤ 30 kB",
        f"{total:.1f} kB",
        ", ".join(f"{name} {value:.1f}" for name, value in kb.items()),
        "",
        total <= 30,
        {"kb": total} | {f"{name}_kb": value for name, value in kb.items()},
    )
