"""The tools of one ingress process in the simulated mesh: the real claims, and a shell after the adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fakes.mesh_judge import Judge
from ingress_svc.adapters import wire
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
    key_of,
)

if TYPE_CHECKING:
    from fakes.mesh_ingress import IngressSim, Run

AGAIN_MS = 1_000
TIMEOUT_MS = 500


def wants_a_tool(words: str) -> bool:
    """Whether the model looks something up before it answers. The same words always lead to the same tool call."""
    return sum(words.encode()) % 4 > 0


class ToolsSim:
    """What waits for a tool, and what runs."""

    def __init__(self, ingress: IngressSim) -> None:
        self.ingress = ingress
        self.claims = Claims(ingress.name)
        self.waiting: dict[str, list[Run]] = {}
        """Models that wait, by key."""
        self.running: list[ToolAsk] = []
        self.ask_at_ms: dict[str, int] = {}

    @property
    def judge(self) -> Judge:
        return self.ingress.world.judge

    def want(self, call_id: str, run: Run, turn: int) -> None:
        """A model calls the tool, and waits."""
        # With the same arguments all through the turn: every generation of it wants the same run.
        key = key_of(call_id, turn, "look", "{}")
        run.waits_for = key
        self.waiting.setdefault(key, []).append(run)
        self.ask_at_ms.setdefault(key, self.ingress.world.now_ms + AGAIN_MS)
        self.carry_out(self.claims.ask(ToolAsk(call_id, key, turn, run.generation, "look", "{}", TIMEOUT_MS)))

    def leave(self, call_id: str, run: Run) -> None:
        """A model that waits was cancelled."""
        key, run.waits_for = run.waits_for, ""
        self.waiting[key].remove(run)
        if not self.waiting[key]:
            del self.waiting[key]
            self.ask_at_ms.pop(key, None)
        self.claims.leave((call_id, key))

    def due(self) -> list[str]:
        now_ms = self.ingress.world.now_ms
        return [key for key, at_ms in self.ask_at_ms.items() if at_ms <= now_ms]

    def again(self, call_id: str, key: str) -> None:
        self.ask_at_ms[key] = self.ingress.world.now_ms + AGAIN_MS
        self.carry_out(self.claims.again((call_id, key)))

    def ends(self, ask: ToolAsk) -> None:
        self.running.remove(ask)
        self.carry_out(self.claims.ended(ask.place, ToolEnd(ToolOutcome.DONE, f"did {ask.key}")))
        self.carry_out(self.claims.recorded(ask.place))

    def carry_out(self, done: Sequence[Effect]) -> None:
        ingress, now_ms = self.ingress, self.ingress.world.now_ms
        for effect in done:
            if isinstance(effect, AskForTool):
                asked = wire.tool_asked(
                    effect, ingress_id=ingress.name, now_ms=now_ms, traceparent="", agent=ingress.unsettled_agent
                )
                ingress.session.submit(asked)
            elif isinstance(effect, StartTool):
                self.judge.tool_began(ingress.name, effect.ask.key, effect.ask.generation)
                self.running.append(effect.ask)
            elif isinstance(effect, RecordTool):
                ended = wire.tool_ended(effect, report_id=ingress.next_report_id(), now_ms=now_ms, traceparent="")
                ingress.session.submit(ended)
            else:
                self._settle(effect)

    def _settle(self, effect: SettleTool) -> None:
        key = effect.place[1]
        self.ask_at_ms.pop(key, None)
        for run in self.waiting.pop(key, []):
            run.waits_for = ""
            self.judge.tool_told(self.ingress.name, key, run.generation, effect.end.outcome.value, effect.end.text)
