"""BargeInService over loopback gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from bargein_svc.adapters.calls import Calls
from bargein_svc.adapters.servicer import REFUSED, SHAPE, VERDICTS, Judge, Servicer
from bargein_svc.domain.events import CallerWords, CallOver, Event, Phase, PlayoutChanged
from bargein_svc.domain.verdict import Policy
from fakes.barge_in_wire import message_of
from svc_runtime.channel import SERVER, open_channel
from svc_runtime.clock import SystemClock
from svc_runtime.feed import Feed
from svc_runtime.link import Link
from svc_runtime.metrics import Counters
from svc_runtime.stream import INVALID, OK, Outcome
from svc_runtime.telemetry import Recorder, new_trace, parse_traceparent, recorder
from voicemesh.bargein.v1 import bargein_pb2 as pb
from voicemesh.bargein.v1 import bargein_pb2_grpc
from voicemesh.type.v1 import call_pb2

PLAYING = PlayoutChanged(at_ms=1_500, generation=3, phase=Phase.PLAYING, answers_until_ms=1_000)


class Service:
    """The service on a port of its own."""

    def __init__(self, records: Recorder) -> None:
        self.counters = Counters()
        self.policies = {"": Policy()}
        self.calls = Calls(most=100, idle_s=60.0)
        self.judge = Judge(
            self.policies.__getitem__, self.calls, clock=SystemClock(), recorder=records, counters=self.counters
        )
        self.feed = Feed(SHAPE, self.judge.handle)
        self.port = 0


@asynccontextmanager
async def serving(records: Recorder | None = None) -> AsyncIterator[Service]:
    service = Service(records or recorder("bargein-svc", ""))
    server = grpc.aio.server(options=SERVER)
    bargein_pb2_grpc.add_BargeInServiceServicer_to_server(Servicer(service.feed), server)
    service.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield service
    finally:
        await server.stop(None)


class Ingress:
    """One client: what it was told, in the order in which it was told."""

    def __init__(self, link: Link, told: list[Any]) -> None:
        self.link = link
        self.told = told

    def send(self, message: pb.WatchEvent) -> None:
        self.link.submit(message, lambda outcome: self.told.append((message.event_id, outcome)))

    async def settled(self) -> list[Any]:
        await self.link.barrier(10.0)
        return self.told

    @property
    def verdicts(self) -> list[pb.Verdict]:
        return [one for one in self.told if isinstance(one, pb.Verdict)]


@asynccontextmanager
async def connected(service: Service, client_id: str = "ingress-1") -> AsyncIterator[Ingress]:
    told: list[Any] = []
    async with open_channel(f"127.0.0.1:{service.port}") as channel:
        stub = bargein_pb2_grpc.BargeInServiceStub(channel)
        link = Link("bargein", SHAPE, lambda: stub.Watch(wait_for_ready=True), client_id=client_id, on_item=told.append)
        running = asyncio.ensure_future(link.run())
        try:
            yield Ingress(link, told)
        finally:
            await link.close(1.0)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def message(event: Event, *, call_id: str = "vapi:1", traceparent: str = "") -> pb.WatchEvent:
    sent = message_of(event, call_id=call_id)
    sent.received_at_ms = 7_000
    sent.trace.traceparent = traceparent
    return sent


def words(text: str, at_ms: int = 2_000, *, final: bool = False) -> CallerWords:
    return CallerWords(event_id=f"w{at_ms}", at_ms=at_ms, final=final, text=text)


async def test_the_verdict_comes_before_the_acknowledgement_of_its_words() -> None:
    async with serving() as service, connected(service) as ingress:
        ingress.send(message(PLAYING))
        ingress.send(message(words("okay stop")))
        told = await ingress.settled()
    (verdict,) = ingress.verdicts
    assert told.index(verdict) < told.index(("w2000", Outcome(OK)))
    assert (verdict.decision, verdict.rule, verdict.through_generation) == (pb.DECISION_CUT, "stop_phrase", 3)
    assert (verdict.call_id, verdict.event_id, verdict.received_at_ms) == ("vapi:1", "w2000", 7_000)
    assert service.counters.value(VERDICTS, decision="cut", rule="stop_phrase") == 1


async def test_words_at_one_ingress_are_judged_against_output_that_another_holds() -> None:
    async with serving() as service, connected(service, "a") as holder, connected(service, "b") as hearer:
        holder.send(message(PLAYING))
        await holder.settled()
        hearer.send(message(words("stop")))
        await hearer.settled()
        assert [v.through_generation for v in hearer.verdicts] == [3]
        assert holder.verdicts == []
        # What starts too late is cut where it starts.
        holder.send(message(PlayoutChanged(at_ms=2_500, generation=4, phase=Phase.PREPARING, answers_until_ms=1_900)))
        await holder.settled()
        assert [v.through_generation for v in holder.verdicts] == [4]


async def test_words_bring_along_what_plays_to_a_replica_that_has_never_heard_of_it() -> None:
    sent = message(words("okay stop"))
    sent.playing.CopyFrom(message(PLAYING).playout)
    sent.playing.changed_at_ms = 1_500
    async with serving() as service, connected(service) as ingress:
        ingress.send(sent)
        await ingress.settled()
    (verdict,) = ingress.verdicts
    assert (verdict.rule, verdict.through_generation, verdict.playout_known) == ("stop_phrase", 3, True)
    assert verdict.into_playout_ms == 500


async def test_calls_do_not_hear_each_other() -> None:
    async with serving() as service, connected(service) as ingress:
        ingress.send(message(PLAYING, call_id="vapi:1"))
        ingress.send(message(words("stop"), call_id="vapi:2"))
        await ingress.settled()
    (verdict,) = ingress.verdicts
    assert (verdict.call_id, verdict.through_generation, verdict.playout_known) == ("vapi:2", 0, False)


async def test_a_bad_event_fails_alone_and_without_its_words() -> None:
    bad = message(words("my card number is 4111"))
    bad.words.party = call_pb2.PARTY_UNSPECIFIED
    async with serving() as service, connected(service) as ingress:
        ingress.send(message(PLAYING))
        ingress.send(bad)
        ingress.send(message(words("stop", 2_100)))
        told = await ingress.settled()
    outcomes: dict[str, Outcome] = dict(one for one in told if isinstance(one, tuple))
    assert outcomes["w2000"].code == INVALID
    assert "4111" not in outcomes["w2000"].message
    assert "words.party" in outcomes["w2000"].message
    assert outcomes["w2100"].code == OK
    assert [v.event_id for v in ingress.verdicts] == ["w2100"]
    assert service.counters.value(REFUSED) == 1


async def test_a_call_that_is_over_stays_over() -> None:
    async with serving() as service, connected(service) as ingress:
        ingress.send(message(PLAYING))
        ingress.send(message(CallOver()))
        ingress.send(message(words("stop")))
        await ingress.settled()
    assert ingress.verdicts == []


async def test_the_verdict_is_a_span_of_the_turns_trace_when_the_turn_is_kept() -> None:
    spans: list[Any] = []
    records = recorder("bargein-svc", "", sink=spans.extend)
    records.start()
    kept, dropped = new_trace(), new_trace()
    async with serving(records) as service, connected(service) as ingress:
        ingress.send(message(PLAYING, call_id="a"))
        ingress.send(message(words("stop"), call_id="a", traceparent=kept.traceparent))
        ingress.send(message(words("stop"), call_id="b", traceparent=dropped.traceparent))
        for number, (trace, keep) in enumerate([(kept, True), (dropped, False)], 1):
            ended = pb.WatchEvent(event_id=f"turn{number}", call_id="a", at_ms=9_000)
            ended.turn_ended.trace_id = trace.trace_hex
            ended.turn_ended.keep = keep
            ingress.send(ended)
        await ingress.settled()
    await records.close()
    (span,) = spans
    assert span.name == "bargein.verdict"
    assert (span.context.trace_id, span.parent.span_id) == (kept.trace_id, kept.span_id)
    told = parse_traceparent(ingress.verdicts[0].trace.traceparent)
    assert told is not None
    assert (told.trace_id, told.span_id) == (span.context.trace_id, span.context.span_id)
    attributes = dict(span.attributes)
    assert attributes["voicemesh.bargein.rule"] == "stop_phrase"
    assert attributes["voicemesh.bargein.through_generation"] == 3
    assert not [name for name in attributes if ".pii." in name]


async def test_a_turn_without_a_readable_trace_is_refused() -> None:
    ended = pb.WatchEvent(event_id="turn", call_id="a", turn_ended={"trace_id": "xyz"})
    async with serving() as service, connected(service) as ingress:
        ingress.send(ended)
        (told,) = await ingress.settled()
    assert told[1].code == INVALID
