"""The baseline: a bare aiohttp handler that checks the same HMAC over the same body and answers 200.

Run as `python -m bench.bare SECRET`; it prints its port.
"""

from __future__ import annotations

import asyncio
import hmac
import sys

from aiohttp import web
from svc_runtime import server


async def main(secret: bytes) -> None:
    async def webhook(request: web.Request) -> web.Response:
        raw = await request.read()
        signed = request.headers.get("x-timestamp", "").encode() + b"." + raw
        expected = hmac.digest(secret, signed, "sha256").hex()
        if not hmac.compare_digest(request.headers.get("x-signature", ""), expected):
            return web.Response(status=401)
        return web.Response(body=b"{}", content_type="application/json")

    app = web.Application(client_max_size=8 << 20)
    app.router.add_post("/vapi/webhook", webhook)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    server.freeze_startup()
    print(runner.addresses[0][1], flush=True)
    signals = server.StopSignals()
    await signals.first.wait()
    # Clients keep their connections; nobody waits for them to leave.
    await asyncio.wait_for(runner.cleanup(), 5)


if __name__ == "__main__":
    server.run(main(sys.argv[1].encode()))
