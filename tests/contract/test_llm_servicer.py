"""llm-svc over real gRPC: what llm.proto says of Generate and FollowTurns."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pytest
from fakes.models import DOWN, STALL, WELL, PlannedModel, Step
from fakes.openai_server import KEY, Mode, openai_server
from llm_svc.adapters.generation import Contender
from llm_svc.adapters.openai import OpenAiModel
from llm_svc.adapters.runners import Runners
from llm_svc.adapters.scripted import ScriptedModel
from llm_svc.adapters.servicer import GENERATIONS, OUTCOMES, TOKENS, LlmServicer
from llm_svc.adapters.tool import Toolset
from llm_svc.adapters.tool_runs import ToolRuns
from llm_svc.adapters.tool_servicer import ToolServicer
from llm_svc.domain.breaker import Breaker, BreakerLimits
from llm_svc.domain.chat import End, Finish, Text, ToolPiece
from llm_svc.domain.choice import Kind, ProviderError
from svc_runtime.metrics import Counters
from svc_runtime.telemetry import Recorder, recorder
from voicemesh.llm.v1 import llm_pb2, llm_pb2_grpc
from voicemesh.type.v1 import call_pb2, stream_pb2

LIVENESS_S = 5.0
FIRST_TOKEN_S = 0.1
SECRET = "my number is 555 0101"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
REJECTED = ProviderError(Kind.REJECTED, "answered HTTP 400")
WRONG_KEY = ProviderError(Kind.MISCONFIGURED, "answered HTTP 401")


def request(**fields: Any) -> llm_pb2.GenerateRequest:
    fields.setdefault("messages", [call_pb2.ChatMessage(role="user", content=f"a table for four, {SECRET}")])
    return llm_pb2.GenerateRequest(call_id="vapi:1", turn=2, generation=3, **fields)


def contender(model: Any, breaker: Breaker | None = None) -> Contender:
    return Contender(model, breaker or Breaker(), FIRST_TOKEN_S)


@asynccontextmanager
async def serving(
    primary: Contender,
    fallback: Contender | None = None,
    *,
    notes: Recorder | None = None,
    max_generations: int = 10,
    token_gap_s: float = 0.1,
    total_s: float = 60.0,
    counters: Counters | None = None,
) -> AsyncIterator[tuple[llm_pb2_grpc.LlmServiceStub, LlmServicer]]:
    models = (primary, fallback) if fallback else (primary,)
    runners: Runners[Contender] = Runners(
        lambda _: models, lambda: [models], lambda one: one, token_gap_s=token_gap_s, total_s=total_s
    )
    await runners.ready()
    counters, notes = counters or Counters(), notes or recorder("llm-svc", "")
    tools = ToolServicer(lambda _: Toolset({}), ToolRuns(most_running=1, counters=counters), notes)
    servicer = LlmServicer(runners, tools, notes, max_generations=max_generations, counters=counters)
    server = grpc.aio.server()
    llm_pb2_grpc.add_LlmServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield llm_pb2_grpc.LlmServiceStub(channel), servicer
    finally:
        await server.stop(None)


async def all_of(
    stub: llm_pb2_grpc.LlmServiceStub, asked: llm_pb2.GenerateRequest | None = None
) -> list[llm_pb2.GenerateResponse]:
    call = stub.Generate(asked or request(), timeout=LIVENESS_S)
    try:
        return [response async for response in call]
    finally:
        call.cancel()


async def status_of(stub: llm_pb2_grpc.LlmServiceStub, asked: llm_pb2.GenerateRequest | None = None) -> tuple[Any, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await all_of(stub, asked)
    return caught.value.code(), caught.value.details() or ""


def text_of(responses: Sequence[llm_pb2.GenerateResponse]) -> str:
    return "".join(response.token.text for response in responses)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIVENESS_S):
        # What is waited for happens inside gRPC and has no event of its own.
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


# --- the conversation


async def test_tokens_come_as_they_are_made_then_exactly_one_finished() -> None:
    async with serving(contender(PlannedModel("openai/a", WELL))) as (stub, _):
        responses = await all_of(stub)
    assert [response.WhichOneof("piece") for response in responses][-1:] == ["finished"]
    assert sum(response.HasField("finished") for response in responses) == 1
    assert text_of(responses) == "One moment."
    finished = responses[-1].finished
    assert (finished.finish, finished.model, finished.fell_back) == (llm_pb2.FINISH_STOP, "openai/a", False)
    assert (finished.prompt_tokens, finished.completion_tokens) == (7, 2)
    assert finished.provider_first_token_us > 0


async def test_tokens_are_added_up_as_the_provider_counts_them() -> None:
    counters = Counters()
    async with serving(contender(PlannedModel("openai/a", WELL)), counters=counters) as (stub, _):
        await all_of(stub)
        await all_of(stub)
    assert [counters.value(TOKENS, direction=direction) for direction in ("in", "out")] == [14, 4]


async def test_the_first_token_does_not_wait_for_the_second() -> None:
    async with serving(contender(PlannedModel("openai/a", [Text("One"), STALL])), token_gap_s=60.0) as (stub, _):
        call = stub.Generate(request(), timeout=LIVENESS_S)
        first = await call.read()
        call.cancel()
    assert first.token.text == "One"


async def test_tool_calls_are_handed_on() -> None:
    plan: list[Step] = [ToolPiece(0, "call-1", "book_table"), ToolPiece(0, arguments="{}"), End(Finish.TOOL_CALLS)]
    async with serving(contender(PlannedModel("openai/a", plan))) as (stub, _):
        responses = await all_of(stub, request(tools_json='[{"type": "function"}]'))
    calls = [response.tool_call for response in responses[:-1]]
    assert calls[0].id == "call-1"
    assert calls[0].name == "book_table"
    assert "".join(call.arguments for call in calls) == "{}"
    assert responses[-1].finished.finish == llm_pb2.FINISH_TOOL_CALLS


async def test_the_request_reaches_the_model_as_it_was_sent() -> None:
    model = PlannedModel("openai/a", WELL)
    async with serving(contender(model)) as (stub, _):
        await all_of(stub, request(temperature=0.0, max_tokens=40, tools_json='[{"type": "function"}]'))
        await all_of(stub)
    assert (model.asked[0].temperature, model.asked[0].max_tokens) == (0.0, 40)
    assert model.asked[0].tools == ({"type": "function"},)
    assert (model.asked[1].temperature, model.asked[1].max_tokens) == (None, None)


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        (llm_pb2.GenerateRequest(call_id="vapi:1"), "messages is empty"),
        (request(tools_json="{}"), "tools_json is not a JSON array"),
        (request(tools_json="[1"), "tools_json is not a JSON array"),
    ],
)
async def test_a_request_that_cannot_be_run_is_an_invalid_argument(asked: llm_pb2.GenerateRequest, what: str) -> None:
    model = PlannedModel("openai/a", WELL)
    async with serving(contender(model)) as (stub, _):
        code, details = await status_of(stub, asked)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert what in details
    assert model.asked == []


async def test_one_generation_too_many_is_refused_and_the_others_go_on() -> None:
    model = PlannedModel("openai/a", [Text("One"), STALL], WELL)
    async with serving(contender(model), max_generations=1, token_gap_s=60.0) as (stub, _):
        running = stub.Generate(request(), timeout=LIVENESS_S)
        await running.read()
        code, details = await status_of(stub)
        running.cancel()
        await until(lambda: model.running == 0)
        assert text_of(await all_of(stub)) == "One moment."
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "1 generations are running" in details


# --- cancelling


@pytest.mark.parametrize("plan", [[STALL], [Text("One"), STALL]])
async def test_d20_cancelling_the_rpc_cancels_the_providers_work(plan: list[Any]) -> None:
    model = PlannedModel("openai/a", plan)
    slow = Contender(model, Breaker(), 60.0)
    async with serving(slow, token_gap_s=60.0) as (stub, _):
        call = stub.Generate(request())
        await until(lambda: model.running == 1)
        call.cancel()
        await until(lambda: model.running == 0)


async def test_d20_cancelling_the_rpc_closes_the_request_at_the_providers_server() -> None:
    async with openai_server() as provider:
        provider.token_s = 0.05
        provider.words = [" word"] * 1_000
        model = OpenAiModel(name="m", base_url=provider.url, api_key=KEY)
        async with serving(Contender(model, Breaker(), 5.0)) as (stub, _):
            call = stub.Generate(request())
            await call.read()
            call.cancel()
            async with asyncio.timeout(2.0):
                await provider.disconnected.wait()
        await model.close()


async def test_a_client_that_does_not_read_holds_the_provider_back_and_can_still_cancel_it() -> None:
    endless = [Text("x" * 10_000)] * 100_000
    model = PlannedModel("openai/a", endless)
    async with serving(contender(model), token_gap_s=60.0) as (stub, servicer):
        call = stub.Generate(request())
        await call.read()
        await until(lambda: model.running == 1)
        await asyncio.sleep(0.1)
        assert model.running == 1, "it waits instead of filling the memory"
        call.cancel()
        await until(lambda: model.running == 0 and not servicer._running)


async def test_clients_that_leave_at_any_moment_leave_no_work_behind() -> None:
    model = PlannedModel("openai/a", [Text("One"), Text(" moment."), STALL])
    async with serving(Contender(model, Breaker(), 60.0), token_gap_s=60.0, max_generations=100) as (stub, servicer):
        for number in range(60):
            call = stub.Generate(request())
            await asyncio.sleep(number * 0.0001)
            call.cancel()
        await until(lambda: not servicer._running)
    assert model.running == 0
    assert model.asked, "some of them were running"


# --- failures


async def test_d30_a_failure_before_the_first_token_is_replaced_by_the_fallback() -> None:
    primary, fallback = PlannedModel("openai/a", [DOWN]), PlannedModel("openai/b", WELL)
    async with serving(contender(primary), contender(fallback)) as (stub, _):
        responses = await all_of(stub)
    assert text_of(responses) == "One moment."
    assert (responses[-1].finished.model, responses[-1].finished.fell_back) == ("openai/b", True)
    assert (len(primary.asked), len(fallback.asked)) == (1, 1)


async def test_d30_a_model_that_stalls_before_its_first_token_is_replaced_too() -> None:
    primary, fallback = PlannedModel("openai/a", [STALL]), PlannedModel("openai/b", WELL)
    async with serving(contender(primary), contender(fallback)) as (stub, _):
        responses = await all_of(stub)
    assert text_of(responses) == "One moment."
    assert primary.running == 0, "the stalled request was given up"
    assert responses[-1].finished.provider_first_token_us >= FIRST_TOKEN_S * 1e6, "its wait is the providers', not ours"


async def test_d30_a_failure_after_the_first_token_ends_politely_and_is_not_replaced() -> None:
    fallback = PlannedModel("openai/b", WELL)
    plans: list[list[Step]] = [[Text("One"), DOWN], [Text("One"), STALL]]
    for broken in plans:
        async with serving(contender(PlannedModel("openai/a", broken)), contender(fallback)) as (stub, _):
            responses = await all_of(stub)
        assert text_of(responses) == "One"
        assert responses[-1].finished.finish == llm_pb2.FINISH_FAILED
    assert fallback.asked == []


async def test_d30_when_every_model_fails_it_is_unavailable_and_says_why() -> None:
    models = PlannedModel("openai/a", [DOWN]), PlannedModel("openai/b", [WRONG_KEY])
    async with serving(*map(contender, models)) as (stub, _):
        code, details = await status_of(stub)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert details == "no answer: openai/a could not be reached; openai/b answered HTTP 401"


async def test_d30_when_every_model_is_too_slow_it_is_a_deadline() -> None:
    models = PlannedModel("openai/a", [STALL]), PlannedModel("openai/b", [STALL])
    async with serving(*map(contender, models)) as (stub, _):
        code, details = await status_of(stub)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "openai/a gave no token within 0.1 s" in details


async def test_without_a_fallback_a_passing_failure_is_tried_once_more() -> None:
    model = PlannedModel("openai/a", [DOWN], WELL)
    async with serving(contender(model)) as (stub, _):
        responses = await all_of(stub)
    assert text_of(responses) == "One moment."
    assert not responses[-1].finished.fell_back


async def test_generations_are_counted_by_how_they_ended() -> None:
    counters = Counters()
    plans: list[list[Step]] = [WELL, [Text("One"), DOWN], [WRONG_KEY], [RuntimeError("x")]]
    for plan in plans:
        async with serving(contender(PlannedModel("openai/a", plan)), counters=counters) as (stub, _):
            with suppress(grpc.aio.AioRpcError):
                await all_of(stub)
    counted = {outcome: counters.value(GENERATIONS, outcome=outcome) for outcome in OUTCOMES}
    assert {outcome for outcome, count in counted.items() if count == 1} == {"stop", "failed", "unavailable", "defect"}
    assert sum(counted.values()) == 4


async def test_a_whole_generation_has_a_deadline() -> None:
    model = ScriptedModel(first_token_ms=0, token_ms=50)
    async with serving(contender(model), total_s=0.3) as (stub, _):
        responses = await all_of(stub)
    assert text_of(responses)
    assert responses[-1].finished.finish == llm_pb2.FINISH_FAILED


async def test_d30_the_breaker_opens_after_n_failures_and_lets_one_probe_in_after_its_pause() -> None:
    primary = PlannedModel("openai/a", [DOWN], [DOWN], [DOWN], WELL)
    fallback = PlannedModel("openai/b", WELL)
    breaker = Breaker(BreakerLimits(failures_in_a_row=3, pause_s=0.3))
    async with serving(contender(primary, breaker), contender(fallback)) as (stub, _):
        for _ in range(5):
            assert (await all_of(stub))[-1].finished.model == "openai/b"
        assert len(primary.asked) == 3, "two of five never reached the failing provider"
        await asyncio.sleep(0.35)
        assert (await all_of(stub))[-1].finished.model == "openai/a"
        assert (await all_of(stub))[-1].finished.model == "openai/a"


async def test_d30_an_open_breaker_without_a_fallback_is_unavailable_at_once() -> None:
    model = PlannedModel("openai/a", [WRONG_KEY])
    async with serving(contender(model)) as (stub, _):
        await status_of(stub)
        code, details = await status_of(stub)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert details == "no answer: openai/a is left alone for now: it kept failing"
    assert len(model.asked) == 1


async def test_a_prompt_that_the_provider_refuses_does_not_open_the_breaker() -> None:
    model = PlannedModel("openai/a", *[[REJECTED]] * 10, WELL)
    async with serving(contender(model)) as (stub, _):
        for _ in range(10):
            await status_of(stub)
        assert text_of(await all_of(stub)) == "One moment."


async def test_callers_who_cut_in_do_not_open_the_breaker() -> None:
    model = PlannedModel("openai/a", *[[STALL]] * 10, WELL)
    async with serving(Contender(model, Breaker(), 60.0)) as (stub, _):
        for number in range(10):
            call = stub.Generate(request())
            await until(lambda expected=number + 1: len(model.asked) == expected)  # type: ignore[misc]
            call.cancel()
            await until(lambda: model.running == 0)
        assert text_of(await all_of(stub)) == "One moment."


async def test_a_defect_of_an_adapter_is_internal_and_quotes_nothing() -> None:
    model = PlannedModel("openai/a", [RuntimeError(SECRET)])
    async with serving(contender(model)) as (stub, _):
        code, details = await status_of(stub)
    assert code is grpc.StatusCode.INTERNAL
    assert details == "a defect of llm-svc: RuntimeError"


@pytest.mark.parametrize("mode", [Mode.STATUS, Mode.ERROR_EVENT, Mode.MALFORMED])
async def test_nothing_private_is_logged_or_answered_when_a_provider_fails(
    mode: Mode, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with openai_server() as provider:
        provider.mode = mode
        model = OpenAiModel(name="m", base_url=provider.url, api_key=KEY)
        async with serving(Contender(model, Breaker(), 5.0)) as (stub, _):
            call = stub.Generate(request(), timeout=LIVENESS_S)
            while (response := await _read(call)) is not None:
                assert SECRET not in str(response)
            assert SECRET not in (await call.details() or "")
        await model.close()
    lines = [
        (record.getMessage(), getattr(record, "fields", {})) for record in caplog.records if record.name == "voicemesh"
    ]
    assert any(event == "llm.provider.failed" for event, _ in lines)
    assert SECRET not in json.dumps(lines)
    assert KEY not in json.dumps(lines)


async def _read(call: Any) -> llm_pb2.GenerateResponse | None:
    try:
        response = await call.read()
    except grpc.aio.AioRpcError:
        return None
    return None if response is grpc.aio.EOF else response


# --- draining


async def test_a_drain_lets_a_running_answer_end() -> None:
    async with serving(contender(ScriptedModel(first_token_ms=20, token_ms=5))) as (stub, servicer):
        answering = asyncio.create_task(all_of(stub))
        await until(lambda: bool(servicer._running))
        await servicer.drain(5.0)
        responses = await answering
    assert responses[-1].finished.finish == llm_pb2.FINISH_STOP


async def test_a_drain_that_runs_out_closes_what_was_said_and_refuses_what_was_not() -> None:
    talking = PlannedModel("openai/a", [Text("One"), STALL], [STALL])
    async with serving(Contender(talking, Breaker(), 60.0), token_gap_s=60.0) as (stub, servicer):
        call = stub.Generate(request(), timeout=LIVENESS_S)
        await call.read()
        silent = asyncio.create_task(status_of(stub))
        await until(lambda: talking.running == 2)
        await servicer.drain(0.6)
        closing = await call.read()
        code, _ = await silent
    assert closing.finished.finish == llm_pb2.FINISH_FAILED
    assert code is grpc.StatusCode.UNAVAILABLE


# --- traces


async def notes_of(stub: llm_pb2_grpc.LlmServiceStub, trace_id: str, keep: bool) -> llm_pb2.FollowTurnsResponse:
    """Send one verdict as ingress does and return the answer to it."""
    call = stub.FollowTurns()
    hello = stream_pb2.Hello(client_id="ingress-1", stream_version=1)
    note = llm_pb2.TurnNote(seq=1, turn_ended=call_pb2.TurnEnded(trace_id=trace_id, turn=2, keep=keep))
    await call.write(llm_pb2.FollowTurnsRequest(hello=hello))
    await call.write(llm_pb2.FollowTurnsRequest(events=[note]))
    try:
        async with asyncio.timeout(LIVENESS_S):
            while True:
                response: llm_pb2.FollowTurnsResponse = await call.read()
                if response.acked_seqs or response.errors:
                    return response
    finally:
        call.cancel()


async def test_a_kept_turn_leaves_its_spans_below_the_span_of_ingress() -> None:
    spans: list[Any] = []
    notes = recorder("llm-svc", "", sink=spans.extend)
    notes.start()
    primary, fallback = contender(PlannedModel("openai/a", [DOWN])), contender(PlannedModel("openai/b", WELL))
    async with serving(primary, fallback, notes=notes) as (stub, _):
        trace = call_pb2.TraceContext(traceparent=f"00-{TRACE_ID}-b7ad6b7169203331-01")
        await all_of(stub, request(trace=trace))
        answer = await notes_of(stub, TRACE_ID, keep=True)
        await until(lambda: len(spans) == 3)
    await notes.close()
    assert list(answer.acked_seqs) == [1]
    by_name = {span.name: span for span in spans}
    generate = by_name["llm.generate"]
    assert f"{generate.context.trace_id:032x}" == TRACE_ID
    assert f"{generate.parent.span_id:016x}" == "b7ad6b7169203331"
    assert generate.attributes["voicemesh.llm.fell_back"] is True
    assert generate.attributes["voicemesh.llm.outcome"] == "stop"
    assert generate.attributes["gen_ai.usage.output_tokens"] == 2
    assert (generate.attributes["gen_ai.provider.name"], generate.attributes["gen_ai.request.model"]) == ("openai", "b")
    tries = [span for span in spans if span.name == "llm.provider"]
    assert {span.parent.span_id for span in tries} == {generate.context.span_id}
    assert [span.attributes.get("error.type", "") for span in tries] == ["unreachable", ""]
    assert SECRET not in str([span.to_json() for span in spans])


async def test_a_turn_that_is_not_kept_leaves_none() -> None:
    spans: list[Any] = []
    notes = recorder("llm-svc", "", sink=spans.extend)
    notes.start()
    async with serving(contender(PlannedModel("openai/a", WELL)), notes=notes) as (stub, _):
        await all_of(stub, request(trace=call_pb2.TraceContext(traceparent=f"00-{TRACE_ID}-b7ad6b7169203331-01")))
        await notes_of(stub, TRACE_ID, keep=False)
    await notes.close()
    assert spans == []


async def test_a_verdict_without_a_trace_is_refused_alone() -> None:
    async with serving(contender(PlannedModel("openai/a", WELL))) as (stub, _):
        answer = await notes_of(stub, "not hex", keep=True)
    assert [error.code for error in answer.errors] == [stream_pb2.ERROR_CODE_INVALID]
