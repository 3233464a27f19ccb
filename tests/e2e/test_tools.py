"""A tool of the owner's against real processes, also where one of them dies while it runs: it is never run twice."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from fakes import mesh
from fakes.openai_server import KEY, FakeOpenAi, openai_server
from fakes.openai_server import Mode as Model
from fakes.tool_endpoint import Mode, ToolEndpoint, tool_endpoint
from voicemesh.session.v1 import session_pb2 as pb

WAITS_S = 40.0
AGENT = """
[model]
provider = "openai"
name = "gpt-test"
base_url = "{model}"
first_token_timeout_s = 10.0

[[tools]]
name = "book_table"
description = "Book a table."
url = "{tool}"
timeout_s = 2.0
[tools.parameters.party]
type = "integer"
"""


@dataclass
class House:
    mesh: mesh.Mesh
    model: FakeOpenAi
    tool: ToolEndpoint
    http: aiohttp.ClientSession
    call: str = "call-tools"

    async def asks(self, words: str = "a table for four") -> str:
        """Send a request for an answer, and return what was said."""
        body = {
            "model": "m",
            "stream": False,
            "messages": [{"role": "user", "content": words}],
            "call": {"id": self.call},
        }
        headers = {"Authorization": f"Bearer {self.mesh.secret}"}
        async with self.http.post(f"{self.mesh.url}/vapi/llm", json=body, headers=headers) as answer:
            said: str = (await answer.json())["choices"][0]["message"]["content"]
            return said

    async def tool_runs(self) -> None:
        async with asyncio.timeout(WAITS_S):
            await self.tool.arrived.wait()

    async def ends(self) -> list[pb.ToolEnded]:
        logged = await self.mesh.settled()
        return [row.event.tool_ended for row in logged if row.event.HasField("tool_ended")]


@asynccontextmanager
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with openai_server() as model, tool_endpoint() as tool:
        model.mode = Model.ONE_TOOL
        agent = tmp_path / "agent.toml"
        agent.write_text(AGENT.format(model=model.url, tool=tool.url))
        settings = {"AGENT_FILE": str(agent), "OPENAI_API_KEY": KEY, "OWNER_SECRET": "owner-secret"}
        with mesh.running(tmp_path, **settings) as running:
            timeout = aiohttp.ClientTimeout(WAITS_S)
            async with aiohttp.ClientSession(timeout=timeout) as http:
                yield House(running, model, tool, http)


async def test_an_owners_endpoint_is_asked_once_and_the_caller_hears_what_it_said(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        assert await at.asks() == 'It says: {"party":4}'
        [asked] = at.tool.asked
        assert asked.body["arguments"] == {"party": 4}
        assert asked.headers["x-signature"]
        [end] = await at.ends()
        assert (end.outcome, end.key) == (pb.TOOL_OUTCOME_DONE, asked.headers["idempotency-key"])


@pytest.mark.parametrize("service", ["session-svc", "llm-svc", "ingress-svc"])
async def test_a_tool_is_not_run_twice_whoever_dies_while_it_runs(tmp_path: Path, service: str) -> None:
    async with house(tmp_path) as at:
        at.tool.script = [Mode.SLOW]
        first = asyncio.create_task(at.asks())
        await at.tool_runs()
        pid = at.mesh.send(service, signal.SIGKILL)
        if service == "session-svc":
            at.tool.go_on.set()
            assert await first == 'It says: {"party":4}'
            outcome = pb.TOOL_OUTCOME_DONE
        elif service == "llm-svc":
            assert "It says: The connection was lost while it ran" in await first
            outcome = pb.TOOL_OUTCOME_UNKNOWN
        else:
            with pytest.raises(aiohttp.ClientError):
                await first
            await at.mesh.restarted(service, pid)
            await at.mesh.ready()
            # The provider asks again, and so does the model: what became of the first run nobody knows.
            assert "It says: It is not known whether this was done" in await at.asks()
            outcome = None
        await at.mesh.ready()
        assert len(at.tool.asked) == 1
        # A session-svc that comes back gives its order again, and is told the end again.
        assert {end.outcome for end in await at.ends()} == ({outcome} if outcome else set())
