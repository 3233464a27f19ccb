"""Answers what Vapi asks: at once from the agent's plan, or from tools and the owner's server within its type's cap.

Whatever goes wrong on that way, Vapi gets the plan's answer instead, and in time: a caller is waiting.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, cast

import orjson
from svc_runtime import logs
from svc_runtime.metrics import Counters

from ingress_svc.adapters.owner import Failure, NoAnswer, OwnerServer
from ingress_svc.adapters.reply import Reply, SendReply, refused, spoken
from ingress_svc.domain import owner
from ingress_svc.domain.answers import (
    CAPS_S,
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


class RunTool(Protocol):
    """Runs one call. The event id and the call's place in its ask are the same each time that Vapi sends it."""

    async def __call__(self, call: ToolCall, *, call_id: str, event_id: str) -> ToolResult: ...


FindTool = Callable[[str], RunTool | None]
"""Returns what runs the tools of this name."""


def no_tools(_: str) -> None:
    """Find none."""


class Answering:
    """Belongs to one event loop."""

    def __init__(
        self,
        *,
        plan: Plan,
        server: OwnerServer | None,
        counters: Counters,
        find_tool: FindTool = no_tools,
        caps_s: Mapping[Kind, float] = CAPS_S,
        most_at_once: int = MOST_AT_ONCE,
    ) -> None:
        self.plan = plan
        self.find_tool = find_tool
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

    def answer(self, webhook: Webhook, ask: Ask, reply: SendReply) -> None:
        """Answer once, now or within the cap. The same ask, sent again, gets the same answer."""
        kind = KIND[type(ask)]
        known = self._kept.get(webhook.event_id)
        if known is not None:
            self._count(kind, "again")
            reply(known)
        elif (waiting := self._waiting.get(webhook.event_id)) is not None:
            self._count(kind, "again")
            waiting.append(reply)
        elif not self._needs_others(ask, kind):
            self._count(kind, "plan")
            reply(self._planned(webhook, ask))
        elif self._closed or len(self._tasks) >= self._most_at_once:
            self._count(kind, "busy")
            reply(self._instead(webhook, ask, TOOL_FAILED))
        else:
            self._begin(webhook, ask, kind, reply)

    async def drain(self, drain_s: float, hurry: asyncio.Event) -> None:
        """Let what is being answered end, for so long and while nobody is in a hurry; then answer it from the plan."""
        if self._tasks:
            working = asyncio.ensure_future(asyncio.wait(self._tasks))
            hurried = asyncio.ensure_future(hurry.wait())
            waits: list[asyncio.Future[Any]] = [working, hurried]
            await asyncio.wait(waits, timeout=drain_s, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
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

    # --- the plan -------------------------------------------------------------------------------------------------

    def _needs_others(self, ask: Ask, kind: Kind) -> bool:
        if kind in self.plan.urls and self._server is not None:
            return True
        if isinstance(ask, FunctionCall):
            return self.find_tool(ask.call.name) is not None
        return isinstance(ask, ToolCalls) and any(self.find_tool(call.name) is not None for call in ask.calls)

    def _planned(self, webhook: Webhook, ask: Ask) -> Reply:
        body = planned(ask, self.plan)
        if body is None:
            # No samples at all would pass for speech. After an error Vapi turns to the assistant's fallback voice.
            return refused(404, "no voice is configured here")
        return _json(webhook, body)

    def _instead(self, webhook: Webhook, ask: Ask, failed: str) -> Reply:
        """Answer from the plan what somebody else should have; for a tool, ``failed`` says what became of it."""
        result = ToolResult(failed, failed=True)
        if isinstance(ask, ToolCalls):
            return _json(webhook, tool_results(ask.calls, dict.fromkeys(range(len(ask.calls)), result)))
        if isinstance(ask, FunctionCall):
            return _json(webhook, function_result(result))
        return self._planned(webhook, ask)

    def _count(self, kind: Kind, answer: str) -> None:
        self._counters.add(ASKS, type=kind.value, answer=answer)

    # --- others ---------------------------------------------------------------------------------------------------

    def _begin(self, webhook: Webhook, ask: Ask, kind: Kind, reply: SendReply) -> None:
        self._waiting[webhook.event_id] = [reply]
        task = asyncio.get_running_loop().create_task(self._work(webhook, ask, kind))
        self._tasks.add(task)

        def ended(_: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            # One that is cancelled before it has begun runs no line of its own.
            if webhook.event_id in self._waiting:
                self._fall_back(webhook, ask, kind, Failure.STOPPED)

        task.add_done_callback(ended)

    async def _work(self, webhook: Webhook, ask: Ask, kind: Kind) -> None:
        """Answer everybody who waits for this ask, whatever happens but a cancellation."""
        try:
            async with asyncio.timeout(self._caps_s[kind]):
                given = await self._others(webhook, ask, kind)
        except TimeoutError:
            self._fall_back(webhook, ask, kind, Failure.LATE)
        except NoAnswer as error:
            self._fall_back(webhook, ask, kind, error.failure, error.detail)
        except owner.BadAnswer as error:
            self._fall_back(webhook, ask, kind, Failure.BAD_ANSWER, str(error))
        except Exception as error:  # noqa: BLE001 - a defect of ours must not leave the caller without an answer
            logs.get().exception("ask.defect", error, type=kind.value)
            self._fall_back(webhook, ask, kind, Failure.DEFECT)
        else:
            self._count(kind, "other")
            self._settle(webhook, kind, given)

    def _fall_back(self, webhook: Webhook, ask: Ask, kind: Kind, failure: Failure, detail: str = "") -> None:
        self._counters.add(FAILURES, reason=failure.value)
        logs.get().warning("ask.fell_back", type=kind.value, reason=failure.value, detail=detail)
        self._count(kind, "fallback")
        late = failure is Failure.LATE
        self._settle(webhook, kind, self._instead(webhook, ask, TOOL_LATE if late else TOOL_FAILED))

    def _settle(self, webhook: Webhook, kind: Kind, given: Reply) -> None:
        self._kept.put(webhook.event_id, given)
        for reply in self._waiting.pop(webhook.event_id):
            try:
                reply(given)
            except Exception as error:  # noqa: BLE001 - one connection must not keep the others waiting
                logs.get().exception("ask.defect", error, type=kind.value)

    async def _others(self, webhook: Webhook, ask: Ask, kind: Kind) -> Reply:
        if isinstance(ask, ToolCalls):
            return _json(webhook, await self._tools(webhook, ask))
        if isinstance(ask, FunctionCall) and (run := self.find_tool(ask.call.name)) is not None:
            return _json(webhook, function_result(await self._run(run, ask.call, webhook, kind)))
        if isinstance(ask, VoiceRequest):
            raw = await self._ask_owner(webhook, ask, kind, owner.MAX_SPEECH_BYTES)
            return spoken(webhook.event_id, owner.speech(raw))
        return _json(webhook, await self._owner_answer(webhook, ask, kind))

    async def _owner_answer(self, webhook: Webhook, ask: Ask, kind: Kind) -> Answer:
        raw = await self._ask_owner(webhook, ask, kind, owner.MAX_ANSWER_BYTES)
        try:
            sent = orjson.loads(raw)
        except ValueError:
            raise owner.BadAnswer("the answer must be JSON in UTF-8") from None
        return owner.checked(ask, kind, sent)

    async def _ask_owner(self, webhook: Webhook, ask: Ask, kind: Kind, most_bytes: int) -> bytes:
        url, server = self.plan.urls[kind], self._server
        assert server is not None
        raw = owner.question(ask, kind, event_id=webhook.event_id, call_id=webhook.call_id, at_ms=webhook.at_ms)
        return await server.ask(url, raw, event_id=webhook.event_id, most_bytes=most_bytes)

    # --- tools ----------------------------------------------------------------------------------------------------

    async def _tools(self, webhook: Webhook, ask: ToolCalls) -> Answer:
        """Run what is known here and ask the owner's server for the rest, all at once; a late one spoils no other."""
        results: dict[int, ToolResult] = {}
        runs: dict[int, asyncio.Task[ToolResult]] = {}
        others: list[int] = []
        for place, call in enumerate(ask.calls):
            run = self.find_tool(call.name)
            if run is None:
                others.append(place)
            elif len(runs) < MOST_TOOLS:
                runs[place] = asyncio.create_task(self._run(run, call, webhook, Kind.TOOLS))
            else:
                results[place] = ToolResult(TOO_MANY_TOOLS, failed=True)
        rest = asyncio.create_task(self._rest(webhook, ToolCalls(tuple(ask.calls[place] for place in others))))
        await _all(*runs.values(), rest)
        results |= {place: task.result() for place, task in runs.items()}
        entries = cast(list[Any], tool_results(ask.calls, results)["results"])
        for place, entry in zip(others, rest.result(), strict=True):
            entries[place] = entry
        return {"results": entries}

    async def _run(self, run: RunTool, call: ToolCall, webhook: Webhook, kind: Kind) -> ToolResult:
        """Return what a tool gives back; of one that fails or is late, the words for the model."""
        try:
            async with asyncio.timeout(self._tool_cap_s(kind)):
                return await run(call, call_id=webhook.call_id, event_id=webhook.event_id)
        except TimeoutError:
            self._counters.add(FAILURES, reason=Failure.LATE.value)
            return ToolResult(TOOL_LATE, failed=True)
        except Exception as error:  # noqa: BLE001 - a tool is somebody else's code
            self._counters.add(FAILURES, reason=Failure.DEFECT.value)
            logs.get().exception("ask.tool_failed", error)
            return ToolResult(TOOL_FAILED, failed=True)

    async def _rest(self, webhook: Webhook, asked: ToolCalls) -> list[object]:
        """Return the owner's results, or why there are none: beside them stand results of tools that did run."""
        if not asked.calls or Kind.TOOLS not in self.plan.urls or self._server is None:
            return cast(list[object], tool_results(asked.calls, {})["results"])
        text, failure = TOOL_FAILED, Failure.LATE
        try:
            async with asyncio.timeout(self._tool_cap_s(Kind.TOOLS)):
                return cast(list[object], (await self._owner_answer(webhook, asked, Kind.TOOLS))["results"])
        except TimeoutError:
            text = TOOL_LATE
        except NoAnswer as error:
            failure = error.failure
        except owner.BadAnswer:
            failure = Failure.BAD_ANSWER
        self._counters.add(FAILURES, reason=failure.value)
        logs.get().warning("ask.fell_back", type=Kind.TOOLS.value, reason=failure.value, detail="")
        failed = {place: ToolResult(text, failed=True) for place in range(len(asked.calls))}
        return cast(list[object], tool_results(asked.calls, failed)["results"])

    def _tool_cap_s(self, kind: Kind) -> float:
        """A little less than the cap, so that those in time are still given."""
        return self._caps_s[kind] * 0.95


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


def _json(webhook: Webhook, body: Answer) -> Reply:
    return Reply(200, json_text(body).encode("ascii"), webhook.event_id)
