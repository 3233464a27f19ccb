"""The states of live calls and whose policy judges them, in memory and bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from bargein_svc.domain.verdict import NEW, Policy, State


class Agent(NamedTuple):
    """Which agent has a call, as its ingress names it, and how that one yields."""

    reference: str
    policy: Policy


def agent_for(known: Agent | None, named: str, policy_of: Callable[[str], Policy], *, settled: bool) -> Agent:
    """Return the agent that judges a call: the first that was ``named``, until one is ``settled``."""
    if known is not None and (named in ("", known.reference) or (known.reference and not settled)):
        return known
    return Agent(named, policy_of(named))


class Known(NamedTuple):
    """What is remembered of a call."""

    state: State
    agent: Agent | None
    """None before its first event."""
    touched_s: float


_NEW = Known(NEW, None, 0.0)


class Calls:
    """Remembers each call, longest untouched first to be forgotten."""

    def __init__(self, *, most: int, idle_s: float) -> None:
        self._most = most
        self._idle_s = idle_s
        self._entries: OrderedDict[str, Known] = OrderedDict()
        self.crowded_out = 0
        """Calls forgotten although they were not idle."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, call_id: str) -> Known:
        return self._entries.get(call_id, _NEW)

    def put(self, call_id: str, state: State, agent: Agent, now_s: float) -> None:
        """Keep ``state``, and forget what is idle or too much. An ended call is kept too, lest late words reopen it."""
        self._entries[call_id] = Known(state, agent, now_s)
        self._entries.move_to_end(call_id)
        self.forget_idle(now_s)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)
            self.crowded_out += 1

    def forget_idle(self, now_s: float) -> None:
        """Forget the calls without an event for the idle time."""
        while self._entries and now_s - next(iter(self._entries.values())).touched_s > self._idle_s:
            self._entries.popitem(last=False)
