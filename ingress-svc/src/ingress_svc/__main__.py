"""Run ingress-svc."""

from __future__ import annotations

import asyncio
import os
import secrets

from svc_runtime import logs, server, telemetry
from svc_runtime.budget import Budget
from svc_runtime.clock import SystemClock
from svc_runtime.config import ConfigError, load
from svc_runtime.loop_watch import LoopWatch
from svc_runtime.metrics import Counters, Gauge

from ingress_svc.adapters.calls import Calls
from ingress_svc.adapters.custom_llm import CustomLlm
from ingress_svc.adapters.generate import Generate
from ingress_svc.adapters.guard import Guard
from ingress_svc.adapters.http import HttpServer, application
from ingress_svc.adapters.mesh import Mesh
from ingress_svc.adapters.turns import Turns
from ingress_svc.adapters.webhook import VapiWebhook
from ingress_svc.config import Config, apology
from ingress_svc.domain.lateness import TICK_S, Lateness
from ingress_svc.domain.signatures import BEARER, PRESETS, X_VAPI_SECRET, Verifier


def verifiers(config: Config) -> tuple[Verifier, Verifier]:
    """Return what proves a webhook, and a custom-LLM request. Raises ConfigError."""
    unknown = [name for name in config.vapi_schemes if name not in PRESETS]
    if unknown:
        raise ConfigError(f"VOICEMESH_VAPI_SCHEMES names {unknown[0]!r}; the schemes are {', '.join(PRESETS)}")
    try:
        webhooks = Verifier([PRESETS[name] for name in config.vapi_schemes], _split(config.vapi_secrets))
        llm = Verifier([BEARER, X_VAPI_SECRET], _split(config.llm_keys or config.vapi_secrets))
    except ValueError as error:
        raise ConfigError(f"VOICEMESH_VAPI_SECRET: {error}") from error
    return webhooks, llm


async def main() -> None:
    config = load(Config, os.environ)
    logs.setup("ingress-svc", config.log_level)
    counters = Counters()
    clock = SystemClock()
    webhooks, llm_keys = verifiers(config)
    budget = Budget.load(config.budget_file)
    recorder = telemetry.recorder("ingress-svc", config.otlp_endpoint, counters=counters)
    calls = Calls(
        clock=clock,
        counters=counters,
        lateness=Lateness(clock.monotonic_s()),
        apology=apology(config.agent_file),
        most_calls=config.most_calls,
        idle_s=config.idle_s,
    )
    mesh = Mesh(
        client_id=f"ingress-{secrets.token_hex(6)}",
        session_targets=config.session_targets,
        bargein_targets=config.bargein_targets,
        llm_targets=config.llm_targets,
        on_command=calls.on_command,
        on_verdict=calls.on_verdict,
    )
    turns = Turns(recorder, budget, calls.announce, config.trace_one_in)
    calls.connect(mesh, turns, Generate(mesh, turns, config.generate_timeout_s, config.first_piece_s))
    guard = Guard(webhooks=webhooks, llm=llm_keys, max_body_bytes=config.max_body_bytes, counters=counters)
    signals = server.StopSignals()
    blocked: set[str] = set()
    watch = LoopWatch(lambda ok: blocked.discard("loop") if ok else blocked.add("loop"))
    app = application(
        webhook=VapiWebhook(guard=guard, calls=calls, mesh=mesh, counters=counters, hold_s=config.hold_s),
        llm=CustomLlm(guard=guard, calls=calls, counters=counters),
        missing=lambda: [*mesh.missing, *blocked],
        draining=signals.first.is_set,
        counters=counters,
        gauges=[
            Gauge("voicemesh.loop.lag", "How late the event loop ran at worst.", lambda: watch.lag_ms / 1000, "s"),
            Gauge("voicemesh.call.active", "Calls that this ingress knows.", lambda: len(calls)),
        ],
        max_body_bytes=config.max_body_bytes,
    )
    http = HttpServer(app, host=config.host, port=config.port, drain_s=config.drain_s)
    mesh.start()
    recorder.start()
    watch.start()
    ticking = asyncio.create_task(_keep_ticking(calls))
    await http.start()
    server.freeze_startup()
    logs.get().info("server.started", name="ingress-svc", port=config.port)
    try:
        await signals.first.wait()
        await _drain(http, calls, signals, config.drain_s)
    finally:
        ticking.cancel()
        watch.stop()
        await http.close()
        await mesh.close(grace_s=1.0)
        await recorder.close()


async def _drain(http: HttpServer, calls: Calls, signals: server.StopSignals, drain_s: float) -> None:
    await http.stop_listening()
    await calls.drain(drain_s, signals.second)


async def _keep_ticking(calls: Calls) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        calls.tick()


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",")]


if __name__ == "__main__":
    server.run(main())
