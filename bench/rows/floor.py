"""What this machine takes for a bare gRPC echo: the measure of every latency above it. Nothing is asked of it."""

from __future__ import annotations

from collections.abc import Iterator

from bench.load import Samples, percentile, run_client
from bench.procs import child
from bench.rows.acks import describe
from bench.scale import Scale
from bench.table import Figure

_RATES = (100, 1_000)


def measure(scale: Scale) -> Iterator[Figure]:
    logs = scale.directory
    with child("bench.echo", "serve", log=logs / "echo.log") as echo:
        port = int(echo.hear())
        for rate in _RATES:
            spec = f"{port} {rate} {int(rate * scale.open_s)}"
            canary, result, _ = run_client("bench.echo", spec, {}, logs)
            samples = Samples.of(result["spans"], canary)
            p50, p99 = (percentile(samples.quiet_ms, share) for share in (50, 99))
            values = {"p50_ms": p50, "p99_ms": p99}
            yield Figure(f"bare gRPC echo, one message at a time, {rate:,}/s", "", describe(samples), values=values)
