"""llm-svc as a process, with tools of an owner's."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
from voicemesh.llm.v1 import llm_pb2, llm_pb2_grpc

LIVENESS_S = 30.0

OWNERS = '''
import time

def hang(minutes: int) -> str:
    """Hang."""
    print("hangs", flush=True)
    time.sleep(60 * minutes)
    return "late"
'''
AGENT = '[model]\nprovider = "scripted"\n[[tools]]\nname = "hang"\npython = "owners:{function}"\ntimeout_s = 60\n'


@asynccontextmanager
async def llm_svc(folder: Path, function: str) -> AsyncIterator[asyncio.subprocess.Process]:
    (folder / "owners.py").write_text(OWNERS, encoding="utf-8")
    (folder / "agent.toml").write_text(AGENT.format(function=function), encoding="utf-8")
    settings = {
        "VOICEMESH_AGENT_FILE": str(folder / "agent.toml"),
        "VOICEMESH_TOOLS_PATH": str(folder),
        "VOICEMESH_LLM_LISTEN": "127.0.0.1:0",
        "VOICEMESH_DRAIN_S": "1",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "llm_svc",
        env={**os.environ, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LIVENESS_S):
            yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def port_of(process: asyncio.subprocess.Process) -> int:
    assert process.stderr is not None
    async for line in process.stderr:
        told = json.loads(line)
        if told["event"] == "server.started":
            return int(told["port"])
    raise AssertionError("the process has ended")


async def test_a_function_that_hangs_does_not_hold_the_process_when_it_is_to_end(tmp_path: Path) -> None:
    async with llm_svc(tmp_path, "hang") as process:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{await port_of(process)}") as channel:
            stub = llm_pb2_grpc.LlmServiceStub(channel)
            request = llm_pb2.RunToolRequest(
                call_id="vapi:1", name="hang", arguments_json='{"minutes": 1}', idempotency_key="k-1"
            )
            running = asyncio.ensure_future(stub.RunTool(request))
            assert process.stdout is not None
            assert await process.stdout.readline() == b"hangs\n"
            begin_s = time.monotonic()
            process.send_signal(signal.SIGTERM)
            response = await running
        assert await process.wait() == 0
        assert time.monotonic() - begin_s < LIVENESS_S / 2
    assert response.failure.reason == llm_pb2.TOOL_FAILURE_REASON_CANCELLED
    assert response.failure.effect_unknown


async def test_a_tool_that_cannot_be_found_ends_the_start_with_one_line(tmp_path: Path) -> None:
    async with llm_svc(tmp_path, "hnag") as process:
        _, said = await process.communicate()
    assert process.returncode == 2
    assert said.decode().splitlines() == [
        f'{tmp_path}/agent.toml:5: [tools[1]] python = "owners:hnag" names nothing in {tmp_path}/owners.py; did you '
        "mean hang?"
    ]
