"""A call is given to an agent where it is first heard of, and that agent's reference is all that leaves ingress."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from fakes.call_events import event
from fakes.ingress import CALL, CALL_ID, Edge, edge, signed
from fakes.mesh_servers import Script
from fakes.streams import until
from ingress_svc.config import APOLOGY
from ingress_svc.domain.answers import NOT_SET_UP
from session_svc.domain.call import Call, Policy
from session_svc.domain.events import CallStatus, Phase
from session_svc.domain.fold import step

NUMBER = "+15005550006"
SALES = (
    f'[agent]\napology = "Sales is away."\n[match]\nnumbers = ["{NUMBER}"]\nmetadata = {{ tenant = "secret-tenant" }}\n'
)
ABOUT = {"phoneNumber": {"number": NUMBER}}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Edge]:
    (tmp_path / "sales.toml").write_text(SALES)
    async with edge(agents_dir=str(tmp_path)) as edge_:
        yield edge_


def agents_of(house: Edge) -> list[str]:
    return [event.agent for event in house.mesh.session.events]


async def test_the_first_webhook_gives_the_call_away_and_session_svc_is_told_until_it_has_it(house: Edge) -> None:
    await house.provider.webhook(type="status-update", status="in-progress", **ABOUT)
    await house.provider.final("Hello.")
    sales, then = agents_of(house)
    assert sales.startswith("sales@")
    assert then == ""
    assert house.mesh.session.calls[CALL_ID].agent == sales


async def test_words_carry_the_agent_to_bargein_svc_and_say_when_it_is_settled(house: Edge) -> None:
    await house.provider.webhook(type="transcript", transcriptType="partial", role="user", transcript="Hello", **ABOUT)
    await house.provider.final("Hello there.")
    await house.provider.partial("Are you")
    watched = house.mesh.bargein.events
    await until(lambda: len(watched) == 3)
    assert len({event.agent for event in watched}) == 1
    assert watched[0].agent.startswith("sales@")
    assert [event.agent_settled for event in watched] == [False, False, True]


async def test_a_request_that_comes_first_gives_the_call_away_too(house: Edge) -> None:
    await (await house.provider.ask("Hello.", phoneNumber={"number": NUMBER})).all()
    (generation,) = house.mesh.llm.generations
    assert generation.request.agent.startswith("sales@")
    assert agents_of(house)[0] == generation.request.agent


async def test_what_is_said_of_a_call_later_gives_it_to_nobody_else(house: Edge) -> None:
    await house.provider.webhook(type="status-update", status="in-progress")
    await (await house.provider.ask("Hello.", phoneNumber={"number": NUMBER})).all()
    assert house.mesh.llm.generations[0].request.agent.startswith("default@")


async def test_what_session_svc_has_recorded_holds_against_what_is_chosen_here(house: Edge) -> None:
    """As after a restart of ingress, or with another ingress that has read other files."""
    status = event(CallStatus(Phase.RINGING), 0)._replace(agent="sales@00000001")
    house.mesh.session.calls[CALL_ID] = step(Call(CALL_ID), status, Policy()).call
    await house.provider.webhook(type="status-update", status="in-progress", **ABOUT)
    await house.provider.partial("Hello")
    await until(lambda: house.mesh.bargein.events)
    assert house.mesh.bargein.events[-1].agent == "sales@00000001"
    assert house.mesh.bargein.events[-1].agent_settled
    await (await house.provider.ask("Hello.")).all()
    assert house.mesh.llm.generations[0].request.agent == "sales@00000001"


async def test_a_call_keeps_its_version_when_the_file_changes_and_a_new_call_gets_the_new_one(
    house: Edge, tmp_path: Path
) -> None:
    await house.provider.webhook(type="status-update", status="in-progress", **ABOUT)
    (tmp_path / "sales.toml").write_text(SALES.replace("is away", "is closed"))
    house.ingress._shelf.look()
    house.mesh.llm.script = Script((), fails=grpc.StatusCode.INTERNAL)
    before = await house.provider.ask("Hello.")
    after = await house.provider.ask("Hello.", call={"id": "call-2"}, **ABOUT)
    assert (await before.all()).text == "Sales is away."
    assert (await after.all()).text == "Sales is closed."
    one, two = (generation.request.agent for generation in house.mesh.llm.generations)
    assert one != two
    assert one.startswith("sales@")
    assert two.startswith("sales@")


async def test_what_vapi_asks_is_answered_by_the_plan_of_the_agent_that_has_the_call(
    house: Edge, tmp_path: Path
) -> None:
    """Or, before any has, by that of the agent which the ask itself leads to."""
    plan = SALES + '[vapi.assistant_request]\nassistant_id = "one"\n'
    (tmp_path / "sales.toml").write_text(plan)
    house.ingress._shelf.look()
    await house.provider.webhook(type="status-update", status="in-progress", **ABOUT)
    (tmp_path / "sales.toml").write_text(plan.replace('"one"', '"two"'))
    house.ingress._shelf.look()

    async def asked(call: str, **about: object) -> object:
        message = {"type": "assistant-request", "call": {"id": call}, "timestamp": int(time.time() * 1000)} | about
        body = json.dumps({"message": message}).encode()
        return json.loads((await house.provider.post("/vapi/webhook", body, signed(body)))[1])

    assert await asked(CALL) == {"assistantId": "one"}
    assert await asked("call-2", **ABOUT) == {"assistantId": "two"}
    assert await asked("call-3") == {"error": NOT_SET_UP}


async def test_the_default_agent_apologises_for_a_call_that_no_other_claims(house: Edge) -> None:
    house.mesh.llm.script = Script((), fails=grpc.StatusCode.INTERNAL)
    assert (await (await house.provider.ask("Hello.")).all()).text == APOLOGY


async def test_neither_number_nor_metadata_leaves_ingress(house: Edge) -> None:
    metadata = {"tenant": "secret-tenant"}
    await house.provider.webhook(type="status-update", status="in-progress", assistant={"metadata": metadata}, **ABOUT)
    await house.provider.partial("Hello")
    await (await house.provider.ask("Hello.", metadata=metadata, **ABOUT)).all()
    mesh = house.mesh
    sent = [*mesh.session.events, *mesh.bargein.events, *(one.request for one in mesh.llm.generations)]
    assert len(sent) > 3
    for message in sent:
        assert b"5005550006" not in message.SerializeToString()
        assert b"secret-tenant" not in message.SerializeToString()


async def test_a_body_with_more_in_it_than_can_be_read_is_the_default_agents(house: Edge) -> None:
    """It is read for its few fields; the rest is only looked at to choose."""
    odd = b'{"message":{"type":"hang","call":{"id":"call-1"},"artifact":{"x":"\xff"}}}'
    status, _, _ = await house.provider.post("/vapi/webhook", odd, signed(odd))
    assert status == 200
    assert agents_of(house)[0].startswith("default@")
