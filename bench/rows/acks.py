"""Acknowledged and durable: 1,000 events a second over 500 calls, open loop, against the bare handler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bench.client import Spec
from bench.load import Run, Samples, drive, median_ratio, percentile
from bench.mesh import SECRET, mesh
from bench.procs import child
from bench.scale import Scale
from bench.table import Figure

RATE = 1_000.0
CALLS = 500
SIZES = {"1 kB": 1_024, "18 kB": 18_432}
MIXES = ("mix", "finals")


class Rounds(NamedTuple):
    """Runs of one kind of traffic, next to each other."""

    label: str
    ours: list[Run]
    bare: list[Run]


def interleaved(scale: Scale, *, rate: float, count: int) -> Iterator[Rounds]:
    """Run ours and the bare handler in turns, for each size and mix."""
    logs = scale.directory
    with mesh(logs) as ours, child("bench.bare", SECRET, log=logs / "bare.log") as bare:
        bare_port = int(bare.hear())
        for size_name, size in SIZES.items():
            for mix in MIXES:
                rounds = Rounds(f"{mix}, {size_name}", [], [])
                for _ in range(scale.rounds):
                    spec = Spec(ours.port, SECRET, mix, size, CALLS, count, rate)
                    rounds.ours.append(drive(spec, ours.children, logs))
                    spec = Spec(bare_port, SECRET, mix, size, CALLS, count, rate)
                    rounds.bare.append(drive(spec, {"bare": bare}, logs))
                yield rounds


def measure(scale: Scale) -> Iterator[Figure]:
    for rounds in interleaved(scale, rate=RATE, count=int(RATE * scale.open_s)):
        ours = Samples.joined([run.samples for run in rounds.ours])
        bare = Samples.joined([run.samples for run in rounds.bare])
        ratio = median_ratio(
            [percentile(run.samples.quiet_ms, 99) for run in rounds.ours],
            [percentile(run.samples.quiet_ms, 99) for run in rounds.bare],
        )
        failed = sum(run.failed for run in rounds.ours)
        quiet = sum(run.canary.quiet_share for run in rounds.ours) / len(rounds.ours)
        p99 = percentile(ours.quiet_ms, 99)
        yield Figure(
            f"ack at 1,000/s ({rounds.label})",
            "p99 ≤ 4 x bare, ≤ 10 ms, 0 failed",
            f"{describe(ours)}; {failed} failed; quiet {quiet:.0%}",
            describe(bare),
            f"{ratio:.1f}",
            ratio <= 4 and p99 <= 10 and not failed,
            {"p99_ms": p99, "ratio": ratio, "failed": failed, "quiet_share": quiet},
        )


def describe(samples: Samples) -> str:
    """Return p50 and p99 of the quiet stretches, and the p99 of all."""
    quiet = samples.quiet_ms
    return f"{percentile(quiet, 50):.1f} / {percentile(quiet, 99):.1f} ms (all {percentile(samples.all_ms, 99):.1f})"
