"""An agent's own tools behind HTTP: asked for by a model of ours, or by the provider's in a webhook."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from fakes.ingress import CALL, CALL_ID, Answer, Edge, edge, signed
from fakes.mesh_servers import Refusal, Script
from fakes.owner_server import FakeOwner, owner_server
from fakes.streams import until
from fakes.vapi_control import FakeControl, control_server
from ingress_svc.adapters import tool_desk, tool_runner
from ingress_svc.adapters.partings import PARTINGS
from ingress_svc.adapters.tool_lists import MISSED
from ingress_svc.domain import partings
from ingress_svc.domain.agent_tools import MOST_ROUNDS
from ingress_svc.domain.answers import NO_TOOL
from ingress_svc.domain.owner_line import BAD_LINE
from voicemesh.llm.v1 import llm_pb2
from voicemesh.session.v1 import session_pb2

LOOK_UP = "One moment, let me look."
BOOK = llm_pb2.Tool(
    name="book",
    definition_json='{"type":"function","function":{"name":"book"}}',
    speak_while_running=LOOK_UP,
    timeout_ms=2_000,
)
END = llm_pb2.Tool(name="end_call", definition_json='{"type":"function","function":{"name":"end_call"}}', builtin=True)
TRANSFER = llm_pb2.Tool(
    name="transfer_call", definition_json='{"type":"function","function":{"name":"transfer_call"}}', builtin=True
)
THEIRS = {"type": "function", "function": {"name": "press"}}
WORDS = "a table for four"
AGENT = '[[vapi.transfer.destinations]]\nto = "+15005550199"\nwords = ["accounting"]\n'


def calls(*asked: tuple[str, str], said: Sequence[str] = (), **more: Any) -> Script:
    """A round that asks for tools, by name and arguments."""
    pieces = [
        llm_pb2.ToolCall(index=place, id=f"id-{place}", name=name, arguments=arguments)
        for place, (name, arguments) in enumerate(asked)
    ]
    return Script(said, finish=llm_pb2.FINISH_TOOL_CALLS, tool_calls=pieces, **more)


def rounds(*scripts: Script) -> Callable[[llm_pb2.GenerateRequest], Script]:
    """One script after another, and the last for ever."""
    rest = list(scripts)
    return lambda _: rest.pop(0) if len(rest) > 1 else rest[0]


@asynccontextmanager
async def with_tools(*tools: llm_pb2.Tool, **settings: Any) -> AsyncIterator[Edge]:
    async with edge(control_hosts=("127.0.0.1",), **settings) as at:
        at.mesh.llm.tools = list(tools) or [BOOK]
        yield at


@pytest.fixture
async def at() -> AsyncIterator[Edge]:
    async with with_tools() as running:
        yield running


@pytest.fixture
async def vapi() -> AsyncIterator[FakeControl]:
    async with control_server() as fake:
        fake.calls.add(CALL)
        yield fake


async def asked(at: Edge, *words: str, **more: object) -> Answer:
    return await (await at.provider.ask(*(words or (WORDS,)), **more)).all()


async def ended(at: Edge, count: int = 1) -> session_pb2.GenerationEnded:
    await until(lambda: len(at.mesh.session.of("generation_ended")) >= count)
    last: session_pb2.GenerationEnded = at.mesh.session.of("generation_ended")[-1]
    return last


def told(at: Edge) -> list[tuple[str, str]]:
    """What the newest round was told, by role."""
    return [(message.role, message.content) for message in at.mesh.llm.generations[-1].request.messages]


def outcomes(at: Edge) -> list[int]:
    return [event.outcome for event in at.mesh.session.of("tool_ended")]


# --- a model of ours --------------------------------------------------------------------------------------------------


async def test_a_tool_runs_within_one_answer_and_the_model_is_told_its_result(at: Edge) -> None:
    at.mesh.llm.choose = rounds(calls(("book", '{"party": 4}'), counts=(10, 5)), Script(("Booked.",), counts=(20, 7)))
    at.mesh.llm.tool_answers = [llm_pb2.RunToolResponse(result="table 3")]
    answer = await asked(at)
    assert (answer.text, answer.finish_reason) == (f"{LOOK_UP} <flush /> Booked.", "stop")
    [run] = at.mesh.llm.tools_run
    assert (run.call_id, run.turn, run.generation, run.name, run.arguments_json) == (
        CALL_ID, 1, 1, "book", '{"party": 4}',
    )  # fmt: skip
    assert run.agent.startswith("default@")
    first, second = at.mesh.llm.generations
    assert [tool["function"]["name"] for tool in json.loads(first.request.tools_json)] == ["book"]
    assert second.request.generation == first.request.generation
    assert told(at) == [("user", WORDS), ("assistant", ""), ("tool", "table 3")]
    done = await ended(at)
    assert (done.said_text, done.prompt_tokens, done.completion_tokens) == (f"{LOOK_UP} Booked.", 30, 12)


async def test_the_claim_comes_before_the_run_and_its_record_before_the_model_hears_of_it(at: Edge) -> None:
    at.mesh.llm.choose = rounds(calls(("book", "{}")), Script(("Booked.",)))
    await asked(at)
    kinds = [kind for kind in at.mesh.session.kinds(CALL_ID) if kind.startswith("tool")]
    assert kinds == ["tool_asked", "tool_ended"]
    [claim] = at.mesh.session.calls[CALL_ID].claims.values()
    assert claim.name == "book"
    assert outcomes(at) == [session_pb2.TOOL_OUTCOME_DONE]


async def test_a_result_waits_for_its_record(at: Edge) -> None:
    at.mesh.llm.choose = rounds(calls(("book", "{}")), Script(("Booked.",)))
    at.mesh.llm.tools_go_on.clear()
    answer = asyncio.create_task(asked(at))
    await until(lambda: at.mesh.llm.tools_run)
    at.mesh.session.stuck = True
    at.mesh.llm.tools_go_on.set()
    await until(lambda: at.ingress.counters.value(tool_desk.RUNS, outcome="done"))
    assert len(at.mesh.llm.generations) == 1
    # The hold is over before session-svc is back, and the caller gets the answer all the same.
    assert (await answer).text.endswith("Booked.")


async def test_what_the_model_says_before_a_tool_is_spoken_at_once(at: Edge) -> None:
    at.mesh.llm.choose = rounds(calls(("book", "{}"), said=("I book", " it.")), Script(("Done.",)))
    assert (await asked(at)).text == "I book it. <flush /> Done."
    assert told(at)[1] == ("assistant", "I book it.")
    assert (await ended(at)).said_text == "I book it. Done."


async def test_tools_of_the_request_pass_through_and_ours_run_first(at: Edge) -> None:
    at.mesh.llm.choose = rounds(calls(("book", "{}"), ("press", '{"key": 1}')))
    answer = await asked(at, tools=[THEIRS])
    assert answer.finish_reason == "tool_calls"
    deltas = [delta for event in answer.events for delta in event["choices"][0]["delta"].get("tool_calls", ())]
    assert [(delta["index"], delta["function"]["name"]) for delta in deltas] == [(0, "press")]
    assert len(at.mesh.llm.generations) == 1
    assert len(at.mesh.llm.tools_run) == 1


async def test_the_same_work_asked_for_twice_in_a_turn_is_done_once(at: Edge) -> None:
    work = ("book", '{"a":1,"b":2}')
    at.mesh.llm.choose = rounds(calls(work, ("book", '{"b": 2, "a": 1}')), calls(work), Script(("Ok.",)))
    assert (await asked(at)).text.endswith("Ok.")
    assert len(at.mesh.llm.tools_run) == 1
    assert [content for role, content in told(at) if role == "tool"] == ["done"] * 3


async def test_a_model_that_goes_in_circles_ends_with_an_apology(at: Edge) -> None:
    at.mesh.llm.choose = lambda _: calls(("book", json.dumps({"n": len(at.mesh.llm.generations)})))
    answer = await asked(at)
    assert len(at.mesh.llm.generations) == MOST_ROUNDS
    assert at.mesh.llm.generations[-1].request.tools_json == ""
    assert answer.text.startswith(f"{LOOK_UP} <flush /> Sorry")
    assert (await ended(at)).finish == session_pb2.FINISH_REASON_FAILED


async def test_the_next_turn_is_told_what_the_tools_of_this_one_did(at: Edge) -> None:
    at.mesh.llm.choose = rounds(calls(("book", "{}")), Script(("Booked.",)))
    answer = await asked(at)
    await ended(at)
    said = answer.text.replace(" <flush />", "")
    messages = [
        {"role": "user", "content": WORDS},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "which table?"},
    ]
    await (await at.provider.ask(messages=messages)).all()
    assert ("tool", "done") in told(at)


@pytest.mark.parametrize(
    ("came", "outcome", "words"),
    [
        (
            llm_pb2.RunToolResponse(failure=llm_pb2.ToolFailure(message="no table is free")),
            session_pb2.TOOL_OUTCOME_FAILED,
            "no table is free",
        ),
        (
            llm_pb2.RunToolResponse(failure=llm_pb2.ToolFailure(message="late", effect_unknown=True)),
            session_pb2.TOOL_OUTCOME_UNKNOWN,
            "late",
        ),
        (Refusal(grpc.StatusCode.UNAVAILABLE, begun=True), session_pb2.TOOL_OUTCOME_UNKNOWN, tool_runner.LOST),
        (Refusal(grpc.StatusCode.INVALID_ARGUMENT, begun=True), session_pb2.TOOL_OUTCOME_FAILED, tool_runner.REFUSED),
    ],
)
async def test_a_tool_without_result_is_told_as_what_it_is(at: Edge, came: Any, outcome: int, words: str) -> None:
    at.mesh.llm.choose = rounds(calls(("book", "{}")), Script(("Well.",)))
    at.mesh.llm.tool_answers = [came]
    assert (await asked(at)).text.endswith("Well.")
    assert told(at)[-1] == ("tool", words)
    assert outcomes(at) == [outcome]
    assert len(at.mesh.llm.tools_run) == 1


async def test_a_replica_that_has_begun_nothing_is_left_for_another(at: Edge) -> None:
    at.mesh.llm.choose = rounds(calls(("book", "{}")), Script(("Booked.",)))
    at.mesh.llm.tool_answers = [Refusal(grpc.StatusCode.UNAVAILABLE, begun=False)] * 2
    await asked(at)
    assert [run.idempotency_key for run in at.mesh.llm.tools_run] == [at.mesh.llm.tools_run[0].idempotency_key] * 3
    assert outcomes(at) == [session_pb2.TOOL_OUTCOME_DONE]


async def test_a_run_that_has_begun_goes_on_after_a_cut_and_is_recorded(at: Edge) -> None:
    at.mesh.llm.choose = rounds(calls(("book", "{}")), Script(("Booked.",)))
    at.mesh.llm.tools_go_on.clear()
    answer = await at.provider.ask(WORDS)
    await until(lambda: at.mesh.llm.tools_run)
    await at.provider.partial("no wait stop")
    await answer.all()
    assert "Booked" not in answer.text
    at.mesh.llm.tools_go_on.set()
    await until(lambda: outcomes(at) == [session_pb2.TOOL_OUTCOME_DONE])
    assert len(at.mesh.llm.generations) == 1


async def test_a_claim_without_answer_is_asked_for_again(at: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_desk, "AGAIN_S", (0.05,))
    gate = Script((), gate=0, finish=llm_pb2.FINISH_TOOL_CALLS, tool_calls=calls(("book", "{}")).tool_calls)
    at.mesh.llm.choose = rounds(gate, Script(("Booked.",)))
    answer = asyncio.create_task(asked(at))
    await until(lambda: at.mesh.llm.generations)
    dropped: list[session_pb2.Command] = []
    order = at.mesh.session.order

    def drop_first(ingress_id: str, command: session_pb2.Command) -> None:
        if command.WhichOneof("kind") == "run_tool" and not dropped:
            dropped.append(command)
        else:
            order(ingress_id, command)

    at.mesh.session.order = drop_first  # type: ignore[method-assign]
    at.mesh.llm.generations[0].opened.set()
    assert (await answer).text.endswith("Booked.")
    assert dropped
    assert len(at.mesh.llm.tools_run) == 1


async def test_without_a_list_of_tools_the_answer_comes_without_them_and_the_next_one_has_them(
    at: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingress_svc.adapters.tool_lists.MISSED_S", 0.0)
    at.mesh.llm.unlisted = 1
    assert (await asked(at)).text
    assert at.mesh.llm.generations[-1].request.tools_json == ""
    assert at.ingress.counters.value(MISSED) == 1
    await asked(at, WORDS, "and for when?")
    assert at.mesh.llm.generations[-1].request.tools_json


async def test_arguments_without_measure_are_refused_before_anybody_is_asked(at: Edge) -> None:
    at.mesh.llm.choose = rounds(calls(("book", "x" * 40_000)), Script(("Well.",)))
    await asked(at)
    assert told(at)[-1] == ("tool", tool_desk.TOO_LONG.text)
    assert at.mesh.session.of("tool_asked") == []


# --- the end of a call ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def leaving(tmp_path: Path, script: Script) -> AsyncIterator[Edge]:
    agent = tmp_path / "agent.toml"
    agent.write_text(AGENT)
    async with with_tools(BOOK, END, TRANSFER, agent_file=str(agent)) as at:
        at.mesh.llm.choose = rounds(script, Script(("Never mind.",)))
        yield at


def controlled(vapi: FakeControl) -> dict[str, Any]:
    return {"call": {"id": CALL, "monitor": {"controlUrl": vapi.url(CALL)}}}


@pytest.fixture
def quick_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingress_svc.adapters.partings.heard_not_before_ms", lambda _: 0)


async def silent(at: Edge) -> None:
    await at.provider.webhook(type="speech-update", role="assistant", status="stopped")


@pytest.mark.usefixtures("quick_speech")
async def test_the_call_ends_when_the_farewell_has_been_heard(tmp_path: Path, vapi: FakeControl) -> None:
    async with leaving(tmp_path, calls(("end_call", '{"farewell": "Goodbye."}'), said=("You are set.",))) as at:
        answer = await asked(at, **controlled(vapi))
        assert (answer.text, answer.finish_reason) == ("You are set. Goodbye.", "stop")
        await ended(at)
        assert vapi.asked == []
        await silent(at)
        await until(lambda: vapi.taken == [{"type": "end-call"}])
        await until(lambda: at.ingress.counters.value(PARTINGS, tool="end_call", step="done") == 1)
        assert len(at.mesh.llm.generations) == 1


async def test_a_silence_before_the_farewell_can_have_been_spoken_is_not_its_end(
    tmp_path: Path, vapi: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingress_svc.adapters.partings.heard_not_before_ms", lambda _: 300)
    monkeypatch.setattr("ingress_svc.adapters.partings.heard_after_ms", lambda _: 600)
    async with leaving(tmp_path, calls(("end_call", '{"farewell": "Goodbye."}'))) as at:
        await asked(at, **controlled(vapi))
        await ended(at)
        await silent(at)
        assert at.ingress.calls.get(CALL_ID).output.voice is None
        assert vapi.asked == []
        await until(lambda: vapi.taken == [{"type": "end-call"}])


async def test_a_call_with_nothing_to_say_ends_at_once(tmp_path: Path, vapi: FakeControl) -> None:
    async with leaving(tmp_path, calls(("end_call", "{}"))) as at:
        await asked(at, **controlled(vapi))
        await until(lambda: vapi.taken == [{"type": "end-call"}])


async def test_a_provider_that_does_not_say_when_the_agent_is_silent_is_given_time(
    tmp_path: Path, vapi: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingress_svc.adapters.partings.heard_after_ms", lambda _: 50)
    async with leaving(tmp_path, calls(("end_call", '{"farewell": "Goodbye."}'))) as at:
        await asked(at, **controlled(vapi))
        await until(lambda: vapi.taken == [{"type": "end-call"}])


async def test_a_caller_who_speaks_during_the_farewell_stays(tmp_path: Path, vapi: FakeControl) -> None:
    async with leaving(tmp_path, calls(("end_call", '{"farewell": "Goodbye then."}'))) as at:
        await asked(at, **controlled(vapi))
        await ended(at)
        await at.provider.partial("no wait stop")
        await until(lambda: at.ingress.counters.value(PARTINGS, tool="end_call", step="dropped") == 1)
        await silent(at)
        assert (await asked(at, WORDS, "no wait", **controlled(vapi))).text == "Never mind."
        assert vapi.asked == []


@pytest.mark.usefixtures("quick_speech")
async def test_a_caller_is_handed_over_by_name(tmp_path: Path, vapi: FakeControl) -> None:
    async with leaving(
        tmp_path, calls(("transfer_call", '{"destination": "accounting", "message": "Hold on."}'))
    ) as at:
        assert (await asked(at, **controlled(vapi))).text == "Hold on."
        await ended(at)
        await silent(at)
        await until(lambda: vapi.taken)
        [body] = vapi.taken
        assert body["type"] == "transfer"
        assert body["destination"] == {"type": "number", "number": "+15005550199"}


async def test_a_place_that_nobody_configured_is_told_to_the_model(tmp_path: Path, vapi: FakeControl) -> None:
    async with leaving(tmp_path, calls(("transfer_call", '{"destination": "+15005550100"}'))) as at:
        assert (await asked(at, **controlled(vapi))).text == "Never mind."
        assert told(at)[-1] == ("tool", partings.NOBODY)


async def test_a_call_that_cannot_be_controlled_is_not_left(tmp_path: Path) -> None:
    async with leaving(tmp_path, calls(("end_call", "{}"))) as at:
        assert (await asked(at)).text == "Never mind."
        assert told(at)[-1] == ("tool", partings.NOT_REACHED)


# --- the owner --------------------------------------------------------------------------------------------------------

TELL = llm_pb2.Tool(
    name="tell_owner", definition_json='{"type":"function","function":{"name":"tell_owner"}}', builtin=True
)
LINE = '{"line": "Mrs Ito wants\\n to be called back."}'


@asynccontextmanager
async def owned(tmp_path: Path, owner: FakeOwner | None, *scripts: Script) -> AsyncIterator[Edge]:
    agent = tmp_path / "agent.toml"
    agent.write_text(f'[owner]\nurl = "{owner.url}"\n' if owner else "")
    async with with_tools(TELL, agent_file=str(agent), owner_secret="owner-secret", owner_timeout_s=0.3) as at:
        at.mesh.llm.choose = rounds(*(scripts or (calls(("tell_owner", LINE)), Script(("I told them.",)))))
        yield at


@pytest.fixture
async def owner(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeOwner]:
    monkeypatch.setattr("ingress_svc.adapters.tell_owner.PAUSES_S", (0.0, 0.0))
    async with owner_server() as fake:
        yield fake


async def test_a_line_reaches_the_owner_signed_and_is_claimed_like_any_tool(tmp_path: Path, owner: FakeOwner) -> None:
    async with owned(tmp_path, owner) as at:
        assert (await asked(at)).text == "I told them."
        [line] = owner.asked
        [claim] = at.mesh.session.calls[CALL_ID].claims.values()
        assert line.pop("at")
        assert line == {
            "type": "call.line",
            "version": 1,
            "delivery": f"line:{claim.key}",
            "call_id": CALL_ID,
            "agent": at.mesh.session.calls[CALL_ID].agent,
            "turn": 1,
            "line": "Mrs Ito wants to be called back.",
        }
        assert owner.headers[0]["X-Voicemesh-Delivery"] == f"line:{claim.key}"
        assert owner.headers[0]["x-signature"]
        assert outcomes(at) == [session_pb2.TOOL_OUTCOME_DONE]
        assert at.mesh.llm.tools_run == []


@pytest.mark.parametrize(
    ("status", "waits", "tries", "outcome"),
    [
        (503, False, 3, session_pb2.TOOL_OUTCOME_FAILED),
        (410, False, 1, session_pb2.TOOL_OUTCOME_FAILED),
        (302, False, 1, session_pb2.TOOL_OUTCOME_FAILED),
        (200, True, 3, session_pb2.TOOL_OUTCOME_UNKNOWN),
    ],
)
async def test_a_line_that_does_not_arrive_is_told_as_what_is_known_of_it(
    tmp_path: Path, owner: FakeOwner, status: int, waits: bool, tries: int, outcome: int
) -> None:
    owner.status = status
    if waits:
        owner.go_on.clear()
    async with owned(tmp_path, owner) as at:
        await asked(at)
        assert outcomes(at) == [outcome]
        assert len(owner.asked) == tries
        assert len({headers["Idempotency-Key"] for headers in owner.headers}) == 1


@pytest.mark.parametrize("arguments", ["{", "{}", '{"line": 7}', '{"line": "  "}', json.dumps({"line": "x" * 3_000})])
async def test_a_line_that_is_none_is_not_sent(tmp_path: Path, owner: FakeOwner, arguments: str) -> None:
    async with owned(tmp_path, owner, calls(("tell_owner", arguments)), Script(("Well.",))) as at:
        await asked(at)
        assert told(at)[-1] == ("tool", BAD_LINE.text)
        assert owner.asked == []


async def test_without_an_owners_system_the_tool_is_not_offered(tmp_path: Path) -> None:
    async with owned(tmp_path, None, Script(("Hello.",))) as at:
        await asked(at)
        assert at.mesh.llm.generations[-1].request.tools_json == ""


# --- the provider's model ---------------------------------------------------------------------------------------------


async def webhook(at: Edge, **message: Any) -> Any:
    body = json.dumps({"message": {"call": {"id": CALL}, "timestamp": 1_764_000_000_000} | message}).encode()
    status, text, _ = await at.provider.post("/vapi/webhook", body, signed(body))
    assert status == 200
    return json.loads(text)


def tool_call(name: str, call_id: str = "t-1", **arguments: object) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


async def test_the_agents_tools_answer_the_webhook_too(at: Edge) -> None:
    at.mesh.llm.tool_answers = [llm_pb2.RunToolResponse(result="table 3")]
    answer = await webhook(at, type="tool-calls", toolCallList=[tool_call("book", party=4), tool_call("other", "t-2")])
    assert answer == {
        "results": [
            {"toolCallId": "t-1", "name": "book", "result": "table 3"},
            {"toolCallId": "t-2", "name": "other", "error": NO_TOOL},
        ]
    }
    [run] = at.mesh.llm.tools_run
    assert (run.turn, run.generation, json.loads(run.arguments_json)) == (0, 0, {"party": 4})
    assert outcomes(at) == [session_pb2.TOOL_OUTCOME_DONE]


async def test_a_tool_call_that_vapi_sends_again_in_another_message_is_not_run_again(at: Edge) -> None:
    first = await webhook(at, type="tool-calls", toolCallList=[tool_call("book")])
    again = await webhook(at, type="tool-calls", toolCallList=[tool_call("book")], timestamp=1_764_000_009_000)
    assert first == again
    assert len(at.mesh.llm.tools_run) == 1


async def test_the_older_form_and_one_without_a_call_are_answered(at: Edge) -> None:
    asked = {"name": "book", "parameters": {"party": 4}}
    assert await webhook(at, type="function-call", functionCall=asked) == {"result": "done"}
    assert await webhook(at, type="function-call", functionCall=asked, call={}) == {"result": "done"}
    assert await webhook(at, type="function-call", functionCall={"name": "other"}) == {"result": f"Error: {NO_TOOL}"}
    assert len(at.mesh.llm.tools_run) == 2
    assert len(at.mesh.session.of("tool_asked")) == 1


async def test_what_leaves_a_call_is_not_run_for_the_providers_model(tmp_path: Path) -> None:
    async with leaving(tmp_path, Script()) as at:
        answer = await webhook(at, type="tool-calls", toolCallList=[tool_call("end_call")])
        assert answer["results"][0]["error"] == NO_TOOL
