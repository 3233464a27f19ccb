"""Services that stand still for seconds, and calls that run over two ingress replicas, one of which stands still."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from fakes import ledger, mesh, phone
from fakes.crowd import crowd
from voicemesh.session.v1 import session_pb2 as pb

FROZEN_S = 3.0
HOLD_S = 1.5
"""VOICEMESH_HOLD_S: a durable event waits so long for its acknowledgement."""
WORDS = "I need a table for four tonight at 7pm."
CORRECTION = "Actually, no wait, make that 8pm."


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mesh.Mesh]:
    settings = {"SCRIPTED_TOKEN_MS": "60", "SCRIPTED_FIRST_TOKEN_MS": "200"}
    with mesh.running(tmp_path_factory.mktemp("freezes"), **settings) as running:
        yield running


@pytest.fixture
async def line(house: mesh.Mesh) -> AsyncIterator[phone.Line]:
    await house.ready()
    async with phone.line(house.url, house.secret) as line:
        yield line


@contextmanager
def _frozen(house: mesh.Mesh, service: str) -> Iterator[None]:
    pid = house.send(service, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def _streaming(line: phone.Line) -> tuple[phone.Phone, phone.Answer]:
    """Return a call whose answer is being spoken."""
    call = line.call("streaming")
    await call.begins()
    answer = await call.says(WORDS)
    assert await answer.has(4)
    return call, answer


async def test_partials_are_acknowledged_and_calls_answered_while_bargein_svc_is_frozen(
    house: mesh.Mesh, line: phone.Line
) -> None:
    async with crowd(line, 8) as load:
        other, unhurt = await _streaming(line)
        began_s = time.monotonic()
        with _frozen(house, "bargein-svc"):
            words = [await other.partial("I need"), await other.final(WORDS)]
            await unhurt.is_over()
            await asyncio.sleep(began_s + FROZEN_S - 0.6 - time.monotonic())
            call, spoken = await _streaming(line)
            words.append(await call.partial("Actually, no wait"))
            assert spoken.end == "open"
        # Judged as soon as bargein-svc runs again, and still in time for the answer.
        await spoken.is_over()
    assert all(status == 200 and took_s < 1.0 for post in words for status, took_s in post.attempts)
    assert unhurt.end == "done"
    log = await house.settled()
    assert ledger.cut(ledger.log_of(log, call), pb.CUT_REASON_BARGE_IN) == [1]
    ledger.check(log, [*load.calls, other, call])


async def test_a_frozen_session_svc_delays_durable_events_alone_and_loses_none(
    house: mesh.Mesh, line: phone.Line
) -> None:
    async with crowd(line, 8) as load:
        call, spoken = await _streaming(line)
        waiting = line.call("waiting")
        await waiting.begins()
        began_s = time.monotonic()
        with _frozen(house, "session-svc"):
            held = asyncio.create_task(waiting.final(WORDS))
            asked = waiting.ask(WORDS)
            partials = []
            while time.monotonic() < began_s + FROZEN_S:
                partials.append(await call.partial("I need"))
                await asyncio.sleep(0.2)
        final = await held
        assert "7" in await asked.is_over()
    assert all(status == 200 and took_s < 1.0 for post in partials for status, took_s in post.attempts)
    assert spoken.end == "done"
    # 503 after the hold and not later, then taken.
    (first, took_s), *_, (last, _) = final.attempts
    assert (first, last) == (503, 200)
    assert HOLD_S - 0.1 <= took_s <= HOLD_S + 1.0
    ledger.check(await house.settled(), [*load.calls, call, waiting])


async def test_readyz_fails_and_healthz_does_not_while_a_service_is_frozen(house: mesh.Mesh) -> None:
    await house.ready()
    with _frozen(house, "bargein-svc"):
        mesh.Mesh.until(lambda: mesh.get(house.url + "/readyz")[0] == 503, 20.0)
        status, body = mesh.get(house.url + "/readyz")
        assert (status, json.loads(body)["waits_for"]) == (503, ["bargein-svc"])
        assert mesh.get(house.url + "/healthz") == (200, "ok\n")
    await house.ready()


@pytest.fixture(scope="module")
def second_url(house: mesh.Mesh) -> Iterator[str]:
    """Run a second ingress in front of the same services. Returns its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run = house.run()
    targets = {f"VOICEMESH_{name[:-4].upper()}_TARGETS": target for name, target in run["targets"].items()}
    secret = {"VOICEMESH_VAPI_SECRET_FILE": run["secret_file"], "VOICEMESH_HTTP_PORT": str(port)}
    ingress = subprocess.Popen(
        [sys.executable, "-m", "ingress_svc"],
        env=house.env | targets | secret,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        mesh.Mesh.until(lambda: mesh.get(url + "/readyz")[0] == 200 or ingress.poll() is not None, mesh.READY_S)
        assert mesh.get(url + "/readyz")[0] == 200
        yield url
    finally:
        ingress.terminate()
        assert ingress.wait(mesh.END_S) == 0


async def test_words_at_one_ingress_cut_the_answer_at_another(
    house: mesh.Mesh, line: phone.Line, second_url: str
) -> None:
    call, spoken = await _streaming(line)
    call.url = second_url
    await call.partial("Actually, no wait")
    heard = await spoken.is_over()
    await call.final(CORRECTION)
    answer = call.ask(CORRECTION)
    assert "8" in await answer.is_over()
    assert spoken.text == heard
    log = await house.settled()
    assert ledger.cut(ledger.log_of(log, call), pb.CUT_REASON_BARGE_IN) == [1]
    assert ledger.ended(ledger.log_of(log, call)) == {2}
    ledger.check(log, [call])


@pytest.mark.parametrize("frozen_s", [0.8, 3.5], ids=["for a moment", "until it is given up"])
async def test_an_ingress_that_slept_through_a_cut_writes_no_stale_word(
    house: mesh.Mesh, line: phone.Line, second_url: str, frozen_s: float
) -> None:
    call, spoken = await _streaming(line)
    began_s = time.monotonic()
    with _frozen(house, "ingress-svc"):
        # What had left before is still on its way to us.
        await asyncio.sleep(0.3)
        heard = spoken.text
        call.url = second_url
        await call.partial("Actually, no wait")
        await call.final(CORRECTION)
        answer = call.ask(CORRECTION)
        assert await answer.has(1)
        await asyncio.sleep(max(0.0, began_s + frozen_s - time.monotonic()))
    await spoken.is_over()
    assert spoken.text == heard
    assert "8" in await answer.is_over()
    assert answer.end == "done"
    log = await house.settled()
    # Its model may have come to its end in the sleep: that is reported, whatever was still let out of it.
    assert 2 in ledger.ended(ledger.log_of(log, call))
    ledger.check(log, [call])
