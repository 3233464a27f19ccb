"""Asks for answers and waits for them: `python -m bench.holder PORT SECRET COUNT`.

Prints "ready" when all requests are on their way, and at the end of its standard input how many were answered.
"""

from __future__ import annotations

import asyncio
import sys
import uuid

import uvloop

from bench import chat
from bench.sse import listen


async def main(port: int, secret: str, count: int) -> None:
    streams = [await listen(port) for _ in range(count)]
    for stream in streams:
        messages = [chat.SYSTEM, {"role": "user", "content": "A table for four tonight at seven, please."}]
        stream.ask(chat.request(messages, call_id=str(uuid.uuid4()), secret=secret))
    await asyncio.sleep(0.5)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    answered = sum(stream.first.done() for stream in streams)
    print(f"{answered or 'none'} answered", flush=True)
    for stream in streams:
        stream.close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
