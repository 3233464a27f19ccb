"""llm-svc over real gRPC: what llm.proto says of RunTool and ListTools."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from fakes.models import WELL, PlannedModel
from llm_svc.adapters.generation import Contender
from llm_svc.adapters.runners import Runners
from llm_svc.adapters.servicer import LlmServicer
from llm_svc.adapters.tool import Toolset
from llm_svc.adapters.tool_runs import MOST_REMEMBERED, REFUSED, REMEMBERED_S, REPEATS, RUNS, ToolRuns
from llm_svc.adapters.tool_schema import of_callable
from llm_svc.adapters.tool_servicer import ToolServicer
from llm_svc.domain.breaker import Breaker
from llm_svc.domain.tools import OUTCOMES, Ask, Outcome, Reason, failed
from svc_runtime.metrics import Counters
from svc_runtime.telemetry import Recorder, parse_traceparent, recorder
from voicemesh.llm.v1 import llm_pb2, llm_pb2_grpc
from voicemesh.type.v1 import call_pb2

LIVENESS_S = 5.0
SECRET = "my number is 555 0101"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def book(party: int, name: str = "") -> str:
    """Book a table."""
    return f"{party}{name}"


class PlannedTool:
    """Implements `llm_svc.adapters.tool.Tool` by a plan: what each run comes to, or that it hangs."""

    kind = "python"
    description = "Book a table."
    timeout_s = 2.5
    speak_while_running = "One moment."

    def __init__(self, *plan: Outcome | Exception | None) -> None:
        """None is a run that hangs until `go_on`."""
        self.name = "book"
        self.arguments = of_callable(book).arguments
        self.plan = list(plan)
        self.asked: list[tuple[dict[str, Any], Ask]] = []
        self.running = 0
        self.go_on = asyncio.Event()

    async def run(self, arguments: dict[str, Any], ask: Ask) -> Outcome:
        self.asked.append((arguments, ask))
        planned = self.plan.pop(0) if self.plan else Outcome("booked")
        self.running += 1
        try:
            if planned is None:
                await self.go_on.wait()
                return Outcome("booked late")
            if isinstance(planned, Exception):
                raise planned
            return planned
        finally:
            self.running -= 1


@dataclass
class Served:
    stub: llm_pb2_grpc.LlmServiceStub
    servicer: LlmServicer
    runs: ToolRuns
    counters: Counters
    now_s: float = field(default=0.0)

    async def run(self, **fields: Any) -> llm_pb2.RunToolResponse:
        response: llm_pb2.RunToolResponse = await self.stub.RunTool(request(**fields), timeout=LIVENESS_S)
        return response

    async def status_of(self, **fields: Any) -> tuple[Any, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.run(**fields)
        return caught.value.code(), caught.value.details() or ""


def request(**fields: Any) -> llm_pb2.RunToolRequest:
    told = {
        "call_id": "vapi:1",
        "turn": 2,
        "generation": 3,
        "name": "book",
        "arguments_json": '{"party": "4"}',
        "idempotency_key": "k-1",
    }
    return llm_pb2.RunToolRequest(**{**told, **fields})


@asynccontextmanager
async def serving(
    *tools: PlannedTool, builtin: tuple[str, ...] = (), most_running: int = 10, notes: Recorder | None = None
) -> AsyncIterator[Served]:
    counters, notes = Counters(), notes or recorder("llm-svc", "")
    served: Served
    runs = ToolRuns(most_running=most_running, counters=counters, monotonic_s=lambda: served.now_s)
    toolset = Toolset({tool.name: tool for tool in tools}, builtin)
    contender = Contender(PlannedModel("openai/a", WELL), Breaker(), 1.0)
    servicer = LlmServicer(
        Runners(lambda _: (contender,), lambda: [(contender,)], lambda one: one, token_gap_s=1.0, total_s=5.0),
        ToolServicer(lambda agent: Toolset({}) if agent == "salon" else toolset, runs, notes),
        notes,
        max_generations=10,
        counters=counters,
    )
    server = grpc.aio.server()
    llm_pb2_grpc.add_LlmServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            served = Served(llm_pb2_grpc.LlmServiceStub(channel), servicer, runs, counters)
            yield served
    finally:
        await server.stop(None)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIVENESS_S):
        # What is waited for happens inside gRPC and has no event of its own.
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


# --- one run


async def test_a_result_comes_back_and_the_tool_has_got_its_arguments_as_values() -> None:
    tool = PlannedTool(Outcome("A table for four."))
    async with serving(tool) as served:
        response = await served.run()
    assert response.WhichOneof("answer") == "result"
    assert response.result == "A table for four."
    assert not response.repeated
    ((arguments, ask),) = tool.asked
    assert arguments == {"party": 4}
    assert (ask.call_id, ask.turn, ask.generation, ask.idempotency_key) == ("vapi:1", 2, 3, "k-1")


@pytest.mark.parametrize("reason", Reason)
async def test_every_failure_is_an_answer_with_words_for_the_model(reason: Reason) -> None:
    tool = PlannedTool(failed(reason, "Not now.", effect_unknown=True, http_status=503))
    async with serving(tool) as served:
        response = await served.run()
        assert served.counters.value(RUNS, outcome=reason.value) == 1
    failure = response.failure
    assert llm_pb2.ToolFailureReason.Name(failure.reason) == f"TOOL_FAILURE_REASON_{reason.name}"
    assert failure.message == "Not now. It is not known whether it was done."
    assert (failure.effect_unknown, failure.http_status) == (True, 503)


async def test_the_contract_and_the_code_have_the_same_reasons() -> None:
    names = {name.removeprefix("TOOL_FAILURE_REASON_").lower() for name in dict(llm_pb2.ToolFailureReason.items())}
    assert names - {"unspecified"} == {reason.value for reason in Reason} == set(OUTCOMES) - {"result"}


async def test_a_tool_that_there_is_none_of_is_told_with_those_that_there_are() -> None:
    async with serving(PlannedTool()) as served:
        response = await served.run(name=SECRET)
    assert response.failure.reason == llm_pb2.TOOL_FAILURE_REASON_UNKNOWN_TOOL
    assert response.failure.message == "There is no tool of that name; there are book."


async def test_a_built_in_tool_that_the_agent_does_not_have_is_none() -> None:
    async with serving(PlannedTool(), builtin=("end_call",)) as served:
        response = await served.run(name="transfer_call")
    assert response.failure.reason == llm_pb2.TOOL_FAILURE_REASON_UNKNOWN_TOOL
    assert response.failure.message == "There is no tool of that name; there are book, end_call."


async def test_arguments_that_do_not_fit_never_reach_the_tool() -> None:
    tool = PlannedTool()
    async with serving(tool) as served:
        response = await served.run(arguments_json='{"party": "four"}')
    assert response.failure.reason == llm_pb2.TOOL_FAILURE_REASON_BAD_ARGUMENTS
    assert response.failure.message == "The arguments do not fit: Expected `int`, got `str` - at `$.party`"
    assert tool.asked == []


async def test_a_defect_of_ours_is_an_answer_too() -> None:
    async with serving(PlannedTool(RuntimeError(SECRET))) as served:
        response = await served.run()
    assert (response.failure.reason, response.failure.message) == (
        llm_pb2.TOOL_FAILURE_REASON_DEFECT,
        "The tool could not be run. It is not known whether it was done.",
    )


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"call_id": ""}, "call_id is empty"),
        ({"name": ""}, "name is empty"),
        ({"name": "end_call"}, "end_call is built in; ingress carries it out by itself"),
        ({"idempotency_key": ""}, "idempotency_key must be"),
        ({"idempotency_key": "k\r\nx-evil: 1"}, "idempotency_key must be"),
        ({"idempotency_key": " k"}, "idempotency_key must be"),
        ({"idempotency_key": "ü"}, "idempotency_key must be"),
        ({"idempotency_key": "k" * 257}, "idempotency_key must be"),
    ],
)
async def test_a_request_that_breaks_the_contract_is_an_invalid_argument(fields: dict[str, Any], what: str) -> None:
    tool = PlannedTool()
    async with serving(tool, builtin=("end_call",)) as served:
        code, details = await served.status_of(**fields)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(what)
    assert tool.asked == []


async def test_an_agents_tools_are_its_own() -> None:
    async with serving(PlannedTool()) as served:
        response = await served.run(agent="salon")
    assert response.failure.message == "There is no tool of that name; there are none."


# --- once


async def test_the_same_key_joins_the_run_while_it_lasts() -> None:
    tool = PlannedTool(None)
    async with serving(tool) as served:
        asked = [asyncio.create_task(served.run()) for _ in range(3)]
        await until(lambda: served.counters.value(REPEATS) == 2)
        tool.go_on.set()
        responses = await asyncio.gather(*asked)
    assert [response.result for response in responses] == ["booked late"] * 3
    assert sorted(response.repeated for response in responses) == [False, True, True]
    assert len(tool.asked) == 1


async def test_the_same_key_after_the_run_is_answered_from_memory_failures_too() -> None:
    tool = PlannedTool(Outcome("booked"), failed(Reason.TIMEOUT, "Late.", effect_unknown=True))
    async with serving(tool) as served:
        first, again = await served.run(), await served.run()
        failed_first, failed_again = await served.run(idempotency_key="k-2"), await served.run(idempotency_key="k-2")
    assert (first.result, again.result, first.repeated, again.repeated) == ("booked", "booked", False, True)
    assert again.duration_ms == first.duration_ms
    assert failed_first.failure == failed_again.failure
    assert len(tool.asked) == 2


async def test_the_same_key_of_another_call_is_another_run() -> None:
    tool = PlannedTool()
    async with serving(tool) as served:
        await served.run()
        await served.run(call_id="vapi:2")
    assert len(tool.asked) == 2


@pytest.mark.parametrize("other", [{"arguments_json": '{"party": 5}'}, {"name": "cancel"}, {"agent": "salon"}])
async def test_a_key_that_comes_with_something_else_is_refused(other: dict[str, Any]) -> None:
    tool = PlannedTool(None)
    async with serving(tool) as served:
        running = asyncio.create_task(served.run())
        await until(lambda: tool.running == 1)
        while_running = await served.status_of(**other)
        tool.go_on.set()
        await running
        after = await served.status_of(**other)
    assert while_running == after
    assert while_running[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert len(tool.asked) == 1


async def test_what_is_remembered_is_forgotten_in_time_and_in_number() -> None:
    tool = PlannedTool()
    async with serving(tool) as served:
        await served.run()
        served.now_s = REMEMBERED_S - 1
        assert (await served.run()).repeated
        served.now_s = REMEMBERED_S + 1
        assert not (await served.run()).repeated
        toolset = Toolset({"book": tool})
        for number in range(MOST_REMEMBERED + 50):
            ask = Ask(
                call_id="vapi:3", turn=1, generation=1, name="book", arguments_json="", idempotency_key=f"{number}"
            )
            await served.runs.run(toolset, ask)
        assert not (await served.run()).repeated
        assert len(served.runs._ended) <= MOST_REMEMBERED + 1


# --- cancelling


async def test_cancelling_the_rpc_cancels_the_run_which_is_not_repeated() -> None:
    tool = PlannedTool(None)
    async with serving(tool) as served:
        call = served.stub.RunTool(request())
        await until(lambda: tool.running == 1)
        call.cancel()
        await until(lambda: served.runs.running == 0)
        response = await served.run()
        assert served.counters.value(RUNS, outcome="cancelled") == 1
    assert tool.running == 0
    assert response.repeated
    assert response.failure.reason == llm_pb2.TOOL_FAILURE_REASON_CANCELLED
    assert response.failure.effect_unknown
    assert len(tool.asked) == 1


async def test_a_run_that_others_have_joined_outlives_the_one_who_began_it() -> None:
    tool = PlannedTool(None)
    async with serving(tool) as served:
        first = served.stub.RunTool(request())
        await until(lambda: tool.running == 1)
        second = asyncio.create_task(served.run())
        await until(lambda: served.counters.value(REPEATS) == 1)
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        await until(lambda: next(iter(served.runs._running.values())).waiting == 1)
        tool.go_on.set()
        assert (await second).result == "booked late"


async def test_clients_that_leave_at_any_moment_leave_no_run_behind() -> None:
    tool = PlannedTool(*[None] * 60)
    async with serving(tool, most_running=100) as served:
        for number in range(60):
            call = served.stub.RunTool(request(idempotency_key=f"k-{number}"))
            await asyncio.sleep(number * 0.0001)
            call.cancel()
        tool.plan.clear()  # Not all of the requests have reached the tool, or ever will.
        assert (await served.run(idempotency_key="after")).result == "booked"
        await until(lambda: served.runs.running == 0)
    assert tool.running == 0
    assert len(tool.asked) > 1, "some of them were running"


async def test_a_run_that_is_cancelled_before_its_first_step_may_come_again() -> None:
    tool = PlannedTool()
    runs = ToolRuns(most_running=1, counters=Counters())
    ask = Ask(call_id="vapi:1", turn=1, generation=1, name="book", arguments_json='{"party": 2}', idempotency_key="k")
    leaving = asyncio.create_task(runs.run(Toolset({"book": tool}), ask))
    asyncio.get_running_loop().call_soon(leaving.cancel)
    with suppress(asyncio.CancelledError):
        await leaving
    assert runs.running == 0
    assert (await runs.run(Toolset({"book": tool}), ask)).outcome in (
        Outcome("booked"),
        failed(Reason.CANCELLED, "The tool was given up before its end.", effect_unknown=True),
    )


# --- limits


async def test_one_run_too_many_is_refused_and_begins_nothing() -> None:
    tool = PlannedTool(None)
    async with serving(tool, most_running=1) as served:
        running = asyncio.create_task(served.run())
        await until(lambda: tool.running == 1)
        code, details = await served.status_of(idempotency_key="k-2")
        assert served.counters.value(REFUSED, reason="too_many") == 1
        joined = asyncio.create_task(served.run())
        tool.go_on.set()
        assert (await running).result == (await joined).result, "joining takes no place"
        assert (await served.run(idempotency_key="k-2")).result == "booked"
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details == "1 tools are running, the most that this replica takes"


# --- draining


async def test_a_drain_lets_a_running_tool_end_and_begins_no_other() -> None:
    tool = PlannedTool(None)
    async with serving(tool) as served:
        running = asyncio.create_task(served.run())
        await until(lambda: tool.running == 1)
        draining = asyncio.create_task(served.servicer.drain(LIVENESS_S))
        await asyncio.sleep(0)
        code, details = await served.status_of(idempotency_key="k-2")
        joined = asyncio.create_task(served.run())
        await until(lambda: served.counters.value(REPEATS) == 1)
        tool.go_on.set()
        assert (await running).result == (await joined).result == "booked late"
        await draining
    assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "this replica ends; ask another")
    assert len(tool.asked) == 1


async def test_a_drain_that_runs_out_says_that_the_end_is_unknown() -> None:
    tool = PlannedTool(None)
    async with serving(tool) as served:
        running = asyncio.create_task(served.run())
        await until(lambda: tool.running == 1)
        await served.servicer.drain(0.6)
        response = await running
    assert response.failure.reason == llm_pb2.TOOL_FAILURE_REASON_CANCELLED
    assert response.failure.effect_unknown
    assert tool.running == 0


# --- the list


async def test_the_list_has_what_a_model_is_told_in_the_order_of_the_file_the_built_in_ones_last() -> None:
    async with serving(PlannedTool(), builtin=("tell_owner", "end_call")) as served:
        response = await served.stub.ListTools(llm_pb2.ListToolsRequest(), timeout=LIVENESS_S)
        salon = await served.stub.ListTools(llm_pb2.ListToolsRequest(agent="salon"), timeout=LIVENESS_S)
    assert [(tool.name, tool.builtin) for tool in response.tools] == [
        ("book", False),
        ("tell_owner", True),
        ("end_call", True),
    ]
    own = response.tools[0]
    assert (own.speak_while_running, own.timeout_ms) == ("One moment.", 2_500)
    assert json.loads(own.definition_json) == {
        "type": "function",
        "function": {
            "name": "book",
            "description": "Book a table.",
            "parameters": {
                "type": "object",
                "properties": {"party": {"type": "integer"}, "name": {"type": "string", "default": ""}},
                "required": ["party"],
                "additionalProperties": False,
            },
        },
    }
    assert all(json.loads(tool.definition_json)["function"]["name"] == tool.name for tool in response.tools)
    assert list(salon.tools) == []


async def test_what_is_listed_can_be_offered_in_a_generation() -> None:
    async with serving(PlannedTool(), builtin=("end_call",)) as served:
        listed = await served.stub.ListTools(llm_pb2.ListToolsRequest(), timeout=LIVENESS_S)
        tools_json = f"[{','.join(tool.definition_json for tool in listed.tools)}]"
        asked = llm_pb2.GenerateRequest(
            call_id="vapi:1", messages=[call_pb2.ChatMessage(role="user", content="hello")], tools_json=tools_json
        )
        pieces = [piece async for piece in served.stub.Generate(asked, timeout=LIVENESS_S)]
    assert pieces[-1].finished.finish == llm_pb2.FINISH_STOP


# --- what is told of it


async def test_a_run_is_a_span_of_its_turns_trace_without_arguments_or_result() -> None:
    spans: list[Any] = []
    notes = recorder("llm-svc", "", sink=spans.extend)
    tool = PlannedTool(Outcome(SECRET))
    async with serving(tool, notes=notes) as served:
        await served.run(
            arguments_json=json.dumps({"party": 4, "name": SECRET}), trace=call_pb2.TraceContext(traceparent=TRACE)
        )
        await served.run(name=SECRET, idempotency_key="k-2", trace=call_pb2.TraceContext(traceparent=TRACE))
    parent = parse_traceparent(TRACE)
    assert parent is not None
    notes.end_trace(parent.trace_id, True)
    await notes.close()
    run, unknown = spans
    assert (run.name, run.parent.span_id, run.context.trace_id) == ("tool.run", parent.span_id, parent.trace_id)
    assert dict(run.attributes) == {
        "voicemesh.call.id": "vapi:1",
        "voicemesh.turn.number": 2,
        "voicemesh.generation": 3,
        "voicemesh.tool.outcome": "result",
        "voicemesh.tool.tries": 1,
        "voicemesh.tool.repeated": False,
        "voicemesh.tool.kind": "python",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "book",
    }
    told_on = parse_traceparent(tool.asked[0][1].traceparent)
    assert told_on is not None
    assert told_on.span_id == run.context.span_id, "the tool's own spans hang below"
    assert SECRET not in str([dict(span.attributes) for span in spans])
    assert "gen_ai.tool.name" not in unknown.attributes, "the name is the model's invention"


async def test_a_run_that_nobody_waits_for_is_a_span_too() -> None:
    spans: list[Any] = []
    notes = recorder("llm-svc", "", sink=spans.extend)
    tool = PlannedTool(None)
    async with serving(tool, notes=notes) as served:
        call = served.stub.RunTool(request(trace=call_pb2.TraceContext(traceparent=TRACE)))
        await until(lambda: tool.running == 1)
        call.cancel()
        await until(lambda: served.runs.running == 0)
    notes.end_trace(int(TRACE.split("-")[1], 16), True)
    await notes.close()
    assert [span.attributes["voicemesh.tool.outcome"] for span in spans] == ["cancelled"]


async def test_nothing_private_is_logged_of_a_run(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="voicemesh")
    plan = [failed(reason, SECRET) for reason in Reason]
    async with serving(PlannedTool(*plan, RuntimeError(SECRET))) as served:
        for number in range(len(plan) + 1):
            arguments = json.dumps({"party": 4, "name": SECRET})
            await served.run(arguments_json=arguments, idempotency_key=f"k-{number}")
        await served.run(name=SECRET, idempotency_key="other")
    lines = [(record.getMessage(), getattr(record, "fields", {})) for record in caplog.records]
    assert sum(event == "tool.failed" for event, _ in lines) == len(plan) + 2
    assert SECRET not in json.dumps(lines)
