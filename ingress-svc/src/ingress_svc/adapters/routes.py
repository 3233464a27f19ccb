"""Which handler answers a request.

All our paths are fixed, so a table will do: aiohttp's own router, which also knows patterns and middlewares, costs each
event a twentieth of all that ingress does for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import HttpVersion11, web
from svc_runtime.http_server import QuietServer
from svc_runtime.metrics import Counters

from ingress_svc.adapters.guard import Form, error_text, plain_error

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Routes:
    """Handlers by path and method. A handler of GET answers HEAD too."""

    def __init__(self, *, counters: Counters, max_body_bytes: int) -> None:
        self._table: dict[str, dict[str, Handler]] = {}
        self._forms: dict[str, Form] = {}
        self._counters = counters
        self._max_body_bytes = max_body_bytes

    def add(self, method: str, path: str, handler: Handler, form: Form = plain_error) -> None:
        """Serve ``path``; errors that no handler has seen take ``form``."""
        methods = self._table.setdefault(path, {})
        methods[method] = handler
        self._forms[path] = form
        if method == "GET":
            methods["HEAD"] = handler

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Every (path, method)."""
        return ((path, method) for path, methods in self._table.items() for method in methods)

    def server(self, **options: Any) -> web.Server:
        """Return a server of these routes, on the running loop."""
        return QuietServer(
            self.handle,
            counters=self._counters,
            error_body=lambda _, text: error_text(text).encode(),
            max_body_bytes=self._max_body_bytes,
            **options,
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, by JSON also where nothing is served."""
        methods = self._table.get(request.path)
        if methods is None:
            raise web.HTTPNotFound(text=error_text("nothing is served here"), content_type="application/json")
        form = self._forms[request.path]
        handler = methods.get(request.method)
        if handler is None:
            text = form(f"this path takes {' and '.join(sorted(methods))}", "method_not_allowed")
            raise web.HTTPMethodNotAllowed(request.method, sorted(methods), text=text, content_type="application/json")
        if "Expect" in request.headers:
            await _continue(request, form)
        return await handler(request)


async def _continue(request: web.Request, form: Form) -> None:
    """Ask for the body of a client that first wants to know whether it may send it (curl does, from 1 MB)."""
    if request.headers["Expect"].lower() != "100-continue":
        text = form("the only expectation that is met is 100-continue", "expectation_failed")
        raise web.HTTPExpectationFailed(text=text, content_type="application/json")
    if request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The answer itself has not begun.
        request.writer.output_size = 0
