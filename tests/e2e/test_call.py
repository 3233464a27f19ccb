"""One interrupted call as Vapi would place it, against real processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest
from fakes import ledger, mesh, phone
from voicemesh.session.v1 import session_pb2 as pb

BOOKING = "I need a table for four tonight at 7pm."
CORRECTIONS = ("Actually", "no wait", "make that 8pm.")
GOODBYE = "It is under Alice Moreno."


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mesh.Mesh]:
    with mesh.running(tmp_path_factory.mktemp("call")) as running:
        yield running


@pytest.fixture
async def line(house: mesh.Mesh) -> AsyncIterator[phone.Line]:
    async with phone.line(house.url, house.secret) as line:
        yield line


async def _interrupted(call: phone.Phone) -> tuple[phone.Answer, list[phone.Answer]]:
    """Ask for a table, cut the agent off in mid-sentence, and correct oneself three times within 600 ms."""
    await call.begins()
    first = await call.says(BOOKING, through="openai")
    assert await first.has(5)
    await call.agent_starts()
    await call.caller_starts()
    asked = []
    for words in CORRECTIONS:
        loop = asyncio.get_running_loop()
        next_s = loop.time() + 0.2
        await call.partial(words)
        await call.final(words)
        asked.append(call.ask_openai(words))
        await asyncio.sleep(max(0.0, next_s - loop.time()))
    await first.is_over()
    await call.agent_stops(" ".join(first.text.split()[:3]))
    return first, asked


async def test_a_caller_who_barges_in_cuts_the_answer_in_mid_sentence(house: mesh.Mesh, line: phone.Line) -> None:
    call = line.call()
    await call.begins()
    first = await call.says(BOOKING, through="openai")
    assert await first.has(5)
    await call.agent_starts()
    await call.caller_starts()
    await call.partial("Actually, no wait")
    heard = await first.is_over()
    assert first.end == "done", "the stream was not closed as OpenAI's client expects"
    assert first.finish == "stop"
    await call.final("Actually, no wait, make that 8pm.")
    second = call.ask_openai("Actually, no wait, make that 8pm.")
    answer = await second.is_over()
    assert "8" in answer
    assert first.text == heard, "words came after the cut"
    log = ledger.log_of(await house.settled(), call)
    generation = ledger.generation_of(log, first)
    assert ledger.cut(log, pb.CUT_REASON_BARGE_IN) == [generation]
    assert generation not in ledger.ended(log)
    # What was said is more than nothing and less than a sentence.
    assert not heard.rstrip().endswith((".", "?", "!"))
    ledger.check(house.log(), [call])


async def test_three_corrections_within_600_ms_get_one_complete_answer_to_the_last(
    house: mesh.Mesh, line: phone.Line
) -> None:
    call = line.call()
    first, asked = await _interrupted(call)
    answer = await asked[-1].is_over()
    for earlier in asked[:-1]:
        await earlier.is_over()
    log = ledger.log_of(await house.settled(), call)
    assert "8" in answer
    assert asked[-1].end == "done"
    assert ledger.ended(log) == {ledger.generation_of(log, asked[-1])}
    cut = [one.text for one in (first, *asked[:-1])]
    assert all(not text.rstrip().endswith((".", "?", "!")) for text in cut)
    ledger.check(house.log(), [call])


async def test_events_show_what_was_acknowledged_once_in_order_and_without_words(
    house: mesh.Mesh, line: phone.Line
) -> None:
    call = line.call()
    line.twice = 0.5
    _, asked = await _interrupted(call)
    await call.agent_stops(await asked[-1].is_over())
    last = await call.says(GOODBYE, through="openai")
    await call.agent_stops(await last.is_over())
    await call.hangs_up()
    await house.settled()
    printed = house.command("events", "--since", "0")
    assert printed.returncode == 0, printed.stderr
    lines = [json.loads(row) for row in printed.stdout.splitlines()]
    of_call = [row for row in lines if row["call_id"] == f"vapi:{call.call_id}"]
    assert [row["call_seq"] for row in of_call] == list(range(1, len(of_call) + 1))
    acknowledged = call.acknowledged
    assert len(acknowledged) > 15
    assert [row["event_id"] for row in of_call if row["event_id"] in set(acknowledged)] == acknowledged
    for words in (BOOKING, *CORRECTIONS, GOODBYE, last.text, "Moreno", "+15005550101", house.secret):
        assert words not in printed.stdout
    middle = of_call[len(of_call) // 2]["cursor"]
    rest = house.command("events", "--since", str(middle))
    assert rest.stdout.splitlines() == [
        row for row in printed.stdout.splitlines() if json.loads(row)["cursor"] > middle
    ]


async def test_a_call_ends_with_one_word_and_can_be_listed_and_printed(house: mesh.Mesh, line: phone.Line) -> None:
    call = line.call()
    first, asked = await _interrupted(call)
    answer = await asked[-1].is_over()
    await call.agent_stops(answer)
    await call.hangs_up()
    listed = house.command("calls")
    assert listed.returncode == 0, listed.stderr
    assert call.call_id[:8] in listed.stdout
    summary = json.loads(house.command("calls", call.call_id, "--json").stdout)
    assert summary["call_id"] == f"vapi:{call.call_id}"
    assert summary["outcome"] == "caller_hung_up"
    assert summary["event_count"] == len(ledger.log_of(await house.settled(), call))
    printed = house.command("calls", call.call_id)
    assert printed.returncode == 0, printed.stderr
    story = " ".join(printed.stdout.split())
    assert BOOKING in story
    assert "cuts generation 1" in story
    assert first.text.split()[0] in story


async def test_every_service_shows_what_it_has_counted(house: mesh.Mesh, line: phone.Line) -> None:
    counted = {
        "session-svc": 'voicemesh_session_events_total{durable="yes"}',
        "bargein-svc": 'voicemesh_bargein_verdicts_total{decision="cut",rule="correction"}',
        "llm-svc": 'voicemesh_llm_generations_total{outcome="stop"}',
    }
    before = {service: _metric(house, service, series) for service, series in counted.items()}
    call = line.call()
    _, asked = await _interrupted(call)
    await asked[-1].is_over()
    await call.hangs_up()
    await house.settled()
    for service, series in counted.items():
        assert _metric(house, service, series) > before[service]
        assert _metric(house, service, "voicemesh_stream_active") == 1
        assert mesh.get(f"http://{house.run()['side_ports'][service]}/readyz") == (200, '{"ready":true,"waits_for":[]}')


def _metric(house: mesh.Mesh, service: str, series: str) -> float:
    status, text = mesh.get(f"http://{house.run()['side_ports'][service]}/metrics")
    assert status == 200
    (value,) = (row.removeprefix(series) for row in text.splitlines() if row.startswith(f"{series} "))
    return float(value)


async def test_a_late_word_opens_nothing_after_the_report(house: mesh.Mesh, line: phone.Line) -> None:
    call = line.call()
    await call.begins()
    await call.hangs_up()
    await call.final("Are you still there?")
    late = call.ask("Are you still there?")
    assert await late.is_over() == ""
    assert ledger.kinds(ledger.log_of(await house.settled(), call)).count("generation_started") == 0
    summary = json.loads(house.command("calls", call.call_id, "--json").stdout)
    assert summary["outcome"] == "caller_hung_up"


async def test_logs_of_the_services_hold_no_words_numbers_or_secrets(house: mesh.Mesh, line: phone.Line) -> None:
    call = line.call()
    _, asked = await _interrupted(call)
    answer = await asked[-1].is_over()
    await call.hangs_up()
    logs = house.all_logs()
    assert '"event": "server.started"' in logs
    for private in (BOOKING, "make that 8pm", answer, "+15005550101", "simulated-twilio-auth-token", house.secret):
        assert private not in logs
