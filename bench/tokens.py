"""The same questions to a provider directly and through the mesh, in turns, by the same client library.

`python -m bench.tokens SPEC RESULT` prints "ready", waits for a line, asks, writes to the file RESULT, as JSON, what
was added to the provider's own times, and prints "done".
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import uuid4

import openai
import uvloop
from openai.types.chat import ChatCompletionMessageParam

_TURNS = 8


@dataclass(frozen=True, slots=True)
class Spec:
    provider_port: int
    mesh_port: int
    secret: str
    pairs: int

    def line(self) -> str:
        return json.dumps(asdict(self))


@dataclass(slots=True)
class Times:
    """Spans on the monotonic clock, in nanoseconds."""

    first: list[tuple[int, int]] = field(default_factory=list)
    """From asking to the first token's arrival, less what the provider took: begins that much later."""
    tokens: list[tuple[int, int]] = field(default_factory=list)
    """From the provider's write of a token behind the first to its arrival."""


async def ask(
    client: openai.AsyncOpenAI, call_id: str, messages: list[ChatCompletionMessageParam], times: Times
) -> None:
    began_ns = time.monotonic_ns()
    stream = await client.chat.completions.create(
        model="bench", messages=messages, stream=True, extra_body={"call": {"id": call_id}}
    )
    rest = ""
    async for chunk in stream:
        now_ns = time.monotonic_ns()
        *stamps, rest = (rest + ((chunk.choices[0].delta.content or "") if chunk.choices else "")).split(" ")
        for stamp in filter(None, stamps):
            arrived, colon, sent = stamp.rpartition(":")
            if colon:
                times.first.append((began_ns + int(sent) - int(arrived), now_ns))
            else:
                times.tokens.append((int(sent), now_ns))


async def main(spec: Spec) -> dict[str, Times]:
    direct = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{spec.provider_port}/v1", api_key="none")
    through = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{spec.mesh_port}/vapi/llm", api_key=spec.secret)
    result = {"direct": Times(), "mesh": Times()}
    # The first requests open connections; they are asked and not counted.
    await ask_pairs(direct, through, 2, {"direct": Times(), "mesh": Times()})
    gc.disable()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await ask_pairs(direct, through, spec.pairs, result)
    return result


async def ask_pairs(
    direct: openai.AsyncOpenAI, through: openai.AsyncOpenAI, pairs: int, result: dict[str, Times]
) -> None:
    call_id, messages = "", list[ChatCompletionMessageParam]()
    for pair in range(pairs):
        if pair % _TURNS == 0:
            call_id, messages = str(uuid4()), [{"role": "system", "content": "You book tables."}]
        messages.append({"role": "user", "content": f"question {pair}"})
        await ask(direct, call_id, messages, result["direct"])
        await ask(through, call_id, messages, result["mesh"])
        messages.append({"role": "assistant", "content": "Well,"})


if __name__ == "__main__":
    asked = uvloop.run(main(Spec(**json.loads(sys.argv[1]))))
    Path(sys.argv[2]).write_text(json.dumps({name: asdict(times) for name, times in asked.items()}))
    print("done", flush=True)
