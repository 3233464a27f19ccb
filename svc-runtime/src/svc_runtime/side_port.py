"""What a process says of itself over HTTP beside its gRPC: GET /metrics, /healthz and /readyz."""

from __future__ import annotations

import asyncio
import importlib
import json
import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from svc_runtime.listen import bound
from svc_runtime.metrics import Counters, Gauge, render

MOST_CONNECTIONS = 16
"""One more is closed at once: a scraper needs one."""
REQUEST_WITHIN_S = 2.0
"""From the connection to the end of the request's head."""
MOST_LINE_BYTES = 1_024
"""Of the request line."""
_CLOSE_WITHIN_S = 0.5


class Readiness(Protocol):
    """`svc_runtime.server.Health`."""

    @property
    def waits_for(self) -> list[str]: ...
    @property
    def degraded(self) -> list[str]: ...
    @property
    def loop_lag_ms(self) -> float: ...


class SidePort:
    """Answers one request a connection, so none lives longer than `REQUEST_WITHIN_S` and its answer."""

    def __init__(self, listen: str, counters: Counters, gauges: Sequence[Gauge] = ()) -> None:
        """``listen`` is host:port; empty for no port at all. The lag of the loop is shown besides ``gauges``."""
        self._listen = listen
        self._counters = counters
        self._gauges = list(gauges)
        self._socket: socket.socket | None = None
        self._server: Any = None
        self._listener: asyncio.Server | None = None
        self._web: Any = None
        self._answers: dict[str, Callable[[], Any]] = {}

    @property
    def port(self) -> int:
        """The port that was taken; 0 without one."""
        return int(self._socket.getsockname()[1]) if self._socket is not None else 0

    def bind(self) -> None:
        """Take the address: whoever connects from now on waits for `open`. Raises CannotListen."""
        if self._listen:
            self._socket = bound(self._listen)
            self._socket.listen(MOST_CONNECTIONS)

    async def open(self, health: Readiness) -> None:
        """Answer."""
        if self._socket is None:
            return
        # The import takes as long as the rest of a service's start, which shall not wait for it.
        http_server = await asyncio.to_thread(importlib.import_module, "svc_runtime.http_server")
        web = self._web = http_server.web
        lag = Gauge(
            "voicemesh.loop.lag", "How late the event loop ran at worst.", lambda: health.loop_lag_ms / 1e3, "s"
        )
        self._answers = {
            "/metrics": lambda: self._metrics([lag, *self._gauges]),
            "/healthz": lambda: web.Response(text="ok\n"),
            "/readyz": lambda: self._readiness(health.waits_for, health.degraded),
        }
        server = self._server = http_server.QuietServer(
            self._answer,
            counters=self._counters,
            error_body=lambda _, text: json.dumps({"error": text}).encode(),
            access_log=None,
            keepalive_timeout=REQUEST_WITHIN_S,
            lingering_time=0.0,
            max_line_size=MOST_LINE_BYTES,
        )
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: server() if len(server.connections) < MOST_CONNECTIONS else _Refusal(), sock=self._socket
        )

    async def close(self) -> None:
        """Stop answering. Harmless before `open`."""
        if self._listener is not None:
            self._listener.close()
            self._server.pre_shutdown()
            await self._server.shutdown(_CLOSE_WITHIN_S)
        elif self._socket is not None:
            self._socket.close()

    async def _answer(self, request: Any) -> Any:
        answer = self._answers.get(request.path)
        if answer is None:
            response = self._web.Response(status=404, text=f"there are {', '.join(self._answers)}\n")
        elif request.method not in ("GET", "HEAD"):
            response = self._web.Response(status=405, headers={"Allow": "GET, HEAD"}, text="this takes GET\n")
        else:
            response = answer()
        response.force_close()
        return response

    def _metrics(self, gauges: Sequence[Gauge]) -> Any:
        kind = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return self._web.Response(body=render(self._counters, gauges).encode(), headers=kind)

    def _readiness(self, waits_for: Sequence[str], degraded: Sequence[str]) -> Any:
        body = readiness_body(waits_for, degraded).encode()
        return self._web.Response(
            status=503 if waits_for else 200, body=body, headers={"Content-Type": "application/json"}
        )


def readiness_body(waits_for: Sequence[str], degraded: Sequence[str]) -> str:
    """Return the answer to GET /readyz. What is ``degraded`` works, and somebody must look at it."""
    body: dict[str, object] = {"ready": not waits_for, "waits_for": list(waits_for)}
    return json.dumps(body | ({"degraded": list(degraded)} if degraded else {}), separators=(",", ":"))


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
