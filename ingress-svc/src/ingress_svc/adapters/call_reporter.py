"""Sends the reports of ended calls that session-svc orders: each try is one POST, and what came of it one event.

When the next try is, session-svc decides: so nothing here has to outlive the process.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from svc_runtime import logs
from svc_runtime.clock import Clock
from svc_runtime.metrics import Counters
from voicemesh.session.v1 import session_pb2

from ingress_svc.adapters import report_wire
from ingress_svc.adapters.draining import wait_in_drain
from ingress_svc.adapters.mesh import Mesh
from ingress_svc.adapters.owner_post import OwnerPost
from ingress_svc.domain import call_report
from ingress_svc.domain.owner_post import Delivery, Failure, OwnersSystem, Posted, failed

TRIES: Final = "voicemesh.report.tries"
MOST_AT_ONCE: Final = 64
"""session-svc gives out half as many; two of them may."""
REMEMBERED: Final = 1_024
"""Tries whose order may come again, because what came of them was on its way."""

_Try = tuple[str, int]


class CallReporter:
    """One for the whole process. Belongs to one event loop."""

    def __init__(
        self,
        mesh: Mesh,
        post: OwnerPost,
        owner_of: Callable[[str], OwnersSystem],
        clock: Clock,
        counters: Counters,
    ) -> None:
        """``owner_of`` gives the owner's system of an agent, by its reference."""
        self._mesh = mesh
        self._post = post
        self._owner_of = owner_of
        self._clock = clock
        self._counters = counters
        self._running: dict[_Try, asyncio.Task[None]] = {}
        self._done: OrderedDict[_Try, Delivery] = OrderedDict()
        counters.declare(
            TRIES, "POSTs of a call's report, by what came of them.", result=tuple(posted.value for posted in Posted)
        )

    def obey(self, command: session_pb2.Command) -> None:
        """Obey ReportCall. One that comes again is not posted again."""
        this: _Try = (command.call_id, command.report_call.attempt)
        if this in self._done:
            self._tell(this, self._done[this])
        elif this not in self._running and len(self._running) < MOST_AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._try(this, command.report_call))
            self._running[this] = task
            task.add_done_callback(lambda _: self._running.pop(this, None))

    async def drain(self, drain_s: float, hurry: asyncio.Event) -> None:
        """Let those that are on their way come to an answer; session-svc has the others sent by somebody else."""
        if self._running:
            await wait_in_drain(asyncio.wait(list(self._running.values())), drain_s, hurry)
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _try(self, this: _Try, order: session_pb2.ReportCall) -> None:
        try:
            raw = call_report.body(report_wire.report_from(this[0], order))
            delivery = await self._post.post(
                self._owner_of(order.agent), raw, delivery=call_report.delivery_of(this[0])
            )
        except Exception as error:  # noqa: BLE001 - a defect of ours must not leave the try without a result
            logs.get().exception("report.defect", error, call_id=this[0])
            delivery = failed(Failure.DEFECT)
        self._counters.add(TRIES, result=delivery.posted.value)
        if delivery.posted is not Posted.DELIVERED:
            logs.get().warning(
                "report.not_delivered",
                call_id=this[0],
                attempt=this[1],
                reason=delivery.failure.value if delivery.failure is not None else f"status {delivery.status}",
                result=delivery.posted.value,
            )
        self._done[this] = delivery
        if len(self._done) > REMEMBERED:
            self._done.popitem(last=False)
        self._tell(this, delivery)

    def _tell(self, this: _Try, delivery: Delivery) -> None:
        event = report_wire.report_tried(this[0], this[1], delivery, self._mesh.client_id, now_ms=self._clock.now_ms())
        self._mesh.tell(event)
