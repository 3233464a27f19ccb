"""Turns as traces, from real processes at a real OTLP receiver."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fakes import mesh, phone
from fakes.otlp_receiver import Arrived, OtlpReceiver

BOOKING = "I need a table for four tonight at 7pm."
CORRECTION = "Actually, no wait, make that 8pm."
OUTSIDE_TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
OUTSIDE_SPAN = 0x00F067AA0BA902B7


@dataclass
class Traced:
    """A mesh whose spans arrive here."""

    house: mesh.Mesh
    line: phone.Line
    receiver: OtlpReceiver

    def roots(self, call: phone.Phone) -> list[Arrived]:
        """Return the root spans of a call's turns that were answered."""
        name = f"vapi:{call.call_id}"
        turns = [one for one in self.receiver.arrived if one.span.name == "turn"]
        return [one for one in turns if one.attributes["voicemesh.call.id"] == name and _number(one)]

    def trace(self, root: Arrived) -> list[Arrived]:
        return [one for one in self.receiver.arrived if one.trace_id == root.trace_id]

    async def until(self, done: Callable[[], bool], within_s: float = 20.0) -> None:
        """Wait until ``done``, then a little longer for the spans of the other processes."""
        until_s = asyncio.get_running_loop().time() + within_s
        while not done():
            assert asyncio.get_running_loop().time() < until_s, sorted(one.span.name for one in self.receiver.arrived)
            await asyncio.sleep(0.05)
        count = -1
        while count != len(self.receiver.arrived):
            count = len(self.receiver.arrived)
            await asyncio.sleep(1.0)


def _number(root: Arrived) -> int:
    return int(str(root.attributes["voicemesh.turn.number"]))


@asynccontextmanager
async def _traced(directory: Path, **settings: str) -> AsyncIterator[Traced]:
    """Run a mesh that no noise of the machine pushes over its budget: only a model that is slow for real can."""
    budget = (mesh.REPOSITORY / "budget.toml").read_text()
    head, model, tail = re.split(r'(?m)^(?=\[hops\."llm\.first_token"\]|\[hops\."mesh\.first_token"\])', budget)
    wide = [re.sub(r"(?m)^budget_ms = (\d+)$", r"budget_ms = \g<1>00", part) for part in (head, tail)]
    (directory / "budget.toml").write_text(wide[0] + model + wide[1])
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(OtlpReceiver())
        own = {"OTLP_ENDPOINT": f"http://{receiver.endpoint}", "BUDGET_FILE": str(directory / "budget.toml")}
        processes = ExitStack()
        house = await asyncio.to_thread(processes.enter_context, mesh.running(directory, **own, **settings))
        # In a thread, for what the services send at their end is received here.
        stack.push_async_callback(asyncio.to_thread, processes.close)
        line = await stack.enter_async_context(phone.line(house.url, house.secret))
        yield Traced(house, line, receiver)


async def _interrupted_turn(call: phone.Phone) -> None:
    spoken = await call.says(BOOKING)
    assert await spoken.has(4)
    await call.agent_starts()
    await call.partial("Actually, no wait")
    await spoken.is_over()
    await call.agent_stops(" ".join(spoken.text.split()[:2]))


async def _normal_turn(call: phone.Phone, words: str = CORRECTION) -> phone.Answer:
    answer = await call.says(words)
    await answer.has(1)
    await call.agent_starts()
    await answer.is_over()
    await call.agent_stops(answer.text)
    return answer


def _edges(spans: Sequence[Arrived], service: str, name: str) -> set[str]:
    """Return the names of the ingress-svc spans under which spans ``name`` of ``service`` stand."""
    by_id = {one.span_id: one for one in spans}
    children = [one for one in spans if one.resource["service.name"] == service and one.span.name == name]
    parents = [by_id[child.parent_id] for child in children]
    return {one.span.name for one in parents if one.resource["service.name"] == "ingress-svc"}


