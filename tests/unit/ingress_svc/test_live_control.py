"""Acting on a live call: where its control URL is learnt, in which order commands go, and that nobody waits."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakes.ingress import CALL, CALL_ID, ROOT, SECRET, Edge, edge, signed
from fakes.streams import until
from fakes.vapi_control import FakeControl, Mode, control_server
from ingress_svc.adapters.control import COMMANDS
from ingress_svc.adapters.control_lines import MOST_WAITING, URLS_REFUSED
from ingress_svc.config import Config
from ingress_svc.domain.control import ACCEPTED, EndCall, Failure, Mute, Outcome, Result, Say, failed
from ingress_svc.domain.vapi import Party
from ingress_svc.wiring import Ingress
from svc_runtime.config import ConfigError
from voicemesh.session.v1 import session_pb2
from voicemesh.type.v1 import call_pb2

FINAL = call_pb2.STABILITY_FINAL
GONE_UNSENT = Outcome(Result.GONE, tries=0)
NO_URL = failed(Failure.NO_URL, tries=0)


@pytest.fixture
async def vapi() -> AsyncIterator[FakeControl]:
    async with control_server() as fake:
        fake.calls.add(CALL)
        yield fake


@pytest.fixture
async def at() -> AsyncIterator[Edge]:
    async with edge(control_hosts=(".vapi.ai", "127.0.0.1")) as running:
        yield running


class Asked:
    """Commands as later code gives them, and what it was told of them."""

    def __init__(self, at: Edge) -> None:
        self.at = at
        self.outcomes: list[Outcome] = []

    def say(self, *texts: str, call_id: str = CALL_ID) -> None:
        for text in texts:
            self.at.ingress.calls.control(call_id, Say(text), self.outcomes.append)

    async def told(self, *outcomes: Outcome) -> None:
        await until(lambda: len(self.outcomes) >= len(outcomes))
        assert self.outcomes == list(outcomes)


async def tell(at: Edge, url: object, call: str = CALL, **fields: Any) -> int:
    """Send a webhook that carries a control URL."""
    at.provider.at_ms += 1
    message = {"type": "transcript", "transcriptType": "partial", "role": "user", "transcript": "uh"} | fields
    message |= {"call": {"id": call, "monitor": {"controlUrl": url}}}
    body = json.dumps({"message": message}).encode()
    return (await at.provider.post("/vapi/webhook", body, signed(body)))[0]


def said(vapi: FakeControl) -> list[str]:
    return [body["content"] for body in vapi.taken]


# --- where it is learnt ---------------------------------------------------------------------------------------------


async def test_a_call_is_controlled_where_its_webhooks_say(at: Edge, vapi: FakeControl) -> None:
    assert await tell(at, vapi.url(CALL)) == 200
    asked = Asked(at)
    asked.say("One moment.")
    await asked.told(ACCEPTED)
    assert said(vapi) == ["One moment."]


async def test_a_call_is_controlled_where_its_requests_say(at: Edge, vapi: FakeControl) -> None:
    answer = await at.provider.ask("hello", call={"id": CALL, "monitor": {"controlUrl": vapi.url(CALL)}})
    asked = Asked(at)
    asked.say("One moment.")
    await asked.told(ACCEPTED)
    await answer.all()


async def test_the_newest_url_counts_and_a_refused_one_changes_nothing(at: Edge, vapi: FakeControl) -> None:
    vapi.calls.add("moved")
    for url in (vapi.url(CALL), "https://evil-vapi.ai/c/control", vapi.url("moved"), "http://a.vapi.ai/c", None, 7):
        assert await tell(at, url) == 200
        assert await tell(at, url) == 200
    asked = Asked(at)
    asked.say("Hello.")
    await asked.told(ACCEPTED)
    assert vapi.heads[0].startswith("POST /moved/control ")
    counters = at.ingress.counters
    assert counters.value(URLS_REFUSED, reason="host_not_allowed") == 1
    assert counters.value(URLS_REFUSED, reason="not_https") == 1


async def test_without_a_usable_url_nothing_is_sent_and_the_asker_is_told(at: Edge) -> None:
    await tell(at, "https://169.254.169.254/latest/meta-data")
    asked = Asked(at)
    asked.say("Hello.")
    asked.say("Hello.", call_id="vapi:nobody")
    assert asked.outcomes == [NO_URL, NO_URL]
    assert len(at.ingress.calls) == 1
    assert (
        'voicemesh_control_failures_total{reason="no_url"} 2'
        in await (await at.provider.http.get(f"{at.url}/metrics")).text()
    )


async def test_an_empty_allow_list_switches_it_off(vapi: FakeControl) -> None:
    async with edge(control_hosts=()) as at:
        await tell(at, vapi.url(CALL))
        asked = Asked(at)
        asked.say("Hello.")
        assert asked.outcomes == [NO_URL]
        assert at.ingress.counters.value(URLS_REFUSED, reason="host_not_allowed") == 0


def take_control(at: Edge, url: str) -> None:
    at.ingress.calls.on_command(
        session_pb2.Command(
            command_id="control", call_id=CALL_ID, take_control=session_pb2.TakeControl(control_url=url)
        )
    )


async def test_a_url_that_another_ingress_saw_is_used_and_read_as_strictly(at: Edge, vapi: FakeControl) -> None:
    asked = Asked(at)
    take_control(at, "https://169.254.169.254/latest/meta-data")
    asked.say("Hello.")
    assert asked.outcomes == [NO_URL]
    take_control(at, vapi.url(CALL))
    asked.say("Hello.")
    await asked.told(NO_URL, ACCEPTED)
    assert at.ingress.counters.value(URLS_REFUSED, reason="host_not_allowed") == 1
    await tell(at, None, type="status-update", status="ended")
    take_control(at, vapi.url(CALL))
    assert at.ingress.calls.get(CALL_ID).control.url is None


async def test_what_is_durable_carries_a_url_that_may_be_used_and_partial_words_do_not(
    at: Edge, vapi: FakeControl
) -> None:
    await tell(at, "https://evil-vapi.ai/c/control", transcriptType="final")
    await tell(at, vapi.url(CALL))
    await tell(at, None, transcriptType="final")
    finals = [event.control_url for event in at.mesh.session.events if event.words.stability == FINAL]
    partials = [event.control_url for event in at.mesh.session.events if event.words.stability != FINAL]
    assert finals == ["", vapi.url(CALL)]
    assert set(partials) <= {""}


async def test_a_token_goes_with_each_command_and_without_one_none_does(vapi: FakeControl) -> None:
    for token, sent in (("pk-1", True), ("", False)):
        async with edge(control_hosts=("127.0.0.1",), control_token=token) as at:
            await tell(at, vapi.url(CALL))
            asked = Asked(at)
            asked.say("Hello.")
            await asked.told(ACCEPTED)
            assert ("authorization: bearer pk-1" in vapi.heads[-1].lower()) is sent


# --- in order, in the background, within limits ----------------------------------------------------------------------


async def test_commands_of_a_call_go_one_at_a_time_in_order(at: Edge, vapi: FakeControl) -> None:
    await tell(at, vapi.url(CALL))
    vapi.script = [Mode.SLOW]
    asked = Asked(at)
    asked.say("one", "two", "three")
    await vapi.arrived.wait()
    asked.say("four")
    vapi.go_on.set()
    await asked.told(*[ACCEPTED] * 4)
    assert said(vapi) == ["one", "two", "three", "four"]
    assert vapi.most_at_once == 1


async def test_a_failed_command_does_not_stop_those_behind_it(at: Edge, vapi: FakeControl) -> None:
    await tell(at, vapi.url(CALL))
    vapi.script = [Mode.DROP, 401]
    asked = Asked(at)
    asked.say("one", "two", "three")
    await asked.told(failed(Failure.LOST), failed(Failure.UNAUTHORIZED), ACCEPTED)


async def test_no_call_waits_for_another(at: Edge, vapi: FakeControl) -> None:
    vapi.calls.add("other")
    await tell(at, vapi.url(CALL))
    await tell(at, vapi.url("other"), call="other")
    vapi.script = [Mode.SLOW]
    asked = Asked(at)
    asked.say("one")
    await vapi.arrived.wait()
    other = Asked(at)
    other.say("two", call_id="vapi:other")
    await other.told(ACCEPTED)
    assert asked.outcomes == []


async def test_no_acknowledgement_waits_for_a_command(at: Edge, vapi: FakeControl) -> None:
    await tell(at, vapi.url(CALL))
    vapi.script = [Mode.SLOW]
    asked = Asked(at)
    asked.say("one")
    await vapi.arrived.wait()
    assert (await at.provider.partial("stop"))[0] == 200
    assert (await at.provider.final("stop it"))[0] == 200
    assert asked.outcomes == []


async def test_what_waits_for_a_call_is_bounded(at: Edge, vapi: FakeControl) -> None:
    await tell(at, vapi.url(CALL))
    vapi.script = [Mode.SLOW]
    asked = Asked(at)
    asked.say("sent")
    await vapi.arrived.wait()
    asked.say(*["waits"] * MOST_WAITING, "one too many")
    assert asked.outcomes == [failed(Failure.QUEUE_FULL, tries=0)]
    vapi.go_on.set()
    await until(lambda: len(asked.outcomes) == MOST_WAITING + 2)
    assert said(vapi) == ["sent", *["waits"] * MOST_WAITING]


async def test_a_defect_of_the_asker_harms_no_other_command(at: Edge, vapi: FakeControl) -> None:
    await tell(at, vapi.url(CALL))

    def defect(_: Outcome) -> None:
        raise RuntimeError

    asked = Asked(at)
    at.ingress.calls.control(CALL_ID, Mute(Party.AGENT), defect)
    asked.say("Hello.")
    at.ingress.calls.control("vapi:nobody", EndCall(), defect)
    await asked.told(ACCEPTED)


async def test_more_may_be_asked_for_when_an_outcome_is_told(at: Edge, vapi: FakeControl) -> None:
    await tell(at, vapi.url(CALL))
    asked = Asked(at)
    at.ingress.calls.control(CALL_ID, Say("first"), lambda _: asked.say("then"))
    await asked.told(ACCEPTED)
    assert said(vapi) == ["first", "then"]


# --- its end ---------------------------------------------------------------------------------------------------------


async def test_an_ended_call_is_not_spoken_to_and_its_url_is_forgotten(at: Edge, vapi: FakeControl) -> None:
    await tell(at, vapi.url(CALL))
    vapi.script = [Mode.SLOW]
    asked = Asked(at)
    asked.say("on its way", "waits")
    await vapi.arrived.wait()
    assert await tell(at, vapi.url(CALL), type="status-update", status="ended") == 200
    assert asked.outcomes == [GONE_UNSENT]
    assert await tell(at, vapi.url(CALL)) == 200
    asked.say("too late")
    assert asked.outcomes == [GONE_UNSENT, GONE_UNSENT]
    assert at.ingress.calls.get(CALL_ID).control.url is None
    vapi.go_on.set()
    await asked.told(GONE_UNSENT, GONE_UNSENT, ACCEPTED)
    assert said(vapi) == ["on its way"]


async def test_an_ending_ingress_lets_a_command_finish_for_a_while_and_stops_the_rest(vapi: FakeControl) -> None:
    async with edge(control_hosts=("127.0.0.1",)) as at:
        await tell(at, vapi.url(CALL))
        vapi.script = [Mode.WELL, Mode.SLOW]
        asked = Asked(at)
        asked.say("one", "two", "three")
        await until(lambda: len(vapi.asked) == 2)
        await at.ingress._controls.close(grace_s=0.01)
        asked.say("four")
    stopped = failed(Failure.STOPPED, tries=0)
    assert asked.outcomes == [ACCEPTED, failed(Failure.STOPPED), stopped, stopped]
    assert at.ingress.counters.value(COMMANDS, command="say", result="failed") == 3


# --- private, and measured -------------------------------------------------------------------------------------------


async def test_a_control_url_reaches_session_svc_in_its_own_field_and_nobody_else(
    at: Edge, vapi: FakeControl, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="voicemesh")
    asked = Asked(at)
    await tell(at, vapi.url("SECRET"), transcriptType="final")
    await tell(at, "https://evil-vapi.ai/SECRET/control")
    asked.say("SECRET words", "SECRET words")
    await asked.told(*[Outcome(Result.GONE)] * 2)
    answer = await at.provider.ask("hello", call={"id": CALL, "monitor": {"controlUrl": vapi.url("SECRET")}})
    await answer.all()
    events = [session_pb2.CallEvent.FromString(event.SerializeToString()) for event in at.mesh.session.events]
    assert {event.control_url for event in events if event.HasField("answer_requested")} == {vapi.url("SECRET")}
    for event in events:
        event.ClearField("control_url")
    told = [*events, *at.mesh.bargein.events, *(generation.request for generation in at.mesh.llm.generations)]
    assert not any(b"SECRET" in message.SerializeToString() for message in told)
    assert "control.gone" in caplog.text
    assert "SECRET" not in "".join(
        str(getattr(record, "fields", "")) + record.getMessage() for record in caplog.records
    )
    assert "SECRET" not in repr(at.ingress.calls.get(CALL_ID))


async def test_a_command_is_a_hop_of_its_turn(at: Edge, vapi: FakeControl) -> None:
    await tell(at, vapi.url(CALL))
    asked = Asked(at)
    asked.say("Hello.")
    await asked.told(ACCEPTED)
    turn = at.ingress.calls.get(CALL_ID).turn
    assert turn is not None
    assert turn.log.hops["control.send"][1] == 1


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"control_hosts": ("*.vapi.ai",)}, "VOICEMESH_CONTROL_HOSTS: '*.vapi.ai' is no host"),
        ({"control_hosts": ("10.0.0.1",)}, "VOICEMESH_CONTROL_HOSTS: '10.0.0.1' is no public host name"),
        ({"control_token": "pk 1"}, "VOICEMESH_CONTROL_TOKEN holds what no key has"),
        ({"control_timeout_s": 0.0}, "VOICEMESH_CONTROL_TIMEOUT_S=0.0 leaves no time"),
        ({"control_timeout_s": float("nan")}, "VOICEMESH_CONTROL_TIMEOUT_S=nan leaves no time"),
    ],
)
async def test_a_setting_that_cannot_work_is_told_at_the_start(settings: dict[str, Any], problem: str) -> None:
    config = Config(vapi_secrets=SECRET, budget_file=str(ROOT / "budget.toml"), **settings)
    with pytest.raises(ConfigError) as caught:
        Ingress(config)
    assert str(caught.value).startswith(problem)
