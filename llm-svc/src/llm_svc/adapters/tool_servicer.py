"""RunTool and ListTools of LlmService."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import grpc
import grpc.aio
from svc_runtime.telemetry import Kind, Recorder, SpanRef, new_trace, parse_traceparent
from voicemesh.llm.v1 import llm_pb2

from llm_svc.adapters.tool import Toolset
from llm_svc.adapters.tool_runs import Done, Ending, KeyTaken, NotRun, ToolRuns, TooMany
from llm_svc.domain.builtin_tools import BUILTIN
from llm_svc.domain.tools import Ask, Failure, Reason, definition, failed

_REASON: Final = {
    Reason.UNKNOWN_TOOL: llm_pb2.TOOL_FAILURE_REASON_UNKNOWN_TOOL,
    Reason.BAD_ARGUMENTS: llm_pb2.TOOL_FAILURE_REASON_BAD_ARGUMENTS,
    Reason.TIMEOUT: llm_pb2.TOOL_FAILURE_REASON_TIMEOUT,
    Reason.UNREACHABLE: llm_pb2.TOOL_FAILURE_REASON_UNREACHABLE,
    Reason.REFUSED: llm_pb2.TOOL_FAILURE_REASON_REFUSED,
    Reason.DEFECT: llm_pb2.TOOL_FAILURE_REASON_DEFECT,
    Reason.TOO_LARGE: llm_pb2.TOOL_FAILURE_REASON_TOO_LARGE,
    Reason.CANCELLED: llm_pb2.TOOL_FAILURE_REASON_CANCELLED,
}
NOT_BEGUN: Final = "voicemesh-not-begun"
"""Trailing metadata of a refusal: nothing was run."""
_STATUS: Final[Mapping[type[NotRun], grpc.StatusCode]] = {
    KeyTaken: grpc.StatusCode.INVALID_ARGUMENT,
    TooMany: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Ending: grpc.StatusCode.UNAVAILABLE,
}
_KEY = re.compile(r"[!-~]([ -~]{0,254}[!-~])?")
"""What can travel in a header as it is."""
_NO_FAULT = frozenset({"result", Reason.UNKNOWN_TOOL.value, Reason.BAD_ARGUMENTS.value, Reason.CANCELLED.value})


class ToolServicer:
    """Answers for the tools of every agent."""

    def __init__(self, toolset_of: Callable[[str], Toolset], runs: ToolRuns, recorder: Recorder) -> None:
        """``toolset_of`` returns the tools of an agent, of the default one where it does not know the agent."""
        self._toolset_of = toolset_of
        self._runs = runs
        self._recorder = recorder

    async def run(
        self, request: llm_pb2.RunToolRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> llm_pb2.RunToolResponse:
        toolset = self._toolset_of(request.agent)
        if problem := _problem(request, toolset):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
        parent = parse_traceparent(request.trace.traceparent)
        span = parent.child() if parent else new_trace()
        start_ns = time.time_ns()
        try:
            done = await self._runs.run(toolset, _ask(request, span))
        except NotRun as refused:
            # Tells an llm-svc that was lost, and may have run it, from one that has begun nothing.
            await context.abort(_STATUS[type(refused)], str(refused), trailing_metadata=((NOT_BEGUN, "1"),))
        except asyncio.CancelledError:
            self._note_span(
                request, span, parent, Done(failed(Reason.CANCELLED, ""), "", start_ns, time.time_ns(), b"")
            )
            raise
        self._note_span(request, span, parent, done)
        return _response(done)

    def list(self, request: llm_pb2.ListToolsRequest) -> llm_pb2.ListToolsResponse:
        return _listed(self._toolset_of(request.agent))

    async def drain(self, within_s: float) -> None:
        """Let what runs end, within so many seconds."""
        await self._runs.drain(within_s)

    def _note_span(self, request: llm_pb2.RunToolRequest, span: SpanRef, parent: SpanRef | None, done: Done) -> None:
        if not self._recorder.enabled:
            return
        attributes: dict[str, str | int | float | bool] = {
            "voicemesh.call.id": request.call_id,
            "voicemesh.turn.number": request.turn,
            "voicemesh.generation": request.generation,
            "voicemesh.tool.outcome": done.outcome.word,
            "voicemesh.tool.tries": done.outcome.tries,
            "voicemesh.tool.repeated": done.repeated,
            "gen_ai.operation.name": "execute_tool",
        }
        if done.kind:
            attributes["voicemesh.tool.kind"] = done.kind
            attributes["gen_ai.tool.name"] = request.name
        self._recorder.note(
            "tool.run",
            span,
            parent_id=parent.span_id if parent else 0,
            start_ns=done.start_ns,
            end_ns=done.end_ns,
            kind=Kind.SERVER,
            attributes=attributes,
            error="" if done.outcome.word in _NO_FAULT else done.outcome.word,
        )


def _problem(request: llm_pb2.RunToolRequest, toolset: Toolset) -> str:
    """Return what breaks the contract, empty for nothing; it quotes nothing private."""
    if not request.call_id:
        return "call_id is empty"
    if not request.name:
        return "name is empty"
    if request.name in toolset.builtin:
        return f"{request.name} is built in; ingress carries it out by itself"
    if not _KEY.fullmatch(request.idempotency_key):
        return "idempotency_key must be 1 to 256 printable ASCII characters, without spaces at its ends"
    return ""


def _ask(request: llm_pb2.RunToolRequest, span: SpanRef) -> Ask:
    return Ask(
        call_id=request.call_id,
        turn=request.turn,
        generation=request.generation,
        name=request.name,
        arguments_json=request.arguments_json,
        idempotency_key=request.idempotency_key,
        agent=request.agent,
        traceparent=span.traceparent,
    )


def _response(done: Done) -> llm_pb2.RunToolResponse:
    response = llm_pb2.RunToolResponse(duration_ms=done.duration_ms, repeated=done.repeated)
    failure = done.outcome.failure
    if failure is None:
        response.result = done.outcome.result
    else:
        response.failure.CopyFrom(_failure(failure))
    return response


def _failure(failure: Failure) -> llm_pb2.ToolFailure:
    return llm_pb2.ToolFailure(
        reason=_REASON[failure.reason],
        message=failure.message,
        effect_unknown=failure.effect_unknown,
        http_status=failure.http_status,
    )


def _listed(toolset: Toolset) -> llm_pb2.ListToolsResponse:
    own = [
        llm_pb2.Tool(
            name=tool.name,
            definition_json=_json(definition(tool.name, tool.description, tool.arguments.schema)),
            speak_while_running=tool.speak_while_running,
            timeout_ms=round(tool.timeout_s * 1_000),
        )
        for tool in toolset.tools.values()
    ]
    builtin = [llm_pb2.Tool(name=name, definition_json=_json(BUILTIN[name]), builtin=True) for name in toolset.builtin]
    return llm_pb2.ListToolsResponse(tools=own + builtin)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
