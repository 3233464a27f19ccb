"""`docker compose up` on a real engine: what the stack is, one call through it, its trace, and its end."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from compose.stack import OURS, Stack, get
from fakes import ledger, phone
from voicemesh_cli.commands import SAMPLE, read_recording
from voicemesh_cli.play import Target, play

BOOKING = "I need a table for four tonight at 7pm."
CORRECTION = "Actually, no wait, make that 8pm."
MOST_OWN_MB = 100
"""What a service's image may add to its base: 60 MB of packages for most, 95 with an LLM client."""
DOWN_WITHIN_S = 45.0


def test_each_service_runs_without_rights_it_does_not_need(house: Stack) -> None:
    for service in (*OURS, "nginx", *(["jaeger"] if house.has_jaeger else [])):
        settings = house.one(service).attrs
        assert settings["Config"]["User"] not in ("", "0", "root", "0:0"), service
        assert settings["HostConfig"]["ReadonlyRootfs"], service
        assert settings["HostConfig"]["CapDrop"] == ["ALL"], service
        assert settings["HostConfig"]["Memory"] > 0, service
        assert settings["HostConfig"]["NanoCpus"] > 0, service
        assert settings["HostConfig"]["LogConfig"]["Config"]["max-size"], service
    for service in OURS:
        command = house.run_in(house.one(service), "cat", "/proc/1/cmdline").replace("\0", " ").strip()
        assert command == f"python -m {service.replace('-', '_')}", "process 1 is not the service"
        stop_s = house.one(service).attrs["Config"].get("StopTimeout")
        assert stop_s is None or stop_s > 8, "it is killed before it has drained"


def test_an_image_is_small_and_can_install_nothing(house: Stack) -> None:
    for service in OURS:
        container = house.one(service)
        history = container.image.history()
        # What lies above the base: layers of this repository's recipe, from its first COPY on.
        own_mb = sum(layer["Size"] for layer in history[: _first_copy(history) + 1]) / 1e6
        assert own_mb < MOST_OWN_MB, f"{service} adds {own_mb:.0f} MB"
        for tool in ("python -m pip", "gcc"):
            code, _ = container.exec_run(["sh", "-c", f"{tool} --version"])
            assert code != 0, f"{service} has {tool}"


def _first_copy(history: list[dict[str, str]]) -> int:
    return max(number for number, layer in enumerate(history) if "COPY" in layer["CreatedBy"])


async def test_the_sample_call_comes_through_nginx_whole_and_is_cut(house: Stack) -> None:
    played = await play(read_recording(SAMPLE), Target(house.url, house.secret()))
    assert played.refused == []
    assert [delivery.attempts for delivery in played.deliveries if delivery.attempts != 1] == []
    log = [one for one in await house.log() if one.event.call_id == f"vapi:{played.call_id}"]
    kinds = [one.event.WhichOneof("kind") for one in log]
    assert "generation_cut" in kinds
    assert kinds[-1] in ("report", "turn_ended")
    assert [reply.status for reply in played.replies if reply.end != "closed_by_caller" and reply.status != 200] == []


