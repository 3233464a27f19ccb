"""Who is turned away when more webhooks arrive than can be served.

Webhooks queue in three places. In front of the event loop: they are ready when it turns, and it takes one after the
other, so what has waited is seen by how long the turn has lasted. In front of session-svc: seen by how late it answers.
And in the bounded queue of a link, which lets each kind have a share of it.

A burst is no overload, and neither is a stall: a loop that takes 30 ms once has caught up soon, and what session-svc
holds while it moves is answered within the hold. So nothing is turned away unless a queue has *stood* for a while; and
then only what has waited longer than its kind is worth. Whoever tunes this: `python -m bench overload`.
"""

from __future__ import annotations

import re
from enum import IntEnum

from ingress_svc.domain.asks import PHONE_CONTROL, Kind


class Worth(IntEnum):
    """What is turned away first comes first."""

    PARTIAL = 0
    """Partial words: the next ones repeat them."""
    EVENT = 1
    """What is in the log only, or comes again in a later history."""
    LAST = 2
    """The end of a call, and what Vapi waits for: nothing else says it."""


SHARE = {Worth.PARTIAL: 0.5, Worth.EVENT: 0.9, Worth.LAST: 1.0}
"""Of a link's queue, in events and in bytes."""

LONG_S = 0.010
"""A turn of the loop that takes longer has a queue behind it: some forty webhooks."""
_SHRINKS = 0.75
"""Turns of which each is so much shorter than the one before are a stall that is being caught up with."""
_STANDING_S = {Worth.PARTIAL: 0.05, Worth.EVENT: 0.25, Worth.LAST: 0.5}
"""For how long every turn must have been long."""
_PATIENCE_S = {Worth.PARTIAL: 0.001, Worth.EVENT: 0.004, Worth.LAST: 0.02}
"""How much of a turn may have passed before an event of that worth is turned away."""
CALM_S = 1.0
"""For so long after the last that was turned away, or the last sign, the next is judged without another sign."""
SLOW_S = 0.05
"""An answer of session-svc that takes longer, and all others for as long: it has a queue, too."""
_ANSWERS_CALM_S = 0.2
MOST_WAITING = 100
"""Events that may wait for one session-svc while events are turned away here: it shares what is short. Without that,
the link's own limit holds, so that a restart of session-svc costs nothing."""

_LOOK_BYTES = 4_096
_LAST = "|".join(map(re.escape, ("ended", "end-of-call-report", PHONE_CONTROL, *Kind)))
_TYPE = re.compile(rf'"(?:type|status|transcriptType)"\s*:\s*"(?:(partial)|({_LAST}))"'.encode())


def worth_of(raw: bytes) -> Worth:
    """Guess what an unread body is worth, by its beginning. A wrong guess costs a place in the queue, nothing else."""
    found = _TYPE.search(raw, 0, _LOOK_BYTES)
    if found is None:
        return Worth.EVENT
    return Worth.PARTIAL if found[1] else Worth.LAST


class Overload:
    """Of one event loop. Times are of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self.turning = False
        """Whether the loop is in a turn that has brought a webhook."""
        self._turn_s = 0.0
        self._over_s = 0.0
        self._took_s = 0.0
        self._long_since_s: float | None = None
        self._slow_since_s: float | None = None
        self._until_s = dict.fromkeys(Worth, 0.0)
        self._slow_until_s = 0.0

    def strained(self, now_s: float) -> bool:
        """Return whether anything may be turned away at the moment."""
        return now_s < self._until_s[Worth.PARTIAL] or now_s < self._slow_until_s

    def turned(self, now_s: float) -> None:
        """A turn of the loop has brought its first webhook."""
        self.turning = True
        self._turn_s = now_s
        if now_s - self._over_s > LONG_S:
            self._long_since_s = None  # it had nothing to do in between

    def over(self, now_s: float) -> Worth | None:
        """The turn is over. Returns the worth that is turned away from now on, where that is news."""
        self.turning = False
        self._over_s = now_s
        before_s, self._took_s = self._took_s, now_s - self._turn_s
        if self._took_s < LONG_S or self._took_s < _SHRINKS * before_s:
            self._long_since_s = None
            return None
        if self._long_since_s is None:
            self._long_since_s = now_s
        news = None
        for worth, standing_s in _STANDING_S.items():
            if now_s - self._long_since_s >= standing_s:
                news = worth if now_s >= self._until_s[worth] else news
                self._until_s[worth] = now_s + CALM_S
        return news

    def answered(self, took_s: float, now_s: float) -> None:
        """session-svc has taken an event, so long after it was sent."""
        if took_s < SLOW_S:
            self._slow_since_s, self._slow_until_s = None, 0.0
        elif self._slow_since_s is None or now_s - self._slow_since_s > CALM_S:
            self._slow_since_s = now_s
        elif now_s - self._slow_since_s >= SLOW_S:
            self._slow_until_s = now_s + _ANSWERS_CALM_S

    def refuses(self, worth: Worth, now_s: float, waiting: int = 0) -> bool:
        """Return whether an event is turned away now; ``waiting`` of those before it have no answer yet."""
        queued = now_s < self._slow_until_s or (waiting > MOST_WAITING and now_s < self._until_s[Worth.EVENT])
        if queued and worth is not Worth.LAST:
            return True
        if now_s >= self._until_s[worth] or now_s - self._turn_s <= _PATIENCE_S[worth]:
            return False
        for less in Worth:
            if less <= worth:
                self._until_s[less] = now_s + CALM_S
        return True
