"""Records wait for the verdict on their trace, within bounds; what is kept comes out as spans."""

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from svc_runtime.metrics import Counters, Gauge, render
from svc_runtime.telemetry import (
    DROPPED,
    EXPORTED,
    Kind,
    Recorder,
    RecorderLimits,
    SpanRef,
    new_trace,
    parse_traceparent,
    recorder,
)

VALID = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Hand:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now_ms(self) -> int:
        return round(self.seconds * 1000)

    def monotonic_s(self) -> float:
        return self.seconds


class Bench:
    """A recorder with a sink in this process and a clock in the test's hand."""

    def __init__(self, **limits: Any) -> None:
        self.clock = Hand()
        self.counters = Counters()
        self.spans: list[ReadableSpan] = []
        self.recorder = self.build(limits=RecorderLimits(**limits))

    def build(self, **options: Any) -> Recorder:
        return recorder("weather", "", sink=self.spans.extend, clock=self.clock, counters=self.counters, **options)

    def note(self, span: SpanRef, name: str = "step", **fields: Any) -> None:
        fields = {"parent_id": 0, "start_ns": 1, "end_ns": 2, **fields}
        self.recorder.note(name, span, **fields)

    def dropped(self, reason: str) -> int:
        return self.counters.value(DROPPED, reason=reason)

    async def names(self) -> list[str]:
        """Close the recorder without what no verdict has reached, and return the names of the spans that left."""
        await self.recorder.close()
        return [span.name for span in self.spans]


async def test_records_of_a_kept_trace_become_spans() -> None:
    bench = Bench()
    root = new_trace()
    child = root.child()
    bench.note(child, "inner", parent_id=root.span_id, start_ns=20, end_ns=30, kind=Kind.SERVER, attributes={"a.b": 1})
    bench.note(root, "outer", start_ns=10, end_ns=40, error="timeout", links=(SpanRef(5, 6),))
    bench.recorder.end_trace(root.trace_id, keep=True)
    assert await bench.names() == ["inner", "outer"]
    inner, outer = bench.spans
    assert inner.context is not None
    assert inner.parent is not None
    assert (inner.context.trace_id, inner.context.span_id) == (root.trace_id, child.span_id)
    assert (inner.parent.trace_id, inner.parent.span_id, inner.parent.is_remote) == (*root[:2], True)
    assert (inner.start_time, inner.end_time, inner.kind) == (20, 30, SpanKind.SERVER)
    assert inner.status.status_code is StatusCode.UNSET
    assert dict(inner.attributes or {}) == {"a.b": 1}
    assert outer.parent is None
    assert outer.status.status_code is StatusCode.ERROR
    assert dict(outer.attributes or {}) == {"error.type": "timeout"}
    assert [(link.context.trace_id, link.context.span_id) for link in outer.links] == [(5, 6)]


async def test_a_dropped_trace_leaves_nothing() -> None:
    bench = Bench()
    span = new_trace()
    bench.note(span)
    bench.recorder.end_trace(span.trace_id, keep=False)
    assert await bench.names() == []


@pytest.mark.parametrize("keep", [True, False])
async def test_a_record_after_the_verdict_follows_it(keep: bool) -> None:
    bench = Bench()
    span = new_trace()
    bench.recorder.end_trace(span.trace_id, keep)
    bench.note(span, "late")
    assert await bench.names() == (["late"] if keep else [])


async def test_what_was_kept_stays_kept_so_that_its_trace_is_whole() -> None:
    bench = Bench()
    span = new_trace()
    bench.note(span.child(), "first")
    bench.clock.seconds += 31
    bench.recorder.keep_unjudged()
    bench.note(span.child(), "second")
    bench.recorder.end_trace(span.trace_id, keep=False)
    bench.note(span, "third")
    assert await bench.names() == ["first", "second", "third"]


async def test_what_was_dropped_can_still_be_kept_from_now_on() -> None:
    bench = Bench()
    span = new_trace()
    bench.recorder.end_trace(span.trace_id, keep=False)
    bench.note(span, "first")
    bench.recorder.end_trace(span.trace_id, keep=True)
    bench.note(span, "second")
    assert await bench.names() == ["second"]


async def test_without_a_verdict_a_trace_is_kept_after_30_s() -> None:
    bench = Bench()
    early, late = new_trace(), new_trace()
    bench.note(early, "early")
    bench.clock.seconds += 29.9
    bench.recorder.keep_unjudged()
    bench.recorder.end_trace(early.trace_id, keep=False)
    bench.note(late, "late")
    bench.clock.seconds += 30
    bench.recorder.keep_unjudged()
    bench.recorder.end_trace(late.trace_id, keep=False)
    assert await bench.names() == ["late"]


