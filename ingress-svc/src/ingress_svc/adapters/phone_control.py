"""Does what Vapi leaves to us where an assistant subscribes to phone-call-control.

With that subscription Vapi neither hangs up nor forwards by itself. It is easily switched on with a list of all
messages, and then no call ends: so each order is carried out through live call control, and the log says what is on.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from svc_runtime import logs
from svc_runtime.clock import Clock
from svc_runtime.metrics import Counters

from ingress_svc.adapters.calls import Calls
from ingress_svc.domain.asks import PhoneControl
from ingress_svc.domain.control import Command, EndCall, Outcome, Result, ToNumber, ToSip, Transfer
from ingress_svc.domain.vapi import Webhook

ORDERS = "voicemesh.phone_control.orders"
ONCE_IN_S: Final = 10.0
"""An order is carried out once in so long: what ends a call may come back to us as an order to end it."""
_MOST_REMEMBERED: Final = 4_096


class PhoneControls:
    """Belongs to one event loop."""

    def __init__(self, calls: Calls, clock: Clock, counters: Counters) -> None:
        self._calls = calls
        self._clock = clock
        self._counters = counters
        self._done_s: OrderedDict[str, float] = OrderedDict()
        counters.declare(
            ORDERS,
            "Ends and transfers that Vapi left to us, and whether a command went out for them.",
            request=("hang-up", "forward", "other"),
            done=("sent", "again", "no_call", "no_destination", "unknown"),
        )

    def carry_out(self, webhook: Webhook, control: PhoneControl) -> None:
        """Act on the call, in the background."""
        done = self._done(webhook, control)
        request = control.request or "other"
        self._counters.add(ORDERS, request=request, done=done)
        logs.get().warning("phone_control.in_force", request=request, done=done)

    def _done(self, webhook: Webhook, control: PhoneControl) -> str:
        if not control.request:
            return "unknown"
        if not webhook.call_id:
            return "no_call"
        command = _command(control)
        if command is None:
            return "no_destination"
        if not self._is_news(webhook, control):
            return "again"
        self._calls.learn_control(self._calls.get(webhook.call_id), webhook.control_url)
        self._calls.control(webhook.call_id, command, _told)
        return "sent"

    def _is_news(self, webhook: Webhook, control: PhoneControl) -> bool:
        now_s = self._clock.monotonic_s()
        order = f"{webhook.call_id} {control.request} {control.number}{control.sip_uri}"
        done_s = self._done_s.get(order)
        if webhook.event_id in self._done_s or (done_s is not None and now_s - done_s < ONCE_IN_S):
            return False
        for name in (order, webhook.event_id):
            self._done_s[name] = now_s
            self._done_s.move_to_end(name)
        while len(self._done_s) > _MOST_REMEMBERED:
            self._done_s.popitem(last=False)
        return True


def _command(control: PhoneControl) -> Command | None:
    if control.request == "hang-up":
        return EndCall()
    if control.number:
        return Transfer(ToNumber(control.number), control.message)
    return Transfer(ToSip(control.sip_uri), control.message) if control.sip_uri else None


def _told(outcome: Outcome) -> None:
    if outcome.result is Result.FAILED:
        # Nobody else will end or forward this call.
        reason = outcome.failure.value if outcome.failure is not None else ""
        logs.get().error("phone_control.failed", reason=reason)
