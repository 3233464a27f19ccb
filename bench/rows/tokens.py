"""What the mesh adds to a direct call of the provider: to its first token, and to each behind it."""

from __future__ import annotations

from collections.abc import Iterator

from bench import tokens
from bench.load import Samples, percentile, run_client
from bench.mesh import SECRET, mesh
from bench.procs import child
from bench.rows.cuts import asks
from bench.scale import Scale
from bench.table import Figure

_FIRST_MS, _TOKEN_MS, _TOKENS = 30, 20, 12


def measure(scale: Scale) -> Iterator[Figure]:
    logs = scale.directory
    timing = (str(_FIRST_MS), str(_TOKEN_MS), str(_TOKENS))
    with child("bench.provider", *timing, str(logs / "left.json"), log=logs / "provider.log") as provider:
        provider_port = int(provider.hear())
        with mesh(logs, asks(logs, provider_port)) as ours:
            spec = tokens.Spec(provider_port, ours.port, SECRET, scale.token_pairs)
            canary, result, _ = run_client("bench.tokens", spec.line(), ours.children, logs)
    seen = {(name, kind): Samples.of(spans, canary) for name, times in result.items() for kind, spans in times.items()}
    yield _added("first token, added", seen["mesh", "first"], seen["direct", "first"], most_p50=4.0, most_p99=15.0)
    yield _added("each token behind it, added", seen["mesh", "tokens"], seen["direct", "tokens"], most_p50=0.5)


def _added(name: str, ours: Samples, direct: Samples, *, most_p50: float, most_p99: float | None = None) -> Figure:
    mine, theirs = ([percentile(samples.quiet_ms, share) for share in (50, 99)] for samples in (ours, direct))
    p50, p99 = (one - other for one, other in zip(mine, theirs, strict=True))
    return Figure(
        f"{name} ({len(ours.all_ms)} samples)",
        f"p50 ≤ {most_p50:g} ms" + (f", p99 ≤ {most_p99:g} ms" if most_p99 else ""),
        f"p50 {p50:.2f} ms, p99 {p99:.2f} ms",
        f"direct {theirs[0]:.2f} / {theirs[1]:.2f} ms",
        "",
        p50 <= most_p50 and (most_p99 is None or p99 <= most_p99),
        {"p50_ms": p50, "p99_ms": p99, "direct_p50_ms": theirs[0], "direct_p99_ms": theirs[1]},
    )
