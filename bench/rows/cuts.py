"""From a caller's "wait" to the agent's silence, and to the provider's loss of its client, among other live calls."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from bench import client, cutter
from bench.load import Samples, percentile, run_client
from bench.mesh import SECRET, mesh
from bench.procs import child
from bench.rows.acks import describe
from bench.scale import Scale
from bench.table import Figure

LIVE_CALLS = (100, 500)
STREAMING_SHARE = 0.1
TOKEN_MS = 50
_TOKENS = 60


def measure(scale: Scale) -> Iterator[Figure]:
    for live in LIVE_CALLS:
        yield from _among(live, scale)


def _among(live: int, scale: Scale) -> Iterator[Figure]:
    logs = scale.directory
    callers = int(live * STREAMING_SHARE)
    left = logs / "left.json"
    with contextlib.ExitStack() as stack:
        provider = stack.enter_context(
            child("bench.provider", "50", str(TOKEN_MS), str(_TOKENS), str(left), log=logs / "provider.log")
        )
        ours = stack.enter_context(mesh(logs, asks(logs, int(provider.hear()))))
        others = live - callers
        # One event a second is what a call makes; more than will be needed, for the cutter says when it is over.
        background = client.Spec(ours.port, SECRET, "mix", 1_024, others, int(others * (scale.cut_s + 20)), others)
        crowd = stack.enter_context(
            child("bench.client", background.line(), str(logs / "crowd.json"), log=logs / "client.log")
        )
        crowd.hear()
        crowd.say("go")
        spec = cutter.Spec(ours.port, SECRET, callers, scale.cut_s)
        canary, result, _ = run_client("bench.cutter", spec.line(), ours.children, logs)
        crowd.stop()
        provider.stop()
    cuts = {asked: (said_ns, ended_ns) for asked, said_ns, ended_ns in result["cuts"]}
    ended = Samples.of(list(cuts.values()), canary)
    gone = Samples.of(
        [(cuts[asked][0], gone_ns) for asked, gone_ns in json.loads(left.read_text()) if asked in cuts], canary
    )
    among = f"({live} live calls, {callers} streaming)"
    p50, p99 = (percentile(ended.quiet_ms, share) for share in (50, 99))
    yield Figure(
        f"partial in → Generate cancelled, SSE ended {among}",
        "p50 ≤ 4 ms, p99 ≤ 12 ms",
        f"{describe(ended)}; {len(ended.all_ms)} cuts, {result['failed']} failed",
        f"quiet {canary.quiet_share:.0%}",
        "",
        p50 <= 4 and p99 <= 12 and not result["failed"],
        {"p50_ms": p50, "p99_ms": p99, "cuts": len(ended.all_ms), "failed": result["failed"]},
    )
    # Ingress cancels Generate in the same breath; this is how long the provider goes on writing tokens that are paid.
    yield Figure(
        f"partial in → provider has lost its client {among}",
        "",
        f"{describe(gone)}; {len(gone.all_ms)} of them",
        values={"p50_ms": percentile(gone.quiet_ms, 50), "p99_ms": percentile(gone.quiet_ms, 99)},
    )


def asks(directory: Path, provider_port: int) -> dict[str, str]:
    """Return the settings of a mesh whose model is the provider on that port."""
    agent = directory / f"agent-{provider_port}.toml"
    agent.write_text(
        f'[model]\nprovider = "openai"\nname = "bench"\nbase_url = "http://127.0.0.1:{provider_port}/v1"\n'
    )
    return {"VOICEMESH_AGENT_FILE": str(agent)}
