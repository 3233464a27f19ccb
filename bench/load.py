"""Runs a client against a server, with a canary beside it, and works out what was seen."""

from __future__ import annotations

import contextlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.client import Spec
from bench.procs import Child, child


@dataclass(frozen=True, slots=True)
class Canary:
    """What the canary saw during a run."""

    began_ns: int
    ended_ns: int
    p99_us: int
    max_us: int
    late: Sequence[tuple[int, int]]
    """Stretches in which it woke 2 ms late or more, in order."""

    @property
    def quiet_share(self) -> float:
        return 1 - sum(end - begin for begin, end in self.late) / max(1, self.ended_ns - self.began_ns)

    def quiet(self, begin_ns: int, end_ns: int) -> bool:
        """Return whether no late stretch touches this one."""
        at = bisect_right(self.late, (end_ns, end_ns)) - 1
        return at < 0 or self.late[at][1] < begin_ns


@dataclass(frozen=True, slots=True)
class Samples:
    """Latencies in milliseconds, sorted: all of them, and those that fell into quiet stretches."""

    all_ms: Sequence[float]
    quiet_ms: Sequence[float]

    @staticmethod
    def of(spans: Sequence[tuple[int, int]], canary: Canary) -> Samples:
        """Return the samples of (due, done) pairs."""
        everything = sorted((done - due) / 1e6 for due, done in spans)
        return Samples(everything, sorted((done - due) / 1e6 for due, done in spans if canary.quiet(due, done)))

    @staticmethod
    def joined(parts: Sequence[Samples]) -> Samples:
        return Samples(
            sorted(ms for part in parts for ms in part.all_ms), sorted(ms for part in parts for ms in part.quiet_ms)
        )


@dataclass(frozen=True, slots=True)
class Run:
    """One round."""

    per_s: float
    failed: int
    count: int
    cpu_us: Mapping[str, float]
    """CPU time per event, by process."""
    samples: Samples
    canary: Canary


def drive(spec: Spec, servers: Mapping[str, Child], logs: Path) -> Run:
    """Run a client; ``servers`` are measured from its first request to its last answer. Raises BenchFailed."""
    seen, result, cpu_s = run_client("bench.client", spec.line(), servers, logs)
    return Run(
        per_s=spec.count / (result["ended_ns"] - result["began_ns"]) * 1e9,
        failed=result["failed"],
        count=spec.count,
        cpu_us={name: used_s / spec.count * 1e6 for name, used_s in cpu_s.items()},
        samples=Samples.of(list(zip(result["due_ns"], result["done_ns"], strict=True)), seen),
        canary=seen,
    )


def run_client(
    module: str, spec: str, servers: Mapping[str, Child], logs: Path, *, within_s: float = 90.0
) -> tuple[Canary, dict[str, Any], dict[str, float]]:
    """Run a client of its own process to its end. Returns what the canary saw, the client's result, and CPU seconds."""
    result = logs / "result.json"
    with child(module, spec, str(result), log=logs / "client.log") as client:
        client.hear()
        with watch(logs) as watching:
            before = {name: server.cpu_s for name, server in servers.items()}
            client.say("go")
            client.hear(within_s)
            cpu_s = {name: server.cpu_s - before[name] for name, server in servers.items()}
    return watching[0], json.loads(result.read_text()), cpu_s


@contextlib.contextmanager
def watch(logs: Path) -> Iterator[list[Canary]]:
    """Keep a canary while inside; afterwards the list holds what it saw."""
    watched: list[Canary] = []
    result = logs / "canary.json"
    with child("bench.canary", str(result), log=logs / "canary.log") as canary:
        canary.hear()
        yield watched
        canary.hush()
        canary.hear()
    seen = json.loads(result.read_text())
    seen["late"] = [(begin, end) for begin, end in seen["late"]]
    watched.append(Canary(**seen))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` percent lie; nan of nothing."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))] if ordered else float("nan")


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the ratios of rounds that ran next to each other."""
    return median(mine / other for mine, other in zip(ours, theirs, strict=True))
