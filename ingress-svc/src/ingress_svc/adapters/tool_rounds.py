"""One answer of a model that may ask for tools: rounds of the model, and between them the agent's own tools.

All of it is one generation: one fence, one record, one answer for the caller (decision 0008).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from svc_runtime import logs
from voicemesh.llm.v1 import llm_pb2

from ingress_svc.adapters import wire
from ingress_svc.adapters.tool_desk import ToolDesk
from ingress_svc.adapters.tool_lists import ToolLists
from ingress_svc.adapters.turns import Turn
from ingress_svc.domain.agent_tools import MOST_CALLS, MOST_ROUNDS, OwnCall, Round, Tools, offer
from ingress_svc.domain.answers import TOO_MANY_TOOLS
from ingress_svc.domain.effects import Finish, Usage, WriteToolCall
from ingress_svc.domain.partings import PARTINGS, Parting
from ingress_svc.domain.tool_claims import ToolAsk, key_of

NOT_YET = "The call was not left yet: read the other results first, then ask for it again by itself."
FLUSH = " <flush />"
"""Vapi speaks what stands before it at once, rather than when the sentence after it has come."""

Token = Callable[[str], None]
ToolCall = Callable[[WriteToolCall], None]
Part = Callable[[OwnCall], Parting | str]
"""Says how the call is left, or what the model is told where it cannot be."""


class Ending(NamedTuple):
    """How a generation ended."""

    finish: Finish
    usage: Usage | None = None
    """The providers' counts, all rounds together."""
    provider_first_token_us: int = 0
    """0 where it is unknown, or says nothing of what the caller waited for."""
    parting: Parting | None = None
    """What is to be done to the call when the last words were heard."""
    model: str = ""
    """Which answered last, with its provider; "" where none has come to its end."""


FAILED = Ending(Finish.FAILED)

RunModel = Callable[[llm_pb2.GenerateRequest, Token, ToolCall], Awaitable[Ending]]


@dataclass(slots=True)
class _Answer:
    """One answer on its way."""

    message: llm_pb2.GenerateRequest
    turn: Turn
    model: RunModel
    token: Token
    tool_call: ToolCall
    part: Part
    is_aside: Callable[[], bool]
    usage: Usage | None = None
    said_any: bool = False
    lines: set[str] = field(default_factory=set)
    """What was said while tools ran: one that runs again does not say it again."""
    partings: list[Parting] = field(default_factory=list)


class ToolRounds:
    """Belongs to one event loop."""

    def __init__(self, lists: ToolLists, desk: ToolDesk) -> None:
        self._lists = lists
        self._desk = desk

    async def run(
        self,
        message: llm_pb2.GenerateRequest,
        turn: Turn,
        *,
        model: RunModel,
        token: Token,
        tool_call: ToolCall,
        part: Part,
        is_aside: Callable[[], bool],
    ) -> Ending:
        """Run ``model`` until it has said all. ``message`` is what it is asked first; it is changed on the way.

        ``is_aside``: what is said now will be heard at the end only.
        """
        known = self._lists.known(message.agent)
        own, tools_json = offer(known if known is not None else await self._lists.of(message.agent), message.tools_json)
        if not own:
            return await model(message, token, tool_call)
        answer = _Answer(message, turn, model, token, tool_call, part, is_aside)
        message.tools_json = tools_json
        for number in range(1, MOST_ROUNDS + 1):
            last = number == MOST_ROUNDS
            if last:
                message.tools_json = ""
            this, ending = await self._round(answer, own)
            ending = ending._replace(usage=answer.usage)
            if number > 1:
                # Tools stood before these words: what the caller waited for was not the provider alone.
                ending = ending._replace(provider_first_token_us=0)
            # Some servers say "stop" behind their tool calls.
            if not this.calls or ending.finish not in (Finish.TOOL_CALLS, Finish.STOP):
                return ending
            if last:
                break
            results = await self._results(answer, own, this)
            if this.passes:
                # Whoever sent the request goes on with its tools, so the call is not left yet.
                return ending
            if answer.partings:
                return ending._replace(finish=Finish.STOP, parting=answer.partings[0])
            message.messages.extend(wire.message_to(each) for each in this.history(results))
        logs.get().warning("tools.in_circles", rounds=MOST_ROUNDS)
        return FAILED._replace(usage=answer.usage)

    async def _round(self, answer: _Answer, own: Tools) -> tuple[Round, Ending]:
        this = Round(own)

        def token(text: str) -> None:
            if not text:
                return
            # A model does not know what was said while its tools ran.
            answer.token(f" {text.lstrip()}" if answer.said_any and not this.said else text)
            this.said.append(text)
            answer.said_any = True

        def tool_call(piece: WriteToolCall) -> None:
            index = this.take(piece.index, piece.call_id, piece.name, piece.arguments)
            if index is not None:
                answer.tool_call(
                    WriteToolCall(
                        piece.attachment_id, piece.generation, index, piece.call_id, piece.name, piece.arguments
                    )
                )

        ending = await answer.model(answer.message, token, tool_call)
        answer.usage = _sum(answer.usage, ending.usage)
        return this, ending

    async def _results(self, answer: _Answer, own: Tools, this: Round) -> list[str]:
        """Do what the model asked for, all at once, and return what it is told, by place.

        The call is left by itself only: what else was asked for may come to nothing, and then more is to be said.
        """
        leaves = [own[call.name].builtin and call.name in PARTINGS for call in this.calls]
        if all(leaves) and not this.passes:
            return [self._parted(answer, this, call) for call in this.calls]
        _speak(answer, this, [own[call.name].speak_while_running for call in this.calls])
        return list(
            await asyncio.gather(
                *(
                    _told(NOT_YET) if leaves[place] else self._result(answer, own, call, place)
                    for place, call in enumerate(this.calls)
                )
            )
        )

    async def _result(self, answer: _Answer, own: Tools, call: OwnCall, place: int) -> str:
        if place >= MOST_CALLS:
            return TOO_MANY_TOOLS
        asked = answer.message
        ask = ToolAsk(
            call_id=asked.call_id,
            key=key_of(asked.call_id, asked.turn, call.name, call.arguments_json),
            turn=asked.turn,
            generation=asked.generation,
            name=call.name,
            arguments_json=call.arguments_json,
            timeout_ms=own[call.name].timeout_ms,
        )
        return (await self._desk.run(ask, agent=asked.agent, turn=answer.turn)).text

    def _parted(self, answer: _Answer, this: Round, call: OwnCall) -> str:
        parting = answer.part(call)
        if isinstance(parting, str):
            return parting
        if not answer.partings and parting.words:
            answer.token(f" {parting.words}" if answer.said_any else parting.words)
            answer.said_any = True
        # A model may say goodbye by itself: these are the last words then.
        answer.partings.append(replace(parting, words=parting.words or "".join(this.said)))
        return ""


async def _told(text: str) -> str:
    return text


def _speak(answer: _Answer, this: Round, lines: Sequence[str]) -> None:
    """Say that a tool runs, where the model has not said anything itself."""
    line = next((each for each in lines if each and each not in answer.lines), "")
    if "".join(this.said).strip():
        answer.token(FLUSH)
    elif line and not answer.is_aside():
        answer.lines.add(line)
        answer.token(f" {line}{FLUSH}" if answer.said_any else f"{line}{FLUSH}")
        answer.said_any = True


def _sum(one: Usage | None, other: Usage | None) -> Usage | None:
    if one is None or other is None:
        return one or other
    return Usage(one.prompt + other.prompt, one.completion + other.completion)
