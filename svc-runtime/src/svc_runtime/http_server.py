"""An HTTP server that does not say what it is made of, neither in its headers nor about requests that it cannot read.

Importing this takes as long as the rest of a service's start.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web

from svc_runtime import logs
from svc_runtime.metrics import Counters

UNREADABLE = "voicemesh.requests.unreadable"
TELL_EVERY_S = 60.0
"""Anybody may send what is no request, as fast as the line carries it."""

ErrorBody = Callable[[int, str], bytes]
"""Makes the JSON body of an error from its status and a sentence."""


class QuietServer(web.Server):
    """Serves ``handle``; ``options`` are aiohttp's own."""

    def __init__(
        self,
        handle: Callable[[web.Request], Awaitable[web.StreamResponse]],
        *,
        counters: Counters,
        error_body: ErrorBody,
        max_body_bytes: int = 1_048_576,
        handler_cancellation: bool = False,
        monotonic_s: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        loop = asyncio.get_running_loop()
        counters.declare(UNREADABLE, "Requests that are no HTTP.")
        self.error_body = error_body
        self._counters = counters
        self._monotonic_s = monotonic_s
        self._options = options
        self._untold = 0
        self._tell_s = 0.0

        def request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.Request:
            return _Request(message, payload, protocol, writer, task, loop, client_max_size=max_body_bytes)

        # The handler gets what the factory makes, which the types do not say.
        super().__init__(handle, request_factory=request, handler_cancellation=handler_cancellation)  # type: ignore[arg-type]

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return _Connection(self, loop=asyncio.get_running_loop(), **self._options)

    def unreadable(self, reason: str) -> None:
        """Count a request that could not be read, and tell of them once a minute."""
        self._counters.add(UNREADABLE)
        self._untold += 1
        now_s = self._monotonic_s()
        if now_s >= self._tell_s:
            logs.get().info("request.unreadable", reason=reason, count=self._untold)
            self._untold, self._tell_s = 0, now_s + TELL_EVERY_S


class _Request(web.Request):
    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        # Called between the library's own headers and the first byte; nothing public is.
        response.headers.popall("Server", None)


class _Connection(web.RequestHandler):
    def __init__(self, server: QuietServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._quiet = server

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be read, or what its handler let escape."""
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            self._quiet.unreadable(type(exc).__name__)
            text = "this is no request that can be read"
        else:
            if exc is not None:
                logs.get().exception("request.failed", exc, path=request.path)
            text = "the request could not be handled"
        if request.writer.output_size > 0:
            raise ConnectionError("a part of another answer has left")
        response = web.Response(
            status=status, body=self._quiet.error_body(status, text), content_type="application/json"
        )
        response.force_close()
        return response
