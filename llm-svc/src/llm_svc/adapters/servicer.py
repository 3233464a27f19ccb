"""The gRPC service over the agents' runners."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio
from svc_runtime import logs
from svc_runtime.feed import Feed, Peer
from svc_runtime.metrics import Counters
from svc_runtime.stream import INVALID, Outcome, StreamShape
from svc_runtime.telemetry import Kind, Recorder, SpanRef, new_trace, parse_traceparent
from voicemesh.llm.v1 import llm_pb2, llm_pb2_grpc

from llm_svc.adapters.generation import Ended, NoAnswer, Try
from llm_svc.adapters.outbox import Outbox
from llm_svc.adapters.runners import Runners
from llm_svc.adapters.tool_servicer import ToolServicer
from llm_svc.adapters.wire import finished_of, piece_of, prompt_of
from llm_svc.domain.chat import End, Finish, Prompt
from llm_svc.domain.choice import Role, out_of_time

SHAPE = StreamShape.of(llm_pb2.FollowTurnsRequest, llm_pb2.FollowTurnsResponse)

MODELS_TRIED = "voicemesh-models-tried"
"""Trailing metadata of a generation for which every model was tried in vain."""
_CANCELLED = "cancelled"
_GOOD = frozenset({_CANCELLED, *(finish.value for finish in Finish if finish is not Finish.FAILED)})
GENERATIONS = "voicemesh.llm.generations"
TOKENS = "voicemesh.llm.tokens"
OUTCOMES = (
    _CANCELLED,
    *(finish.value for finish in Finish),
    "drained",
    "defect",
    "deadline_exceeded",
    "unavailable",
)


class _Aborted(Exception):
    """The RPC ends with a status instead of `finished`."""

    def __init__(self, outcome: str, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.outcome = outcome
        self.code = code
        self.details = details


class LlmServicer(llm_pb2_grpc.LlmServiceServicer):
    """Implements LlmService. The provider's work runs in a task of its own: see `Generate`."""

    def __init__(
        self,
        runners: Runners[Any],
        tools: ToolServicer,
        recorder: Recorder,
        *,
        max_generations: int,
        counters: Counters,
    ) -> None:
        self._runners = runners
        self._tools = tools
        self._recorder = recorder
        self._max_generations = max_generations
        self._counters = counters
        counters.declare(GENERATIONS, "Generations by how they ended.", outcome=OUTCOMES)
        counters.declare(TOKENS, "Tokens of finished generations, as their providers count.", direction=("in", "out"))
        self._running: set[asyncio.Task[Ended]] = set()
        self.feed = Feed(SHAPE, self._take_note)

    async def Generate(
        self, request: llm_pb2.GenerateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[llm_pb2.GenerateResponse]:
        """Run one generation.

        A cancelled RPC reaches this generator as CancelledError while it waits and as GeneratorExit while it writes,
        so the provider is cancelled in ``finally``, which must not wait: a generator that is being closed may not.
        """
        prompt = await self._admit(request, context)
        lent = await self._runners.borrow(request.agent)
        out = Outbox()
        tries: list[Try] = []
        start_ns = time.time_ns()
        outcome = _CANCELLED
        work = asyncio.create_task(lent.runner.run(prompt, out, tries), name="generation")
        self._running.add(work)
        work.add_done_callback(self._forget)
        work.add_done_callback(lambda _: self._runners.give_back(lent))
        try:
            while pieces := await out.take():
                for piece in pieces:
                    yield piece_of(piece)
            ended = await self._ended(work, tries)
            outcome = ended.end.finish.value
            self._counters.add(TOKENS, ended.end.prompt_tokens, direction="in")
            self._counters.add(TOKENS, ended.end.completion_tokens, direction="out")
            yield finished_of(ended)
        except _Aborted as aborted:
            outcome = aborted.outcome
            # Tells an llm-svc that was lost (nothing) from one whose models have all been tried.
            await context.abort(aborted.code, aborted.details, trailing_metadata=((MODELS_TRIED, "1"),))
        finally:
            work.cancel()
            self._counters.add(GENERATIONS, outcome=outcome)
            self._note_spans(request, tries, outcome, start_ns, work)

    async def _ended(self, work: asyncio.Task[Ended], tries: Sequence[Try]) -> Ended:
        """Return how the generation ended. Raises _Aborted when nothing was said."""
        await asyncio.wait((work,))
        if work.cancelled():
            # Only a drain cancels the work before the RPC is over.
            if not tries or not tries[-1].first_token_us:
                raise _Aborted("drained", grpc.StatusCode.UNAVAILABLE, "this replica ends; ask another")
            last = tries[-1]
            return Ended(End(Finish.FAILED), last.model, last.role is Role.FALLBACK, last.first_token_us)
        error = work.exception()
        if error is None:
            return work.result()
        if not isinstance(error, NoAnswer):
            raise _Aborted("defect", grpc.StatusCode.INTERNAL, f"a defect of llm-svc: {type(error).__name__}")
        if out_of_time(error.failures):
            raise _Aborted("deadline_exceeded", grpc.StatusCode.DEADLINE_EXCEEDED, f"no answer: {error}")
        raise _Aborted("unavailable", grpc.StatusCode.UNAVAILABLE, f"no answer: {error}")

    async def FollowTurns(self, request_iterator: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Take the verdicts on turns; `Feed` reads from ``context``, so the iterator stays untouched."""
        await self.feed.serve(context)

    async def RunTool(
        self, request: llm_pb2.RunToolRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> llm_pb2.RunToolResponse:
        """Run one of the agent's own tools."""
        return await self._tools.run(request, context)

    async def ListTools(
        self, request: llm_pb2.ListToolsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> llm_pb2.ListToolsResponse:
        """List the tools of an agent."""
        return self._tools.list(request)

    @property
    def running(self) -> int:
        """How many generations run."""
        return len(self._running)

    async def drain(self, within_s: float) -> None:
        """Let running generations and tools end and cancel the rest half a second before ``within_s`` is over.

        New generations are still taken: where this is the only replica, an answer that may be cut off is better than
        none. New tools are not: what they do may not be done again.
        """
        tools = asyncio.create_task(self._tools.drain(within_s))
        begun = len(self._running)
        deadline_s = asyncio.get_running_loop().time() + max(0.0, within_s - 0.5)
        try:
            async with asyncio.timeout_at(deadline_s):
                while self._running:
                    await asyncio.wait(tuple(self._running))
        except TimeoutError:
            pass
        cancelled = len(self._running)
        for work in self._running:
            work.cancel()
        logs.get().info("llm.drained", generations=begun, generations_cancelled=cancelled)
        await tools
        # Notes go to every replica, so there is nowhere for their streams to move: only their answers are waited for.
        await self.feed.drain(0.0, settle_within_s=0.4)

    async def _admit(self, request: llm_pb2.GenerateRequest, context: grpc.aio.ServicerContext[Any, Any]) -> Prompt:
        """Return the prompt, or end the RPC. The limit is ours, not the server's: that would refuse health checks."""
        if len(self._running) >= self._max_generations:
            details = f"{self._max_generations} generations are running, the most that this replica takes"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, details)
        try:
            return prompt_of(request)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        raise AssertionError("abort returned")

    def _forget(self, work: asyncio.Task[Ended]) -> None:
        self._running.discard(work)
        error = None if work.cancelled() else work.exception()
        if error is not None and not isinstance(error, NoAnswer):
            logs.get().exception("llm.generation.defect", error)

    def _take_note(self, peer: Peer, note: llm_pb2.TurnNote) -> None:
        try:
            trace_id = int(note.turn_ended.trace_id, 16)
        except ValueError:
            peer.fail(note.seq, Outcome(INVALID, "turn_ended.trace_id is not 32 hex digits"))
            return
        self._recorder.end_trace(trace_id, note.turn_ended.keep)
        peer.ack(note.seq)

    def _note_spans(
        self,
        request: llm_pb2.GenerateRequest,
        tries: Sequence[Try],
        outcome: str,
        start_ns: int,
        work: asyncio.Task[Ended],
    ) -> None:
        if not self._recorder.enabled:
            return
        parent = parse_traceparent(request.trace.traceparent)
        span = parent.child() if parent else new_trace()
        for attempt in tries:
            self._note_try(attempt, span)
        last = tries[-1] if tries else None
        attributes: dict[str, str | int | float | bool] = {
            "voicemesh.call.id": request.call_id,
            "voicemesh.turn.number": request.turn,
            "voicemesh.generation": request.generation,
            "voicemesh.llm.outcome": outcome,
            "voicemesh.llm.tries": len(tries),
            "voicemesh.llm.fell_back": last is not None and last.role is Role.FALLBACK,
            "gen_ai.operation.name": "chat",
        }
        if last is not None:
            attributes["gen_ai.provider.name"], _, attributes["gen_ai.request.model"] = last.model.partition("/")
        if work.done() and not work.cancelled() and work.exception() is None:
            end = work.result().end
            attributes["gen_ai.usage.input_tokens"] = end.prompt_tokens
            attributes["gen_ai.usage.output_tokens"] = end.completion_tokens
        self._recorder.note(
            "llm.generate",
            span,
            parent_id=parent.span_id if parent else 0,
            start_ns=start_ns,
            end_ns=time.time_ns(),
            kind=Kind.SERVER,
            attributes=attributes,
            error="" if outcome in _GOOD else last.failure.kind.value if last and last.failure else outcome,
        )

    def _note_try(self, attempt: Try, parent: SpanRef) -> None:
        provider, _, model = attempt.model.partition("/")
        attributes: dict[str, str | int | float | bool] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            "gen_ai.request.stream": True,
            "voicemesh.llm.role": attempt.role.value,
        }
        if attempt.first_token_us:
            attributes["gen_ai.response.time_to_first_chunk"] = attempt.first_token_us / 1e6
        self._recorder.note(
            "llm.provider",
            parent.child(),
            parent_id=parent.span_id,
            start_ns=attempt.start_ns,
            end_ns=attempt.end_ns or time.time_ns(),
            kind=Kind.CLIENT,
            attributes=attributes,
            error=attempt.failure.kind.value if attempt.failure else "",
        )
