"""A request that carries an answer: the last writer before the caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from ingress_svc.adapters.catch_up import CatchUp, CaughtUp
from ingress_svc.domain.effects import Finish, Usage
from ingress_svc.domain.vapi_llm import DONE, LlmRequest, SseEncoder, ToolPiece

MayWrite = Callable[[int], bool]
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

    Others put pieces in; `respond`, in the task of the request, is the only writer. Right before the bytes leave it
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
        self._catch_up = CatchUp(slept, caught_up)
        self._pieces: list[tuple[int, str | ToolPiece]] = []
        self._finish: Finish | None = None
        self._usage: Usage | None = None
        self._wake = asyncio.Event()
        self._encoder = SseEncoder(
            f"chatcmpl-{attachment_id}", model=request.model or "voicemesh", created_s=received_ms // 1000
        )

    def push(self, generation: int, piece: str | ToolPiece) -> None:
        """Queue text, or a piece of a tool call, of a generation; behind the end nothing is taken."""
        if self._finish is None:
            self._pieces.append((generation, piece))
            self._wake.set()

    def close(self, finish: Finish, usage: Usage | None = None) -> None:
        """End the answer behind what is queued; pieces that are fenced by then are left out."""
        if self._finish is None:
            self._finish, self._usage = finish, usage
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
            await self._wait()
            body, finish = b"".join(map(self._frame, self._take())), self._finish
            if body and not self.first_text_ns:
                self.first_text_ns = time.time_ns()
            if body:
                body = opening + body
                opening = b""
            if finish is not None:
                body += opening + self._ending(finish)
            if body:
                await response.write(body)
            if finish is not None:
                self._report_closed()
                await response.write_eof()
                return response

    async def _respond_whole(self) -> web.StreamResponse:
        """Answer a request with ``stream: false``: one JSON body at the end, of what may leave by then."""
        finish = None
        while finish is None:
            await self._wait()
            finish = self._finish
        pieces = self._take()
        said = "".join(piece for piece in pieces if isinstance(piece, str))
        # A call that broke off has half of its arguments; nobody should carry it out.
        calls = [piece for piece in pieces if isinstance(piece, ToolPiece) and finish is not Finish.FAILED]
        self._report_closed()
        body = self._encoder.completion(said, calls, finish_reason=_FINISH_REASON[finish], usage=self._usage)
        return web.Response(body=body, content_type="application/json")

    def _take(self) -> list[str | ToolPiece]:
        """Return what may leave now."""
        pieces, self._pieces = self._pieces, []
        return [piece for generation, piece in pieces if self._allowed(generation)]

    def _frame(self, piece: str | ToolPiece) -> bytes:
        return self._encoder.text(piece) if isinstance(piece, str) else self._encoder.tool_call(piece)

    def _ending(self, finish: Finish) -> bytes:
        counts = self._encoder.usage(self._usage) if self._usage and self.request.wants_usage else b""
        return self._encoder.closing(_FINISH_REASON[finish]) + counts + DONE

    async def _wait(self) -> None:
        await self._wake.wait()
        self._wake.clear()
        await self._catch_up()

    def _allowed(self, generation: int) -> bool:
        return generation == NO_GENERATION or self._may_write(generation)

    def _report_closed(self) -> None:
        callbacks, self.on_closed = self.on_closed, []
        for callback in callbacks:
            callback()
