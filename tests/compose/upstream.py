"""Stands where ingress-svc does, for what nginx does to bytes: says back what came, and counts it.

Run in a service's image as ``python /upstream.py MODE``: `echo` answers, `hangs_up` reads a request and closes.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys

from aiohttp import WSMsgType, web

came = {"requests": 0}


async def echo(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Upgrade", "").lower() == "websocket":
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data[::-1])
        return socket
    body = await request.read()
    came["requests"] += 1
    headers = {name.lower(): value for name, value in request.headers.items()}
    return web.json_response(
        {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "headers": headers, "path": request.raw_path}
    )


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number in range(10):
        await response.write(b"data: %d\n\n" % number)
        await asyncio.sleep(0.1)
    return response


async def count(_: web.Request) -> web.Response:
    return web.json_response(came)


async def hang_up(request: web.Request) -> web.Response:
    await request.read()
    came["requests"] += 1
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def main(mode: str) -> None:
    app = web.Application(client_max_size=64 << 20)
    app.router.add_get("/count", count)
    app.router.add_get("/readyz", count)
    app.router.add_get("/drip", drip)
    app.router.add_route("*", "/{path:.*}", echo if mode == "echo" else hang_up)
    web.run_app(app, port=8080, access_log=None)


if __name__ == "__main__":
    main(sys.argv[1])