async def test_tokens_come_through_nginx_as_they_are_made(house: Stack, line: phone.Line) -> None:
    call = line.call()
    await call.begins()
    answer = await call.says(BOOKING)
    await answer.is_over()
    gaps_s = [later[0] - earlier[0] for earlier, later in zip(answer.pieces, answer.pieces[1:], strict=False)]
    assert len(answer.pieces) > 5
    # The scripted model takes 80 ms a token; a buffer would bring them all at once.
    assert sorted(gaps_s)[len(gaps_s) // 2] > 0.03
    await call.agent_stops(answer.text)
    await call.hangs_up()


def test_what_is_nobodys_business_outside_is_not_served_there(house: Stack) -> None:
    assert get(f"{house.url}/healthz") == 200
    assert get(f"{house.url}/metrics") == 404
    assert get(f"{house.url}/readyz") == 404
    assert get(f"{house.url}/vapi/webhook") == 405


@pytest.mark.usefixtures("with_jaeger")
async def test_the_trace_of_a_cut_turn_stands_in_jaeger_with_its_edges(house: Stack, line: phone.Line) -> None:
    call = line.call("cut")
    await call.begins()
    answer = await call.says(BOOKING)
    assert await answer.has(3)
    await call.agent_starts()
    await call.caller_starts()
    await call.partial("Actually, no wait")
    await answer.is_over()
    await call.agent_stops(answer.text)
    answer = await call.says(CORRECTION)
    await answer.is_over()
    await call.agent_stops(answer.text)
    await call.hangs_up()
    name = f"vapi:{call.call_id}"
    query = {"service": "ingress-svc", "limit": "100", "lookback": "1h"}
    tags = f'{{"voicemesh.call.id":"{name}","voicemesh.turn.cut":"true"}}'
    house.until(lambda: house.jaeger("traces", tags=tags, **query), 20.0, lambda: "Jaeger has no cut turn of the call")
    wanted = {("ingress-svc", "session-svc"), ("ingress-svc", "bargein-svc"), ("ingress-svc", "llm-svc")}
    house.until(
        lambda: wanted <= _edges(house.jaeger("traces", tags=tags, **query)), 20.0, lambda: "an edge is missing"
    )
    (trace,) = house.jaeger("traces", tags=tags, **query)
    assert set(house.jaeger("services")) >= set(OURS)
    (root,) = [span for span in trace["spans"] if span["operationName"] == "turn"]
    attributes = {tag["key"]: tag["value"] for tag in root["tags"]}
    assert attributes["voicemesh.turn.reason"] == "cut"
    assert attributes["voicemesh.call.id"] == name
    assert "voicemesh.turn.culprit" in attributes
    verdicts = [span for span in trace["spans"] if span["operationName"] == "bargein.verdict"]
    rules = {tag["value"] for span in verdicts for tag in span["tags"] if tag["key"] == "voicemesh.bargein.rule"}
    assert rules & {"correction", "stop", "opener"}
    shown = str(trace)
    assert not [words for words in ("table for four", "no wait", house.secret()) if words in shown]


def _edges(traces: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Return (caller, called) for every span with a parent in another service."""
    edges = set()
    for trace in traces:
        of = {span["spanID"]: trace["processes"][span["processID"]]["serviceName"] for span in trace["spans"]}
        for span in trace["spans"]:
            parents = [of.get(reference["spanID"], of[span["spanID"]]) for reference in span["references"]]
            edges |= {(parent, of[span["spanID"]]) for parent in parents if parent != of[span["spanID"]]}
    return edges


@pytest.mark.usefixtures("with_jaeger")
async def test_jaeger_away_is_felt_by_no_call(house: Stack, line: phone.Line) -> None:
    jaeger = house.one("jaeger")
    jaeger.pause()
    try:
        calls = [line.call("dark") for _ in range(5)]
        for call in calls:
            await call.begins()
            answer = await call.says(BOOKING)
            await answer.is_over()
            assert answer.end == "done"
            await call.agent_stops(answer.text)
            await call.hangs_up()
        assert [post.statuses for call in calls for post in call.posted if post.statuses != [200]] == []
        ledger.check(await house.log(), calls)
    finally:
        jaeger.unpause()


async def test_down_ends_everything_in_time_and_with_0(house: Stack, line: phone.Line) -> None:
    call = line.call("last")
    await call.begins()
    answer = await call.says(BOOKING)
    assert await answer.has(2)
    began_s = time.monotonic()
    await asyncio.to_thread(house.compose, "stop", within_s=DOWN_WITHIN_S)
    took_s = time.monotonic() - began_s
    codes = {one.name: one.attrs["State"]["ExitCode"] for one in house.containers(ended=True)}
    assert set(codes.values()) == {0}, codes
    assert took_s < DOWN_WITHIN_S
    await answer.is_over()
    assert answer.end == "done", "an answer that had begun was cut off"
    await asyncio.to_thread(house.up)
    ledger.check(await house.log(), [call])
