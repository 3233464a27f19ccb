"""Answers what Vapi asks: at once from the agent's plan, or from tools and the owner's server within its type's cap.

Whatever goes wrong on that way, Vapi gets the plan's answer instead, and in time: a caller is waiting.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, cast

import orjson
from svc_runtime import logs
from svc_runtime.metrics import Counters

from ingress_svc.adapters.draining import wait_in_drain
from ingress_svc.adapters.owner import Failure, NoAnswer, OwnerServer
from ingress_svc.adapters.reply import Reply, SendReply, refused, spoken
from ingress_svc.domain import owner
from ingress_svc.domain.answers import (
    CAPS_S,
    NO_TOOL,
    TOO_MANY_TOOLS,
    TOOL_FAILED,
    TOOL_LATE,
    Answer,
    Plan,
    ToolResult,
    function_result,
    planned,
    tool_results,
)
from ingress_svc.domain.asks import KIND, Ask, FunctionCall, Kind, ToolCall, ToolCalls, VoiceRequest
from ingress_svc.domain.chat import json_text
from ingress_svc.domain.vapi import Webhook

ASKS = "voicemesh.asks"
FAILURES = "voicemesh.asks.failures"
MOST_AT_ONCE: Final = 256
"""Asks that wait for somebody. One more is answered from the plan."""
MOST_TOOLS: Final = 16
"""Of one ask, at once."""
MOST_KEPT: Final = 1_024
MOST_KEPT_BYTES: Final = 16 * 1024 * 1024


class Tools(Protocol):
    """The agents' own tools."""

    def may_have(self, agent: str, name: str) -> bool:
        """Whether the agent has this tool, as far as that is known at once."""
        ...

    async def has(self, agent: str, name: str) -> bool: ...

    async def run(self, agent: str, call: ToolCall, *, call_id: str, event_id: str) -> ToolResult:
        """Run one call of a tool that the agent has. Its ids are the same each time that Vapi sends it."""
        ...


class _Job(NamedTuple):
    """One ask, whose it is, and what that agent answers by itself."""

    webhook: Webhook
    ask: Ask
    kind: Kind
    plan: Plan
    agent: str


