"""Runs generations at llm-svc."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from svc_runtime import logs
from svc_runtime.telemetry import Kind
from voicemesh.llm.v1 import llm_pb2

from ingress_svc.adapters import wire
from ingress_svc.adapters.mesh import Mesh
from ingress_svc.adapters.tool_rounds import FAILED, Ending, Part, Token, ToolCall, ToolRounds
from ingress_svc.adapters.turns import Turn, Turns
from ingress_svc.domain.effects import Finish, OpenGenerate, Usage, WriteToolCall
from ingress_svc.domain.vapi_llm import LlmRequest

_FINISH = {
    llm_pb2.FINISH_STOP: Finish.STOP,
    llm_pb2.FINISH_LENGTH: Finish.LENGTH,
    llm_pb2.FINISH_TOOL_CALLS: Finish.TOOL_CALLS,
    llm_pb2.FINISH_FAILED: Finish.FAILED,
}
AGAIN_S = 0.1
"""Pause before an answer that was lost before its first piece is asked for again."""
LOST_TIMES = 3
MODELS_TRIED = "voicemesh-models-tried"
"""Trailing metadata of an llm-svc that has tried its models and failed: it was not lost, and asking again is no use."""

Finished = Callable[[Ending], None]


class Run:
    """A generation on its way. `cancel` is the cancel: it ends the RPC in the same breath."""

    def __init__(self) -> None:
        self.rpc: Any = None
        self.task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        if self.rpc is not None:
            self.rpc.cancel()
        if self.task is not None:
            self.task.cancel()


@dataclass(slots=True)
class Generate:
    """Opens Generate calls, and hands their pieces on as they come."""

    mesh: Mesh
    turns: Turns
    rounds: ToolRounds
    timeout_s: float
    first_piece_s: float

    def run(
        self,
        call_id: str,
        opened: OpenGenerate,
        request: LlmRequest,
        turn: Turn,
        *,
        agent: str,
        token: Token,
        tool_call: ToolCall,
        part: Part,
        is_aside: Callable[[], bool],
        finished: Finished,
    ) -> Run:
        """Start, and return the handle that cancels. ``finished`` is called once, unless it was cancelled."""
        run = Run()
        message = self._message(call_id, opened, request, agent)

        async def model(message: llm_pb2.GenerateRequest, token: Token, tool_call: ToolCall) -> Ending:
            return await self._pieces(run, message, turn, opened.generation, token, tool_call)

        async def work() -> None:
            try:
                ending = await self.rounds.run(
                    message, turn, model=model, token=token, tool_call=tool_call, part=part, is_aside=is_aside
                )
            except Exception as error:  # noqa: BLE001 - a defect of ours must not leave a caller in silence
                logs.get().exception("generation.failed", error, generation=opened.generation)
                ending = FAILED
            finished(ending)

        run.task = asyncio.get_running_loop().create_task(work())
        return run

    async def _pieces(
        self, run: Run, message: llm_pb2.GenerateRequest, turn: Turn, generation: int, token: Token, tool_call: ToolCall
    ) -> Ending:
        """Return how this run of the model ended. An llm-svc that is lost before its first piece is asked once more."""
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + self.first_piece_s
        error = ""
        for attempt in range(1, LOST_TIMES + 1):
            span = turn.root.child()
            message.trace.traceparent = span.traceparent
            sent_ns = time.time_ns()
            got_any = False
            run.rpc = rpc = self.mesh.generate(message, self.timeout_s)
            error = ""
            try:
                async with asyncio.timeout_at(give_up_s) as patience:
                    while True:
                        piece = await rpc.read()
                        if piece is grpc.aio.EOF:
                            error = "unfinished"
                            break
                        if not got_any:
                            got_any = True
                            patience.reschedule(None)
                            self.turns.note(turn, "llm.first_token", sent_ns, kind=Kind.CLIENT)
                        kind = piece.WhichOneof("piece")
                        if kind == "token":
                            token(piece.token.text)
                        elif kind == "tool_call":
                            call = piece.tool_call
                            tool_call(WriteToolCall("", generation, call.index, call.id, call.name, call.arguments))
                        elif kind == "finished":
                            done = piece.finished
                            finish = _FINISH.get(done.finish, Finish.FAILED)
                            return Ending(finish, _usage(done), done.provider_first_token_us, model=done.model)
            except TimeoutError:
                error = "timeout"
            except grpc.aio.AioRpcError as failed:
                error = failed.code().name.lower()
                if not got_any and _lost(failed) and attempt < LOST_TIMES:
                    await asyncio.sleep(AGAIN_S)
                    continue
            finally:
                # A call that is no longer read runs on at the server, and its tokens are paid for.
                rpc.cancel()
                self._note(turn, span, sent_ns, error)
            break
        logs.get().warning("generation.failed", generation=generation, reason=error)
        return FAILED

    def _note(self, turn: Turn, span: Any, sent_ns: int, error: str) -> None:
        self.turns.note(turn, "llm.generate", sent_ns, span=span, kind=Kind.CLIENT, error=error)

    def _message(self, call_id: str, opened: OpenGenerate, request: LlmRequest, agent: str) -> llm_pb2.GenerateRequest:
        message = llm_pb2.GenerateRequest(
            call_id=call_id,
            turn=opened.turn,
            generation=opened.generation,
            messages=[wire.message_to(entry) for entry in opened.messages],
            tools_json=request.tools_json,
            agent=agent,
        )
        if request.temperature is not None:
            message.temperature = request.temperature
        if request.max_tokens is not None:
            message.max_tokens = request.max_tokens
        return message


def _usage(done: llm_pb2.Finished) -> Usage | None:
    # A prompt has at least one token: 0 of both is a provider that does not count.
    counted = done.prompt_tokens or done.completion_tokens
    return Usage(done.prompt_tokens, done.completion_tokens) if counted else None


def _lost(failed: grpc.aio.AioRpcError) -> bool:
    tried = any(key == MODELS_TRIED for key, _ in failed.trailing_metadata() or ())
    return failed.code() is grpc.StatusCode.UNAVAILABLE and not tried
