"""Measures the mesh against its figures: `python -m bench [--quick] [--json FILE] [ROW ...]`.

Everything runs on loopback, in processes that end with the bench; ours and the baseline take turns in short rounds. A
canary tells when the machine itself was busy: latencies are given for the quiet stretches, and for all.
`python -m bench store` and `python -m bench telemetry` measure two parts by themselves.
"""

from __future__ import annotations

import argparse
import json
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from bench import scale
from bench.procs import BenchFailed
from bench.rows import acks, cuts, floor, memory, overload, slow_llm, throughput, tokens, tracing
from bench.table import Figure, render

ROWS: dict[str, Callable[[scale.Scale], Iterator[Figure]]] = {
    "floor": floor.measure,
    "acks": acks.measure,
    "throughput": throughput.measure,
    "overload": overload.measure,
    "cuts": cuts.measure,
    "tokens": tokens.measure,
    "slow-llm": slow_llm.measure,
    "memory": memory.measure,
    "tracing": tracing.measure,
}


PARTS = {"store": "bench.store", "telemetry": "bench.telemetry_cost"}
"""Parts that are measured alone, without the mesh."""


def main() -> int:
    if sys.argv[1:] and (part := PARTS.get(sys.argv[1])):
        runpy.run_module(part, run_name="__main__")
        return 0
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="a minute or so, and rougher")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which; all by default: {', '.join(ROWS)}")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.rows if name not in ROWS]:
        parser.error(f"no row is called {unknown[0]!r}; the rows are {', '.join(ROWS)}")
    # Ends by an exception, so that every process of ours is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="voicemesh-bench-") as directory:
        take = (scale.quick if arguments.quick else scale.full)(Path(directory))
        figures = measured(arguments.rows or list(ROWS), take)
    print(render(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1, ensure_ascii=False))
    return 0


def measured(rows: list[str], take: scale.Scale) -> list[Figure]:
    """Measure the rows, telling on standard error how far it is."""
    figures = []
    for name in rows:
        began_s = time.monotonic()
        for figure in ROWS[name](take):
            figures.append(figure)
            print(f"{name}: {figure.name}: {figure.measured} {figure.verdict}", file=sys.stderr, flush=True)
        print(f"{name}: took {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
    return figures


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchFailed as failed:
        sys.exit(f"bench: {failed}")
    except KeyboardInterrupt:
        sys.exit(130)
