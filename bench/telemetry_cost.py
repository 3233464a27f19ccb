"""What tracing costs: a note on the hot path, and later the conversion and encoding of a kept span.

Usage: python bench/telemetry_cost.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from svc_runtime.spans import SpanOutlet
from svc_runtime.telemetry import Kind, Record, Recorder, RecorderLimits, SpanRef, new_trace, parse_traceparent

ROUNDS = 7
NOTES = 50_000
CHUNK = 64


def main() -> None:
    outlet = SpanOutlet(
        "bench", endpoint="", sink=lambda spans: None, instance_id="", service_version="0", private=False
    )
    root = new_trace()
    held = Recorder(outlet, limits=RecorderLimits(max_records_per_trace=64))
    off = Recorder()
    text = root.traceparent
    record = Record("bargein.verdict", root.child(), root.span_id, 1, 2, Kind.CLIENT, attributes(3), "", ())
    chunk = [record] * CHUNK
    spans = outlet.convert(chunk)
    rows = [
        ("child id + note, 6 attributes", cost_us(lambda: note(held, root), NOTES)),
        ("the same, whole turn of 8 with verdict", cost_us(lambda: turn(held), NOTES // 8) / 8),
        ("child id + note, tracing off", cost_us(lambda: note(off, root), NOTES)),
        ("traceparent, written", cost_us(lambda: root.traceparent, NOTES)),
        ("traceparent, read", cost_us(lambda: parse_traceparent(text), NOTES)),
        ("record to SDK span", cost_us(lambda: outlet.convert(chunk), 50) / CHUNK),
        ("SDK span to OTLP bytes", cost_us(lambda: encode_spans(spans).SerializeToString(), 50) / CHUNK),
    ]
    for name, us in rows:
        print(f"{name:40} {us:6.2f} µs")
    print(f"{'one export of 64 spans':40} {CHUNK * (rows[-2][1] + rows[-1][1]) / 1000:6.2f} ms")
    print(f"{'one span on the wire':40} {len(encode_spans(spans).SerializeToString()) / CHUNK:6.0f} bytes")


def note(recorder: Recorder, root: SpanRef) -> None:
    span = root.child()
    recorder.note(
        "bargein.verdict",
        span,
        parent_id=root.span_id,
        start_ns=1,
        end_ns=2,
        kind=Kind.CLIENT,
        attributes=attributes(3),
    )


def turn(recorder: Recorder) -> None:
    root = new_trace()
    for _ in range(8):
        note(recorder, root)
    recorder.end_trace(root.trace_id, keep=False)


def attributes(number: int) -> dict[str, str | int | float | bool]:
    return {
        "voicemesh.call.id": "vapi:7420f27a-30fd-4f49-a995-5549ae7cc00d",
        "voicemesh.turn.number": number,
        "voicemesh.generation": number,
        "voicemesh.queue_us": 120,
        "voicemesh.budget_ms": 10,
        "voicemesh.budget.kept": True,
    }


def cost_us(work: Callable[[], object], times: int) -> float:
    """Return the CPU time of one call in µs: the least of several rounds, for others share the machine."""
    best = float("inf")
    for _ in range(ROUNDS):
        before = time.process_time()
        for _ in range(times):
            work()
        best = min(best, time.process_time() - before)
    return best / times * 1e6


if __name__ == "__main__":
    main()