class Answering:
    """Belongs to one event loop."""

    def __init__(
        self,
        *,
        server: OwnerServer | None,
        counters: Counters,
        tools: Tools,
        caps_s: Mapping[Kind, float] = CAPS_S,
        most_at_once: int = MOST_AT_ONCE,
    ) -> None:
        self.tools = tools
        self._server = server
        self._counters = counters
        self._caps_s = caps_s
        self._most_at_once = most_at_once
        self._waiting: dict[str, list[SendReply]] = {}
        """Who waits for an ask that is being answered, by event id."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept = _Kept()
        self._closed = False
        counters.declare(
            ASKS,
            "What Vapi asked, by who answered: the plan at once, somebody else, the plan in their place, or a copy.",
            type=[kind.value for kind in Kind],
            answer=("plan", "other", "fallback", "busy", "again"),
        )
        counters.declare(
            FAILURES, "Asks that somebody else did not answer.", reason=[failure.value for failure in Failure]
        )

    def answer(self, webhook: Webhook, ask: Ask, plan: Plan, reply: SendReply, *, agent: str) -> None:
        """Answer once, now or within the cap. The same ask, sent again, gets the same answer.

        ``agent`` is the one whose plan it is.
        """
        job = _Job(webhook, ask, KIND[type(ask)], plan, agent)
        known = self._kept.get(webhook.event_id)
        if known is not None:
            self._count(job, "again")
            reply(known)
        elif (waiting := self._waiting.get(webhook.event_id)) is not None:
            self._count(job, "again")
            waiting.append(reply)
        elif not self._needs_others(job):
            self._count(job, "plan")
            reply(_planned(job))
        elif self._closed or len(self._tasks) >= self._most_at_once:
            self._count(job, "busy")
            reply(_instead(job, TOOL_FAILED))
        else:
            self._begin(job, reply)

    async def drain(self, drain_s: float, hurry: asyncio.Event) -> None:
        """Let what is being answered end, for so long and while nobody is in a hurry; then answer it from the plan."""
        if self._tasks:
            await wait_in_drain(asyncio.wait(self._tasks), drain_s, hurry)
        await self._stop()

    async def close(self) -> None:
        await self._stop()
        if self._server is not None:
            await self._server.close()

    async def _stop(self) -> None:
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _asks_owner(self, job: _Job) -> bool:
        return self._server is not None and job.kind in job.plan.urls

    def _needs_others(self, job: _Job) -> bool:
        if self._asks_owner(job):
            return True
        return any(self.tools.may_have(job.agent, call.name) for call in _calls(job.ask))

    async def _has_others(self, job: _Job) -> bool:
        """As `_needs_others`, when llm-svc has been asked for the agent's tools."""
        if self._asks_owner(job):
            return True
        return any([await self.tools.has(job.agent, call.name) for call in _calls(job.ask)])

    def _count(self, job: _Job, answer: str) -> None:
        self._counters.add(ASKS, type=job.kind.value, answer=answer)

    # --- others ---------------------------------------------------------------------------------------------------

    def _begin(self, job: _Job, reply: SendReply) -> None:
        self._waiting[job.webhook.event_id] = [reply]
        task = asyncio.get_running_loop().create_task(self._work(job))
        self._tasks.add(task)

        def ended(_: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            # One that is cancelled before it has begun runs no line of its own.
            if job.webhook.event_id in self._waiting:
                self._fall_back(job, Failure.STOPPED)

        task.add_done_callback(ended)

    async def _work(self, job: _Job) -> None:
        """Answer everybody who waits for this ask, whatever happens but a cancellation."""
        try:
            async with asyncio.timeout(self._caps_s[job.kind]):
                others = await self._has_others(job)
                given = await self._others(job) if others else _planned(job)
        except TimeoutError:
            self._fall_back(job, Failure.LATE)
        except NoAnswer as error:
            self._fall_back(job, error.failure, error.detail)
        except owner.BadAnswer as error:
            self._fall_back(job, Failure.BAD_ANSWER, str(error))
        except Exception as error:  # noqa: BLE001 - a defect of ours must not leave the caller without an answer
            logs.get().exception("ask.defect", error, type=job.kind.value)
            self._fall_back(job, Failure.DEFECT)
        else:
            self._count(job, "other" if others else "plan")
            self._settle(job, given)

    def _fall_back(self, job: _Job, failure: Failure, detail: str = "") -> None:
        self._note_failure(job, failure, detail)
        self._count(job, "fallback")
        self._settle(job, _instead(job, TOOL_LATE if failure is Failure.LATE else TOOL_FAILED))

    def _note_failure(self, job: _Job, failure: Failure, detail: str) -> None:
        self._counters.add(FAILURES, reason=failure.value)
        logs.get().warning("ask.fell_back", type=job.kind.value, reason=failure.value, detail=detail)

    def _settle(self, job: _Job, given: Reply) -> None:
        self._kept.put(job.webhook.event_id, given)
        for reply in self._waiting.pop(job.webhook.event_id):
            try:
                reply(given)
            except Exception as error:  # noqa: BLE001 - one connection must not keep the others waiting
                logs.get().exception("ask.defect", error, type=job.kind.value)

    async def _others(self, job: _Job) -> Reply:
        ask = job.ask
        if isinstance(ask, ToolCalls):
            return _json(job, await self._tools(job, ask))
        if isinstance(ask, FunctionCall) and await self.tools.has(job.agent, ask.call.name):
            return _json(job, function_result(await self._run(job, ask.call)))
        if isinstance(ask, VoiceRequest):
            raw = await self._ask_owner(job, owner.MAX_SPEECH_BYTES)
            return spoken(job.webhook.event_id, owner.speech(raw))
        return _json(job, await self._owner_answer(job))

    async def _owner_answer(self, job: _Job) -> Answer:
        raw = await self._ask_owner(job, owner.MAX_ANSWER_BYTES)
        try:
            sent = orjson.loads(raw)
        except ValueError:
            raise owner.BadAnswer("the answer must be JSON in UTF-8") from None
        return owner.checked(job.ask, job.kind, sent)

    async def _ask_owner(self, job: _Job, most_bytes: int) -> bytes:
        webhook, server = job.webhook, self._server
        assert server is not None
        raw = owner.question(job.ask, job.kind, event_id=webhook.event_id, call_id=webhook.call_id, at_ms=webhook.at_ms)
        return await server.ask(job.plan.urls[job.kind], raw, event_id=webhook.event_id, most_bytes=most_bytes)

    # --- tools ----------------------------------------------------------------------------------------------------

    async def _tools(self, job: _Job, ask: ToolCalls) -> Answer:
        """Run what is known here and ask the owner's server for the rest, all at once; a late one spoils no other."""
        results: dict[int, ToolResult] = {}
        runs: dict[int, asyncio.Task[ToolResult]] = {}
        others: list[int] = []
        for place, call in enumerate(ask.calls):
            if not await self.tools.has(job.agent, call.name):
                others.append(place)
            elif len(runs) < MOST_TOOLS:
                runs[place] = asyncio.create_task(self._run(job, call))
            else:
                results[place] = ToolResult(TOO_MANY_TOOLS, failed=True)
        rest = asyncio.create_task(self._rest(job, tuple(ask.calls[place] for place in others)))
        await _all(*runs.values(), rest)
        results |= {place: task.result() for place, task in runs.items()}
        entries = cast(list[Any], tool_results(ask.calls, results)["results"])
        for place, entry in zip(others, rest.result(), strict=True):
            entries[place] = entry
        return {"results": entries}

    async def _run(self, job: _Job, call: ToolCall) -> ToolResult:
        """Return what a tool gives back; of one that fails or is late, the words for the model."""
        try:
            async with asyncio.timeout(self._tool_cap_s(job)):
                ids = {"call_id": job.webhook.call_id, "event_id": job.webhook.event_id}
                return await self.tools.run(job.agent, call, **ids)
        except TimeoutError:
            self._counters.add(FAILURES, reason=Failure.LATE.value)
            return ToolResult(TOOL_LATE, failed=True)
        except Exception as error:  # noqa: BLE001 - a tool is somebody else's code
            self._counters.add(FAILURES, reason=Failure.DEFECT.value)
            logs.get().exception("ask.tool_failed", error)
            return ToolResult(TOOL_FAILED, failed=True)

    async def _rest(self, job: _Job, calls: tuple[ToolCall, ...]) -> list[object]:
        """Return the owner's results, or why there are none: beside them stand results of tools that did run."""
        if not calls or not self._asks_owner(job):
            return _entries(calls, NO_TOOL)
        try:
            async with asyncio.timeout(self._tool_cap_s(job)):
                return cast(list[object], (await self._owner_answer(job._replace(ask=ToolCalls(calls))))["results"])
        except TimeoutError:
            self._note_failure(job, Failure.LATE, "")
            return _entries(calls, TOOL_LATE)
        except NoAnswer as error:
            self._note_failure(job, error.failure, error.detail)
        except owner.BadAnswer as error:
            self._note_failure(job, Failure.BAD_ANSWER, str(error))
        return _entries(calls, TOOL_FAILED)

    def _tool_cap_s(self, job: _Job) -> float:
        """A little less than the cap, so that those in time are still given."""
        return self._caps_s[job.kind] * 0.95


# --- the plan ---------------------------------------------------------------------------------------------------------


def _calls(ask: Ask) -> Sequence[ToolCall]:
    if isinstance(ask, FunctionCall):
        return (ask.call,)
    return ask.calls if isinstance(ask, ToolCalls) else ()


def _planned(job: _Job) -> Reply:
    body = planned(job.ask, job.plan)
    if body is None:
        # No samples at all would pass for speech. After an error Vapi turns to the assistant's fallback voice.
        return refused(404, "no voice is configured here")
    return _json(job, body)


def _instead(job: _Job, failed: str) -> Reply:
    """Answer from the plan what somebody else should have; for a tool, ``failed`` says what became of it."""
    if isinstance(job.ask, ToolCalls):
        return _json(job, {"results": _entries(job.ask.calls, failed)})
    if isinstance(job.ask, FunctionCall):
        return _json(job, function_result(ToolResult(failed, failed=True)))
    return _planned(job)


def _entries(calls: Sequence[ToolCall], failed: str) -> list[object]:
    """The same failure for every call."""
    results = dict.fromkeys(range(len(calls)), ToolResult(failed, failed=True))
    return cast(list[object], tool_results(calls, results)["results"])


def _json(job: _Job, body: Answer) -> Reply:
    return Reply(200, json_text(body).encode("ascii"), job.webhook.event_id)


async def _all(*tasks: asyncio.Task[Any]) -> None:
    """Wait for tasks that raise nothing; none outlives a cancellation of this."""
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


class _Kept:
    """The newest answers that somebody else gave, within a number and a size."""

    def __init__(self) -> None:
        self._replies: OrderedDict[str, Reply] = OrderedDict()
        self._bytes = 0

    def get(self, event_id: str) -> Reply | None:
        return self._replies.get(event_id)

    def put(self, event_id: str, reply: Reply) -> None:
        self._replies[event_id] = reply
        self._bytes += len(reply.body)
        while len(self._replies) > MOST_KEPT or self._bytes > MOST_KEPT_BYTES:
            _, oldest = self._replies.popitem(last=False)
            self._bytes -= len(oldest.body)
