"""Runs a tool that has been claimed: at llm-svc."""

from __future__ import annotations

import asyncio
from typing import Final

import grpc
from svc_runtime import logs
from voicemesh.llm.v1 import llm_pb2

from ingress_svc.adapters.mesh import Mesh
from ingress_svc.domain.tool_claims import ToolAsk, ToolEnd, ToolOutcome

NOT_BEGUN: Final = "voicemesh-not-begun"
"""Trailing metadata of an llm-svc that has refused a run: another replica may take it."""
OTHER_S: Final = (0.1, 0.3, 0.6)
"""Pauses before another replica is asked."""
REACHED_S: Final = 2.0
"""How long a replica is waited for."""
MORE_S: Final = 1.0
"""What llm-svc has beyond the tool's own time: its own "too late" says more than a deadline."""

BUSY: Final = "It was not run: too much is going on at the moment."
REFUSED: Final = "It could not be run."
LOST: Final = "The connection was lost while it ran; it is not known whether this was done. Do not simply try it again."


class LlmTools:
    """The agent's own tools."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    async def run(self, ask: ToolAsk, agent: str, traceparent: str) -> ToolEnd:
        """Return what became of it. A replica that has begun nothing is left for another; a lost one is not."""
        request = llm_pb2.RunToolRequest(
            call_id=ask.call_id,
            turn=ask.turn,
            generation=ask.generation,
            name=ask.name,
            arguments_json=ask.arguments_json,
            idempotency_key=ask.key,
            agent=agent,
        )
        request.trace.traceparent = traceparent
        for pause_s in (*OTHER_S, None):
            # By itself the call would wait for a connection in the tool's own time, and nobody could say afterwards
            # whether it had begun.
            if not await self._mesh.reaches_llm(REACHED_S):
                logs.get().warning("tool.not_answered", code="unreachable")
                return ToolEnd(ToolOutcome.FAILED, BUSY)
            try:
                return _end_of(await self._mesh.run_tool(request, ask.timeout_ms / 1_000 + MORE_S))
            except grpc.aio.AioRpcError as failed:
                end = _refused(failed)
                if end is None and pause_s is not None:
                    await asyncio.sleep(pause_s)
                    continue
                logs.get().warning("tool.not_answered", code=failed.code().name.lower())
                return end or ToolEnd(ToolOutcome.FAILED, BUSY)
        raise AssertionError("the last try returns")


def _end_of(answer: llm_pb2.RunToolResponse) -> ToolEnd:
    failure = answer.failure
    if answer.WhichOneof("answer") == "result":
        return ToolEnd(ToolOutcome.DONE, answer.result, answer.duration_ms)
    outcome = ToolOutcome.UNKNOWN if failure.effect_unknown else ToolOutcome.FAILED
    return ToolEnd(outcome, failure.message or REFUSED, answer.duration_ms)


def _refused(failed: grpc.aio.AioRpcError) -> ToolEnd | None:
    """Return the end that a status means; None where nothing was begun and another replica may take it."""
    if failed.code() is grpc.StatusCode.INVALID_ARGUMENT:
        return ToolEnd(ToolOutcome.FAILED, REFUSED)
    if any(key == NOT_BEGUN for key, _ in failed.trailing_metadata() or ()):
        return None
    return ToolEnd(ToolOutcome.UNKNOWN, LOST)
