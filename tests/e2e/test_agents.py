"""Two agents in one mesh; one of their files changes while they talk."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

from fakes import mesh, phone

BOOKING = "I need a table for four tonight at 7pm."
TENANT = {"tenant": "short"}


def terse(tokens: int) -> str:
    """An agent whose answers end after so many tokens."""
    return f'[match]\nmetadata = {{ tenant = "short" }}\n[model]\nprovider = "scripted"\nmax_tokens = {tokens}\n'


async def told(house: mesh.Mesh, text: str, *services: str) -> None:
    """Wait until each service has logged this."""
    async with asyncio.timeout(20):
        while not all(text in house.service_log(service) for service in services):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def tokens(call: phone.Phone, words: str) -> int:
    """Ask as a provider that sends no limit of its own; return how many tokens came: a word each."""
    answer = await call.says(words, through="openai")
    await answer.is_over()
    await call.agent_stops(answer.text)
    return len(answer.text.split())


async def test_new_calls_get_a_changed_agent_and_live_ones_keep_theirs(tmp_path: Path) -> None:
    """Whoever answers them, whatever is written meanwhile, and whoever dies."""
    file = tmp_path / "agents" / "terse.toml"
    file.parent.mkdir()
    file.write_text(terse(3))
    with mesh.running(tmp_path, SCRIPTED_FIRST_TOKEN_MS="1", SCRIPTED_TOKEN_MS="1") as house:
        async with phone.line(house.url, house.secret) as line:
            live, plain = line.call(metadata=TENANT), line.call()
            await live.begins()
            await plain.begins()
            assert await tokens(live, BOOKING) == 3
            assert await tokens(plain, BOOKING) > 10
            file.write_text(terse(6))
            await told(house, '"agent.reloaded"', *mesh.SERVICES)
            later = line.call(metadata=TENANT)
            await later.begins()
            assert await tokens(later, BOOKING) == 6
            assert await tokens(live, "At eight.") == 3
            file.write_text("[match]\n[modle]\n")
            await told(house, "agents/terse.toml:2: [modle] is not known; did you mean model?", *mesh.SERVICES)
            # Still broken: who starts now goes on with what was good, and has the older versions of live calls too.
            for service in ("session-svc", "llm-svc", "ingress-svc"):
                await house.restarted(service, house.send(service, signal.SIGKILL))
            await house.ready()
            status, body = mesh.get(house.url + "/readyz")
            assert (status, json.loads(body)["degraded"]) == (200, ["agent terse"])
            assert await tokens(later, "At eight.") == 6
            assert await tokens(live, "My name is Ana.") == 3
            file.write_text(terse(9))
            await told(house, '"agent.recalled"', "llm-svc")
        shown = house.command("calls", live.call_id)
        assert "agent: terse@" in shown.stdout
