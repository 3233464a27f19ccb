"""Slow turns over HTTP: a filler in time, and the answer by live call control."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.ingress import CALL, CALL_ID, Answer, Edge, edge
from fakes.mesh_servers import Script
from fakes.streams import until
from fakes.vapi_control import FakeControl, Mode, control_server
from ingress_svc.adapters.slow_turns import SLOW_TURNS
from ingress_svc.domain.control import Say
from ingress_svc.domain.slow_turn import SlowTurn
from ingress_svc.slow_turn_settings import FILLERS, read_slow_turn
from svc_runtime.config import ConfigError
from svc_runtime.toml_file import TomlFile
from voicemesh.session.v1 import session_pb2

WORDS = "a table for four"
WHOLE = "Four, then. For when?"
FILLER = "One moment."
TOOLS = [{"type": "function", "function": {"name": "endCall"}}]


@pytest.fixture
async def vapi() -> AsyncIterator[FakeControl]:
    async with control_server() as fake:
        fake.calls.add(CALL)
        yield fake


@asynccontextmanager
async def slow(tmp_path: Path, after_ms: int = 100, **settings: Any) -> AsyncIterator[Edge]:
    """An ingress that finds turns slow, with a model that says nothing until it is let."""
    agent = tmp_path / "agent.toml"
    agent.write_text(f'[slow_turn]\nafter_ms = {after_ms}\nfiller = "{FILLER}"\n')
    async with edge(agent_file=str(agent), control_hosts=("127.0.0.1",), **settings) as at:
        at.mesh.llm.script = Script(gate=0)
        yield at


async def ask(at: Edge, vapi: FakeControl | None, *words: str, **more: object) -> Answer:
    known = len(at.mesh.llm.generations)
    monitor = {"monitor": {"controlUrl": vapi.url(CALL)}} if vapi else {}
    answer = await at.provider.ask(*(words or (WORDS,)), call={"id": CALL, **monitor}, **more)
    await until(lambda: len(at.mesh.llm.generations) > known)
    return answer


def speaks(at: Edge) -> None:
    at.mesh.llm.generations[-1].opened.set()


def said(vapi: FakeControl) -> list[str]:
    return [body["content"] for body in vapi.taken]


async def ended(at: Edge, count: int = 1) -> session_pb2.GenerationEnded:
    await until(lambda: len(at.mesh.session.of("generation_ended")) == count)
    last: session_pb2.GenerationEnded = at.mesh.session.of("generation_ended")[-1]
    return last


def steps(at: Edge) -> list[int]:
    return [at.ingress.counters.value(SLOW_TURNS, step=step) for step in ("kept_open", "filler", "said", "not_said")]


async def test_a_slow_answer_is_said_behind_a_filler_that_ended_the_request(tmp_path: Path, vapi: FakeControl) -> None:
    async with slow(tmp_path) as at:
        answer = await (await ask(at, vapi)).all()
        assert (answer.text, answer.finish_reason, answer.done) == (FILLER, "stop", True)
        assert not at.mesh.llm.generations[0].ended
        speaks(at)
        assert (await ended(at)).said_text == f"{FILLER} {WHOLE}"
        assert said(vapi) == [WHOLE]
        assert steps(at) == [0, 1, 1, 0]
        again = await (await at.provider.ask(WORDS)).all()
        assert again.text == f"{FILLER} {WHOLE}"


async def test_an_answer_in_time_gets_no_filler(tmp_path: Path, vapi: FakeControl) -> None:
    async with slow(tmp_path) as at:
        at.mesh.llm.script = Script(gate=1)
        answer = await ask(at, vapi)
        await answer.some("Four, ")
        at.ingress.calls.slow_turns._late(at.ingress.calls.get(CALL_ID), 1, SlowTurn(100, (FILLER,)))
        speaks(at)
        assert (await answer.all()).text == WHOLE
        assert (said(vapi), steps(at)) == ([], [0, 0, 0, 0])


@pytest.mark.parametrize("why", ["no control url", "tools of the provider", "no stream"])
async def test_where_no_answer_could_follow_the_request_stays_open(why: str, tmp_path: Path, vapi: FakeControl) -> None:
    async with slow(tmp_path) as at:
        if why == "no stream":
            asking = asyncio.ensure_future(ask(at, vapi, stream=False))
            await until(lambda: at.mesh.llm.generations)
        else:
            tools = {"tools": TOOLS} if why == "tools of the provider" else {}
            answer = await ask(at, vapi if tools else None, **tools)
        await until(lambda: steps(at) == [1, 0, 0, 0])
        speaks(at)
        if why == "no stream":
            assert WHOLE in await (await asking).response.text()
        else:
            assert (await answer.all()).text == WHOLE
        assert said(vapi) == []


async def test_a_cut_silences_an_answer_that_waits_and_its_model(tmp_path: Path, vapi: FakeControl) -> None:
    async with slow(tmp_path) as at:
        await (await ask(at, vapi)).all()
        await at.provider.partial("stop")
        await until(lambda: at.mesh.llm.generations[0].cancelled)
        await until(lambda: at.mesh.session.of("generation_cut"))
        assert at.mesh.session.of("generation_cut")[0].said_text == FILLER
        assert said(vapi) == []


async def test_an_answer_that_is_cut_while_another_command_is_sent_is_never_said(
    tmp_path: Path, vapi: FakeControl
) -> None:
    async with slow(tmp_path) as at:
        await (await ask(at, vapi)).all()
        vapi.script = [Mode.SLOW]
        at.ingress.calls.control(CALL_ID, Say("Please hold."))
        await vapi.arrived.wait()
        speaks(at)
        await until(lambda: at.ingress.calls.get(CALL_ID).control.waiting)
        await at.provider.partial("stop")
        await until(lambda: at.mesh.session.of("generation_cut"))
        vapi.go_on.set()
        await until(lambda: at.ingress.calls.get(CALL_ID).control.task is None)
        assert said(vapi) == ["Please hold."]


async def test_more_words_replace_an_answer_that_waits(tmp_path: Path, vapi: FakeControl) -> None:
    async with slow(tmp_path, after_ms=200) as at:
        await (await ask(at, vapi)).all()
        at.mesh.llm.script = Script()
        second = await (await ask(at, vapi, f"{WORDS} at seven")).all()
        assert second.text == WHOLE
        assert at.mesh.llm.generations[0].cancelled
        assert said(vapi) == []


async def test_an_answer_that_vapi_refuses_is_told_and_the_next_keeps_its_request(
    tmp_path: Path, vapi: FakeControl, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="voicemesh")
    async with slow(tmp_path) as at:
        vapi.script = [401]
        await (await ask(at, vapi)).all()
        speaks(at)
        record = await ended(at)
        assert (record.said_text, record.finish) == (FILLER, session_pb2.FINISH_REASON_FAILED)
        assert "slow_turn.not_said" in caplog.text
        answer = await ask(at, vapi, "and now?")
        await until(lambda: steps(at)[0] == 1)
        speaks(at)
        assert (await answer.all()).text == WHOLE
        assert steps(at) == [1, 1, 0, 1]


async def test_a_model_that_fails_behind_its_filler_is_apologised_for_aloud(tmp_path: Path, vapi: FakeControl) -> None:
    async with slow(tmp_path, first_piece_s=0.3) as at:
        await (await ask(at, vapi)).all()
        record = await ended(at)
        assert record.said_text == f"{FILLER} {said(vapi)[0]}"
        assert said(vapi)[0].startswith("Sorry")


async def test_an_ending_ingress_says_what_waits_first(tmp_path: Path, vapi: FakeControl) -> None:
    async with slow(tmp_path, drain_s=10.0) as at:
        await (await ask(at, vapi)).all()
        draining = asyncio.ensure_future(at.ingress.drain(asyncio.Event()))
        await until(lambda: at.ingress.draining)
        speaks(at)
        await draining
        assert said(vapi) == [WHOLE]


async def test_an_ingress_that_cannot_wait_gives_the_answer_up(tmp_path: Path, vapi: FakeControl) -> None:
    async with slow(tmp_path) as at:
        await (await ask(at, vapi)).all()
        await at.ingress.drain(asyncio.Event())
        await until(lambda: at.mesh.llm.generations[0].cancelled)
        assert said(vapi) == []


def settings(text: str) -> SlowTurn:
    file = TomlFile.parse(text, name="agent.toml")
    found = read_slow_turn(file.root)
    file.check()
    return found


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ('filler = "Hm."', "[slow_turn] after_ms is missing; it must be a whole number from 100 to 15000"),
        ("after_ms = 2", "[slow_turn] after_ms = 2 is not a whole number from 100 to 15000"),
        ("after_ms = 900\nfiller = []", "[slow_turn] filler = [] is not a text in quotes, or a list of such"),
        ("after_ms = 900\nfillers = 'Hm.'", "[slow_turn] fillers is not known; did you mean filler?"),
    ],
)
def test_a_setting_that_cannot_work_names_its_key(section: str, problem: str) -> None:
    with pytest.raises(ConfigError, match="slow_turn") as caught:
        settings(f"[slow_turn]\n{section}\n")
    assert problem in str(caught.value)


def test_it_is_off_unless_it_is_asked_for_and_fillers_take_turns() -> None:
    assert settings("").after_ms == 0
    assert settings("[slow_turn]\nafter_ms = 900\n").fillers == FILLERS
    plan = settings("[slow_turn]\nafter_ms = 900\nfiller = ['A.', 'B.']\n")
    assert [plan.filler(generation) for generation in (1, 2, 3)] == ["B.", "A.", "B."]
