"""A slow turn against real processes, and what the record says of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
from fakes import mesh
from fakes.vapi_control import CALL, control_server

AGENT = '[model]\nprovider = "scripted"\n\n[slow_turn]\nafter_ms = 300\nfiller = "One moment."\n'
SLOW = {"SCRIPTED_FIRST_TOKEN_MS": "1500", "SCRIPTED_TOKEN_MS": "0"}
WORDS = "I need a table for four tonight at 7pm."
WAITS_S = 20.0


async def test_a_slow_answer_is_said_on_the_call_and_stands_in_its_record(tmp_path: Path) -> None:
    agent = tmp_path / "agent.toml"
    agent.write_text(AGENT)
    async with control_server() as vapi:
        with mesh.running(tmp_path, AGENT_FILE=str(agent), CONTROL_HOSTS="127.0.0.1", **SLOW) as house:
            body = {
                "model": "m",
                "stream": True,
                "messages": [{"role": "user", "content": WORDS}],
                "call": {"id": CALL, "monitor": {"controlUrl": vapi.url()}},
            }
            headers = {"Authorization": f"Bearer {house.secret}"}
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(WAITS_S)) as http,
                http.post(f"{house.url}/vapi/llm", json=body, headers=headers) as answer,
            ):
                stream = await answer.text()
            assert "One moment." in stream
            assert "table" not in stream
            assert stream.endswith("data: [DONE]\n\n")
            assert vapi.asked == []
            async with asyncio.timeout(WAITS_S):
                await vapi.arrived.wait()
            [said] = [command["content"] for command in vapi.asked]
            assert "table for four" in said
            [ended] = [
                logged.event.generation_ended
                for logged in await house.settled()
                if logged.event.HasField("generation_ended")
            ]
            assert ended.said_text == f"One moment. {said}"
            assert ended.prompt_tokens > 0
            assert "tokens in" in house.command("calls", f"vapi:{CALL}").stdout
