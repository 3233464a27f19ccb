"""The runs of tools: each once, bounded in number, joined by whoever asks for the same, and remembered for a while."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from svc_runtime import logs
from svc_runtime.metrics import Counters

from llm_svc.adapters.tool import Tool, Toolset
from llm_svc.domain.tool_arguments import BadArguments
from llm_svc.domain.tools import OUTCOMES, Ask, Failure, Outcome, Reason, failed

RUNS: Final = "voicemesh.tool.runs"
REPEATS: Final = "voicemesh.tool.repeats"
REFUSED: Final = "voicemesh.tool.refused"
MOST_REMEMBERED: Final = 1_000
"""At most 16 MB of results."""
REMEMBERED_S: Final = 300.0
"""Longer than ingress or session-svc needs to come back after a restart. Later the claim in the log has the result."""

_Key: TypeAlias = tuple[str, str]
"""The call and the idempotency key."""


class NotRun(Exception):
    """Nothing was begun. The text says why, for whoever asked; ``refusal`` is the counter's word."""

    refusal = ""


class KeyTaken(NotRun):
    """The key belongs to another tool or to other arguments."""

    refusal = "key_taken"


class TooMany(NotRun):
    """As many runs as may."""

    refusal = "too_many"


class Ending(NotRun):
    """The process ends."""

    refusal = "draining"


_REFUSALS = tuple(kind.refusal for kind in (KeyTaken, TooMany, Ending))


class Done(NamedTuple):
    """A run that has ended."""

    outcome: Outcome
    kind: str
    """python or http; empty where there is no such tool."""
    start_ns: int
    end_ns: int
    print: bytes
    """Of tool and arguments: what tells a repeat from a key that is used twice."""
    repeated: bool = False
    """For whoever joined it, or came after it."""

    @property
    def duration_ms(self) -> int:
        return (self.end_ns - self.start_ns) // 1_000_000


@dataclass(slots=True)
class _Running:
    task: asyncio.Task[Done]
    print: bytes
    waiting: int = field(default=0)
    """How many wait for it; when the last one leaves, it is cancelled."""


