"""Callers who interrupt: each asks for an answer, listens a while, and says "wait". A process of its own.

`python -m bench.cutter SPEC RESULT` prints "ready" when it is connected, waits for a line, runs, writes what came of it
to the file RESULT as JSON, and prints "done".
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop

from bench import chat, traffic
from bench.connection import Connection, connect
from bench.sse import listen

_TURNS = 6
"""So many turns, then the next call."""
_END_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Spec:
    port: int
    secret: str
    callers: int
    seconds: float

    def line(self) -> str:
        return json.dumps(asdict(self))


@dataclass(slots=True)
class Result:
    cuts: list[tuple[str, int, int]] = field(default_factory=list)
    """What the answer was asked for with, when the partial "wait" was written, when the answer's last byte came."""
    failed: int = 0
    """Answers that did not begin, or did not end within two seconds of the partial; webhooks that were refused."""


class Caller:
    """One call after another."""

    def __init__(self, spec: Spec, result: Result, number: int) -> None:
        self._spec = spec
        self._result = result
        self._number = number
        self._signer = traffic.Signer(spec.secret)
        self._dice = random.Random(number)
        self._turns = 0
        self._answer: asyncio.Future[int] | None = None

    async def connect(self) -> None:
        self._stream = await listen(self._spec.port)
        (self._webhooks,) = await connect(1, self._spec.port, self._answered)

    async def run(self, until_s: float) -> None:
        await asyncio.sleep(self._dice.random())
        while time.monotonic() < until_s:
            call_id = str(uuid.uuid4())
            messages = [chat.SYSTEM]
            for _ in range(_TURNS):
                if not await self._interrupt(call_id, messages):
                    self._result.failed += 1
        self._stream.close()
        self._webhooks.close()

    async def _interrupt(self, call_id: str, messages: list[chat.Message]) -> bool:
        """Say something, hear some of the answer, cut in. Returns False when the mesh did not do its part."""
        self._turns += 1
        asked = f"caller {self._number} asks {self._turns}"
        messages.append({"role": "user", "content": asked})
        if await self._say(call_id, traffic.Step("transcript.final.user", asked)) != 200:
            return False
        self._stream.ask(chat.request(messages, call_id=call_id, secret=self._spec.secret))
        if not await asyncio.wait_for(self._stream.first, 10):
            return False
        await asyncio.sleep(self._dice.uniform(0.2, 0.8))
        messages.append({"role": "assistant", "content": "Well,"})
        said_ns = time.monotonic_ns()
        status = self._say(call_id, traffic.Step("transcript.partial.user", "wait"))
        try:
            ended_ns = await asyncio.wait_for(self._stream.end, _END_WITHIN_S)
        except TimeoutError:
            self._stream.close()
            self._stream = await listen(self._spec.port)
            return False
        self._result.cuts.append((asked, said_ns, ended_ns))
        return await status == 200

    def _say(self, call_id: str, step: traffic.Step) -> asyncio.Future[int]:
        """Write a webhook now; the future is done with its answer's status."""
        body = traffic.body_of(step, 1_024, call_id, time.time_ns() // 1_000_000)
        self._answer = asyncio.get_running_loop().create_future()
        self._webhooks.send(self._signer.request(body, call_id))
        return self._answer

    def _answered(self, _: Connection, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)


async def main(spec: Spec) -> Result:
    result = Result()
    callers = [Caller(spec, result, number) for number in range(spec.callers)]
    for caller in callers:
        await caller.connect()
    gc.disable()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    until_s = time.monotonic() + spec.seconds
    await asyncio.gather(*(caller.run(until_s) for caller in callers))
    return result


if __name__ == "__main__":
    ended = uvloop.run(main(Spec(**json.loads(sys.argv[1]))))
    Path(sys.argv[2]).write_text(json.dumps(asdict(ended)))
    print("done", flush=True)
