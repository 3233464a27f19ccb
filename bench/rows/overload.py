"""Twice what the mesh can take: how quick is what it admits, how quick is what it turns away, and what goes first."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator

from bench.client import Spec
from bench.load import drive, percentile, run_client
from bench.mesh import SECRET, Mesh, mesh
from bench.scale import Scale
from bench.table import Figure

CALLS = 500
CONNECTIONS = 1_000
"""A provider opens as many as it has requests open; with few, the queue would be the client's."""
TIMES = 2.0
SECONDS = 8.0
NOTICED_S = 2.0
"""An overload has to stand for a moment before it is one; what is asked holds from then on."""


def measure(scale: Scale) -> Iterator[Figure]:
    logs = scale.directory
    with mesh(logs) as ours:
        closed = Spec(ours.port, SECRET, "mix", 1_024, CALLS, scale.closed_events)
        capacity = drive(closed, ours.children, logs).per_s
        rate = TIMES * capacity
        before = _answers(ours)
        spec = Spec(ours.port, SECRET, "mix", 1_024, CALLS, int(rate * SECONDS), rate, CONNECTIONS)
        _, result, _ = run_client("bench.client", spec.line(), ours.children, logs)
        counts = {name: count - before[name] for name, count in _answers(ours).items()}
    rows = list(zip(result["due_ns"], result["done_ns"], result["statuses"], strict=True))
    from_ns = result["began_ns"] + NOTICED_S * 1e9
    waited = {
        status: sorted((done - due) / 1e6 for due, done, got in rows if got == status and due >= from_ns)
        for status in (200, 503)
    }
    lost = sum(status not in (200, 503) for _, _, status in rows)
    admitted, refused = (percentile(waited[status], 99) for status in (200, 503))
    told = ", ".join(f"{name} {counts[name]:,.0f}" for name in ("taken", "partial", "shed", "overloaded"))
    yield Figure(
        f"twice the capacity ({rate:,.0f}/s), after {NOTICED_S:g} s",
        "admitted p99 ≤ 250 ms, 503 p99 ≤ 50 ms",
        f"200: {percentile(waited[200], 50):.0f} / {admitted:.0f} ms; "
        f"503: {percentile(waited[503], 50):.0f} / {refused:.0f} ms; {told}; {lost} lost",
        f"{capacity:,.0f}/s",
        "",
        admitted <= 250 and not refused > 50 and not lost,
        {"admitted_p99_ms": admitted, "refused_p99_ms": refused, "rate": rate, "lost": lost} | counts,
    )


def _answers(ours: Mesh) -> dict[str, float]:
    """Return how webhooks were answered so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ours.port}/metrics", timeout=10) as response:
        text = response.read().decode()
    return {name: float(count) for name, count in re.findall(r'webhooks_total\{answer="(\w+)"\} (\d+)', text)}
