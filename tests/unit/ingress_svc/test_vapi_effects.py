"""What each of Vapi's messages does, in both shapes: what is answered, counted, and sent to whom."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from fakes.ingress import Edge, edge, signed
from fakes.streams import until
from fakes.vapi_samples import CALL, NAMES, sample, seed_shape
from ingress_svc.adapters.answering import ASKS
from ingress_svc.adapters.phone_control import ORDERS
from ingress_svc.adapters.webhook import UNKNOWN, WEBHOOKS
from ingress_svc.domain.asks import READERS

CALL_ID = f"vapi:{CALL}"


class Effect(NamedTuple):
    """What a message leaves behind."""

    answer: str
    """As `voicemesh.webhooks` counts it."""
    session: tuple[str, ...] = ()
    """What session-svc is told."""
    bargein: tuple[str, ...] = ()
    """What bargein-svc is told."""
    calls: int = 1
    """Calls that ingress knows then."""
    counted: tuple[str, dict[str, str]] | None = None
    """What is counted besides."""


def durable(session: str, *bargein: str) -> Effect:
    return Effect("taken", (session,), bargein)


def unknown(name: str) -> Effect:
    return Effect("unknown", calls=0, counted=(UNKNOWN, {"type": name}))


def asked(name: str) -> Effect:
    return Effect("asked", calls=0, counted=(ASKS, {"type": name, "answer": "plan"}))


def ordered(request: str) -> Effect:
    return Effect("ordered", counted=(ORDERS, {"request": request, "done": "sent"}))


EFFECTS = {
    "seed_shape/end-of-call-report": durable("report", "call_over"),
    "seed_shape/speech-update.started": durable("speech", "speech"),
    "seed_shape/speech-update.stopped": durable("speech", "speech"),
    "seed_shape/transcript.final": durable("words", "words"),
    "seed_shape/transcript.partial": Effect("partial", ("words",), ("words",)),
    "server/assistant-request": asked("assistant-request"),
    "server/assistant.speechStarted.text": unknown("assistant.speechStarted"),
    "server/assistant.speechStarted.word-alignment": unknown("assistant.speechStarted"),
    "server/assistant.started": unknown("assistant.started"),
    "server/call.artifact.upload": unknown("call.artifact.upload"),
    "server/call.delete.failed": unknown("call.delete.failed"),
    "server/call.deleted": unknown("call.deleted"),
    "server/chat.deleted": unknown("chat.deleted"),
    "server/conversation-update": durable("history"),
    "server/end-of-call-report": durable("report", "call_over"),
    "server/hang": durable("agent_silent"),
    "server/knowledge-base-request": asked("knowledge-base-request"),
    "server/language-change-detected": unknown("language-change-detected"),
    "server/model-output.token": unknown("model-output"),
    "server/phone-call-control.hang-up": ordered("hang-up"),
    "server/session.created": unknown("session.created"),
    "server/session.deleted": unknown("session.deleted"),
    "server/speech-update.assistant-started": durable("speech", "speech"),
    "server/speech-update.assistant-stopped": durable("speech", "speech"),
    "server/speech-update.user-started": durable("speech", "speech"),
    "server/status-update.ended": durable("call_status", "call_over"),
    "server/status-update.in-progress": durable("call_status"),
    "server/tool-calls.docs-flat-arguments": asked("tool-calls"),
    "server/tool-calls.schema-string-args": asked("tool-calls"),
    "server/tool-calls.wire-object-args": asked("tool-calls"),
    "server/transcript-final-only.user": durable("words", "words"),
    "server/transcript.final.assistant": durable("words", "words"),
    "server/transcript.final.user": durable("words", "words"),
    "server/transcript.partial.user": Effect("partial", ("words",), ("words",)),
    "server/transfer-destination-request": asked("transfer-destination-request"),
    "server/user-interrupted": durable("interrupted", "interrupted"),
    "server/voice-input": unknown("voice-input"),
    "server/voice-request": asked("voice-request"),
    "server_legacy/function-call": asked("function-call"),
    "server_legacy/language-changed": unknown("language-change-detected"),
    "server_made/call.endpointing.request": asked("call.endpointing.request"),
    "server_made/campaign.predial": asked("campaign.predial"),
    "server_made/chat.created": unknown("chat.created"),
    "server_made/function-call.arguments": asked("function-call"),
    "server_made/handoff-destination-request": asked("handoff-destination-request"),
    "server_made/phone-call-control.forward": ordered("forward"),
    "server_made/session.updated": unknown("session.updated"),
    "server_made/tool-calls.docs-flat-parameters": asked("tool-calls"),
    "server_made/transfer-update": unknown("transfer-update"),
}
"""By sample. Of the documented types none is missing."""
OWN = {"turn_ended", "cut_requested"}
"""What ingress reports by itself: the end of a turn, and what became of a verdict on the caller's words."""


@pytest.fixture
async def at() -> AsyncIterator[Edge]:
    # No control URL is called from here.
    async with edge(control_hosts=()) as running:
        yield running


def test_every_sample_and_every_type_that_is_asked_has_an_effect() -> None:
    assert set(EFFECTS) == set(NAMES)
    kinds = {json.dumps(sample(name)["message"].get("type", sample(name).get("type"))).strip('"') for name in NAMES}
    assert set(READERS) <= kinds


async def sent_on(at: Edge) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the services were told of the samples' call and of no other: both streams keep their order."""
    assert (await at.provider.final("that is all", call="sentinel"))[0] == 200
    await until(lambda: any(event.call_id == "vapi:sentinel" for event in at.mesh.bargein.events))
    session = [event for event in at.mesh.session.events if event.call_id != "vapi:sentinel"]
    bargein = [event for event in at.mesh.bargein.events if event.call_id != "vapi:sentinel"]
    assert {event.call_id for event in session} | {event.call_id for event in bargein} <= {CALL_ID}
    told = (str(event.WhichOneof("kind")) for event in session)
    watched = (str(event.WhichOneof("kind")) for event in bargein)
    return tuple(kind for kind in told if kind not in OWN), tuple(kind for kind in watched if kind not in OWN)


@pytest.mark.parametrize("name", sorted(EFFECTS))
@pytest.mark.parametrize(("path", "shape"), [("/vapi/webhook", dict), ("/webhook/vapi", seed_shape)])
async def test_d1_every_message_has_its_effect_and_no_other(at: Edge, name: str, path: str, shape: Any) -> None:
    effect = EFFECTS[name]
    body = json.dumps(shape(sample(name))).encode()
    status, _, headers = await at.provider.post(path, body, signed(body))
    assert status == (404 if name == "server/voice-request" else 200)
    assert status == 404 or headers["X-Voicemesh-Event-Id"]
    assert len(at.ingress.calls) == effect.calls
    counters = at.ingress.counters
    assert counters.value(WEBHOOKS, answer=effect.answer) == 1
    if effect.counted is not None:
        metric, labels = effect.counted
        assert counters.value(metric, **labels) == 1
    assert await sent_on(at) == (effect.session, effect.bargein)
