"""Which handler answers a request.

All our paths are fixed, so a table will do: aiohttp's own router, which also knows patterns and middlewares, costs each
event a twentieth of all that ingress does for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import HttpVersion11, web

from ingress_svc.adapters.guard import error_text

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Routes:
    """Handlers by path and method. A handler of GET answers HEAD too."""

    def __init__(self, *, max_body_bytes: int) -> None:
        self._table: dict[str, dict[str, Handler]] = {}
        self._max_body_bytes = max_body_bytes

    def add(self, method: str, path: str, handler: Handler) -> None:
        methods = self._table.setdefault(path, {})
        methods[method] = handler
        if method == "GET":
            methods["HEAD"] = handler

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Every (path, method)."""
        return ((path, method) for path, methods in self._table.items() for method in methods)

    def server(self, **options: Any) -> web.Server:
        """Return a server of these routes, on the running loop."""
        loop, most_bytes = asyncio.get_running_loop(), self._max_body_bytes

        def request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.Request:
            return web.Request(message, payload, protocol, writer, task, loop, client_max_size=most_bytes)

        # The handler gets what the factory makes, which the types do not say.
        return web.Server(self.handle, request_factory=request, **options)  # type: ignore[arg-type]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, by JSON also where nothing is served."""
        methods = self._table.get(request.path)
        if methods is None:
            raise web.HTTPNotFound(text=error_text("nothing is served here"), content_type="application/json")
        handler = methods.get(request.method)
        if handler is None:
            text = error_text(f"this path takes {' and '.join(sorted(methods))}")
            raise web.HTTPMethodNotAllowed(request.method, sorted(methods), text=text, content_type="application/json")
        if "Expect" in request.headers:
            await _continue(request)
        return await handler(request)


async def _continue(request: web.Request) -> None:
    """Ask for the body of a client that first wants to know whether it may send it (curl does, from 1 MB)."""
    if request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed(
            text=error_text("the only expectation that is met is 100-continue"), content_type="application/json"
        )
    if request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The answer itself has not begun.
        request.writer.output_size = 0
