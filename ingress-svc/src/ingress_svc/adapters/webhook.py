"""Vapi's webhooks over HTTP: size, then signature over the raw bytes, then parsing, then the event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from aiohttp import web
from svc_runtime import logs, stream
from svc_runtime.metrics import Counters
from svc_runtime.telemetry import Kind, SpanRef, parse_traceparent

from ingress_svc.adapters import lean_json, wire
from ingress_svc.adapters.answering import Answering
from ingress_svc.adapters.calls import Calls
from ingress_svc.adapters.guard import UNPROVEN, Guard, url_of
from ingress_svc.adapters.live_call import LiveCall
from ingress_svc.adapters.mesh import Mesh
from ingress_svc.adapters.phone_control import PhoneControls
from ingress_svc.adapters.reply import Reply, SendReply, refused, response, taken
from ingress_svc.adapters.turns import Turn
from ingress_svc.domain import asks, vapi
from ingress_svc.domain.answers import Plan
from ingress_svc.domain.overload import SHARE, Overload, Worth, worth_of

WEBHOOKS = "voicemesh.webhooks"
UNKNOWN = "voicemesh.webhooks.unknown"
BAD = "voicemesh.webhooks.bad"
DROPPED = "voicemesh.webhooks.dropped_chars"


PlanOf = Callable[[LiveCall | None, object], tuple[str, Plan]]
"""Returns the agent that has a call, if ingress knows it, or that the body of the ask leads to, and its plan."""


class VapiWebhook:
    """`POST /vapi/webhook`. A 2xx for what is read, but partial words, means that session-svc's store has it."""

    def __init__(
        self,
        *,
        guard: Guard,
        calls: Calls,
        mesh: Mesh,
        answering: Answering,
        plan_of: PlanOf,
        phone: PhoneControls,
        counters: Counters,
        hold_s: float,
    ) -> None:
        self._guard = guard
        self._calls = calls
        self._answering = answering
        self._plan_of = plan_of
        self._phone = phone
        self._mesh = mesh
        self._counters = counters
        self._hold_s = hold_s
        self._loop = asyncio.get_running_loop()
        self.overload = Overload()
        counters.declare(
            WEBHOOKS,
            "Webhooks by how they were answered.",
            answer=("taken", "partial", "shed", "refused", "overloaded", "unknown", "asked", "ordered"),
        )
        counters.declare(UNKNOWN, "Webhooks of a type that has no effect here.", type=sorted(vapi.UNKNOWN_TYPES))
        counters.declare(DROPPED, "Characters of webhooks left out because a text or a history is over its cap.")
        counters.declare(BAD, "Webhooks that cannot be read.", reason=tuple(reason.value for reason in vapi.BadReason))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve a webhook that aiohttp has read."""
        raw = await self._guard.webhook(request)
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def reply(given: Reply) -> None:
            # Its peer may have gone away meanwhile, which cancels the handler.
            if not answer.done():
                answer.set_result(given)

        self.receive(request.headers, raw, url=url_of(request), reply=reply)
        return response(await answer)

    def receive(self, headers: Mapping[str, str], raw: bytes, *, url: str, reply: SendReply) -> None:
        """Take a webhook that was read whole.

        Both streams have its event when this returns, whatever becomes of its connection.
        """
        received_ns = time.time_ns()
        away = self._turned_away(raw)
        if away is not None and away is not Worth.PARTIAL:
            # Not even its proof is looked at: what that costs is what is short.
            self._counters.add(WEBHOOKS, answer="overloaded")
            reply(refused(503, "ingress-svc has more to do than it can; send it again", retry_after_s=1))
            return
        if not self._guard.proves(headers, raw, url=url, now_s=received_ns / 1e9):
            reply(refused(401, UNPROVEN))
            return
        if away is Worth.PARTIAL:
            # Unread, so its answer names no event.
            self._counters.add(WEBHOOKS, answer="shed")
            reply(Reply(200, b"{}"))
            return
        try:
            parsed = lean_json.parse(raw)
            webhook = vapi.decode(
                parsed,
                received_at_ms=received_ns // 1_000_000,
                header_call_id=headers.get("x-call-id"),
                raw=raw,
            )
        except vapi.BadWebhook as error:
            self._counters.add(BAD, reason=error.reason.value)
            reply(refused(400, str(error)))
            return
        except ValueError:
            self._counters.add(BAD, reason=vapi.BadReason.NOT_JSON.value)
            reply(refused(400, "the body must be JSON in UTF-8"))
            return
        if webhook.dropped_chars:
            self._counters.add(DROPPED, webhook.dropped_chars)
        body = webhook.body
        if isinstance(body, vapi.Unknown):
            self._counters.add(UNKNOWN, type=body.counted_as)
            self._counters.add(WEBHOOKS, answer="unknown")
            reply(taken(webhook.event_id))
        elif isinstance(body, asks.PhoneControl):
            self._counters.add(WEBHOOKS, answer="ordered")
            reply(taken(webhook.event_id))
            self._phone.carry_out(webhook, body)
        elif isinstance(body, asks.Ask):
            self._counters.add(WEBHOOKS, answer="asked")
            self._asked(webhook, body, parsed, received_ns, reply)
        else:
            self._known(headers, webhook, raw, received_ns, reply)

    def _turned_away(self, raw: bytes) -> Worth | None:
        """Return what a body is worth if it is not to be read."""
        overload, now_s = self.overload, time.monotonic()
        if not overload.turning:
            overload.turned(now_s)
            self._loop.call_soon(self._turn_over)
        if not overload.strained(now_s):
            return None
        worth = worth_of(raw)
        return worth if overload.refuses(worth, now_s, self._mesh.waiting) else None

    def _turn_over(self) -> None:
        if (worth := self.overload.over(time.monotonic())) is not None:
            logs.get().warning("overload.began", turned_away=worth.name.lower())

    def _asked(self, webhook: vapi.Webhook, ask: asks.Ask, parsed: object, received_ns: int, reply: SendReply) -> None:
        """Answer from the agent's plan, or have its tools run. It makes no call known here."""
        call = self._calls.known(webhook.call_id)
        turn = call.turn if call is not None else None
        if call is not None:
            self._calls.learn_control(call, webhook.control_url)

        def answer(given: Reply) -> None:
            reply(given)
            if turn is not None:
                self._calls.turns.note(turn, "ingress.answer", received_ns, kind=Kind.SERVER)

        agent, plan = self._plan_of(call, parsed)
        self._answering.answer(webhook, ask, plan, answer, agent=agent)

    def _known(
        self, headers: Mapping[str, str], webhook: vapi.Webhook, raw: bytes, received_ns: int, reply: SendReply
    ) -> None:
        call = self._calls.get(webhook.call_id)
        if not call.agent:
            self._calls.choose_agent(call, lambda: lean_json.whole(raw))
        self._calls.learn_control(call, webhook.control_url)
        outside = headers.get("traceparent")
        turn = self._calls.turn_of(call, parse_traceparent(outside) if outside else None)
        turns = self._calls.turns
        ack = turns.child(turn.root)

        def answer(given: Reply) -> None:
            reply(given)
            turns.note(turn, "ingress.ack", received_ns, span=ack, kind=Kind.SERVER)

        # Barge-in comes first: the caller is speaking.
        watched = self._watch(call, webhook, turn, ack, received_ns)
        body = webhook.body
        if isinstance(body, vapi.Words) and not body.final:
            answer(self._partial(webhook, body, ack, received_ns, watched=watched))
        else:
            self._durable(call, webhook, turn, ack, received_ns, answer)

    def _watch(self, call: LiveCall, webhook: vapi.Webhook, turn: Turn, ack: SpanRef, received_ns: int) -> bool:
        """Send what bears on barge-in, and measure the way to a verdict."""
        turns = self._calls.turns
        hop = turns.child(ack)
        event = wire.watch_event(
            webhook,
            received_at_ms=received_ns // 1_000_000,
            traceparent=turns.context(hop),
            playing=call.playing,
            agent=call.agent,
            agent_settled=call.agent_settled,
        )
        if event is None:
            return True
        if not vapi.may_cut(webhook.body):
            return self._mesh.watch(event, urgent=False, share=_share(webhook.body))
        sent_ns = time.time_ns()

        def judged() -> None:
            turns.note(turn, "bargein.verdict", sent_ns, span=hop, parent=ack, kind=Kind.CLIENT)

        # The answer itself may take its time where there is nothing to judge.
        call.unjudged[webhook.event_id] = judged
        taken = self._mesh.watch(event, lambda _: call.unjudged.pop(webhook.event_id, None), share=_share(webhook.body))
        if not taken:
            del call.unjudged[webhook.event_id]
        return taken

    def _partial(
        self, webhook: vapi.Webhook, words: vapi.Words, ack: SpanRef, received_ns: int, *, watched: bool
    ) -> Reply:
        """Answer from memory: partial words are ephemeral. Over the limit they are dropped, counted, and still 200."""
        if watched and words.party is vapi.Party.CALLER:
            context = self._calls.turns.context(ack)
            event = wire.call_event(webhook, received_at_ms=received_ns // 1_000_000, traceparent=context)
            try:
                self._mesh.sessions.of(webhook.call_id).submit(event, urgent=False, share=SHARE[Worth.PARTIAL])
            except (stream.Overloaded, stream.EventTooLarge):
                watched = False
        self._counters.add(WEBHOOKS, answer="partial" if watched else "shed")
        return taken(webhook.event_id)

    def _durable(
        self, call: LiveCall, webhook: vapi.Webhook, turn: Turn, ack: SpanRef, received_ns: int, answer: SendReply
    ) -> None:
        """Answer once session-svc's store has it, or 503 when that takes longer than the hold."""
        hop = self._calls.turns.child(ack)
        context = self._calls.turns.context(hop)
        event = wire.call_event(
            webhook,
            received_at_ms=received_ns // 1_000_000,
            traceparent=context,
            agent=call.unsettled_agent,
            control_url=call.control.known_url,
        )
        sent_ns = time.time_ns()

        def settled(outcome: stream.Outcome) -> None:
            settled_ns = time.time_ns()
            if outcome.code == stream.OK:
                self.overload.answered((settled_ns - sent_ns) / 1e9, time.monotonic())
                call.agent_settled = True
            answer(self._settled(webhook, outcome))
            if outcome.code == stream.OK:
                self._calls.turns.note(
                    turn, "session.fold", sent_ns, span=hop, parent=ack, kind=Kind.CLIENT, end_ns=settled_ns
                )

        try:
            self._mesh.deliver(event, self._hold_s, settled, share=_share(webhook.body))
        except stream.Overloaded:
            answer(self._busy())
        except stream.EventTooLarge as error:
            answer(refused(413, str(error)))
        else:
            self._apply(call, webhook, received_ns)

    def _settled(self, webhook: vapi.Webhook, outcome: stream.Outcome) -> Reply:
        if outcome.code == stream.OK:
            self._counters.add(WEBHOOKS, answer="taken")
            return taken(webhook.event_id)
        if outcome.code == stream.INVALID:
            self._counters.add(WEBHOOKS, answer="refused")
            return refused(400, outcome.message)
        return self._busy()

    def _apply(self, call: LiveCall, webhook: vapi.Webhook, received_ns: int) -> None:
        """Let the output know what the caller hears."""
        body = webhook.body
        if isinstance(body, vapi.SpeechEdge):
            self._calls.speech(call, body, webhook.at_ms, received_ns)
        elif vapi.ends_call(body):
            self._calls.ended(call)

    def _busy(self) -> Reply:
        self._counters.add(WEBHOOKS, answer="refused")
        return refused(503, "the session service did not take the event in time; send it again", retry_after_s=1)


def _share(body: vapi.Body) -> float:
    """Return what of a queue may be full when an event is put in."""
    if isinstance(body, vapi.Words) and not body.final:
        return SHARE[Worth.PARTIAL]
    return SHARE[Worth.LAST if vapi.ends_call(body) else Worth.EVENT]
