"""Ends a call or hands it over when the words before that were heard, unless the caller speaks first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from svc_runtime import logs
from svc_runtime.metrics import Counters

from ingress_svc.domain.control import Command, EndCall, Outcome, Result
from ingress_svc.domain.partings import END_CALL, TRANSFER_CALL, Parting, heard_after_ms, heard_not_before_ms

PARTINGS: Final = "voicemesh.partings"

Control = Callable[[str, Command, Callable[[Outcome], None], Callable[[], Awaitable[bool]]], None]


@dataclass(slots=True)
class _Waiting:
    generation: int
    parting: Parting
    timer: asyncio.TimerHandle | None = None
    earliest_s: float = 0.0
    """Before this time of the loop no silence can be the end of its words."""
    asked: bool = False
    """The command is on its way."""


class Partings:
    """At most one a call. Belongs to one event loop."""

    def __init__(self, control: Control, counters: Counters) -> None:
        self._control = control
        self._counters = counters
        self._waiting: dict[str, _Waiting] = {}
        self.quiet = asyncio.Event()
        """Whether none waits."""
        self.quiet.set()
        counters.declare(
            PARTINGS,
            "Ends and transfers that a model asked for: done, dropped because the caller spoke, or failed.",
            tool=(END_CALL, TRANSFER_CALL),
            step=("done", "dropped", "failed"),
        )

    def wait(self, call_id: str, generation: int, parting: Parting) -> None:
        """The model of ``generation`` has ended, and its words are on their way."""
        earliest_s = asyncio.get_running_loop().time() + heard_not_before_ms(parting.words) / 1_000
        self._waiting[call_id] = _Waiting(generation, parting, earliest_s=earliest_s)
        self.quiet.clear()

    def said(self, call_id: str, generation: int, said_text: str) -> None:
        """All was sent. A provider that does not tell when the agent falls silent is given time to speak it."""
        waiting = self._of(call_id, generation)
        if waiting is not None and waiting.timer is None:
            delay_s = heard_after_ms(said_text) / 1_000
            waiting.timer = asyncio.get_running_loop().call_later(delay_s, self._leave, call_id, waiting)

    def heard(self, call_id: str, generation: int) -> None:
        """The agent has fallen silent: leave the call now.

        What was said while a tool ran may end when the last words are only on their way; that silence is not theirs.
        """
        waiting = self._of(call_id, generation)
        if waiting is not None and asyncio.get_running_loop().time() >= waiting.earliest_s:
            self._leave(call_id, waiting)

    def _leave(self, call_id: str, waiting: _Waiting) -> None:
        if waiting.asked:
            return
        waiting.asked = True
        command = waiting.parting.command

        async def let_go() -> bool:
            return self._waiting.get(call_id) is waiting

        def settled(outcome: Outcome) -> None:
            if outcome.result is Result.WITHHELD:
                return
            self._forget(call_id, waiting)
            # GONE is a call that is over.
            well = outcome.result is not Result.FAILED
            self._counters.add(PARTINGS, tool=_tool(command), step="done" if well else "failed")
            if not well:
                # The caller is still on the line, and the agent has said goodbye.
                reason = outcome.failure.value if outcome.failure is not None else ""
                logs.get().error("parting.failed", tool=_tool(command), reason=reason)

        self._control(call_id, command, settled, let_go)

    def dropped(self, call_id: str, *, before: int | None = None) -> None:
        """The caller has spoken, or the call is over: what a generation asked for is done no more.

        ``before``: only if that generation came before this one.
        """
        waiting = self._waiting.get(call_id)
        if waiting is None or (before is not None and waiting.generation >= before):
            return
        self._forget(call_id, waiting)
        self._counters.add(PARTINGS, tool=_tool(waiting.parting.command), step="dropped")

    def _of(self, call_id: str, generation: int) -> _Waiting | None:
        waiting = self._waiting.get(call_id)
        return waiting if waiting is not None and waiting.generation == generation else None

    def _forget(self, call_id: str, waiting: _Waiting) -> bool:
        """Return whether it was still waited for."""
        if self._waiting.get(call_id) is not waiting:
            return False
        del self._waiting[call_id]
        if waiting.timer is not None:
            waiting.timer.cancel()
        if not self._waiting:
            self.quiet.set()
        return True


def _tool(command: Command) -> str:
    return END_CALL if isinstance(command, EndCall) else TRANSFER_CALL
