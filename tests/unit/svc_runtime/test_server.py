"""The life of a service's process: real processes, real signals."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import grpc.aio
import pytest
from fakes.processes import feed_process
from fakes.streams import event, linked, until
from grpc_health.v1 import health_pb2, health_pb2_grpc
from svc_runtime import server
from svc_runtime.channel import HEALTHY_ROUND_ROBIN, open_channel
from svc_runtime.stream import Outcome

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_the_process_exits_with_0(number: signal.Signals) -> None:
    outcomes: list[Outcome] = []
    async with feed_process("127.0.0.1:0") as process, linked(process.port) as link:
        await until(lambda: link.connected)
        link.submit(event("1"), outcomes.append)
        await until(lambda: outcomes)
        process.signal(number)
        await until(lambda: link.draining)
        code, stderr = await process.ended()
    assert code == 0
    assert "Traceback" not in stderr
    assert '"event": "drain.ended", "finished": true' in stderr


async def test_a_taken_port_is_one_line_and_exit_1() -> None:
    async with feed_process("127.0.0.1:0") as first, feed_process(f"127.0.0.1:{first.port}", ready=False) as second:
        code, stderr = await second.ended()
    assert (code, stderr) == (1, f"cannot listen on 127.0.0.1:{first.port}: Address already in use\n")


@pytest.mark.parametrize("listen", ["50051", "127.0.0.1:soon", "127.0.0.1:99999"])
async def test_an_address_that_cannot_be_is_one_line_and_exit_1(listen: str) -> None:
    async with feed_process(listen, ready=False) as process:
        code, stderr = await process.ended()
    assert code == 1
    assert stderr.startswith((f"cannot listen on {listen}", f"cannot listen on '{listen}'"))
    assert stderr.count("\n") == 1


async def test_missing_settings_are_one_line_each_and_exit_2() -> None:
    async with feed_process("none", ready=False) as process:
        assert await process.ended() == (2, "FEED_LISTEN is not set\nFEED_STORE is not set\n")


async def test_an_open_watch_of_health_sees_the_drain_and_does_not_hold_the_stop() -> None:
    async with feed_process("127.0.0.1:0") as process, open_channel(f"127.0.0.1:{process.port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        first: Any = await watch.read()
        process.signal(signal.SIGTERM)
        second: Any = await watch.read()
        assert (first.status, second.status) == (SERVING, NOT_SERVING)
        # Ended by the server itself; the stop's grace would cut it with an error.
        assert await watch.read() is grpc.aio.EOF
        code, stderr = await process.ended()
    assert code == 0
    assert "Traceback" not in stderr


async def test_a_loop_that_stays_blocked_ends_the_process_so_that_it_is_started_again() -> None:
    async with feed_process("127.0.0.1:0", "0.3") as process, linked(process.port) as link:
        await until(lambda: link.connected)
        link.submit(event("block:30"))
        code, stderr = await process.ended()
    assert code == 70
    assert '"event": "loop.given_up"' in stderr
    assert "feed_process.py" in stderr


async def test_a_process_that_was_frozen_as_a_whole_goes_on() -> None:
    outcomes: list[Outcome] = []
    async with feed_process("127.0.0.1:0", "0.3") as process, linked(process.port) as link:
        await until(lambda: link.connected)
        process.signal(signal.SIGSTOP)
        await asyncio.sleep(1.6)
        process.signal(signal.SIGCONT)
        link.submit(event("1"), outcomes.append)
        await until(lambda: outcomes)


class Served:
    """`server.serve` in this process, stopped by a real signal to it."""

    def __init__(self, health: server.Health) -> None:
        self.port = 0
        self._serving = asyncio.ensure_future(
            server.serve(
                "test",
                "127.0.0.1:0",
                lambda grpc_server: None,
                health=health,
                drain=self._drain,
                drain_s=0.2,
                on_started=self._started,
            )
        )

    def _started(self, port: int) -> None:
        self.port = port

    async def _drain(self) -> None:
        await asyncio.sleep(60)

    async def stop(self) -> None:
        signal.raise_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            await self._serving


async def test_health_needs_every_condition() -> None:
    health = server.Health("store")
    served = Served(health)
    await until(lambda: served.port)
    async with open_channel(f"127.0.0.1:{served.port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        check = stub.Check
        statuses = [(await check(health_pb2.HealthCheckRequest())).status]
        health.set("store", True)
        await asyncio.sleep(0)
        statuses.append((await check(health_pb2.HealthCheckRequest())).status)
        health.set("store", False)
        await asyncio.sleep(0)
        statuses.append((await check(health_pb2.HealthCheckRequest())).status)
    await served.stop()
    assert statuses == [NOT_SERVING, SERVING, NOT_SERVING]
    assert health.waits_for == ["store", "drain"]


async def test_a_probe_is_asked_while_serving_and_fails_when_it_raises() -> None:
    def probe() -> bool:
        if not store:
            raise OSError("gone")
        return True

    store = ["here"]
    health = server.Health()
    health.watch("store", probe)
    served = Served(health)
    await until(lambda: served.port and health.ok)
    store.clear()
    await until(lambda: not health.ok)
    store.append("back")
    await until(lambda: health.ok)
    await served.stop()


async def test_a_drain_that_does_not_end_is_cut_at_its_limit() -> None:
    served = Served(server.Health())
    await until(lambda: served.port)
    began_s = time.monotonic()
    await served.stop()
    assert time.monotonic() - began_s < 10


async def test_calls_go_round_the_targets_that_are_healthy() -> None:
    well, ill = server.Health(), server.Health("store")
    both = [Served(well), Served(ill)]
    await until(lambda: all(served.port for served in both))
    target = "ipv4:" + ",".join(f"127.0.0.1:{served.port}" for served in both)
    async with open_channel(target, service_config=HEALTHY_ROUND_ROBIN) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        check = stub.Check
        statuses = {(await check(health_pb2.HealthCheckRequest(), wait_for_ready=True)).status for _ in range(20)}
    signal.raise_signal(signal.SIGTERM)
    await both[1].stop()
    assert statuses == {SERVING}
