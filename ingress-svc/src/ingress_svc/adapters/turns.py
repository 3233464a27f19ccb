"""The traces of turns: one a turn, from the caller's first word to the end of the agent's playout."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from svc_runtime.budget import Budget, Hop
from svc_runtime.telemetry import NO_ATTRIBUTES, Kind, Recorder, SpanRef, Value, new_trace
from voicemesh.type.v1 import call_pb2

from ingress_svc.domain.turn import TurnLog, keep_reason

Announce = Callable[[str, call_pb2.TurnEnded], None]
"""Tells every service that a turn of a call has ended."""


@dataclass(slots=True)
class Turn:
    """A turn that is going on, and where its trace is."""

    log: TurnLog
    root: SpanRef
    outside: SpanRef | None = None
    """The span of whoever called us with a W3C context: the root's parent."""
    over: bool = False
    timer: asyncio.TimerHandle | None = None
    """Ends the turn when nothing more is heard of it."""


@dataclass(slots=True)
class Turns:
    """Opens, measures and judges turns. One for the whole process."""

    recorder: Recorder
    budget: Budget
    announce: Announce
    one_in: int
    chance: random.Random = field(default_factory=random.Random)
    _verdicts: dict[tuple[str, bool], Mapping[str, Value]] = field(default_factory=dict)

    def opened(self, outside: SpanRef | None = None) -> Turn:
        """Begin a turn; ``outside`` is the span of a W3C context that came with its first event."""
        root = outside.child() if outside is not None else new_trace()
        return Turn(TurnLog(time.time_ns()), root, outside)

    def child(self, span: SpanRef) -> SpanRef:
        """Return a new span below ``span``; without tracing ``span`` itself, for nobody will tell them apart."""
        return span.child() if self.recorder.enabled else span

    def context(self, span: SpanRef) -> str:
        """Return what travels in a message for the receiver's spans; nothing without tracing."""
        return span.traceparent if self.recorder.enabled else ""

    def note(
        self,
        turn: Turn,
        hop: str,
        start_ns: int,
        *,
        span: SpanRef | None = None,
        parent: SpanRef | None = None,
        kind: Kind = Kind.INTERNAL,
        end_ns: int = 0,
        error: str = "",
    ) -> None:
        """Measure a hop of a turn that ended now, or at ``end_ns``.

        Of a turn that is over it is a span only, for one of session-svc may stand under it: the event that ends a turn
        is answered behind its end.
        """
        end_ns = end_ns or time.time_ns()
        if not turn.over:
            turn.log.note(hop, (end_ns - start_ns) // 1000)
        if self.recorder.enabled:
            self.recorder.note(
                hop,
                span or turn.root.child(),
                parent_id=(parent or turn.root).span_id,
                start_ns=start_ns,
                end_ns=end_ns,
                kind=kind,
                attributes=self._verdict_on(hop, (end_ns - start_ns) // 1000),
                error=error,
            )

    def end_later(self, call_id: str, turn: Turn, after_s: float) -> None:
        """End a turn in a while; a new call moves the time."""
        if turn.timer is not None:
            turn.timer.cancel()
        turn.timer = asyncio.get_running_loop().call_later(after_s, self.ended, call_id, turn)

    def ended(self, call_id: str, turn: Turn) -> None:
        """Judge a turn, note its root span, and tell everybody."""
        if turn.over:
            return
        turn.over = True
        if turn.timer is not None:
            turn.timer.cancel()
        hops = [Hop(name, duration_us, count) for name, (duration_us, count) in turn.log.hops.items()]
        judgement = self.budget.judge(hops)
        sampled = self.one_in > 0 and self.chance.randrange(self.one_in) == 0
        reason = keep_reason(turn.log, over_budget=not judgement.kept, sampled=sampled)
        self._note_root(call_id, turn, reason, judgement.culprit)
        self.announce(
            call_id,
            call_pb2.TurnEnded(
                trace_id=turn.root.trace_hex,
                turn=turn.log.number,
                keep=bool(reason),
                reason=reason,
                culprit=judgement.culprit,
                generation=turn.log.generation,
                hops=[
                    call_pb2.Hop(
                        name=hop.name,
                        duration_us=hop.duration_us,
                        budget_us=self.budget.limit_us(hop.name),
                        count=hop.count,
                    )
                    for hop in hops
                ],
            ),
        )
        self.recorder.end_trace(turn.root.trace_id, bool(reason))

    def _note_root(self, call_id: str, turn: Turn, reason: str, culprit: str) -> None:
        if not self.recorder.enabled:
            return
        self.recorder.note(
            "turn",
            turn.root,
            parent_id=turn.outside.span_id if turn.outside else 0,
            start_ns=turn.log.started_ns,
            end_ns=time.time_ns(),
            kind=Kind.SERVER,
            attributes={
                "voicemesh.call.id": call_id,
                "voicemesh.turn.number": turn.log.number,
                "voicemesh.generation": turn.log.generation,
                "voicemesh.turn.cut": turn.log.cut,
                "voicemesh.turn.reason": reason,
                "voicemesh.turn.culprit": culprit,
            },
            error="generation_failed" if turn.log.failed else "",
        )

    def _verdict_on(self, hop: str, duration_us: int) -> Mapping[str, Value]:
        limit_us = self.budget.limit_us(hop)
        if not limit_us:
            return NO_ATTRIBUTES
        verdict = (hop, duration_us <= limit_us)
        # Every event of a traced mesh asks, and there are two answers a hop.
        attributes = self._verdicts.get(verdict)
        if attributes is None:
            attributes = {"voicemesh.budget_ms": limit_us / 1000, "voicemesh.budget.kept": verdict[1]}
            self._verdicts[verdict] = attributes
        return attributes