async def test_closing_keeps_what_nobody_has_judged() -> None:
    bench = Bench()
    bench.note(new_trace(), "unjudged")
    assert await bench.names() == ["unjudged"]
    bench.note(new_trace(), "after the end")
    assert [span.name for span in bench.spans] == ["unjudged"]


async def test_too_many_traces_drop_the_oldest() -> None:
    bench = Bench(max_traces=2)
    spans = [new_trace() for _ in range(3)]
    for number, span in enumerate(spans):
        bench.note(span, f"step{number}")
    for span in spans:
        bench.recorder.end_trace(span.trace_id, keep=True)
    assert await bench.names() == ["step1", "step2"]
    assert bench.dropped("traces") == 1


async def test_a_long_trace_drops_its_oldest_records() -> None:
    bench = Bench(max_records_per_trace=2)
    root = new_trace()
    for number in range(5):
        bench.note(root.child(), f"step{number}")
    bench.recorder.end_trace(root.trace_id, keep=True)
    assert await bench.names() == ["step3", "step4"]
    assert bench.dropped("trace_length") == 3


async def test_too_many_records_drop_the_oldest_trace() -> None:
    bench = Bench(max_records=4)
    first, second = new_trace(), new_trace()
    for number in range(3):
        bench.note(first.child(), f"first{number}")
    for number in range(2):
        bench.note(second.child(), f"second{number}")
    bench.recorder.end_trace(first.trace_id, keep=True)
    bench.recorder.end_trace(second.trace_id, keep=True)
    assert await bench.names() == ["second0", "second1"]
    assert bench.dropped("records") == 3


async def test_a_full_queue_drops_its_oldest_records() -> None:
    bench = Bench(max_queued=2)
    span = new_trace()
    for number in range(5):
        bench.note(span.child(), f"step{number}")
    bench.recorder.end_trace(span.trace_id, keep=True)
    assert await bench.names() == ["step3", "step4"]
    assert bench.dropped("queue") == 3


async def test_forgotten_verdicts_leave_late_records_unjudged() -> None:
    bench = Bench(max_verdicts=1)
    first, second = new_trace(), new_trace()
    bench.recorder.end_trace(first.trace_id, keep=False)
    bench.recorder.end_trace(second.trace_id, keep=False)
    bench.note(first, "first")
    bench.note(second, "second")
    bench.clock.seconds += 31
    bench.recorder.keep_unjudged()
    assert await bench.names() == ["first"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["note", "keep", "drop", "wait"]), st.integers(1, 5)),
        max_size=60,
    )
)
def test_the_count_of_held_records_stays_true(steps: list[tuple[str, int]]) -> None:
    bench = Bench(max_traces=3, max_records_per_trace=4, max_records=9, max_verdicts=3, max_queued=8)
    for step, trace_id in steps:
        if step == "note":
            bench.note(SpanRef(trace_id, 1))
        elif step == "wait":
            bench.clock.seconds += 11
            bench.recorder.keep_unjudged()
        else:
            bench.recorder.end_trace(trace_id, keep=step == "keep")
        held = [len(trace.records) for trace in bench.recorder._open.values()]
        assert bench.recorder._held == sum(held) <= 9
        assert len(held) <= 3
        assert len(bench.recorder._queue) <= 8


async def test_a_span_that_is_not_sampled_is_not_stored() -> None:
    bench = Bench()
    bench.note(SpanRef(1, 2, sampled=False))
    assert await bench.names() == []


async def test_private_attributes_stay_behind_unless_allowed() -> None:
    attributes = {"voicemesh.pii.transcript": "hello", "voicemesh.turn.number": 3}
    for private, expected in ((False, {"voicemesh.turn.number": 3}), (True, attributes)):
        bench = Bench()
        bench.recorder = bench.build(private=private)
        bench.note(new_trace(), attributes=attributes)
        await bench.names()
        assert dict(bench.spans[0].attributes or {}) == expected


async def test_a_resource_names_the_service_and_the_instance() -> None:
    bench = Bench()
    bench.recorder = bench.build(instance_id="weather-1", service_version="9.9")
    bench.note(new_trace())
    await bench.names()
    resource = bench.spans[0].resource.attributes
    assert resource["service.name"] == "weather"
    assert resource["service.instance.id"] == "weather-1"
    assert resource["service.version"] == "9.9"


