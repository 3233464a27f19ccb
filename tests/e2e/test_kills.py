"""Services that die or are stopped in mid-turn, under a small load: calls go on, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fakes import ledger, mesh, phone
from fakes.crowd import crowd
from ingress_svc.config import APOLOGY

CALLS = 20
BURST = 20
GO_ON_S = 2.0
"""Within so long of a service's restart, calls go on."""
MODEL_S = 0.5
"""What the scripted model takes for its own first token at most; it is no part of the recovery."""
DRAINED_S = 10.0
WORDS = "I need a table for four tonight at 7pm."
SETTINGS = {"SCRIPTED_TOKEN_MS": "60", "SCRIPTED_FIRST_TOKEN_MS": "400"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mesh.Mesh]:
    with mesh.running(tmp_path_factory.mktemp("kills"), **SETTINGS) as running:
        yield running


@pytest.fixture
async def line(house: mesh.Mesh) -> AsyncIterator[phone.Line]:
    await house.ready()
    async with phone.line(house.url, house.secret, twice=0.1) as line:
        yield line


async def _streaming(line: phone.Line) -> tuple[phone.Phone, phone.Answer]:
    """Return a call whose answer is being spoken."""
    call = line.call("streaming")
    await call.begins()
    answer = await call.says(WORDS)
    assert await answer.has(4)
    return call, answer


async def _floods(call: phone.Phone, enough: asyncio.Event) -> None:
    """Send one durable event after the other."""
    while not enough.is_set():
        await call.caller_starts()
    await call.deliver_again()


async def _goes_on(call: phone.Phone, since_s: float) -> dict[str, float]:
    """Play the next turn of a call. Returns how long after ``since_s`` each service had done its part of it."""
    # At once, for nobody waits for the acknowledgement of a word before the next one is spoken.
    taken, answer = await asyncio.gather(call.caller_stops(), call.asked(WORDS))
    await call.partial("Actually, no wait")
    await answer.is_over()
    times = {
        "acknowledged": taken.answered_s,
        "answered": answer.first_text_s - MODEL_S,
        "cut": answer.ended_s - MODEL_S,
    }
    return {name: time_s - since_s for name, time_s in times.items()}


def _is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


async def _ended(pid: int, within_s: float) -> None:
    for _ in range(round(within_s / 0.02)):
        if not _is_alive(pid):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"process {pid} did not end within {within_s} s")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
@pytest.mark.parametrize("service", mesh.SERVICES)
async def test_d28_calls_go_on_within_2_s_of_a_restart_and_nothing_is_lost_doubled_or_reordered(
    house: mesh.Mesh, line: phone.Line, service: str, number: signal.Signals
) -> None:
    async with crowd(line, CALLS) as load:
        probes = [line.call("probe") for _ in range(3)]
        for probe in probes:
            await probe.begins()
            await probe.final(WORDS)
        enough = asyncio.Event()
        burst = [line.call("burst") for _ in range(BURST)]
        await asyncio.gather(*(caller.begins() for caller in burst))
        asking = line.call("asking")
        await asking.begins()
        await asking.final(WORDS)
        streaming, spoken = await _streaming(line)
        # So many at once that some are acknowledged this very moment, and some are on their way into the store.
        flood = asyncio.gather(*(_floods(caller, enough) for caller in burst))
        await asyncio.sleep(0.3)
        asked = asking.ask(WORDS)
        await asyncio.sleep(0.05)
        began_s = time.monotonic()
        old = house.send(service, number)
        await _ended(old, DRAINED_S)
        ended_s = time.monotonic()
        enough.set()
        restarted_s = await house.restarted(service, old)
        went_on = await asyncio.gather(*(_goes_on(probe, restarted_s) for probe in probes))
        await flood
        behind = {name: round(max(times[name] for times in went_on), 2) for name in went_on[0]}
        # Shown with `pytest -s`.
        since = f"gone after {ended_s - began_s:.2f} s, listening {restarted_s - ended_s:.2f} s later"
        print(f"\n{service} {number.name}: {since}, then {behind}")
        assert max(behind.values()) <= GO_ON_S, behind
        final = await asking.whole(asked)
        again = await streaming.whole(spoken)
    _check_interrupted(service, number, spoken, again, final)
    if number == signal.SIGTERM:
        assert f"{service} died (exit 0)" in house.said()
    ledger.check(await house.settled(), [*load.calls, *probes, *burst, asking, streaming])


