"""Traps of an agent's tools: calls left too early or not at all, results told too early or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.ingress import CALL, CALL_ID, Answer, Edge, edge
from fakes.mesh_servers import Script
from fakes.owner_server import FakeOwner, owner_server
from fakes.streams import until
from fakes.vapi_control import FakeControl, control_server
from ingress_svc.adapters import tool_desk
from ingress_svc.domain.agent_tools import OwnCall, Round, Tool
from ingress_svc.domain.tool_claims import ToolAsk
from voicemesh.llm.v1 import llm_pb2
from voicemesh.session.v1 import session_pb2

LOOK_UP = "One moment, let me look."
FILLER = "Hm, one moment."
BOOK = llm_pb2.Tool(
    name="book",
    definition_json='{"type":"function","function":{"name":"book"}}',
    speak_while_running=LOOK_UP,
    timeout_ms=2_000,
)
END = llm_pb2.Tool(name="end_call", definition_json='{"type":"function","function":{"name":"end_call"}}', builtin=True)
TELL = llm_pb2.Tool(
    name="tell_owner", definition_json='{"type":"function","function":{"name":"tell_owner"}}', builtin=True
)
THEIRS = {"type": "function", "function": {"name": "press"}}
WORDS = "a table for four"
SLOW = f'[slow_turn]\nafter_ms = 100\nfiller = "{FILLER}"\n'
BYE = "Thank you very much for calling, and goodbye."


def calls(*asked: tuple[str, str], said: Sequence[str] = (), **more: Any) -> Script:
    pieces = [
        llm_pb2.ToolCall(index=place, id=f"id-{place}", name=name, arguments=arguments)
        for place, (name, arguments) in enumerate(asked)
    ]
    return Script(said, **({"finish": llm_pb2.FINISH_TOOL_CALLS, "tool_calls": pieces} | more))


def rounds(*scripts: Script) -> Callable[[llm_pb2.GenerateRequest], Script]:
    rest = list(scripts)
    return lambda _: rest.pop(0) if len(rest) > 1 else rest[0]


@pytest.fixture
async def vapi() -> AsyncIterator[FakeControl]:
    async with control_server() as fake:
        fake.calls.add(CALL)
        yield fake


@asynccontextmanager
async def house(tmp_path: Path, *scripts: Script, agent: str = "", **settings: Any) -> AsyncIterator[Edge]:
    file = tmp_path / "agent.toml"
    file.write_text(agent)
    async with edge(control_hosts=("127.0.0.1",), agent_file=str(file), **settings) as at:
        at.mesh.llm.tools = [BOOK, END, TELL]
        at.mesh.llm.choose = rounds(*scripts)
        yield at


def controlled(vapi: FakeControl) -> dict[str, Any]:
    return {"call": {"id": CALL, "monitor": {"controlUrl": vapi.url(CALL)}}}


async def asked(at: Edge, *words: str, **more: object) -> Answer:
    return await (await at.provider.ask(*(words or (WORDS,)), **more)).all()


async def ended(at: Edge, count: int = 1) -> None:
    await until(lambda: len(at.mesh.session.of("generation_ended")) >= count)


async def edge_of(at: Edge, role: str, status: str) -> None:
    await at.provider.webhook(type="speech-update", role=role, status=status)


async def goes_on(at: Edge, vapi: FakeControl, for_s: float = 0.4) -> None:
    """The call is not left in the time that a command needs."""
    await asyncio.sleep(for_s)
    assert vapi.asked == []


# --- partings ---------------------------------------------------------------------------------------------------------


async def test_a_farewell_that_vapi_stops_because_the_caller_speaks_does_not_end_the_call(
    tmp_path: Path, vapi: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingress_svc.adapters.partings.heard_not_before_ms", lambda _: 0)  # past 40 ms a character
    async with house(tmp_path, calls(("end_call", f'{{"farewell": "{BYE}"}}'))) as at:
        await asked(at, **controlled(vapi))
        await ended(at)
        await edge_of(at, "assistant", "started")
        await edge_of(at, "user", "started")
        await edge_of(at, "assistant", "stopped")
        await goes_on(at, vapi)


async def test_the_silence_after_a_line_while_a_tool_ran_is_not_the_end_of_words_that_are_no_farewell(
    tmp_path: Path, vapi: FakeControl
) -> None:
    last = calls(("end_call", "{}"), said=(BYE,))
    async with house(tmp_path, calls(("book", "{}")), last) as at:
        assert (await asked(at, **controlled(vapi))).text == f"{LOOK_UP} <flush /> {BYE}"
        await ended(at)
        await edge_of(at, "assistant", "stopped")  # of LOOK_UP
        await goes_on(at, vapi)


async def test_the_silence_after_an_early_one_is_the_end_of_the_farewell(
    tmp_path: Path, vapi: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingress_svc.adapters.partings.heard_not_before_ms", lambda _: 200)
    async with house(tmp_path, calls(("end_call", f'{{"farewell": "{BYE}"}}'))) as at:
        await asked(at, **controlled(vapi))
        await ended(at)
        await edge_of(at, "assistant", "stopped")
        await edge_of(at, "assistant", "started")
        await asyncio.sleep(0.3)
        assert vapi.asked == []
        await edge_of(at, "assistant", "stopped")
        await asyncio.sleep(0.5)
        assert vapi.taken == [{"type": "end-call"}]


async def test_a_drain_does_not_end_a_call_whose_caller_has_spoken_since(
    tmp_path: Path, vapi: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingress_svc.adapters.partings.heard_not_before_ms", lambda _: 0)
    async with house(tmp_path, calls(("end_call", f'{{"farewell": "{BYE}"}}')), Script(("Never mind.",))) as at:
        await asked(at, **controlled(vapi))
        await ended(at)
        at.mesh.session.stuck = True
        answer = asyncio.create_task(asked(at, WORDS, "no wait", **controlled(vapi)))
        await until(lambda: at.ingress.calls.get(CALL_ID).attachments)
        await at.ingress.calls.drain(0.1, asyncio.Event())
        await goes_on(at, vapi)
        answer.cancel()


async def test_a_caller_whose_words_are_on_their_way_to_session_svc_is_not_hung_up_on(
    tmp_path: Path, vapi: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingress_svc.adapters.partings.heard_after_ms", lambda _: 400)
    async with house(tmp_path, calls(("end_call", f'{{"farewell": "{BYE}"}}')), Script(("Never mind.",))) as at:
        await asked(at, **controlled(vapi))
        await ended(at)
        at.mesh.session.stuck = True
        answer = asyncio.create_task(asked(at, WORDS, "no wait", **controlled(vapi)))
        await until(lambda: at.ingress.calls.get(CALL_ID).attachments)
        await goes_on(at, vapi, 0.8)
        answer.cancel()


async def test_a_farewell_that_could_not_be_said_does_not_end_the_call(
    tmp_path: Path, vapi: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingress_svc.adapters.partings.heard_not_before_ms", lambda _: 0)
    script = calls(("end_call", f'{{"farewell": "{BYE}"}}'), gate=0)
    async with house(tmp_path, script, agent=SLOW) as at:
        vapi.script = [400, 400, 400]
        assert (await asked(at, **controlled(vapi))).text == FILLER
        at.mesh.llm.generations[-1].opened.set()
        await ended(at)
        await asyncio.sleep(0.4)
        assert [body["type"] for body in vapi.asked] == ["say"] * len(vapi.asked)


async def test_the_end_of_the_filler_is_not_the_end_of_a_farewell_that_took_long_to_be_accepted(
    tmp_path: Path, vapi: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingress_svc.adapters.partings.heard_not_before_ms", lambda _: 300)
    script = calls(("end_call", f'{{"farewell": "{BYE}"}}'), gate=0)
    async with house(tmp_path, script, agent=SLOW) as at:
        control = at.ingress.calls.slow_turns._control

        def slow(call_id: str, command: Any, settled: Any, let_go: Any) -> None:
            asyncio.get_running_loop().call_later(0.5, control, call_id, command, settled, let_go)

        at.ingress.calls.slow_turns._control = slow  # the line is busy for half a second
        assert (await asked(at, **controlled(vapi))).text == FILLER
        at.mesh.llm.generations[-1].opened.set()
        await ended(at)
        await edge_of(at, "assistant", "stopped")  # of the filler
        await asyncio.sleep(0.2)
        assert [body["type"] for body in vapi.asked] == ["say"]


# --- rounds -----------------------------------------------------------------------------------------------------------


async def test_a_model_that_ends_the_call_beside_a_tool_hears_first_that_the_tool_failed(
    tmp_path: Path, vapi: FakeControl
) -> None:
    both = calls(("book", "{}"), ("end_call", '{"farewell": "You are booked. Bye."}'))
    async with house(tmp_path, both, Script(("Sorry, none is free.",))) as at:
        at.mesh.llm.tool_answers = [llm_pb2.RunToolResponse(failure=llm_pb2.ToolFailure(message="no table is free"))]
        answer = await asked(at, **controlled(vapi))
        assert "booked" not in answer.text
        assert len(at.mesh.llm.generations) == 2


async def test_no_farewell_is_spoken_where_the_call_is_not_left(tmp_path: Path, vapi: FakeControl) -> None:
    both = calls(("end_call", f'{{"farewell": "{BYE}"}}'), ("press", "{}"))
    async with house(tmp_path, both) as at:
        answer = await asked(at, tools=[THEIRS], **controlled(vapi))
        assert answer.finish_reason == "tool_calls"
        assert BYE not in answer.text


async def test_a_provider_that_says_stop_behind_tool_calls_has_its_tools_run(tmp_path: Path) -> None:
    async with house(tmp_path, calls(("book", "{}"), finish=llm_pb2.FINISH_STOP), Script(("Booked.",))) as at:
        assert (await asked(at)).text.endswith("Booked.")
        assert len(at.mesh.llm.tools_run) == 1


async def test_a_line_for_the_time_that_a_tool_runs_is_not_said_after_it_in_a_slow_turn(
    tmp_path: Path, vapi: FakeControl
) -> None:
    async with house(tmp_path, calls(("book", "{}"), gate=0), Script(("Booked.",)), agent=SLOW) as at:
        assert (await asked(at, **controlled(vapi))).text == FILLER
        at.mesh.llm.generations[-1].opened.set()
        await ended(at)
        assert [body["content"] for body in vapi.taken] == ["Booked."]


def test_two_calls_under_one_index_are_two() -> None:
    this = Round({"book": Tool("book", "{}")})
    this.take(0, "a", "book", '{"n":1}')
    this.take(0, "b", "book", '{"n":2}')
    assert this.calls == [OwnCall("a", "book", '{"n":1}'), OwnCall("b", "book", '{"n":2}')]


# --- the desk ---------------------------------------------------------------------------------------------------------


async def test_a_second_ask_does_not_tell_a_result_before_its_record(tmp_path: Path) -> None:
    async with house(tmp_path, Script()) as at:
        at.mesh.llm.tools_go_on.clear()
        desk = at.ingress._tools
        desk._hold_s = 5.0
        ask = ToolAsk(CALL_ID, "provider-book-1", 0, 0, "book", "{}", 2_000)
        first = asyncio.create_task(desk.run(ask, agent="", turn=None))
        await until(lambda: at.mesh.llm.tools_run)
        at.mesh.session.stuck = True
        at.mesh.llm.tools_go_on.set()
        await until(lambda: at.ingress.counters.value(tool_desk.RUNS, outcome="done"))
        second = asyncio.create_task(desk.run(ask, agent="", turn=None))
        await asyncio.sleep(0.1)
        told = [task.done() for task in (first, second)]
        for task in (first, second):
            task.cancel()
        assert at.mesh.session.of("tool_ended") == []
        assert told == [False, False]


async def test_a_run_for_which_no_llm_svc_can_be_reached_is_not_told_as_lost_while_it_ran(tmp_path: Path) -> None:
    async with house(tmp_path, Script()) as at:
        await at.mesh.llm_server.down()
        ask = ToolAsk(CALL_ID, "provider-book-1", 0, 0, "book", "{}", 500)
        end = await at.ingress._tools.run(ask, agent="", turn=None)
        assert at.mesh.llm.tools_run == []
        assert "while it ran" not in end.text


# --- the owner --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def owner(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeOwner]:
    monkeypatch.setattr("ingress_svc.adapters.tell_owner.PAUSES_S", (0.0, 0.0))
    async with owner_server() as fake:
        yield fake


async def test_a_line_that_may_have_arrived_is_unknown_whatever_the_next_try_comes_to(
    tmp_path: Path, owner: FakeOwner
) -> None:
    line = calls(("tell_owner", '{"line": "Mrs Ito wants to be called back."}'))
    settings = {"owner_secret": "owner-secret", "owner_timeout_s": 0.3}
    async with house(tmp_path, line, Script(("Well.",)), agent=f'[owner]\nurl = "{owner.url}"\n', **settings) as at:
        owner.go_on.clear()
        answer = asyncio.create_task(asked(at))
        await until(lambda: owner.asked)
        owner.status = 503
        await asyncio.sleep(0.31)
        owner.go_on.set()
        await answer
        [end] = at.mesh.session.of("tool_ended")
        assert len(owner.asked) > 1
        assert end.outcome == session_pb2.TOOL_OUTCOME_UNKNOWN
