"""What tracing costs: CPU an event with an OTLP receiver and one turn in twenty kept, against tracing switched off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench import traffic
from bench.client import Spec
from bench.load import drive, median_ratio
from bench.mesh import SECRET, mesh
from bench.procs import ROOT, child
from bench.scale import Scale
from bench.table import Figure


def measure(scale: Scale) -> Iterator[Figure]:
    logs = scale.directory
    with child("bench.receiver", log=logs / "receiver.log") as receiver:
        wide = {"VOICEMESH_BUDGET_FILE": str(_wide_budget(logs)), "VOICEMESH_TRACE_ONE_IN": "20"}
        traced = wide | {"VOICEMESH_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.hear()}"}
        with mesh(logs, traced) as on, mesh(logs, wide) as off:
            # Whole calls: a turn that is never judged would be kept, and exported half a minute later.
            length = len(traffic.MIXES["mix"])
            calls = scale.closed_events // length
            specs = [
                Spec(which.port, SECRET, "mix", 1_024, calls, calls * length, staggered=False) for which in (on, off)
            ]
            runs_on, runs_off = [], []
            for _ in range(scale.rounds + 1):
                runs_on.append(drive(specs[0], on.children, logs))
                runs_off.append(drive(specs[1], off.children, logs))
        receiver.hush()
        spans = int(receiver.hear())
    us_on, us_off = ([sum(run.cpu_us.values()) for run in runs] for runs in (runs_on, runs_off))
    ratio = median_ratio(us_on, us_off)
    per_event = spans / specs[0].count / len(runs_on)
    yield Figure(
        "tracing on, CPU an event over all services",
        "≤ 1.15 x off",
        f"{median(us_on):.0f} µs; {per_event:.2f} spans an event exported",
        f"{median(us_off):.0f} µs off",
        f"{ratio:.2f}",
        ratio <= 1.15,
        {"on_us": median(us_on), "off_us": median(us_off), "ratio": ratio, "spans_per_event": per_event},
    )


def _wide_budget(directory: Path) -> Path:
    """Return a budget a hundred times as wide: a busy machine would break the real one and have every turn kept."""
    text = (ROOT / "budget.toml").read_text()
    path = directory / "budget.toml"
    path.write_text(re.sub(r"(?m)^(budget_ms|aim_ms) = ([0-9.]+)", r"\1 = \g<2>00", text))
    return path