class ToolRuns:
    """Runs tools and keeps what became of them. Made on the loop that it uses."""

    def __init__(
        self, *, most_running: int, counters: Counters, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._most_running = most_running
        self._counters = counters
        self._monotonic_s = monotonic_s
        self._running: dict[_Key, _Running] = {}
        self._ended: OrderedDict[_Key, tuple[float, Done]] = OrderedDict()
        self._draining = False
        counters.declare(RUNS, "Runs of tools by what they came to.", outcome=OUTCOMES)
        counters.declare(REPEATS, "Runs that were asked for again under the same key, and not run again.")
        counters.declare(REFUSED, "Runs that were not begun.", reason=_REFUSALS)

    @property
    def running(self) -> int:
        """How many run."""
        return len(self._running)

    async def run(self, toolset: Toolset, ask: Ask) -> Done:
        """Return what the run came to. Raises NotRun.

        Cancelling it cancels the run, unless somebody else has joined it.
        """
        key, seen = (ask.call_id, ask.idempotency_key), _print(ask)
        try:
            if (done := self._remembered(key)) is not None:
                _match(done.print, seen)
                self._counters.add(REPEATS)
                return done._replace(repeated=True)
            run = self._running.get(key)
            joined = run is not None
            if run is None:
                run = self._begin(key, seen, toolset, ask)
            _match(run.print, seen)
        except NotRun as refused:
            self._counters.add(REFUSED, reason=refused.refusal)
            raise
        if joined:
            self._counters.add(REPEATS)
        return (await self._wait(run))._replace(repeated=joined)

    async def drain(self, within_s: float) -> None:
        """Let what runs end, and cancel the rest half a second before ``within_s`` is over. Nothing new is begun."""
        self._draining = True
        begun = len(self._running)
        deadline_s = asyncio.get_running_loop().time() + max(0.0, within_s - 0.5)
        try:
            async with asyncio.timeout_at(deadline_s):
                while self._running:
                    await asyncio.wait([run.task for run in self._running.values()])
        except TimeoutError:
            pass
        cancelled = len(self._running)
        for run in self._running.values():
            run.task.cancel()
        if self._running:
            await asyncio.wait([run.task for run in self._running.values()])
        logs.get().info("tool.drained", tools=begun, tools_cancelled=cancelled)

    def _begin(self, key: _Key, seen: bytes, toolset: Toolset, ask: Ask) -> _Running:
        if self._draining:
            raise Ending("this replica ends; ask another")
        if len(self._running) >= self._most_running:
            raise TooMany(f"{self._most_running} tools are running, the most that this replica takes")
        run = self._running[key] = _Running(asyncio.create_task(self._run(toolset, ask, seen), name="run"), seen)
        # Not at the end of the task itself: one that is cancelled before its first step never gets there.
        run.task.add_done_callback(lambda task: self._end(key, task))
        return run

    async def _wait(self, run: _Running) -> Done:
        run.waiting += 1
        try:
            return await asyncio.shield(run.task)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not run.task.cancelled() or task is None or task.cancelling():
                raise
            raise Ending("this replica ends; ask another") from None
        finally:
            run.waiting -= 1
            if not run.waiting:
                run.task.cancel()

    async def _run(self, toolset: Toolset, ask: Ask, seen: bytes) -> Done:
        start_ns = time.time_ns()
        tool = toolset.tools.get(ask.name)
        try:
            outcome = await _outcome(tool, toolset, ask)
        except asyncio.CancelledError:
            outcome = failed(Reason.CANCELLED, "The tool was given up before its end.", effect_unknown=True)
        done = Done(outcome, tool.kind if tool else "", start_ns, time.time_ns(), seen)
        self._counters.add(RUNS, outcome=outcome.word)
        if outcome.failure is not None:
            # Of a tool that there is none of, the name is the model's invention and may be anything.
            _log(tool.name if tool else "", done, outcome.failure)
        return done

    def _end(self, key: _Key, task: asyncio.Task[Done]) -> None:
        del self._running[key]
        if not task.cancelled():
            self._ended[key] = (self._monotonic_s(), task.result())

    def _remembered(self, key: _Key) -> Done | None:
        now_s = self._monotonic_s()
        while self._ended and (
            len(self._ended) > MOST_REMEMBERED or now_s - next(iter(self._ended.values()))[0] > REMEMBERED_S
        ):
            self._ended.popitem(last=False)
        found = self._ended.get(key)
        return found[1] if found else None


def _log(name: str, done: Done, failure: Failure) -> None:
    fields = {
        "tool": name,
        "reason": failure.reason.value,
        "http_status": failure.http_status,
        "effect_unknown": failure.effect_unknown,
        "tries": done.outcome.tries,
        "duration_ms": done.duration_ms,
    }
    if failure.reason in (Reason.UNKNOWN_TOOL, Reason.BAD_ARGUMENTS, Reason.CANCELLED):
        # Slips of a model and callers who go: nobody has to mend these.
        logs.get().info("tool.failed", **fields)
    else:
        logs.get().warning("tool.failed", **fields)


async def _outcome(tool: Tool | None, toolset: Toolset, ask: Ask) -> Outcome:
    if tool is None:
        names = ", ".join([*toolset.tools, *toolset.builtin]) or "none"
        return failed(Reason.UNKNOWN_TOOL, f"There is no tool of that name; there are {names}.")
    try:
        arguments = tool.arguments.read(ask.arguments_json)
    except BadArguments as error:
        return failed(Reason.BAD_ARGUMENTS, str(error))
    except Exception as error:  # noqa: BLE001 - a dataclass of the owner's may fail as it is made
        logs.get().exception("tool.defect", error, tool=tool.name)
        return failed(Reason.DEFECT, f"The tool is broken ({type(error).__name__}).")
    try:
        return await tool.run(arguments, ask)
    except Exception as error:  # noqa: BLE001 - a defect of ours, and the model still wants an answer
        logs.get().exception("tool.defect", error, tool=tool.name)
        return failed(Reason.DEFECT, "The tool could not be run.", effect_unknown=True)


def _match(one: bytes, other: bytes) -> None:
    if one != other:
        raise KeyTaken("idempotency_key belongs to another tool or to other arguments")


def _print(ask: Ask) -> bytes:
    asked = (ask.agent, ask.name, ask.arguments_json)
    return hashlib.sha256(b"\0".join(part.encode() for part in asked)).digest()
