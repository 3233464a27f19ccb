"""Two ingresses in front of one session-svc: whichever saw the control URL, both can act on the call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fakes.ingress import CALL, CALL_ID, Edge, edge, signed
from fakes.streams import serving, until
from fakes.vapi_control import control_server
from ingress_svc.domain.control import ACCEPTED, Outcome, Say
from session_svc.adapters.call_table import CallTable
from session_svc.adapters.memory_store import MemoryStore
from session_svc.adapters.servicer import SHAPE
from session_svc.domain.call import Policy
from svc_runtime.clock import SystemClock
from svc_runtime.feed import Feed
from svc_runtime.metrics import Counters
from svc_runtime.telemetry import recorder
from voicemesh.session.v1 import session_pb2 as pb


@asynccontextmanager
async def session() -> AsyncIterator[tuple[str, MemoryStore]]:
    """Run session-svc's own table and feed; yield its address and its store."""
    store, counters = MemoryStore(), Counters()

    def send(ingress_id: str, command: pb.Command) -> None:
        if (peer := feed.peers.get(ingress_id)) is not None:
            peer.send(command)

    table = CallTable(
        store,
        lambda agent: Policy(),
        clock=SystemClock(),
        recorder=recorder("session-svc", "", counters=counters),
        counters=counters,
        send=send,
        address="here:1",
    )
    feed = Feed(SHAPE, table.handle, on_batch_end=table.end_of_batch, on_open=lambda p: table.connected(p.client_id))
    await table.start()
    async with serving(feed) as server:
        yield f"127.0.0.1:{server.port}", store


async def tell(at: Edge, call: dict[str, Any], **fields: object) -> None:
    at.provider.at_ms += 1
    body = json.dumps({"message": {"call": call, "timestamp": at.provider.at_ms} | fields}).encode()
    assert (await at.provider.post("/vapi/webhook", body, signed(body)))[0] == 200


async def test_an_ingress_acts_on_a_call_whose_url_only_another_one_saw() -> None:
    async with control_server() as vapi, session() as (target, store):
        vapi.calls.add(CALL)
        settings: dict[str, Any] = {"control_hosts": ("127.0.0.1",), "session_targets": (target,)}
        async with edge(**settings) as sees, edge(**settings) as speaks:
            monitored = {"id": CALL, "monitor": {"controlUrl": vapi.url(CALL)}}
            await tell(sees, monitored, type="status-update", status="in-progress")
            # Neither has a `monitor`, and both reach the other ingress.
            await tell(speaks, {"id": CALL}, type="transcript", transcriptType="final", role="user", transcript="Hi.")
            answer = await speaks.provider.ask("Hi.")
            await answer.all()
            outcomes: list[Outcome] = []
            speaks.ingress.calls.control(CALL_ID, Say("One moment."), outcomes.append)
            await until(lambda: outcomes)
            assert outcomes == [ACCEPTED]
            assert [body["content"] for body in vapi.taken] == ["One moment."]
            await asyncio.sleep(0)
            rows = await store.load_call(CALL_ID)
            assert rows
            assert not [row for row in rows if b"/control" in row.payload]
