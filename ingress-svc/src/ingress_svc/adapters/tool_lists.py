"""Which tools each agent has, as llm-svc lists them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import grpc
from svc_runtime import logs
from svc_runtime.metrics import Counters
from voicemesh.llm.v1 import llm_pb2

from ingress_svc.domain.agent_tools import NONE, Tool, Tools
from ingress_svc.domain.owner_line import TELL_OWNER, TIMEOUT_MS
from ingress_svc.domain.owner_post import OwnersSystem

LIST_S: Final = 0.5
"""How long an answer waits for a list: without one it is given without tools."""
FRESH_S: Final = 30.0
"""A list this old is used, and asked for again: an agent's version may be new to llm-svc."""
MISSED_S: Final = 1.0
"""So long after a failure nobody waits for the list again."""
MOST_AGENTS: Final = 256

MISSED: Final = "voicemesh.tools.lists_missed"

ListTools = Callable[[llm_pb2.ListToolsRequest, float], Awaitable[llm_pb2.ListToolsResponse]]


@dataclass(slots=True)
class _Listed:
    tools: Tools | None = None
    """None until llm-svc has answered once."""
    stale_s: float = 0.0
    asking: asyncio.Task[None] | None = None


class ToolLists:
    """Asked for every answer, so it answers from memory. Belongs to one event loop."""

    def __init__(self, list_tools: ListTools, counters: Counters, *, owner_of: Callable[[str], OwnersSystem]) -> None:
        """``owner_of`` gives the owner's system of an agent: without one nobody can be told anything."""
        self._list_tools = list_tools
        self._counters = counters
        self._owner_of = owner_of
        self._listed: OrderedDict[str, _Listed] = OrderedDict()
        counters.declare(MISSED, "Times that llm-svc did not say in time which tools an agent has.")

    def known(self, agent: str) -> Tools | None:
        """Return the agent's tools if they are known; it sees to their being known the next time."""
        listed = self._listed.get(agent)
        if listed is None:
            listed = self._listed[agent] = _Listed()
            if len(self._listed) > MOST_AGENTS:
                self._listed.popitem(last=False)
        else:
            self._listed.move_to_end(agent)
        loop = asyncio.get_running_loop()
        if listed.asking is None and loop.time() >= listed.stale_s:
            listed.asking = loop.create_task(self._ask(agent, listed))
        return listed.tools

    async def of(self, agent: str) -> Tools:
        """Return the agent's tools; none where llm-svc does not say in time."""
        tools = self.known(agent)
        asking = self._listed[agent].asking
        if tools is None and asking is not None:
            await asyncio.shield(asking)
            tools = self._listed[agent].tools if agent in self._listed else None
        return tools or NONE

    async def close(self) -> None:
        asking = [listed.asking for listed in self._listed.values() if listed.asking is not None]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self, agent: str, listed: _Listed) -> None:
        loop = asyncio.get_running_loop()
        try:
            answer = await self._list_tools(llm_pb2.ListToolsRequest(agent=agent), LIST_S)
        except grpc.aio.AioRpcError as failed:
            listed.stale_s = loop.time() + MISSED_S
            self._counters.add(MISSED)
            logs.get().warning("tools.not_listed", code=failed.code().name.lower())
        else:
            listed.stale_s = loop.time() + FRESH_S
            listed.tools = {each.name: _tool(each) for each in answer.tools}
            if not self._owner_of(agent).url and listed.tools.pop(TELL_OWNER, None) is not None:
                # Each time that it is listed, for the file may be put right at any time.
                logs.get().warning("tools.no_owner", agent=agent)
        finally:
            listed.asking = None


def _tool(listed: llm_pb2.Tool) -> Tool:
    timeout_ms = TIMEOUT_MS if listed.builtin else listed.timeout_ms
    return Tool(listed.name, listed.definition_json, listed.builtin, listed.speak_while_running, timeout_ms)
