"""A request that carries an answer: the last writer before the caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from ingress_svc.domain.effects import Finish
from ingress_svc.domain.vapi_llm import DONE, LlmRequest, SseEncoder

MayWrite = Callable[[int], bool]
CaughtUp = Callable[[], Awaitable[None]]
NO_GENERATION = 0
"""Content of the mesh itself (an apology when no generation could be had): no cut can name it."""

_FINISH_REASON = {
    Finish.STOP: "stop",
    Finish.LENGTH: "length",
    Finish.TOOL_CALLS: "tool_calls",
    Finish.FAILED: "stop",
}


class Attachment:
    """One custom-LLM request, from its arrival to the last byte of its answer.

    Others put frames in; `respond`, in the task of the request, is the only writer. Right before the bytes leave it
    asks once more whether their generation may still write, so nothing of a cut generation leaves after the cut.
    """

    def __init__(
        self,
        attachment_id: str,
        request: LlmRequest,
        *,
        received_ms: int,
        received_ns: int,
        may_write: MayWrite,
        caught_up: CaughtUp,
        slept: Callable[[], int],
    ) -> None:
        self.attachment_id = attachment_id
        self.request = request
        self.received_ms = received_ms
        self.received_ns = received_ns
        self.answered = False
        """A command for this attachment has come."""
        self.attempts = 0
        self.first_text_ns = 0
        """When the first text was written; 0 before."""
        self.on_closed: list[Callable[[], None]] = []
        """Called once the closing frame has been written."""
        self._may_write = may_write
        self._caught_up = caught_up
        self._slept = slept
        self._cleared_sleeps = slept()
        self._frames: list[tuple[int, bytes, str]] = []
        self._finish: Finish | None = None
        self._wake = asyncio.Event()
        self._encoder = SseEncoder(
            f"chatcmpl-{attachment_id}", model=request.model or "voicemesh", created_s=received_ms // 1000
        )

    def push(self, generation: int, text: str) -> None:
        """Queue text of a generation; behind the end nothing is taken."""
        self._queue(generation, self._encoder.text(text), text)

    def push_tool_call(self, generation: int, index: int, *, call_id: str, name: str, arguments: str) -> None:
        """Queue a piece of a tool call."""
        frame = self._encoder.tool_call(index, call_id=call_id, name=name, arguments=arguments)
        self._queue(generation, frame, "")

    def close(self, finish: Finish) -> None:
        """End the answer behind what is queued; frames that are fenced by then are left out."""
        if self._finish is None:
            self._finish = finish
            self._wake.set()

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Write the answer until it is closed. Cancelled when the peer goes away."""
        if not self.request.stream:
            return await self._respond_whole()
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-cache, no-transform",
                # nginx would otherwise hold tokens back until its buffer is full.
                "X-Accel-Buffering": "no",
            }
        )
        await response.prepare(request)
        opening = self._encoder.opening()
        while True:
            frames, finish = await self._next()
            body = b"".join(frames)
            if body and not self.first_text_ns:
                self.first_text_ns = time.time_ns()
            if body:
                body = opening + body
                opening = b""
            if finish is not None:
                body += opening + self._encoder.closing(_FINISH_REASON[finish]) + DONE
            if body:
                await response.write(body)
            if finish is not None:
                self._report_closed()
                await response.write_eof()
                return response

    async def _respond_whole(self) -> web.StreamResponse:
        """Answer a request with ``stream: false``: one JSON body at the end. Tool calls are only streamed."""
        said: list[str] = []
        while True:
            await self._wait()
            frames, self._frames = self._frames, []
            said += [text for generation, _, text in frames if self._allowed(generation)]
            if self._finish is not None:
                self._report_closed()
                body = self._encoder.completion("".join(said), finish_reason=_FINISH_REASON[self._finish])
                return web.Response(body=body, content_type="application/json")

    async def _next(self) -> tuple[list[bytes], Finish | None]:
        """Wait for frames or the end, and return what may leave now."""
        await self._wait()
        frames, self._frames = self._frames, []
        return [frame for generation, frame, _ in frames if self._allowed(generation)], self._finish

    async def _wait(self) -> None:
        await self._wake.wait()
        self._wake.clear()
        # A process that slept must hear what was decided meanwhile before it says anything more.
        while self._cleared_sleeps != (sleeps := self._slept()):
            await self._caught_up()
            self._cleared_sleeps = sleeps

    def _queue(self, generation: int, frame: bytes, text: str) -> None:
        if self._finish is None:
            self._frames.append((generation, frame, text))
            self._wake.set()

    def _allowed(self, generation: int) -> bool:
        return generation == NO_GENERATION or self._may_write(generation)

    def _report_closed(self) -> None:
        callbacks, self.on_closed = self.on_closed, []
        for callback in callbacks:
            callback()
