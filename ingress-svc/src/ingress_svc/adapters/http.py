"""The public port: routes, health, and the life of the HTTP server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from aiohttp import web
from svc_runtime import logs
from svc_runtime.metrics import Counters, Gauge, render
from svc_runtime.server import CannotListen
from svc_runtime.side_port import readiness_body

from ingress_svc.adapters.custom_llm import CustomLlm
from ingress_svc.adapters.front import Front, Receive
from ingress_svc.adapters.guard import Form, openai_error, plain_error
from ingress_svc.adapters.routes import Handler, Routes
from ingress_svc.adapters.tokens import Tokens
from ingress_svc.adapters.webhook import VapiWebhook
from ingress_svc.domain.body_room import BodyRoom
from ingress_svc.domain.paths import LLM_PATHS, TOKEN_PATH, WEBHOOK_PATHS

KEEP_ALIVE_S = 915.0
"""Longer than a proxy keeps its own idle connections (nginx 60 s, cloudflared 90 s, Cloudflare 900 s), so that it
closes first: the other way round it sends a request into a connection that has just been closed."""


QUIET_S = 0.5
"""A proxy uses its open connections several times a second under load; one that is silent for so long has left."""


class Draining:
    """Whether ingress is being stopped. Asked as each answer leaves, so it also knows when that last was."""

    def __init__(self) -> None:
        self.begun = False
        self._answered_s = 0.0

    def __call__(self) -> bool:
        if self.begun:
            self._answered_s = time.monotonic()
        return self.begun

    async def quiet(self, open_connections: Callable[[], bool], within_s: float, hurry: asyncio.Event) -> None:
        """Return once nobody has been answered for a while: who has an open connection is told to leave by an answer.

        To close it before would meet the request that its peer is sending, and break what nobody may send again.
        """
        until_s = time.monotonic() + within_s
        self._answered_s = time.monotonic()
        while open_connections() and not hurry.is_set():
            left_s = min(self._answered_s + QUIET_S, until_s) - time.monotonic()
            if left_s <= 0:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(hurry.wait(), left_s)


def routes(
    *,
    webhook: VapiWebhook,
    llm: CustomLlm,
    tokens: Tokens | None,
    waits_for: Callable[[], Sequence[str]],
    degraded: Callable[[], Sequence[str]],
    draining: Callable[[], bool],
    counters: Counters,
    gauges: Sequence[Gauge],
    max_body_bytes: int,
) -> Routes:
    """Return all that is served. Everything that changes state stands behind the guard of its handler."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        waiting = waits_for()
        body = readiness_body(waiting, degraded())
        return web.Response(status=503 if waiting else 200, text=body, content_type="application/json")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=render(counters, gauges))

    served = Routes(counters=counters, max_body_bytes=max_body_bytes)
    for path in WEBHOOK_PATHS:
        served.add("POST", path, _guarded(webhook.handle, draining))
    for path in LLM_PATHS:
        served.add("POST", path, _guarded(llm.handle, draining, openai_error), openai_error)
    if tokens is not None:
        served.add("POST", TOKEN_PATH, _guarded(tokens.handle, draining))
    served.add("GET", "/healthz", healthz)
    served.add("GET", "/readyz", readyz)
    served.add("GET", "/metrics", metrics)
    return served


def _guarded(handle: Handler, draining: Callable[[], bool], form: Form = plain_error) -> Handler:
    """Return ``handle`` with what holds for every answer. Not a middleware and a signal: those cost each event 5 µs."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        try:
            response = await handle(request)
        except (web.HTTPException, asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 - the last line before the wire
            # A defect of ours is a 500 that says nothing about us; the log names it.
            logs.get().exception("request.failed", error, path=request.path)
            text = form("the request could not be handled; see the log of ingress-svc", "internal_error")
            return web.Response(status=500, text=text, content_type="application/json")
        if draining():
            # Whoever keeps a connection open would go on using it, and no drain would ever end under load.
            if not response.prepared:
                response.headers["Connection"] = "close"
            response.force_close()
        return response

    return guarded


class HttpServer:
    """The routes on their port, plain webhooks first. Made on the loop that serves them."""

    def __init__(
        self,
        served: Routes,
        receive: Receive,
        *,
        draining: Callable[[], bool],
        max_body_bytes: int,
        room: BodyRoom,
        host: str,
        port: int,
        drain_s: float,
    ) -> None:
        # Without handler_cancellation a handler learns at its next write that the peer has gone; while the model
        # thinks, never.
        # The guard refuses whatever is compressed; inflating it first would hold up the loop for the asking.
        self._server = served.server(
            handler_cancellation=True, access_log=None, keepalive_timeout=KEEP_ALIVE_S, auto_decompress=False
        )
        self._front = Front(
            receive,
            paths=WEBHOOK_PATHS,
            other=self._server,
            draining=draining,
            max_body_bytes=max_body_bytes,
            room=room,
            keep_alive_s=KEEP_ALIVE_S,
        )
        self._drain_s = drain_s
        self.host = host
        self._port = port
        self._listening: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that was taken; the setting until then."""
        return self._port

    async def start(self) -> None:
        """Listen. Raises CannotListen."""
        loop = asyncio.get_running_loop()
        try:
            self._listening = await loop.create_server(self._front, self.host, self._port, backlog=1024)
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {self.host}:{self._port} ({error.strerror or error}); "
                "set VOICEMESH_HTTP_PORT to a free port"
            ) from error
        self._port = int(self._listening.sockets[0].getsockname()[1])

    def has_connections(self) -> bool:
        """Whether anybody has a connection, idle or not."""
        return bool(self._front.connections or self._server.connections)

    async def stop_listening(self) -> None:
        """Take no new connections; those that are open live on."""
        if self._listening is not None:
            self._listening.close()

    async def close(self) -> None:
        """Let running handlers end within the drain time, then close."""
        await self.stop_listening()
        self._server.pre_shutdown()
        await asyncio.gather(self._front.close(self._drain_s), self._server.shutdown(self._drain_s))