async def test_d34_a_turn_is_one_trace_with_an_edge_to_every_service(tmp_path: Path) -> None:
    async with _traced(tmp_path, TRACE_ONE_IN="1") as traced:
        call, outside = traced.line.call(), traced.line.call("outside")
        await call.begins()
        await _interrupted_turn(call)
        last = await _normal_turn(call)
        await call.hangs_up()
        outside.traceparent = f"00-{OUTSIDE_TRACE:032x}-{OUTSIDE_SPAN:016x}-01"
        await outside.ask(BOOKING).is_over()
        await outside.hangs_up()
        await traced.until(lambda: len(traced.roots(call)) >= 2 and len(traced.roots(outside)) >= 1)
        secret = traced.house.secret

    interrupted, normal = sorted(traced.roots(call), key=_number)
    assert interrupted.attributes["voicemesh.turn.cut"] is True
    assert interrupted.attributes["voicemesh.turn.reason"] == "cut"
    assert interrupted.attributes["voicemesh.turn.culprit"] == ""
    assert normal.attributes["voicemesh.turn.cut"] is False
    assert normal.attributes["voicemesh.turn.reason"] == "sampled"
    assert interrupted.trace_id != normal.trace_id
    for root in (interrupted, normal):
        assert root.parent_id == 0
        _check_whole(traced.trace(root), root)
    assert "bargein.verdict" in _edges(traced.trace(interrupted), "bargein-svc", "bargein.verdict")
    flush = [one for one in traced.trace(interrupted) if one.span.name == "cut.flush"]
    assert [one.attributes["voicemesh.budget.kept"] for one in flush] == [True]

    # A W3C context that came with the request is the parent of the turn.
    (continued,) = traced.roots(outside)
    assert (continued.trace_id, continued.parent_id) == (OUTSIDE_TRACE, OUTSIDE_SPAN)
    _check_whole(traced.trace(continued), continued)

    words = [BOOKING, CORRECTION, last.text, "Actually", "+1500555", "simulated-", secret]
    _check_private(traced.receiver.arrived, words)


def _check_whole(spans: Sequence[Arrived], root: Arrived) -> None:
    """Hold a trace to one root, no lost parent, and the edges that every answered turn has."""
    ids = {one.span_id for one in spans}
    assert len(ids) == len(spans)
    parentless = {(one.span.name, one.parent_id) for one in spans if one.parent_id not in ids}
    assert parentless == {("turn", root.parent_id)}
    assert "session.fold" in _edges(spans, "session-svc", "session.commit")
    assert _edges(spans, "llm-svc", "llm.generate") == {"llm.generate"}


def _check_private(arrived: Sequence[Arrived], private: Sequence[str]) -> None:
    assert {one.resource["service.name"] for one in arrived} == set(mesh.SERVICES)
    for one in arrived:
        shown = str(one.span) + str(one.resource)
        assert [text for text in private if text in shown] == [], one.span.name


async def test_a_slow_model_is_named_as_the_culprit_of_its_turn(tmp_path: Path) -> None:
    async with _traced(tmp_path, TRACE_ONE_IN="0", SCRIPTED_FIRST_TOKEN_MS="1200", SCRIPTED_TOKEN_MS="5") as traced:
        call = traced.line.call()
        await call.begins()
        await _normal_turn(call, BOOKING)
        await call.hangs_up()
        await traced.until(lambda: len(traced.roots(call)) >= 1)
        (root,) = traced.roots(call)
        hops = [one for one in traced.trace(root) if one.span.name == "llm.first_token"]
    assert root.attributes["voicemesh.turn.reason"] == "over_budget"
    assert root.attributes["voicemesh.turn.culprit"] == "llm.first_token"
    assert [one.attributes["voicemesh.budget.kept"] for one in hops] == [False]
    assert [one.attributes["voicemesh.budget_ms"] for one in hops] == [800]


async def test_of_the_turns_within_budget_none_is_exported_when_none_is_sampled_but_a_cut_one_is(
    tmp_path: Path,
) -> None:
    async with _traced(tmp_path, TRACE_ONE_IN="0", SCRIPTED_FIRST_TOKEN_MS="50") as traced:
        ordinary, cut = traced.line.call("ordinary"), traced.line.call("cut")
        for call in (ordinary, cut):
            await call.begins()
        await _normal_turn(ordinary)
        await ordinary.hangs_up()
        await _interrupted_turn(cut)
        await cut.hangs_up()
        await traced.until(lambda: len(traced.roots(cut)) >= 1)
    # The mesh has ended, and with it has sent all that it would ever send.
    assert [root.attributes["voicemesh.turn.reason"] for root in traced.roots(cut)] == ["cut"]
    assert {one.trace_id for one in traced.receiver.arrived} == {root.trace_id for root in traced.roots(cut)}
