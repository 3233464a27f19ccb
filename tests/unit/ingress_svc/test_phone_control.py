"""What Vapi leaves to us is done through live call control, once, and is told of."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakes.ingress import CALL, Edge, edge, signed
from fakes.streams import until
from fakes.vapi_control import FakeControl, control_server
from ingress_svc.adapters.phone_control import ONCE_IN_S, ORDERS

FORWARD: dict[str, Any] = {
    "request": "forward",
    "destination": {"type": "number", "number": "+15005550199", "message": "One moment."},
}


@pytest.fixture
async def vapi() -> AsyncIterator[FakeControl]:
    async with control_server() as fake:
        fake.calls.add(CALL)
        yield fake


@pytest.fixture
async def at() -> AsyncIterator[Edge]:
    async with edge(control_hosts=("127.0.0.1",)) as running:
        yield running


async def order(at: Edge, vapi: FakeControl | None, call: str | None = CALL, **fields: Any) -> bytes:
    """Send an order, and return its bytes, to be sent again."""
    at.provider.at_ms += 1
    about = {"id": call, "monitor": {"controlUrl": vapi.url(CALL)}} if vapi is not None else {"id": call}
    message = {"type": "phone-call-control", "timestamp": 1_787_428_800_000 + at.provider.at_ms, "call": about} | fields
    body = json.dumps({"message": message}).encode()
    await again(at, body)
    return body


async def again(at: Edge, body: bytes) -> None:
    status, text, _ = await at.provider.post("/vapi/webhook", body, signed(body))
    assert (status, text) == (200, "{}")


def done(at: Edge, request: str, word: str) -> int:
    return at.ingress.counters.value(ORDERS, request=request, done=word)


async def test_a_hang_up_that_vapi_leaves_to_us_ends_the_call(
    at: Edge, vapi: FakeControl, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "voicemesh"):
        await order(at, vapi, request="hang-up")
        await until(lambda: vapi.taken)
    assert vapi.taken == [{"type": "end-call"}]
    told = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "phone_control.in_force"]
    assert told == [{"request": "hang-up", "done": "sent"}]
    assert at.mesh.session.events == []


@pytest.mark.parametrize(
    ("destination", "sent"),
    [
        ({"type": "number", "number": "+15005550199"}, {"type": "number", "number": "+15005550199"}),
        ({"type": "sip", "sipUri": "sip:desk@example.com"}, {"type": "sip", "sipUri": "sip:desk@example.com"}),
    ],
)
async def test_a_forward_that_vapi_leaves_to_us_transfers_the_call(
    at: Edge, vapi: FakeControl, destination: dict[str, str], sent: dict[str, str]
) -> None:
    await order(at, vapi, request="forward", destination=destination | {"message": "One moment."})
    await until(lambda: vapi.taken)
    assert vapi.taken == [{"type": "transfer", "destination": sent, "content": "One moment."}]


async def test_an_order_is_carried_out_once_however_often_it_comes(at: Edge, vapi: FakeControl) -> None:
    body = await order(at, vapi, **FORWARD)
    await again(at, body)
    # What our own command leads to may come back as one more order.
    await order(at, vapi, **FORWARD)
    assert (done(at, "forward", "sent"), done(at, "forward", "again")) == (1, 2)
    await until(lambda: vapi.taken)
    assert len(vapi.asked) == 1


async def test_a_later_order_is_carried_out_again_but_not_one_that_is_delivered_late(
    at: Edge, vapi: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = await order(at, vapi, request="hang-up")
    await until(lambda: vapi.taken)
    monkeypatch.setattr("ingress_svc.adapters.phone_control.ONCE_IN_S", -ONCE_IN_S)
    await again(at, body)
    assert done(at, "hang-up", "again") == 1
    await order(at, vapi, request="hang-up")
    assert done(at, "hang-up", "sent") == 2


async def test_an_order_that_cannot_be_carried_out_is_told(
    at: Edge, vapi: FakeControl, caplog: pytest.LogCaptureFixture
) -> None:
    await order(at, vapi, call=None, request="hang-up")
    await order(at, vapi, request="forward", destination={"type": "assistant", "assistantName": "Robin"})
    await order(at, vapi, request="make-coffee")
    await order(at, None, call="without-url", request="hang-up")
    assert [
        done(at, "hang-up", "no_call"),
        done(at, "forward", "no_destination"),
        done(at, "other", "unknown"),
        done(at, "hang-up", "sent"),
    ] == [1, 1, 1, 1]
    assert vapi.asked == []
    failed = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "phone_control.failed"]
    assert failed == [{"reason": "no_url"}]
