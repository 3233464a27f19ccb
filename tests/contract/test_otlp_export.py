"""Kept traces reach an OTLP receiver over gRPC; a receiver that is away or silent has no effect on the work."""

import asyncio
import logging

import pytest
from fakes.otlp_receiver import OtlpReceiver
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from svc_runtime.metrics import Counters
from svc_runtime.telemetry import DROPPED, EXPORTED, Kind, Recorder, RecorderLimits, SpanRef, new_trace, recorder


class Hand:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 50.0

    def now_ms(self) -> int:
        return round(self.seconds * 1000)

    def monotonic_s(self) -> float:
        return self.seconds


def note_turn(records: Recorder, root: SpanRef, *, error: str = "") -> SpanRef:
    """Note a root and one child, as a turn with one hop; return the child."""
    hop = root.child()
    records.note(
        "bargein.verdict",
        hop,
        parent_id=root.span_id,
        start_ns=2_000,
        end_ns=5_000,
        kind=Kind.CLIENT,
        attributes={"voicemesh.call.id": "vapi:c1", "voicemesh.queue_us": 12, "voicemesh.budget.kept": True},
        error=error,
    )
    records.note(
        "turn",
        root,
        parent_id=0,
        start_ns=1_000,
        end_ns=9_000,
        attributes={"voicemesh.turn.number": 3, "voicemesh.pii.transcript": "my number is 555"},
        links=(SpanRef(0xABC, 0xDEF),),
    )
    return hop


async def test_kept_traces_arrive_whole_and_dropped_ones_do_not() -> None:
    async with OtlpReceiver() as receiver:
        records = recorder("ingress-svc", f"http://{receiver.endpoint}", instance_id="one", service_version="0.1.0")
        records.start()
        kept, dropped = new_trace(), new_trace()
        hop = note_turn(records, kept, error="deadline")
        note_turn(records, dropped)
        records.end_trace(dropped.trace_id, keep=False)
        records.end_trace(kept.trace_id, keep=True)
        await receiver.wait_for(2)
        await records.close()

    assert {arrived.trace_id for arrived in receiver.arrived} == {kept.trace_id}
    child, root = receiver.arrived
    assert root.resource["service.name"] == "ingress-svc"
    assert root.resource["service.instance.id"] == "one"
    assert root.resource["service.version"] == "0.1.0"
    assert root.scope == "svc_runtime.telemetry"
    assert (child.span.name, root.span.name) == ("bargein.verdict", "turn")
    assert (root.span_id, root.parent_id) == (kept.span_id, 0)
    assert (child.span_id, child.parent_id) == (hop.span_id, kept.span_id)
    assert child.span.kind == Span.SPAN_KIND_CLIENT
    assert (child.span.start_time_unix_nano, child.span.end_time_unix_nano) == (2_000, 5_000)
    assert child.attributes == {
        "voicemesh.call.id": "vapi:c1",
        "voicemesh.queue_us": 12,
        "voicemesh.budget.kept": True,
        "error.type": "deadline",
    }
    assert child.span.status.code == Status.STATUS_CODE_ERROR
    assert root.span.status.code == Status.STATUS_CODE_UNSET
    assert int.from_bytes(root.span.links[0].trace_id, "big") == 0xABC


async def test_no_private_attribute_leaves_the_process() -> None:
    async with OtlpReceiver() as receiver:
        records = recorder("ingress-svc", receiver.endpoint)
        note_turn(records, new_trace())
        await records.close()
        [root] = [arrived for arrived in await receiver.wait_for(2) if arrived.span.name == "turn"]
    assert root.attributes == {"voicemesh.turn.number": 3}
    assert all(b"555" not in arrived.span.SerializeToString() for arrived in receiver.arrived)


async def test_an_unjudged_trace_arrives_after_30_s() -> None:
    clock = Hand()
    async with OtlpReceiver() as receiver:
        records = recorder("ingress-svc", receiver.endpoint, clock=clock)
        records.start()
        unjudged = new_trace()
        note_turn(records, unjudged)
        clock.seconds += 30.1
        # The background task looks by itself, so nothing else is called here.
        arrived = await receiver.wait_for(2)
        await records.close()
    assert {span.trace_id for span in arrived} == {unjudged.trace_id}


async def test_no_request_holds_more_than_64_spans() -> None:
    async with OtlpReceiver() as receiver:
        records = recorder("ingress-svc", receiver.endpoint)
        records.start()
        for _ in range(100):
            root = new_trace()
            note_turn(records, root)
            records.end_trace(root.trace_id, keep=True)
        await receiver.wait_for(200)
        await records.close()
    assert sum(receiver.request_sizes) == 200
    assert max(receiver.request_sizes) <= 64


async def test_a_receiver_that_is_away_costs_records_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async with OtlpReceiver() as gone:
        pass
    counters = Counters()
    limits = RecorderLimits(max_queued=100, max_traces=10, max_verdicts=10)
    records = recorder("ingress-svc", gone.endpoint, counters=counters, limits=limits)
    records.start()
    turns = 0
    with caplog.at_level(logging.DEBUG, logger="voicemesh"):
        async with asyncio.timeout(20):
            while counters.value(DROPPED, reason="export") == 0:
                root = new_trace()
                note_turn(records, root)
                records.end_trace(root.trace_id, keep=True)
                turns += 1
                await asyncio.sleep(0.001)
        for _ in range(200):
            note_turn(records, new_trace())
        held = len(records._queue), len(records._open), len(records._verdicts)
        async with asyncio.timeout(10):
            await records.close(timeout_s=0.5)
    # The exporter tries for about a second. On the loop's own thread, a dozen turns would get through before that.
    assert turns > 50
    assert held[0] <= 100
    assert held[1] <= 10
    assert held[2] <= 10
    assert [line.message for line in caplog.records if line.name == "voicemesh"] == ["telemetry.export.failed"]
    assert counters.value(EXPORTED) == 0


async def test_sending_goes_on_when_the_receiver_returns(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("svc_runtime.telemetry._RETRY_S", 0.2)
    async with OtlpReceiver() as receiver:
        pass
    counters = Counters()
    records = recorder("ingress-svc", receiver.endpoint, counters=counters)
    records.start()
    with caplog.at_level(logging.INFO, logger="voicemesh"):
        note_turn(records, lost := new_trace())
        records.end_trace(lost.trace_id, keep=True)
        for _ in range(1_000):
            await asyncio.sleep(0.02)
            if counters.value(DROPPED, reason="export"):
                break
        async with receiver:
            note_turn(records, found := new_trace())
            records.end_trace(found.trace_id, keep=True)
            arrived = await receiver.wait_for(2)
            await records.close()
    assert {span.trace_id for span in arrived} == {found.trace_id}
    assert [line.message for line in caplog.records] == ["telemetry.export.failed", "telemetry.export.resumed"]


async def test_closing_does_not_wait_for_a_silent_receiver() -> None:
    async with OtlpReceiver(silent=True) as receiver:
        counters = Counters()
        records = recorder("ingress-svc", receiver.endpoint, counters=counters)
        records.start()
        for _ in range(100):
            note_turn(records, new_trace())
        async with asyncio.timeout(10):
            await records.close(timeout_s=0.3)
    assert counters.value(DROPPED, reason="export") == 200
