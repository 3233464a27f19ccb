"""Ends a call or hands it over when the words before that were heard, unless the caller speaks first."""

from __future__ import annotations

import asyncio
import math
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
    earliest_s: float = math.inf
    """Before this time of the loop no silence can be the end of its words; infinite until they have left."""
    asked: bool = False
    """The command is on its way."""


class Partings:
    """At most one a call. Belongs to one event loop."""

    def __init__(self, control: Control, counters: Counters, *, caller_has_floor: Callable[[str], bool]) -> None:
        """``caller_has_floor`` says of a call whether the caller speaks, or waits for an answer."""
        self._control = control
        self._caller_has_floor = caller_has_floor
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
        self._forget(call_id)
        self._waiting[call_id] = _Waiting(generation, parting)
        self.quiet.clear()

    def words_left(self, call_id: str, generation: int, said_text: str) -> None:
        """All that ``generation`` says has been sent. Where that is nothing, the call is left now.

        A provider that does not tell when the agent falls silent is given time to speak it.
        """
        waiting = self._waiting.get(call_id)
        if waiting is None or waiting.generation != generation or waiting.timer is not None:
            return
        if not said_text.strip():
            self._leave(call_id, waiting)
            return
        loop = asyncio.get_running_loop()
        waiting.earliest_s = loop.time() + heard_not_before_ms(waiting.parting.words) / 1_000
        waiting.timer = loop.call_later(heard_after_ms(said_text) / 1_000, self._leave, call_id, waiting)

    def silent(self, call_id: str) -> None:
        """The agent has fallen silent: leave the call now.

        What was said while a tool ran may end when the last words are only on their way; that silence is not theirs.
        """
        waiting = self._waiting.get(call_id)
        if waiting is not None and asyncio.get_running_loop().time() >= waiting.earliest_s:
            self._leave(call_id, waiting)

    def _leave(self, call_id: str, waiting: _Waiting) -> None:
        if waiting.asked or self._waiting.get(call_id) is not waiting:
            return
        if self._caller_has_floor(call_id):
            self.dropped(call_id)
            return
        waiting.asked = True
        command = waiting.parting.command

        async def let_go() -> bool:
            return self._waiting.get(call_id) is waiting and not self._caller_has_floor(call_id)

        def settled(outcome: Outcome) -> None:
            if outcome.result is Result.WITHHELD:
                self.dropped(call_id)
                return
            if not self._forget(call_id, waiting):
                return  # dropped while it was on its way
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
        self._forget(call_id)
        self._counters.add(PARTINGS, tool=_tool(waiting.parting.command), step="dropped")

    def drop_all(self) -> None:
        """This process ends, and the calls go on."""
        for call_id in list(self._waiting):
            self.dropped(call_id)

    def _forget(self, call_id: str, only: _Waiting | None = None) -> bool:
        """Return whether one was waited for; ``only`` this one is forgotten."""
        waiting = self._waiting.get(call_id)
        if waiting is None or (only is not None and waiting is not only):
            return False
        del self._waiting[call_id]
        if waiting.timer is not None:
            waiting.timer.cancel()
        if not self._waiting:
            self.quiet.set()
        return True


def _tool(command: Command) -> str:
    return END_CALL if isinstance(command, EndCall) else TRANSFER_CALL
