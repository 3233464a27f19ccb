"""The agent's own tools for a model that the provider runs: it asks by webhook."""

from __future__ import annotations

from collections.abc import Callable

from ingress_svc.adapters.tool_desk import RunNow, ToolDesk
from ingress_svc.adapters.tool_lists import ToolLists
from ingress_svc.adapters.turns import Turn
from ingress_svc.domain.agent_tools import Tool
from ingress_svc.domain.answers import ToolResult
from ingress_svc.domain.asks import ToolCall
from ingress_svc.domain.chat import json_text
from ingress_svc.domain.partings import PARTINGS
from ingress_svc.domain.tool_claims import ToolAsk, ToolOutcome, provider_key

TurnOf = Callable[[str], Turn | None]
"""Returns the turn of a call that is going on, if there is one."""


class WebhookTools:
    """Implements `answering.Tools`."""

    def __init__(self, lists: ToolLists, desk: ToolDesk, run_now: RunNow, turn_of: TurnOf) -> None:
        self._lists = lists
        self._desk = desk
        self._run_now = run_now
        self._turn_of = turn_of

    def may_have(self, agent: str, name: str) -> bool:
        tools = self._lists.known(agent)
        return tools is None or _is_ours(tools.get(name))

    async def has(self, agent: str, name: str) -> bool:
        return _is_ours((await self._lists.of(agent)).get(name))

    async def run(self, agent: str, call: ToolCall, *, call_id: str, event_id: str) -> ToolResult:
        """Run it, claimed by the provider's own id of the tool call. What comes without a call cannot be claimed."""
        tool = (await self._lists.of(agent))[call.name]
        arguments_json = call.arguments if isinstance(call.arguments, str) else json_text(call.arguments)
        ask = ToolAsk(
            call_id=call_id or f"vapi:unnamed-{event_id}",
            key=provider_key(call_id, call.id or ("" if call_id else event_id), call.name, arguments_json),
            turn=0,
            generation=0,
            name=call.name,
            arguments_json=arguments_json,
            timeout_ms=tool.timeout_ms,
        )
        if call_id:
            end = await self._desk.run(ask, agent=agent, turn=self._turn_of(call_id))
        else:
            end = await self._run_now(ask, agent, "")
        return ToolResult(end.text, failed=end.outcome is not ToolOutcome.DONE)


def _is_ours(tool: Tool | None) -> bool:
    """Those that leave the call are the provider's own when the provider runs the model."""
    return tool is not None and not (tool.builtin and tool.name in PARTINGS)