def _check_interrupted(
    service: str, number: signal.Signals, spoken: phone.Answer, again: phone.Answer, final: phone.Answer
) -> None:
    """The answer that was being spoken: whole where it could be, else apologised for, or spoken anew.

    ``final`` answers the same words, and was asked for right before.
    """
    killed = service if number == signal.SIGKILL else ""
    assert final.end == "done"
    assert "7" in final.text
    assert APOLOGY not in final.text
    assert again.end == "done"
    if killed == "ingress-svc":
        assert spoken.end == "broken"
        assert again.text == final.text != spoken.text
    elif killed == "llm-svc":
        assert final.text.startswith(spoken.text.removesuffix(f" {APOLOGY}"))
        assert spoken.text.endswith(f" {APOLOGY}")
    else:
        assert again is spoken
        assert spoken.text == final.text


async def test_nothing_is_acknowledged_before_the_store_has_it(house: mesh.Mesh, line: phone.Line) -> None:
    line.twice = 0.0
    callers = [line.call("unwritten") for _ in range(5)]
    await asyncio.gather(*(caller.begins() for caller in callers))
    # Who writes to the file now waits for us.
    with closing(sqlite3.connect(house.run()["store"], isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")
        finals = [asyncio.create_task(caller.final(WORDS)) for caller in callers]
        await asyncio.sleep(1.0)
        taken = [final.done() for final in finals]
        session = house.send("session-svc", signal.SIGKILL)
        store.execute("ROLLBACK")
    assert taken == [False] * len(finals)
    posted = await asyncio.gather(*finals)
    assert [post.status for post in posted] == [200] * len(posted)
    await house.restarted("session-svc", session)
    ledger.check(await house.settled(), callers)


async def test_d29_requests_in_flight_at_sigterm_are_answered_and_ingress_ends_with_0(
    house: mesh.Mesh, line: phone.Line
) -> None:
    line.twice = 0.0
    call, spoken = await _streaming(line)
    callers = [line.call("held") for _ in range(10)]
    await asyncio.gather(*(caller.begins() for caller in callers))
    # Acknowledgements cannot come while session-svc is frozen, so these are in flight for sure.
    session = house.send("session-svc", signal.SIGSTOP)
    try:
        finals = [asyncio.create_task(caller.final(WORDS)) for caller in callers]
        await asyncio.sleep(0.3)
        began_s = time.monotonic()
        ingress = house.send("ingress-svc", signal.SIGTERM)
        await asyncio.sleep(0.3)
    finally:
        os.kill(session, signal.SIGCONT)
    posted = await asyncio.gather(*finals)
    await spoken.is_over()
    await _ended(ingress, DRAINED_S)
    assert time.monotonic() - began_s < DRAINED_S
    assert [post.statuses for post in posted] == [[200]] * len(posted)
    assert spoken.end == "done"
    assert spoken.finish == "stop"
    await house.restarted("ingress-svc", ingress)
    assert "ingress-svc died (exit 0)" in house.said()
    log = await house.settled()
    assert ledger.ended(ledger.log_of(log, call)) == {1}, "the answer was cut off"
    ledger.check(log, [call, *callers])


async def test_d29_a_mesh_that_is_stopped_under_load_keeps_all_it_acknowledged(tmp_path: Path) -> None:
    with mesh.running(tmp_path, **SETTINGS) as house:
        store = Path(house.run()["store"])
        async with phone.line(house.url, house.secret) as line:
            load = [line.call("load") for _ in range(CALLS)]
            tasks = [asyncio.create_task(_talks_on(call)) for call in load]
            await asyncio.sleep(2.0)
            began_s = time.monotonic()
            house.tell(signal.SIGTERM)
            code = await asyncio.to_thread(house.ended)
            took_s = time.monotonic() - began_s
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert code == 0
        assert took_s < DRAINED_S + 2
        assert sum(len(call.acknowledged) for call in load) > 2 * CALLS
        ledger.check(mesh.log_in(store), load)


async def _talks_on(call: phone.Phone) -> None:
    await call.begins()
    while True:
        answer = await call.says(WORDS)
        await answer.is_over()
        await call.agent_stops(answer.text)
