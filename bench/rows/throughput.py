"""Events a second over 64 connections, and the CPU time that an event costs, against the bare handler."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from bench.load import median_ratio
from bench.rows.acks import Rounds, interleaved
from bench.scale import Scale
from bench.table import Figure


def measure(scale: Scale) -> Iterator[Figure]:
    for rounds in interleaved(scale, rate=0.0, count=scale.closed_events):
        yield _rate(rounds)
        yield _ingress_cpu(rounds)


def _rate(rounds: Rounds) -> Figure:
    ratio = median_ratio([run.per_s for run in rounds.ours], [run.per_s for run in rounds.bare])
    ours, bare = (median(run.per_s for run in runs) for runs in (rounds.ours, rounds.bare))
    failed = sum(run.failed for run in rounds.ours)
    return Figure(
        f"events/s, 64 connections ({rounds.label})",
        "≥ 0.45 x bare",
        f"{ours:,.0f}/s; {failed} failed",
        f"{bare:,.0f}/s",
        f"{ratio:.2f}",
        ratio >= 0.45 and not failed,
        {"per_s": ours, "bare_per_s": bare, "ratio": ratio, "failed": failed},
    )


def _ingress_cpu(rounds: Rounds) -> Figure:
    ratio = median_ratio([run.cpu_us["ingress"] for run in rounds.ours], [run.cpu_us["bare"] for run in rounds.bare])
    us = {name: median(run.cpu_us[name] for run in rounds.ours) for name in rounds.ours[0].cpu_us}
    bare = median(run.cpu_us["bare"] for run in rounds.bare)
    others = ", ".join(f"{name} {us[name]:.0f}" for name in us if name != "ingress")
    return Figure(
        f"CPU an event ({rounds.label})",
        "ingress ≤ 2.5 x bare",
        f"ingress {us['ingress']:.0f} µs; {others}",
        f"{bare:.0f} µs",
        f"{ratio:.2f}",
        ratio <= 2.5,
        {f"{name}_us": value for name, value in us.items()} | {"bare_us": bare, "ratio": ratio},
    )
