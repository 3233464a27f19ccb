"""Acknowledgements while language models take ten seconds: they wait for none of them."""

from __future__ import annotations

from collections.abc import Iterator

from bench.client import Spec
from bench.load import Samples, drive, median_ratio, percentile
from bench.mesh import SECRET, mesh
from bench.procs import child
from bench.rows.acks import describe
from bench.scale import Scale
from bench.table import Figure

WAITING = 100
_RATE = 500.0
_SETTINGS = {
    "VOICEMESH_SCRIPTED_FIRST_TOKEN_MS": "10000",
    "VOICEMESH_LLM_FIRST_TOKEN_S": "30",
    "VOICEMESH_FIRST_PIECE_S": "30",
}


def measure(scale: Scale) -> Iterator[Figure]:
    logs = scale.directory
    alone, beside = [], []
    with mesh(logs, _SETTINGS) as ours:
        spec = Spec(ours.port, SECRET, "mix", 1_024, 500, int(_RATE * scale.open_s), _RATE)
        for _ in range(max(2, scale.rounds)):
            alone.append(drive(spec, ours.children, logs))
            with child("bench.holder", str(ours.port), SECRET, str(WAITING), log=logs / "holder.log") as holder:
                holder.hear()
                beside.append(drive(spec, ours.children, logs))
                # It says so itself when an answer came before the end: then nothing was measured.
                holder.hush()
                assert holder.hear() == "none answered", holder.last_words()
    with_llm = Samples.joined([run.samples for run in beside])
    without = Samples.joined([run.samples for run in alone])
    p50s = [[percentile(run.samples.quiet_ms, 50) for run in runs] for runs in (beside, alone)]
    ratio = median_ratio(*p50s)
    failed = sum(run.failed for run in beside)
    yield Figure(
        f"ack at 500/s while {WAITING} answers wait 10 s for the LLM",
        "unchanged (p50 within 1.25)",
        f"{describe(with_llm)}; {failed} failed",
        f"{describe(without)} without",
        f"{ratio:.2f}",
        ratio <= 1.25 and not failed,
        {
            "p99_ms": percentile(with_llm.quiet_ms, 99),
            "without_p99_ms": percentile(without.quiet_ms, 99),
            "ratio": ratio,
        },
    )
