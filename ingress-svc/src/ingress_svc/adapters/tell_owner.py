"""Sends a model's line to the system of the agent's owner: a signed POST like the report of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from svc_runtime import logs
from svc_runtime.clock import Clock

from ingress_svc.adapters.owner_post import OwnerPost
from ingress_svc.adapters.tool_desk import RunNow
from ingress_svc.domain.owner_line import BAD_LINE, PAUSES_S, TELL_OWNER, TIMEOUT_MS, body, delivery_of, end_of, line_of
from ingress_svc.domain.owner_post import Delivery, Failure, OwnersSystem, Posted, failed
from ingress_svc.domain.tool_claims import ToolAsk, ToolEnd

_LATE: Final = failed(Failure.LATE)


class TellOwner:
    """Runs `tell_owner` itself, and leaves every other tool to ``others``."""

    def __init__(
        self, post: OwnerPost, owner_of: Callable[[str], OwnersSystem], clock: Clock, *, others: RunNow
    ) -> None:
        self._post = post
        self._owner_of = owner_of
        self._clock = clock
        self._others = others

    async def run(self, ask: ToolAsk, agent: str, traceparent: str) -> ToolEnd:
        if ask.name != TELL_OWNER:
            return await self._others(ask, agent, traceparent)
        line = line_of(ask.arguments_json)
        if not line:
            return BAD_LINE
        raw = body(ask, line, agent=agent, at_ms=self._clock.now_ms())
        delivery = await self._delivered(ask, agent, raw)
        if delivery.posted is not Posted.DELIVERED:
            reason = delivery.failure.value if delivery.failure is not None else f"status {delivery.status}"
            logs.get().warning("owner.not_told", call_id=ask.call_id, reason=reason)
        return end_of(delivery)

    async def _delivered(self, ask: ToolAsk, agent: str, raw: bytes) -> Delivery:
        """Return what came of the last try. A system that was too slow once may have it, and is asked again: it knows
        the delivery by its name."""
        last, may_have_it = _LATE, False
        try:
            async with asyncio.timeout(TIMEOUT_MS / 1_000):
                for pause_s in (*PAUSES_S, None):
                    last = await self._post.post(self._owner_of(agent), raw, delivery=delivery_of(ask))
                    may_have_it = may_have_it or last.failure in (Failure.LATE, Failure.DEFECT)
                    if last.posted is Posted.DELIVERED:
                        return last
                    if last.posted is not Posted.AGAIN or pause_s is None:
                        return _LATE if may_have_it else last
                    await asyncio.sleep(pause_s)
        except TimeoutError:
            return _LATE
        return last