async def test_the_background_task_sends_chunks_and_survives_a_failing_sink() -> None:
    sizes: list[int] = []
    called = asyncio.Event()

    def sink(spans: list[ReadableSpan]) -> None:
        sizes.append(len(spans))
        called.set()
        if len(sizes) == 1:
            raise RuntimeError("full")

    counters = Counters()
    records = recorder("weather", "", sink=sink, counters=counters, limits=RecorderLimits(chunk=4))
    records.start()
    root = new_trace()
    for _ in range(10):
        records.note("step", root.child(), parent_id=root.span_id, start_ns=1, end_ns=2)
    records.end_trace(root.trace_id, keep=True)
    await asyncio.wait_for(called.wait(), 10)
    await records.close()
    assert sizes == [4, 4, 2]
    assert (counters.value(DROPPED, reason="export"), counters.value(EXPORTED)) == (4, 6)


def test_without_a_receiver_nothing_is_stored_and_the_sdk_stays_unloaded() -> None:
    program = (
        "import sys; from svc_runtime import telemetry as t\n"
        "r = t.recorder('weather', '')\n"
        "r.note('step', t.new_trace(), parent_id=0, start_ns=1, end_ns=2)\n"
        "assert not r._open\n"
        "assert not [m for m in sys.modules if m.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_traceparent_survives_the_way() -> None:
    span = new_trace()
    assert parse_traceparent(span.traceparent) == span
    assert parse_traceparent(SpanRef(1, 2, sampled=False).traceparent) == SpanRef(1, 2, sampled=False)
    assert SpanRef(1, 2).traceparent == f"00-{1:032x}-{2:016x}-01"


def test_a_child_shares_trace_and_flag_only() -> None:
    root = SpanRef(7, 8, sampled=False)
    child = root.child()
    assert (child.trace_id, child.sampled) == (7, False)
    assert child.span_id not in (0, 8)


def test_a_traceparent_of_a_later_version_is_read_as_far_as_known() -> None:
    expected = SpanRef(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7)
    assert parse_traceparent(VALID) == expected
    assert parse_traceparent("cc" + VALID[2:]) == expected
    assert parse_traceparent("cc" + VALID[2:] + "-what-the-future-holds") == expected
    assert parse_traceparent(VALID[:-2] + "0b") == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        VALID[:-1],
        VALID + "0",
        VALID + "-00",
        VALID + "\n",
        " " + VALID,
        VALID.upper(),
        "ff" + VALID[2:],
        "cc" + VALID[2:] + ".more",
        VALID.replace("-", "_"),
        "00-" + "0" * 32 + VALID[35:],
        VALID[:36] + "0" * 16 + "-01",
        VALID.replace("4bf9", "４bf9"),
        VALID.replace("4bf9", "xyz9"),
    ],
)
def test_an_invalid_traceparent_is_none(text: str) -> None:
    assert parse_traceparent(text) is None


@given(st.text())
def test_any_text_is_parsed_without_an_error(text: str) -> None:
    assert parse_traceparent(text) is None


def test_counters_start_at_zero_and_carry_their_labels() -> None:
    counters = Counters()
    counters.declare("voicemesh.dropped", "Things lost.", reason=("full", "late"))
    counters.declare("voicemesh.done", "Things done.")
    counters.add("voicemesh.dropped", 2, reason="late")
    counters.add("voicemesh.done")
    lag = Gauge("voicemesh.loop.lag", "How late the loop is.", lambda: 0.25, unit="s")
    assert render(counters, [lag]).splitlines() == [
        "# HELP voicemesh_dropped_total Things lost.",
        "# TYPE voicemesh_dropped_total counter",
        'voicemesh_dropped_total{reason="full"} 0',
        'voicemesh_dropped_total{reason="late"} 2',
        "# HELP voicemesh_done_total Things done.",
        "# TYPE voicemesh_done_total counter",
        "voicemesh_done_total 1",
        "# HELP voicemesh_loop_lag_seconds How late the loop is.",
        "# TYPE voicemesh_loop_lag_seconds gauge",
        "voicemesh_loop_lag_seconds 0.25",
    ]


def test_a_label_value_outside_the_closed_set_is_refused() -> None:
    counters = Counters()
    counters.declare("voicemesh.dropped", "Things lost.", reason=("full",))
    with pytest.raises(KeyError):
        counters.add("voicemesh.dropped", reason="vapi:call-17")
    with pytest.raises(KeyError):
        counters.add("voicemesh.droped")
