"""The least that a hop can cost here: one message on an open gRPC stream, there and back, with nothing behind it.

`python -m bench.echo serve` prints its port; `python -m bench.echo "PORT RATE COUNT" RESULT` sends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import uvloop
from svc_runtime import server
from svc_runtime.channel import SERVER, open_channel

_METHOD = "/bench.Echo/Echo"
_MESSAGE = b"x" * 300


async def serve() -> None:
    async def echo(_: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            await context.write(message)

    handlers: dict[str, Any] = {"Echo": grpc.stream_stream_rpc_method_handler(echo)}
    echoing = grpc.aio.server(options=SERVER)
    echoing.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    port = echoing.add_insecure_port("127.0.0.1:0")
    await echoing.start()
    print(port, flush=True)
    await server.StopSignals().first.wait()
    await echoing.stop(None)


async def send(port: int, rate: float, count: int) -> dict[str, Any]:
    """Send at an even rate, the next message when the last is back."""
    async with open_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.stream_stream(_METHOD)()
        spans = [await _echoed(call) for _ in range(20)]
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        began_ns = time.monotonic_ns()
        spans.clear()
        for number in range(count):
            wait_s = (began_ns + number / rate * 1e9 - time.monotonic_ns()) / 1e9
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            spans.append(await _echoed(call))
        call.cancel()
    return {"spans": spans}


async def _echoed(call: Any) -> tuple[int, int]:
    began_ns = time.monotonic_ns()
    await call.write(_MESSAGE)
    await call.read()
    return began_ns, time.monotonic_ns()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        server.run(serve())
    else:
        port, rate, count = sys.argv[1].split()
        seen = uvloop.run(send(int(port), float(rate), int(count)))
        Path(sys.argv[2]).write_text(json.dumps(seen))
        print("done", flush=True)
