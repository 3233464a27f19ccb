"""Several replicas: work on all of them, any one lost, each replaced, and calls that notice nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from compose.stack import Stack
from docker.models.containers import Container
from fakes import ledger, phone

WORDS = "I need a table for four tonight at 7pm."
CALLS = 6
FOUND_WITHIN_S = 15.0
"""A replica that has just become healthy is asked of DNS every two seconds."""


@pytest.fixture(autouse=True, scope="module")
def two_of_each(house: Stack) -> None:
    house.up(ingress_svc=2, llm_svc=2, bargein_svc=2)


async def _talks_on(call: phone.Phone, stop: asyncio.Event) -> None:
    await call.begins()
    while not stop.is_set():
        answer = await call.says(WORDS)
        await answer.is_over()
        await call.agent_stops(answer.text)
    await call.hangs_up()


@asynccontextmanager
async def _load(line: phone.Line, calls: int = CALLS) -> AsyncIterator[list[phone.Phone]]:
    """Calls that talk on until the end of the block, and then hang up."""
    stop = asyncio.Event()
    talking = [line.call("load") for _ in range(calls)]
    tasks = [asyncio.create_task(_talks_on(call, stop)) for call in talking]
    try:
        yield talking
        stop.set()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _refusals(calls: list[phone.Phone]) -> list[list[int]]:
    """Return the statuses of webhooks that failed at any attempt.

    A 503 does not count while they are few: it is what ingress says, and takes back, when the machine has no processor
    time for it. Nothing of a replacement is answered so.
    """
    posts = [post for call in calls for post in call.posted]
    assert sum(503 in post.statuses for post in posts) <= 0.05 * len(posts), "the machine is too busy for this test"
    return [post.statuses for post in posts if set(post.statuses) - {200, 503}]


def _broken(calls: list[phone.Phone]) -> list[str]:
    return [answer.end for call in calls for answer in call.answers if answer.end != "done"]


async def _works(house: Stack, replicas: list[Container], metric: str) -> None:
    """Wait until each of ``replicas`` has counted something."""
    await asyncio.to_thread(
        house.until,
        lambda: all(house.metric(one, metric) for one in replicas),
        FOUND_WITHIN_S,
        lambda: f"idle: {[(one.name, house.metric(one, metric)) for one in replicas]}",
    )


async def test_all_replicas_work(house: Stack, line: phone.Line) -> None:
    async with _load(line, calls=12) as calls:
        for service, metric in (
            ("ingress-svc", "voicemesh_webhooks_total"),
            ("bargein-svc", "voicemesh_bargein_verdicts_total"),
            ("llm-svc", "voicemesh_llm_generations_total"),
        ):
            await _works(house, house.containers(service), metric)
    assert _refusals(calls) == []
    assert _broken(calls) == []
    ledger.check(await house.log(), calls)


async def test_a_call_over_two_ingresses_is_cut_by_either(house: Stack, line: phone.Line) -> None:
    # nginx gives these to any ingress: they do not name their call in a header.
    for _ in range(6):
        call = line.call("cut")
        await call.begins()
        answer = await call.says(WORDS)
        assert await answer.has(2)
        await call.agent_starts()
        await call.caller_starts()
        said = len(answer.pieces)
        await call.partial("Actually, no wait, make that")
        await answer.is_over()
        assert len(answer.pieces) - said < 6, "the agent talked on"
        await call.agent_stops(answer.text)
        await call.hangs_up()


@pytest.mark.parametrize("service", ["bargein-svc", "llm-svc", "ingress-svc", "session-svc", "nginx"])
async def test_a_container_that_is_killed_comes_back_and_nothing_acknowledged_is_lost(
    house: Stack, line: phone.Line, service: str
) -> None:
    victim = house.one(service)
    async with _load(line) as calls:
        await asyncio.sleep(2.0)
        _kill(victim)
        await asyncio.sleep(1.0)
        await asyncio.to_thread(house.until, lambda: not house.unready(), 60.0)
        await asyncio.sleep(2.0)
    assert sum(len(call.acknowledged) for call in calls) > 10 * CALLS
    if service in ("bargein-svc",):
        assert _refusals(calls) == []
    ledger.check(await house.log(), calls)


def _kill(container: Container) -> None:
    """Kill process 1 behind the engine's back, as the kernel does when memory runs out; it is then started again."""
    if os.geteuid() == 0:
        os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)
    else:
        container.kill()
        container.start()


@pytest.mark.parametrize("service", ["ingress-svc", "llm-svc", "bargein-svc"])
async def test_a_service_is_replaced_under_load_without_a_failed_request(
    house: Stack, line: phone.Line, service: str
) -> None:
    old = house.containers(service)
    async with _load(line) as calls:
        await asyncio.sleep(1.0)
        key = service.replace("-", "_")
        others = {one.replace("-", "_"): 2 for one in ("ingress-svc", "llm-svc", "bargein-svc")}
        # What docs/compose.md says: new ones beside the old, then the old ones away, one by one.
        await asyncio.to_thread(house.compose, "up", "-d", "--no-recreate", "--no-deps", *_scale(others | {key: 4}))
        await asyncio.to_thread(house.until, lambda: not house.unready(), 60.0)
        for one in old:
            await asyncio.sleep(3.0)
            await asyncio.to_thread(one.stop, timeout=30)
            one.reload()
            assert one.attrs["State"]["ExitCode"] == 0
            await asyncio.to_thread(one.remove)
        await asyncio.sleep(2.0)
    assert len(house.containers(service)) == 2
    assert _refusals(calls) == []
    assert _broken(calls) == []
    ledger.check(await house.log(), calls)


def _scale(counts: dict[str, int]) -> list[str]:
    return [part for key, count in counts.items() for part in ("--scale", f"{key.replace('_', '-')}={count}")]


async def test_a_new_replica_is_found_and_one_that_left_is_forgotten(house: Stack, line: phone.Line) -> None:
    house.up(ingress_svc=1, llm_svc=3, bargein_svc=1)
    ingress = house.one("ingress-svc")
    async with _load(line, calls=9) as calls:
        await _works(house, house.containers("llm-svc"), "voicemesh_llm_generations_total")
    assert _refusals(calls) == []
    told = [one for one in house.lines(ingress) if one["event"] == "replicas.changed"]
    assert any(one["appeared"] for one in told[3:]), "the log does not tell of the new replica"
    assert any(one["left"] for one in told), "the log does not tell of the one that left"


def test_no_worker_of_nginx_has_crashed_over_all_this(house: Stack) -> None:
    assert "exited on signal" not in house.one("nginx").logs().decode()
