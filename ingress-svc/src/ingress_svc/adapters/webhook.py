"""Vapi's webhooks over HTTP: size, then signature over the raw bytes, then parsing, then the event."""

from __future__ import annotations

import time

from aiohttp import web
from svc_runtime import stream
from svc_runtime.metrics import Counters
from svc_runtime.telemetry import Kind, SpanRef, parse_traceparent

from ingress_svc.adapters import lean_json, wire
from ingress_svc.adapters.calls import Calls, LiveCall
from ingress_svc.adapters.guard import Guard, refused
from ingress_svc.adapters.mesh import Mesh
from ingress_svc.adapters.turns import Turn
from ingress_svc.domain import vapi

EVENT_ID = "X-Voicemesh-Event-Id"
WEBHOOKS = "voicemesh.webhooks"
UNKNOWN = "voicemesh.webhooks.unknown"
BAD = "voicemesh.webhooks.bad"
DROPPED = "voicemesh.webhooks.dropped_chars"
_EMPTY = b"{}"


class VapiWebhook:
    """`POST /vapi/webhook`. A 2xx for what is read, but partial words, means that session-svc's store has it."""

    def __init__(self, *, guard: Guard, calls: Calls, mesh: Mesh, counters: Counters, hold_s: float) -> None:
        self._guard = guard
        self._calls = calls
        self._mesh = mesh
        self._counters = counters
        self._hold_s = hold_s
        counters.declare(
            WEBHOOKS, "Webhooks by how they were answered.", answer=("taken", "partial", "shed", "refused", "unknown")
        )
        counters.declare(UNKNOWN, "Webhooks of a type that has no effect here.", type=sorted(vapi.UNKNOWN_TYPES))
        counters.declare(DROPPED, "Characters of webhooks left out because a text or a history is over its cap.")
        counters.declare(BAD, "Webhooks that cannot be read.", reason=tuple(reason.value for reason in vapi.BadReason))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw, received_ns = await self._guard.webhook(request)
        received_ms = received_ns // 1_000_000
        try:
            body = lean_json.parse(raw)
        except ValueError:
            return refused(400, "the body must be JSON in UTF-8")
        try:
            webhook = vapi.decode(
                body, received_at_ms=received_ms, header_call_id=request.headers.get("x-call-id"), raw=raw
            )
        except vapi.BadWebhook as error:
            self._counters.add(BAD, reason=error.reason.value)
            return refused(400, str(error))
        if webhook.dropped_chars:
            self._counters.add(DROPPED, webhook.dropped_chars)
        if isinstance(webhook.body, vapi.Unknown):
            self._counters.add(UNKNOWN, type=webhook.body.counted_as)
            self._counters.add(WEBHOOKS, answer="unknown")
            return _taken(webhook.event_id)
        return await self._known(request, webhook, received_ns)

    async def _known(self, request: web.Request, webhook: vapi.Webhook, received_ns: int) -> web.StreamResponse:
        call = self._calls.get(webhook.call_id)
        outside = request.headers.get("traceparent")
        turn = self._calls.turn_of(call, parse_traceparent(outside) if outside else None)
        turns = self._calls.turns
        ack = turns.child(turn.root)
        # Both streams have the event before the first await, so a handler that is cancelled because its peer went away
        # loses nothing. Barge-in comes first: the caller is speaking.
        taken = self._watch(call, webhook, turn, ack, received_ns)
        body = webhook.body
        if isinstance(body, vapi.Words) and not body.final:
            response = self._partial(webhook, body, ack, received_ns, taken=taken)
        else:
            response = await self._durable(call, webhook, turn, ack, received_ns)
        turns.note(turn, "ingress.ack", received_ns, span=ack, kind=Kind.SERVER)
        return response

    def _watch(self, call: LiveCall, webhook: vapi.Webhook, turn: Turn, ack: SpanRef, received_ns: int) -> bool:
        """Send what bears on barge-in, and measure the way to a verdict."""
        turns = self._calls.turns
        hop = turns.child(ack)
        event = wire.watch_event(
            webhook,
            received_at_ms=received_ns // 1_000_000,
            traceparent=turns.context(hop),
            playing=call.playing,
        )
        if event is None:
            return True
        if not vapi.may_cut(webhook.body):
            return self._mesh.watch(event, urgent=False)
        sent_ns = time.time_ns()

        def judged() -> None:
            turns.note(turn, "bargein.verdict", sent_ns, span=hop, parent=ack, kind=Kind.CLIENT)

        # The answer itself may take its time where there is nothing to judge.
        call.unjudged[webhook.event_id] = judged
        taken = self._mesh.watch(event, lambda _: call.unjudged.pop(webhook.event_id, None))
        if not taken:
            del call.unjudged[webhook.event_id]
        return taken

    def _partial(
        self, webhook: vapi.Webhook, words: vapi.Words, ack: SpanRef, received_ns: int, *, taken: bool
    ) -> web.Response:
        """Answer from memory: partial words are ephemeral. Over the limit they are dropped, counted, and still 200."""
        if taken and words.party is vapi.Party.CALLER:
            context = self._calls.turns.context(ack)
            event = wire.call_event(webhook, received_at_ms=received_ns // 1_000_000, traceparent=context)
            try:
                self._mesh.sessions.of(webhook.call_id).submit(event, urgent=False)
            except (stream.Overloaded, stream.EventTooLarge):
                taken = False
        self._counters.add(WEBHOOKS, answer="partial" if taken else "shed")
        return _taken(webhook.event_id)

    async def _durable(
        self, call: LiveCall, webhook: vapi.Webhook, turn: Turn, ack: SpanRef, received_ns: int
    ) -> web.Response:
        """Answer once session-svc's store has it, or 503 when that takes longer than the hold."""
        turns = self._calls.turns
        hop = turns.child(ack)
        event = wire.call_event(webhook, received_at_ms=received_ns // 1_000_000, traceparent=turns.context(hop))
        sent_ns = time.time_ns()
        try:
            answer = self._mesh.deliver(event, self._hold_s)
        except stream.Overloaded:
            return self._busy()
        except stream.EventTooLarge as error:
            return refused(413, str(error))
        self._apply(call, webhook, received_ns)
        outcome = await answer
        if outcome.code == stream.OK:
            turns.note(turn, "session.fold", sent_ns, span=hop, parent=ack, kind=Kind.CLIENT)
            self._counters.add(WEBHOOKS, answer="taken")
            return _taken(webhook.event_id)
        if outcome.code == stream.INVALID:
            self._counters.add(WEBHOOKS, answer="refused")
            return refused(400, outcome.message)
        return self._busy()

    def _apply(self, call: LiveCall, webhook: vapi.Webhook, received_ns: int) -> None:
        """Let the output know what the caller hears."""
        body = webhook.body
        if isinstance(body, vapi.SpeechEdge):
            self._calls.speech(call, body, webhook.at_ms, received_ns)
        elif isinstance(body, vapi.CallReported) or (
            isinstance(body, vapi.CallStatus) and body.phase is vapi.Phase.ENDED
        ):
            self._calls.ended(call)

    def _busy(self) -> web.Response:
        self._counters.add(WEBHOOKS, answer="refused")
        return refused(503, "the session service did not take the event in time; send it again", retry_after_s=1)


def _taken(event_id: str) -> web.Response:
    return web.Response(body=_EMPTY, headers={"Content-Type": "application/json", EVENT_ID: event_id})
