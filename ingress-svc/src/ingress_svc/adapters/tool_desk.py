"""Has tools run: claimed at session-svc first, then run once, then recorded, and only then told to who waits.

A run that has begun goes on when nobody waits for it any longer: what it did must stand in the history of the call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from svc_runtime import logs
from svc_runtime.clock import Clock
from svc_runtime.metrics import Counters
from svc_runtime.telemetry import Kind
from voicemesh.session.v1 import session_pb2

from ingress_svc.adapters import wire
from ingress_svc.adapters.draining import wait_in_drain
from ingress_svc.adapters.mesh import Mesh
from ingress_svc.adapters.turns import Turn, Turns
from ingress_svc.domain.agent_tools import MOST_ARGUMENTS_CHARS
from ingress_svc.domain.tool_claims import (
    AskForTool,
    Claims,
    Effect,
    RecordTool,
    SettleTool,
    StartTool,
    ToolAsk,
    ToolEnd,
    ToolOutcome,
)

RUNS: Final = "voicemesh.tools.runs"
AGAIN_S: Final = (1.0, 2.0, 4.0, 5.0)
"""Pauses before a claim without answer is asked for again; the last is for all that follow."""
ASK_TRIES: Final = 20
PATIENCE_S: Final = 5.0
"""So much longer than its own time somebody waits for a tool: the claim, and the record of its end."""

TOO_LONG: Final = ToolEnd(ToolOutcome.FAILED, f"The arguments are longer than {MOST_ARGUMENTS_CHARS} characters.")
NO_WORD: Final = ToolEnd(
    ToolOutcome.UNKNOWN,
    "It is not known whether this was done: no word of it came. Do not simply try it again.",
)
BROKE: Final = ToolEnd(ToolOutcome.UNKNOWN, "It broke off; it is not known whether this was done.")

RunNow = Callable[[ToolAsk, str, str], Awaitable[ToolEnd]]
"""Runs a tool, given the agent and a traceparent. Raises nothing but a defect."""


@dataclass(slots=True)
class _Waiting:
    """Who waits for one run, and in whose name it is run."""

    agent: str
    turn: Turn | None
    asked_ns: int
    waiters: list[asyncio.Future[ToolEnd]]
    again: asyncio.TimerHandle | None = None
    times: int = 0


class ToolDesk:
    """One for the whole process. Belongs to one event loop."""

    def __init__(
        self, mesh: Mesh, turns: Turns, clock: Clock, counters: Counters, *, run_now: RunNow, hold_s: float
    ) -> None:
        """``hold_s`` is how long a result waits for its record; then it is told all the same."""
        self._mesh = mesh
        self._turns = turns
        self._clock = clock
        self._counters = counters
        self._run_now = run_now
        self._hold_s = hold_s
        self._claims = Claims(mesh.client_id)
        self._waiting: dict[tuple[str, str], _Waiting] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._records = 0
        outcomes = tuple(outcome.value for outcome in ToolOutcome)
        counters.declare(RUNS, "Tools run by this ingress, by what became of them.", outcome=outcomes)

    async def run(self, ask: ToolAsk, *, agent: str, turn: Turn | None) -> ToolEnd:
        """Return what became of the work that ``ask`` names, done now or before, here or elsewhere."""
        if len(ask.arguments_json) > MOST_ARGUMENTS_CHARS:
            return TOO_LONG
        waiter: asyncio.Future[ToolEnd] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(ask.place)
        if waiting is None:
            waiting = self._waiting[ask.place] = _Waiting(agent, turn, time.time_ns(), [])
        waiting.waiters.append(waiter)
        try:
            self._carry_out(self._claims.ask(ask))
            async with asyncio.timeout(ask.timeout_ms / 1_000 + PATIENCE_S):
                return await waiter
        except TimeoutError:
            return NO_WORD
        finally:
            if not waiter.done() or waiter.cancelled():
                self._left(ask, waiter)

    def obey(self, command: session_pb2.Command) -> None:
        """Obey RunTool or TakeToolResult."""
        if command.WhichOneof("kind") == "run_tool":
            order = command.run_tool
            self._carry_out(self._claims.run(command.call_id, order.key, order.ask_id))
        else:
            taken = command.take_tool_result
            end = ToolEnd(wire.outcome_from(taken.outcome), taken.text)
            self._carry_out(self._claims.taken(command.call_id, taken.key, end, taken.ask_id))

    async def drain(self, drain_s: float, hurry: asyncio.Event) -> None:
        """Let what runs end, for so long and while nobody is in a hurry; the rest is recorded as unknown."""
        if self._running:
            await wait_in_drain(asyncio.wait(self._running), drain_s, hurry)
        while running := list(self._running):
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    # --- carrying out ---------------------------------------------------------------------------------------------

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, AskForTool):
                self._ask(effect)
            elif isinstance(effect, StartTool):
                self._start(effect.ask)
            elif isinstance(effect, RecordTool):
                self._record(effect)
            else:
                self._settle(effect)

    def _ask(self, wanted: AskForTool) -> None:
        waiting = self._waiting[wanted.ask.place]
        event = wire.tool_asked(
            wanted,
            ingress_id=self._mesh.client_id,
            now_ms=self._clock.now_ms(),
            traceparent=self._context(waiting.turn),
            agent=waiting.agent,
        )
        self._mesh.tell(event, tries=ASK_TRIES)
        pause_s = AGAIN_S[min(waiting.times, len(AGAIN_S) - 1)]
        waiting.times += 1
        if waiting.again is not None:
            waiting.again.cancel()
        waiting.again = asyncio.get_running_loop().call_later(
            pause_s, lambda: self._carry_out(self._claims.again(wanted.ask.place))
        )

    def _start(self, ask: ToolAsk) -> None:
        waiting = self._waiting[ask.place]
        if waiting.turn is not None:
            self._turns.note(waiting.turn, "tool.claim", waiting.asked_ns, kind=Kind.CLIENT)
        task = asyncio.get_running_loop().create_task(self._work(ask, waiting))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _work(self, ask: ToolAsk, waiting: _Waiting) -> None:
        began_ns, turn = time.time_ns(), waiting.turn
        span = turn.root.child() if turn is not None else None
        try:
            end = await self._run_now(ask, waiting.agent, self._turns.context(span) if span is not None else "")
        except asyncio.CancelledError:
            end = BROKE
        except Exception as error:  # noqa: BLE001 - a defect of ours must not leave the claim without an end
            logs.get().exception("tool.defect", error)
            end = BROKE
        ended_ns = time.time_ns()
        end = end._replace(duration_ms=end.duration_ms or (ended_ns - began_ns) // 1_000_000)
        self._counters.add(RUNS, outcome=end.outcome.value)
        if turn is not None:
            failure = "" if end.outcome is ToolOutcome.DONE else end.outcome.value
            self._turns.note(turn, "tool.run", began_ns, span=span, kind=Kind.CLIENT, end_ns=ended_ns, error=failure)
        await self._tell_end(ask, end)

    async def _tell_end(self, ask: ToolAsk, end: ToolEnd) -> None:
        """Record the end of a run, and tell it to who waits once session-svc has it."""
        recorded = asyncio.Event()
        for effect in self._claims.ended(ask.place, end):
            if isinstance(effect, RecordTool):
                self._record(effect, recorded.set)
        try:
            async with asyncio.timeout(self._hold_s):
                await recorded.wait()
        except TimeoutError:
            logs.get().warning("tool.record_late")
        finally:
            self._carry_out(self._claims.recorded(ask.place))

    def _record(self, record: RecordTool, taken: Callable[[], None] | None = None) -> None:
        self._records += 1
        event = wire.tool_ended(
            record,
            report_id=f"tool-end:{self._mesh.client_id}-{self._records}",
            now_ms=self._clock.now_ms(),
            traceparent="",
        )
        self._mesh.tell(event, taken=taken)

    def _settle(self, settle: SettleTool) -> None:
        waiting = self._waiting.pop(settle.place, None)
        if waiting is None:
            return
        self._stop(waiting)
        for waiter in waiting.waiters:
            if not waiter.done():
                waiter.set_result(settle.end)

    def _left(self, ask: ToolAsk, waiter: asyncio.Future[ToolEnd]) -> None:
        self._claims.leave(ask.place)
        waiting = self._waiting.get(ask.place)
        if waiting is None:
            return
        if waiter in waiting.waiters:
            waiting.waiters.remove(waiter)
        if not waiting.waiters and not self._claims.runs(ask.place):
            self._stop(waiting)
            del self._waiting[ask.place]

    def _stop(self, waiting: _Waiting) -> None:
        if waiting.again is not None:
            waiting.again.cancel()

    def _context(self, turn: Turn | None) -> str:
        return self._turns.context(turn.root) if turn is not None else ""
