"""The life of a service's process: listen, serve, drain, end; and what its health says meanwhile."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import grpc.aio
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as grpc_health

from svc_runtime import logs
from svc_runtime.channel import SERVER
from svc_runtime.config import ConfigError
from svc_runtime.listen import CannotListen as CannotListen
from svc_runtime.listen import bound
from svc_runtime.loop_watch import LoopWatch
from svc_runtime.metrics import Counters
from svc_runtime.side_port import SidePort

log = logs.get()

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

_PROBE_EVERY_S = 0.25

_STOP_GRACE_S = 0.5
"""What calls still open after the drain get to end by themselves."""


class StopSignals:
    """Notes SIGTERM and SIGINT, from now to the end of the running loop."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        """Somebody is in a hurry."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._note)

    def _note(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


class _EndingHealth(grpc_health.HealthServicer):
    """The stock servicer, but its watches end with the server instead of holding the stop for the whole grace."""

    def __init__(self) -> None:
        super().__init__()
        self._status: Literal[1, 2] = _NOT_SERVING
        self._ending = False
        self._changed = asyncio.Event()

    async def tell(self, ok: bool) -> None:
        self._status = _SERVING if ok else _NOT_SERVING
        await self.set("", self._status)
        self._wake()

    def end(self) -> None:
        """End every watch, after the last status."""
        self._ending = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def Watch(self, request: Any, context: Any) -> None:
        told = None
        while True:
            changed, ending = self._changed, self._ending
            status = _SERVICE_UNKNOWN if request.service else self._status
            if status != told:
                told = status
                await context.write(health_pb2.HealthCheckResponse(status=status))
            if ending:
                return
            await changed.wait()


class Health:
    """Named conditions; the process is ready when all of them hold. The gRPC health service reports it.

    `serve` keeps two by itself: "loop" (the event loop runs) and "drain" (no end was asked for). A name given here
    does not hold until it is set.
    """

    def __init__(self, *names: str, degraded: Callable[[], list[str]] = list) -> None:
        """``degraded`` tells what works, but not as it should; readiness does not wait for it."""
        self._degraded = degraded
        self._conditions = dict.fromkeys(names, False)
        self._probes: dict[str, Callable[[], bool]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_watch: LoopWatch | None = None
        self._servicer: _EndingHealth | None = None
        self._telling: asyncio.Task[None] | None = None
        self._told: bool | None = None

    @property
    def ok(self) -> bool:
        """Whether every condition holds."""
        return all(list(self._conditions.values()))

    @property
    def waits_for(self) -> list[str]:
        """The conditions that do not hold."""
        return [name for name, holds in list(self._conditions.items()) if not holds]

    @property
    def degraded(self) -> list[str]:
        """What works, but not as it should."""
        return self._degraded()

    @property
    def loop_lag_ms(self) -> float:
        """How late the loop ran at worst over the last five seconds; 0 before `serve`."""
        return self._loop_watch.lag_ms if self._loop_watch is not None else 0.0

    def set(self, name: str, ok: bool) -> None:
        """Say whether a condition holds. May be called from any thread."""
        if self._conditions.get(name) == ok:
            return
        self._conditions[name] = ok
        log.info("health.changed", condition=name, ok=ok)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell)

    def watch(self, name: str, probe: Callable[[], bool]) -> None:
        """Ask ``probe`` for a condition now and, while serving, several times a second. It must not block."""
        self._probes[name] = probe
        self._probe(name)

    def probe(self) -> None:
        """Ask every probe now."""
        for name in self._probes:
            self._probe(name)

    async def keep_probing(self) -> None:
        """Ask every probe several times a second: for a process that serves without `serve`."""
        while True:
            await asyncio.sleep(_PROBE_EVERY_S)
            self.probe()

    @contextmanager
    def _serving(self, server: grpc.aio.Server, *, loop_limit_s: float) -> Iterator[_EndingHealth]:
        self._loop = asyncio.get_running_loop()
        servicer = self._servicer = _EndingHealth()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        watch = self._loop_watch = LoopWatch(lambda ok: self.set("loop", ok), limit_s=loop_limit_s)
        watch.start()
        self.set("loop", True)
        self.set("drain", True)
        probing = asyncio.ensure_future(self.keep_probing())
        try:
            yield servicer
        finally:
            probing.cancel()
            watch.stop()
            self._loop = None

    def _probe(self, name: str) -> None:
        try:
            ok = self._probes[name]()
        except Exception as error:
            log.exception("health.probe_failed", error, condition=name)
            ok = False
        self.set(name, ok)

    def _tell(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = asyncio.ensure_future(self._tell_servicer())

    async def _tell_servicer(self) -> None:
        while self._servicer is not None and self._told != self.ok:
            self._told = self.ok
            await self._servicer.tell(self._told)


async def serve(
    service_name: str,
    listen: str,
    register: Callable[[grpc.aio.Server], None],
    *,
    health: Health,
    drain: Callable[[], Awaitable[None]],
    drain_s: float,
    on_started: Callable[[int], None] | None = None,
    loop_limit_s: float = 5.0,
    side_port: SidePort | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    1. ``register`` adds the servicers; the server listens on ``listen`` (host:port; port 0 takes a free one, which
       ``on_started`` is told).
    2. A signal turns health to NOT_SERVING and runs ``drain`` for at most ``drain_s``. New calls are still taken.
    3. The server stops: calls still open get half a second. A second signal goes straight here.

    ``side_port`` answers for as long as the server does. Raises CannotListen.
    """
    server = grpc.aio.server(options=SERVER)
    port = _bind(server, listen)
    side_port = side_port or SidePort("", Counters())
    side_port.bind()
    register(server)
    signals = StopSignals()
    with health._serving(server, loop_limit_s=loop_limit_s) as servicer:
        await health._tell_servicer()
        try:
            await server.start()
            await side_port.open(health)
            freeze_startup()
            log.info("server.started", name=service_name, port=port, http_port=side_port.port)
            if on_started is not None:
                on_started(port)
            await signals.first.wait()
            health.set("drain", False)
            await _drain(drain, drain_s, hurry=signals.second)
        finally:
            await health._tell_servicer()
            servicer.end()
            await server.stop(_STOP_GRACE_S)
            await side_port.close()
            log.info("server.ended", name=service_name)


def freeze_startup() -> None:
    """Take all that lives now out of the garbage collector's sight: a full collection of it takes 30 ms and more."""
    gc.collect()
    gc.freeze()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a service's ``main`` on uvloop, and exit.

    Exit codes: 0 after `serve` has returned or when SIGTERM came before it; 2 and one line per problem on standard
    error for ConfigError; 1 and one line for CannotListen.
    """
    # Full collections of a busy service stall its loop for tens of milliseconds; a busy second thread holds the
    # interpreter lock for 5 ms at a time by default.
    gc.set_threshold(50_000, 20, 100)
    sys.setswitchinterval(0.0005)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_terminated(main))
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except CannotListen as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


async def _until_terminated(main: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(main)
    # `serve` takes the signal over.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        log.info("process.terminated_early")


async def _drain(drain: Callable[[], Awaitable[None]], drain_s: float, *, hurry: asyncio.Event) -> None:
    log.info("drain.began", drain_s=drain_s)
    draining = asyncio.ensure_future(drain())
    hurried = asyncio.ensure_future(hurry.wait())
    try:
        await asyncio.wait((draining, hurried), timeout=drain_s, return_when=asyncio.FIRST_COMPLETED)
        finished = draining.done()
    finally:
        draining.cancel()
        hurried.cancel()
        results = await asyncio.gather(draining, hurried, return_exceptions=True)
    if isinstance(results[0], Exception):
        log.exception("drain.failed", results[0])
    log.info("drain.ended", finished=finished)


def _bind(server: grpc.aio.Server, listen: str) -> int:
    # gRPC reports a taken port on several lines of its own and not in its exception, so it is tried here first.
    bound(listen).close()
    try:
        return server.add_insecure_port(listen)
    except RuntimeError as error:
        raise CannotListen(f"cannot listen on {listen}: gRPC refused it") from error
