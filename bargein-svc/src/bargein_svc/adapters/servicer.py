"""BargeInService on the wire: each event through the call's state, each verdict to whoever sent the event."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable

import grpc
from svc_runtime import logs
from svc_runtime.clock import Clock
from svc_runtime.feed import Feed, Peer
from svc_runtime.metrics import Counters
from svc_runtime.stream import INVALID, Outcome, StreamShape
from svc_runtime.telemetry import Kind, Recorder, SpanRef, parse_traceparent
from voicemesh.bargein.v1 import bargein_pb2 as pb
from voicemesh.bargein.v1.bargein_pb2_grpc import BargeInServiceServicer

from bargein_svc.adapters import wire
from bargein_svc.adapters.calls import Calls, agent_for
from bargein_svc.domain.events import Decision, Rule, Verdict
from bargein_svc.domain.verdict import Policy, step

log = logs.get()

SHAPE = StreamShape.of(pb.WatchRequest, pb.WatchResponse)
CUTS_KEPT = 4_096
CUTS_KEPT_S = 10.0
"""Longer than a stream takes to come back; a cut that comes later than that cuts nothing any more."""
VERDICTS = "voicemesh.bargein.verdicts"
REFUSED = "voicemesh.bargein.events.refused"


class Servicer(BargeInServiceServicer):
    """Hands streams to the feed."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def Watch(
        self,
        request_iterator: AsyncIterator[pb.WatchRequest],
        context: grpc.aio.ServicerContext[pb.WatchRequest, pb.WatchResponse],
    ) -> None:
        await self._feed.serve(context)


class Judge:
    """Handles the events of a feed."""

    def __init__(
        self,
        policy_of: Callable[[str], Policy],
        calls: Calls,
        *,
        clock: Clock,
        recorder: Recorder,
        counters: Counters,
    ) -> None:
        """``policy_of`` returns the policy of an agent, named as on the wire."""
        self._policy_of = policy_of
        self._calls = calls
        self._clock = clock
        self._recorder = recorder
        self._counters = counters
        counters.declare(
            VERDICTS, "Verdicts on words.", decision=[decision.value for decision in Decision], rule=[*map(str, Rule)]
        )
        self._recent_cuts: deque[tuple[float, str, pb.Verdict]] = deque(maxlen=CUTS_KEPT)
        counters.declare(REFUSED, "Events that break the contract.")

    def opened(self, peer: Peer) -> None:
        """Send the last cuts again to a client that has (re)opened its stream: it may have missed them, and it obeys
        each once."""
        since_s = self._clock.monotonic_s() - CUTS_KEPT_S
        for decided_s, client_id, verdict in self._recent_cuts:
            if client_id == peer.client_id and decided_s >= since_s:
                peer.send(verdict)

    def handle(self, peer: Peer, message: pb.WatchEvent) -> None:
        """Judge one event. The verdict goes to whoever sent it, before its answer; else nobody waits for that."""
        judged = False
        try:
            if message.WhichOneof("kind") == "turn_ended":
                self._end_trace(message.turn_ended.trace_id, keep=message.turn_ended.keep)
            else:
                judged = self._judge(peer, message)
        except wire.Unreadable as error:
            self._counters.add(REFUSED)
            peer.fail(message.seq, Outcome(INVALID, str(error)))
        else:
            peer.ack(message.seq, urgent=judged)

    def _judge(self, peer: Peer, message: pb.WatchEvent) -> bool:
        start_ns = time.perf_counter_ns()
        known = self._calls.get(message.call_id)
        state = known.state
        agent = agent_for(known.agent, message.agent, self._policy_of, settled=message.agent_settled)
        judged = False
        for event in wire.events_of(message):
            state, verdict = step(state, event, agent.policy)
            if verdict is not None:
                judged = True
                self._send(peer, message, verdict, work_ns=time.perf_counter_ns() - start_ns)
        self._calls.put(message.call_id, state, agent, self._clock.monotonic_s())
        return judged

    def _send(self, peer: Peer, message: pb.WatchEvent, verdict: Verdict, *, work_ns: int) -> None:
        item = wire.verdict_message(verdict, call_id=message.call_id)
        item.work_us = work_ns // 1000
        item.received_at_ms = message.received_at_ms
        parent = parse_traceparent(message.trace.traceparent)
        if parent is not None:
            span = parent.child()
            item.trace.traceparent = span.traceparent
            self._note(verdict, message.call_id, span, parent_id=parent.span_id, work_ns=work_ns)
        if verdict.decision is Decision.CUT:
            self._recent_cuts.append((self._clock.monotonic_s(), peer.client_id, item))
        self._counters.add(VERDICTS, decision=verdict.decision.value, rule=verdict.rule.value)
        if not peer.send(item):
            log.warning("bargein.verdict.unsent", call_id=message.call_id, decision=verdict.decision.value)

    def _note(self, verdict: Verdict, call_id: str, span: SpanRef, *, parent_id: int, work_ns: int) -> None:
        end_ns = time.time_ns()
        self._recorder.note(
            "bargein.verdict",
            span,
            parent_id=parent_id,
            start_ns=end_ns - work_ns,
            end_ns=end_ns,
            kind=Kind.SERVER,
            attributes={
                "voicemesh.call.id": call_id,
                "voicemesh.bargein.decision": verdict.decision.value,
                "voicemesh.bargein.rule": verdict.rule.value,
                "voicemesh.bargein.word_count": verdict.word_count,
                "voicemesh.bargein.language": verdict.language,
                "voicemesh.bargein.through_generation": verdict.through_generation,
                "voicemesh.bargein.playout_known": verdict.playout_known,
                "voicemesh.bargein.into_playout_ms": verdict.into_playout_ms,
                "voicemesh.pii.matched": verdict.matched,
            },
        )

    def _end_trace(self, trace_id: str, *, keep: bool) -> None:
        try:
            number = int(trace_id, 16)
        except ValueError:
            raise wire.Unreadable("turn_ended.trace_id is not a hexadecimal number; it must be 32 hex digits") from None
        self._recorder.end_trace(number, keep)
