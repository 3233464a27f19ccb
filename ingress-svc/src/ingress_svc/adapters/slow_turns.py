"""Slow turns: a filler in time, and the answer by live call control.

The answer is said whole. A control request takes 0.2 to 0.3 s, now and then seconds, and some of what Vapi accepts is
never spoken: sentence by sentence it would come with gaps, and with holes that nobody can tell from its end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from svc_runtime import logs
from svc_runtime.metrics import Counters

from ingress_svc.adapters.attachment import Attachment
from ingress_svc.adapters.catch_up import CatchUp, CaughtUp
from ingress_svc.adapters.live_call import LiveCall
from ingress_svc.domain.control import Outcome, Result, Say
from ingress_svc.domain.effects import Effect, OpenGenerate, SayAnswer
from ingress_svc.domain.slow_turn import SlowTurn

SLOW_TURNS: Final = "voicemesh.slow_turns"

CarryOut = Callable[[LiveCall, Sequence[Effect]], None]
Control = Callable[[str, Say, Callable[[Outcome], None], Callable[[], Awaitable[bool]]], None]


class SlowTurns:
    """Watches the generations of every call. Belongs to one event loop."""

    def __init__(
        self,
        plan_of: Callable[[str], SlowTurn],
        counters: Counters,
        *,
        carry_out: CarryOut,
        control: Control,
        slept: Callable[[], int],
        caught_up: Callable[[str], CaughtUp],
    ) -> None:
        self._plan_of = plan_of
        self._counters = counters
        self._carry_out = carry_out
        self._control = control
        self._slept = slept
        self._caught_up = caught_up
        self._aside: set[tuple[str, int]] = set()
        self.quiet = asyncio.Event()
        """Whether no answer is aside."""
        self.quiet.set()
        counters.declare(
            SLOW_TURNS,
            "Slow turns: left open, or ended with a filler and then said or not. The rest were cut or taken back.",
            step=("kept_open", "filler", "said", "not_said"),
        )

    def opened(self, call: LiveCall, opened: OpenGenerate) -> None:
        """A generation's model was asked: see in time whether it has begun to speak."""
        attachment = call.attachments[opened.attachment_id]
        plan = self._plan_of(call.agent)
        if plan.after_ms:
            waited_s = (time.time_ns() - attachment.received_ns) / 1e9
            delay_s = max(0.0, plan.after_ms / 1000 - waited_s)
            asyncio.get_running_loop().call_later(delay_s, self._late, call, opened.generation, plan)

    def say(self, call: LiveCall, effect: SayAnswer) -> None:
        """Say the answer, if the fence lets it go at the moment when its bytes leave."""
        generation = effect.generation
        catch_up = CatchUp(self._slept, self._caught_up(call.call_id))

        async def let_go() -> bool:
            await catch_up()
            return call.output.let_say(generation)

        def settled(outcome: Outcome) -> None:
            if outcome.result is Result.WITHHELD:
                self._carry_out(call, call.output.withheld(generation))
                return
            accepted = outcome.result is Result.ACCEPTED
            self._counters.add(SLOW_TURNS, step="said" if accepted else "not_said")
            if not accepted:
                call.control.fails = True
                logs.get().warning("slow_turn.not_said", generation=generation, result=outcome.result.value)
            self._carry_out(call, call.output.said(generation, accepted=accepted))

        self._control(call.call_id, Say(effect.text), settled, let_go)

    def ended(self, call_id: str, generation: int) -> None:
        """A generation has come to its end, or was cut."""
        self._aside.discard((call_id, generation))
        if not self._aside:
            self.quiet.set()

    def _late(self, call: LiveCall, generation: int, plan: SlowTurn) -> None:
        voice = call.output.silent(generation)
        if voice is None:
            return
        attachment = call.attachments.get(voice.attachment_id)
        if attachment is None or not self._can_say(call, attachment):
            self._counters.add(SLOW_TURNS, step="kept_open")
            return
        done = call.output.set_aside(generation, plan.filler(generation))
        self._aside.add((call.call_id, generation))
        self.quiet.clear()
        self._counters.add(SLOW_TURNS, step="filler")
        logs.get().info("slow_turn.filler", generation=generation, after_ms=plan.after_ms)
        self._carry_out(call, done)

    def _can_say(self, call: LiveCall, attachment: Attachment) -> bool:
        """Whether the answer can leave the request. What calls a tool of the provider's leaves on its stream only."""
        asked = attachment.request
        return asked.stream and not asked.tools_json and call.control.url is not None and not call.control.fails
