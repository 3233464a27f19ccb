"""Where live calls are controlled, for ingresses that never saw it.

A control URL comes to the ingress that a webhook or a request happens to reach, and whoever holds it can speak on the
call. So it lives here in memory alone: a session-svc that starts again learns it with the next event of the call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from voicemesh.session.v1 import session_pb2 as pb

from session_svc.adapters import wire

MOST_CHARS = 2_000
"""As ingress takes it."""
MOST_INGRESSES = 16
"""Ingress processes remembered of one call: several replicas, and their restarts within it."""


@dataclass(slots=True)
class _Known:
    url: str = field(default="", repr=False)
    has_it: dict[str, bool] = field(default_factory=dict)
    """The ingresses of the call, and whether each knows the URL."""


class ControlUrls:
    """Tells each ingress of a call once where it is controlled. Belongs to one event loop."""

    def __init__(self, send: Callable[[str, pb.Command], object], most_calls: int) -> None:
        self._send = send
        self._most_calls = most_calls
        self._calls: OrderedDict[str, _Known] = OrderedDict()

    def heard(self, call_id: str, ingress_id: str, url: str) -> None:
        """Note that an ingress has sent something of a call, with the URL that it knows; "" for none."""
        known = self._calls.get(call_id)
        if known is None:
            known = self._calls[call_id] = _Known()
            if len(self._calls) > self._most_calls:
                self._calls.popitem(last=False)
        if url and len(url) <= MOST_CHARS and url != known.url:
            known.url = url
            known.has_it = dict.fromkeys(known.has_it, False)
            known.has_it[ingress_id] = True
        elif url:
            known.has_it[ingress_id] = True
        else:
            known.has_it.setdefault(ingress_id, False)
        while len(known.has_it) > MOST_INGRESSES:
            del known.has_it[next(iter(known.has_it))]
        if known.url:
            for other, has_it in known.has_it.items():
                if not has_it:
                    known.has_it[other] = True
                    self._send(other, wire.take_control(call_id, known.url))

    def connected(self, ingress_id: str) -> None:
        """Tell an ingress again that has (re)opened its stream: what it was told may have been lost with the last."""
        for call_id, known in self._calls.items():
            if known.url and ingress_id in known.has_it:
                self._send(ingress_id, wire.take_control(call_id, known.url))

    def forget(self, call_id: str) -> None:
        self._calls.pop(call_id, None)
