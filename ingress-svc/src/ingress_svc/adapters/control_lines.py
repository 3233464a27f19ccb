"""The commands of every call on their way: those of one call in order, one at a time, and nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from svc_runtime import logs
from svc_runtime.metrics import Counters

from ingress_svc.adapters.control import CallControl, LetGo
from ingress_svc.domain.control import GONE, Command, Failure, Outcome, failed
from ingress_svc.domain.control_url import AllowedHost, ControlUrl, UrlRefusal

URLS_REFUSED = "voicemesh.control.urls_refused"
MOST_WAITING: Final = 8
"""Of one call, behind the one that is being sent. They would take seconds, and what is said seconds late is wrong."""

OnOutcome = Callable[[Outcome], None]


@dataclass(slots=True)
class _Waiting:
    command: Command
    on_outcome: OnOutcome
    let_go: LetGo | None


@dataclass(slots=True)
class ControlLine:
    """Where a call is controlled, and what is to be sent there. No log or store has it."""

    url: ControlUrl | None = None
    sent: str = field(default="", repr=False)
    """The URL as it came last: a hundred events bring the same one."""
    over: bool = False
    fails: bool = False
    """An answer could not be said here, so the next one had better stay on its request."""
    waiting: list[_Waiting] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    """Sends what waits, as long as anything does."""

    @property
    def known_url(self) -> str:
        """What session-svc is told, for other ingresses of the call: a URL that may be used; "" for none."""
        return self.url.value if self.url is not None else ""


class ControlLines:
    """Fills and empties the lines. Belongs to one event loop."""

    def __init__(self, control: CallControl, allowed: tuple[AllowedHost, ...], counters: Counters) -> None:
        self._control = control
        self._allowed = allowed
        self._counters = counters
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        refusals = tuple(refusal.value for refusal in UrlRefusal)
        counters.declare(URLS_REFUSED, "Control URLs that may not be called.", reason=refusals)

    def learn(self, line: ControlLine, sent: str) -> None:
        """Take the control URL that came with an event, "" for none. A refused one leaves the line as it was."""
        if not sent or sent == line.sent or line.over or not self._allowed:
            return
        line.sent = sent
        url = ControlUrl.read(sent, self._allowed)
        if isinstance(url, ControlUrl):
            line.url = url
        else:
            self._counters.add(URLS_REFUSED, reason=url.value)
            logs.get().warning("control.url_refused", reason=url.value)

    def put(self, line: ControlLine, command: Command, on_outcome: OnOutcome, let_go: LetGo | None = None) -> None:
        """Send a command behind those before it. ``on_outcome`` is called once, at once where it cannot be sent."""
        waiting = _Waiting(command, on_outcome, let_go)
        if self._closed:
            self._settle(waiting, failed(Failure.STOPPED, tries=0))
        elif line.over:
            self._settle(waiting, _GONE_UNSENT)
        elif line.url is None:
            self._settle(waiting, failed(Failure.NO_URL, tries=0))
        elif len(line.waiting) >= MOST_WAITING:
            self._settle(waiting, failed(Failure.QUEUE_FULL, tries=0))
        else:
            line.waiting.append(waiting)
            if line.task is None:
                line.task = asyncio.get_running_loop().create_task(self._run(line))
                self._tasks.add(line.task)

    def end(self, line: ControlLine) -> None:
        """The call is over: forget its URL, and what waits for it. A command that has left is let finish."""
        line.over = True
        line.url, line.sent = None, ""
        self._settle_all(line, _GONE_UNSENT)

    async def close(self, grace_s: float) -> None:
        """Let what is on its way finish for so long, then stop the rest."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._control.close()

    async def _run(self, line: ControlLine) -> None:
        try:
            while line.waiting and line.url is not None:
                waiting = line.waiting.pop(0)
                await self._send(line.url, waiting)
        finally:
            self._settle_all(line, failed(Failure.STOPPED, tries=0))
            if line.task is not None:
                self._tasks.discard(line.task)
            line.task = None

    async def _send(self, url: ControlUrl, waiting: _Waiting) -> None:
        try:
            outcome = await self._control.send(url, waiting.command, waiting.let_go)
        except asyncio.CancelledError:
            self._settle(waiting, failed(Failure.STOPPED))
            raise
        except Exception as error:  # noqa: BLE001 - one command must not stop those behind it
            logs.get().exception("control.defect", error)
            self._settle(waiting, failed(Failure.DEFECT))
        else:
            self._tell(waiting, outcome)

    def _settle_all(self, line: ControlLine, outcome: Outcome) -> None:
        waiting, line.waiting = line.waiting, []
        for each in waiting:
            self._settle(each, outcome)

    def _settle(self, waiting: _Waiting, outcome: Outcome) -> None:
        self._control.count(waiting.command, outcome)
        self._tell(waiting, outcome)

    def _tell(self, waiting: _Waiting, outcome: Outcome) -> None:
        try:
            waiting.on_outcome(outcome)
        except Exception as error:  # noqa: BLE001 - a defect of whoever asked
            logs.get().exception("control.defect", error)


_GONE_UNSENT = Outcome(GONE.result, tries=0)
