"""The side port over a real socket: three answers, and no harm from whoever connects."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from fakes.streams import until
from svc_runtime import server, side_port
from svc_runtime.http_server import UNREADABLE
from svc_runtime.listen import CannotListen
from svc_runtime.metrics import Counters, Gauge
from svc_runtime.side_port import SidePort

LIVENESS_S = 10.0


class Waiting:
    """A process's readiness."""

    def __init__(self) -> None:
        self.waits_for: list[str] = []
        self.degraded: list[str] = []
        self.loop_lag_ms = 250.0


class Served:
    def __init__(self, port: SidePort, health: Waiting, counters: Counters) -> None:
        self.port = port.port
        self.health = health
        self.counters = counters

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def send(self, data: bytes) -> bytes:
        """Return all that is answered until the other side closes; nothing when it does so before all was sent."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            async with asyncio.timeout(LIVENESS_S):
                return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        answer = await self.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()


@asynccontextmanager
async def serving(*gauges: Gauge) -> AsyncIterator[Served]:
    counters, health = Counters(), Waiting()
    port = SidePort("127.0.0.1:0", counters, gauges)
    port.bind()
    await port.open(health)
    try:
        yield Served(port, health, counters)
    finally:
        await port.close()


async def test_metrics_show_counters_gauges_and_the_lag_of_the_loop() -> None:
    async with serving(Gauge("voicemesh.call.active", "Live calls.", lambda: 3)) as at:
        at.counters.declare("voicemesh.lost", "What was lost.", reason=("full",))
        at.counters.add("voicemesh.lost", 2, reason="full")
        status, text = await at.ask("/metrics")
    assert status == 200
    assert [line for line in text.splitlines() if "unreadable" not in line] == [
        "# HELP voicemesh_lost_total What was lost.",
        "# TYPE voicemesh_lost_total counter",
        'voicemesh_lost_total{reason="full"} 2',
        "# HELP voicemesh_loop_lag_seconds How late the event loop ran at worst.",
        "# TYPE voicemesh_loop_lag_seconds gauge",
        "voicemesh_loop_lag_seconds 0.25",
        "# HELP voicemesh_call_active Live calls.",
        "# TYPE voicemesh_call_active gauge",
        "voicemesh_call_active 3",
    ]


async def test_d32_readyz_names_what_is_waited_for_and_healthz_does_not_ask() -> None:
    async with serving() as at:
        assert await at.ask("/readyz") == (200, '{"ready":true,"waits_for":[]}')
        at.health.waits_for = ["store", "drain"]
        status, body = await at.ask("/readyz")
        assert (status, json.loads(body)) == (503, {"ready": False, "waits_for": ["store", "drain"]})
        at.health.waits_for, at.health.degraded = [], ["agent sales"]
        assert await at.ask("/readyz") == (200, '{"ready":true,"waits_for":[],"degraded":["agent sales"]}')
        assert await at.ask("/healthz") == (200, "ok\n")


async def test_a_head_has_no_body_and_nothing_else_is_served() -> None:
    async with serving() as at:
        assert await at.ask("/healthz", "HEAD") == (200, "")
        assert (await at.ask("/healthz", "POST"))[0] == 405
        assert await at.ask("/") == (404, "there are /metrics, /healthz, /readyz\n")


@pytest.mark.parametrize(
    "sent",
    [b"GET /metrics HTTP/1.1", b"GET /healthz HTTP/1.1", b"GET /readyz HTTP/1.1", b"GET / HTTP/1.1", b"no request"],
)
async def test_d31_no_answer_of_the_side_port_names_what_it_is_made_of(sent: bytes) -> None:
    async with serving() as at:
        answer = await at.send(sent + b"\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.")
        assert [word for word in (b"server:", b"powered", b"python", b"aiohttp") if word in answer.lower()] == []
        assert at.counters.value(UNREADABLE) == (sent == b"no request")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /metrics?" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    ],
    ids=["tls", "no_path", "long_line", "many_headers"],
)
async def test_garbage_is_refused_and_the_next_is_answered(data: bytes) -> None:
    async with serving() as at:
        answer = await at.send(data)
        assert not answer or answer.startswith(b"HTTP/1.0 400 ")
        assert await at.ask("/healthz") == (200, "ok\n")


async def test_a_body_is_not_waited_for() -> None:
    async with serving() as at:
        answer = await at.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx")
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_client_that_says_too_little_is_left_and_one_too_many_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(side_port, "REQUEST_WITHIN_S", 1.0)
    async with serving() as at:
        idle = [await at.connect() for _ in range(side_port.MOST_CONNECTIONS)]
        assert await at.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        async with asyncio.timeout(LIVENESS_S):
            await asyncio.gather(*(_trickle(reader, writer) for reader, writer in idle))
        assert await at.ask("/healthz") == (200, "ok\n")


async def _trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a request's head a byte at a time, until the other side has enough of it."""
    with suppress(ConnectionError):
        writer.write(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        while not reader.at_eof():
            writer.write(b"x")
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.05)
    writer.close()


async def test_whoever_connects_before_it_answers_is_not_refused() -> None:
    port = SidePort("127.0.0.1:0", Counters())
    port.bind()
    at = Served(port, Waiting(), Counters())
    asked = asyncio.ensure_future(at.ask("/healthz"))
    await port.open(at.health)
    async with asyncio.timeout(LIVENESS_S):
        assert await asked == (200, "ok\n")
    await port.close()
    with pytest.raises(ConnectionRefusedError):
        await at.connect()


async def test_a_taken_port_is_one_clear_line() -> None:
    async with serving() as at:
        with pytest.raises(CannotListen) as refused:
            SidePort(f"127.0.0.1:{at.port}", Counters()).bind()
    assert str(refused.value) == f"cannot listen on 127.0.0.1:{at.port}: Address already in use"


async def test_without_an_address_there_is_no_port() -> None:
    port = SidePort("", Counters())
    port.bind()
    await port.open(Waiting())
    assert port.port == 0
    await port.close()


async def test_a_service_answers_beside_its_grpc_until_it_has_drained() -> None:
    drained = asyncio.Event()
    health = server.Health()
    beside = SidePort("127.0.0.1:0", Counters())
    started: list[int] = []
    serving = asyncio.ensure_future(
        server.serve(
            "test",
            "127.0.0.1:0",
            lambda grpc_server: None,
            health=health,
            drain=drained.wait,
            drain_s=LIVENESS_S,
            on_started=started.append,
            side_port=beside,
        )
    )
    await until(lambda: started)
    at = Served(beside, Waiting(), Counters())
    assert await at.ask("/readyz") == (200, '{"ready":true,"waits_for":[]}')
    signal.raise_signal(signal.SIGTERM)
    await until(lambda: health.waits_for)
    assert await at.ask("/readyz") == (503, '{"ready":false,"waits_for":["drain"]}')
    drained.set()
    async with asyncio.timeout(LIVENESS_S):
        await serving
    with pytest.raises(ConnectionRefusedError):
        await at.connect()
