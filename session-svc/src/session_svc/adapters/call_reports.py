"""The reports of ended calls that this replica has to have sent: each by one ingress at a time, when it is due.

The store has them all, and how often each was tried; here is only who sends which at the moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from svc_runtime import logs
from svc_runtime.metrics import Counters
from svc_runtime.slots import slot_of
from voicemesh.session.v1 import session_pb2 as pb

from session_svc.domain.call import Progress
from session_svc.domain.commands import ReportCall

MOST_AT_ONCE: Final = 32
"""At one ingress: those that hang keep a place for as long as a try may take."""
MOST_HELD: Final = 5_000
"""In memory, some 10 kB each. The rest waits in the store."""
GRACE_MS: Final = 2_000
"""So much longer than a try may take its result is waited for: then another ingress may have it, and posts alone."""

OVER: Final = "voicemesh.reports"
OUTCOMES: Final = ("delivered", "refused", "given_up")


@dataclass(slots=True)
class _Held:
    command: pb.Command
    ingress_id: str = ""
    until_ms: int = 0
    """Somebody may be sending it until then."""


class CallReports:
    """Belongs to one event loop."""

    def __init__(
        self,
        send: Callable[[str, pb.Command], object],
        ingresses: Callable[[], Sequence[str]],
        counters: Counters,
        *,
        try_ms: int,
    ) -> None:
        """``ingresses`` gives those whose stream stands; ``try_ms`` is what one try takes at most."""
        self._send = send
        self._ingresses = ingresses
        self._counters = counters
        self._patience_ms = try_ms + GRACE_MS
        self._held: dict[str, _Held] = {}
        self._some_left_out = False
        counters.declare(OVER, "Reports of ended calls, by what became of them.", outcome=OUTCOMES)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def wants_more(self) -> bool:
        """Whether the store has some that are not here, and there is room for them again."""
        return self._some_left_out and len(self._held) < MOST_HELD // 2

    def put(self, command: pb.Command) -> None:
        """Take a report in, in place of an earlier one of the call."""
        if len(self._held) >= MOST_HELD and command.call_id not in self._held:
            self._some_left_out = True
            return
        self._held[command.call_id] = _Held(command)

    def recall(self, commands: Iterable[pb.Command], now_ms: int) -> None:
        """Take in what the store has. Of those that are due another process may have had one sent just now."""
        self._some_left_out = False
        for command in commands:
            if command.call_id not in self._held:
                self.put(command)
                if (held := self._held.get(command.call_id)) is not None:
                    held.until_ms = now_ms + self._patience_ms if command.report_call.not_before_ms <= now_ms else 0

    def forget_slot(self, slot: int) -> None:
        for call_id in [call_id for call_id in self._held if slot_of(call_id) == slot]:
            del self._held[call_id]

    def over(self, call_id: str, progress: Progress) -> None:
        """Let go of a report, and count what became of it; a second time changes nothing."""
        if self._held.pop(call_id, None) is None:
            return
        self._counters.add(OVER, outcome=progress.over)
        if progress.over == "given_up":
            logs.get().error("report.given_up", attempts=progress.attempt)

    def tick(self, now_ms: int) -> None:
        """Have sent what is due. One whose result does not come is given out again."""
        ingresses = self._ingresses()
        if not ingresses:
            return
        busy = Counter(held.ingress_id for held in self._held.values() if held.until_ms > now_ms)
        for held in self._held.values():
            if held.until_ms > now_ms or held.command.report_call.not_before_ms > now_ms:
                continue
            # The same one if it is there: it knows whether it has sent it already.
            chosen = held.ingress_id if held.ingress_id in ingresses else min(ingresses, key=busy.__getitem__)
            if busy[chosen] < MOST_AT_ONCE:
                busy[chosen] += 1
                held.ingress_id, held.until_ms = chosen, now_ms + self._patience_ms
                self._send(chosen, held.command)


def is_report(command: pb.Command) -> bool:
    return command.command_id == ReportCall.command_id
