"""Who is turned away when more arrives than can be served: on a clock of the test's own, then at a queue's limit."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from fakes.ingress import SECRET, edge
from fakes.streams import until
from fakes.vapi_samples import NAMES, SAMPLES
from ingress_svc.adapters import mesh
from ingress_svc.adapters.webhook import WEBHOOKS
from ingress_svc.domain.overload import MOST_WAITING, Overload, Worth, worth_of
from svc_runtime.link import LinkLimits

SERVED_S, SHED_S, REFUSED_S = 240e-6, 100e-6, 85e-6
"""What a webhook costs ingress: served, a partial that is proven and dropped, one that is refused unread."""
CAPACITY = 1 / SERVED_S


class Seen(NamedTuple):
    """One webhook, and what became of it."""

    worth: Worth
    arrived_s: float
    answered_s: float
    admitted: bool

    @property
    def waited_s(self) -> float:
        return self.answered_s - self.arrived_s


def evenly(rate: float, seconds: float, *, from_s: float = 0.0, seed: int = 1) -> Iterator[tuple[float, Worth]]:
    """Arrivals as a call makes them: half of them partials, one in ninety the end of something."""
    dice = random.Random(seed)
    for number in range(int(rate * seconds)):
        share = dice.random()
        worth = Worth.PARTIAL if share < 0.5 else Worth.LAST if share < 0.511 else Worth.EVENT
        yield from_s + number / rate, worth


def served(
    arrivals: Sequence[tuple[float, Worth]], *, stalls: Sequence[tuple[float, float]] = ()
) -> tuple[list[Seen], list[tuple[float, Worth]]]:
    """Run a loop over ``arrivals``; at each of ``stalls`` it stands still for so long. Returns also the news."""
    overload, now_s, at, standing = Overload(), 0.0, 0, list(stalls)
    seen: list[Seen] = []
    news = []
    while at < len(arrivals):
        now_s = max(now_s, arrivals[at][0])
        if standing and now_s >= standing[0][0]:
            now_s += standing.pop(0)[1]
        overload.turned(now_s)
        ready_s = now_s
        while at < len(arrivals) and arrivals[at][0] <= ready_s:
            arrived_s, worth = arrivals[at]
            at += 1
            refused = overload.refuses(worth, now_s)
            now_s += (SHED_S if worth is Worth.PARTIAL else REFUSED_S) if refused else SERVED_S
            seen.append(Seen(worth, arrived_s, now_s, not refused))
        if (began := overload.over(now_s)) is not None:
            news.append((now_s, began))
    return seen, news


def turned_away(seen: Sequence[Seen]) -> Counter[Worth]:
    return Counter(one.worth for one in seen if not one.admitted)


def percentile(values: Iterator[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[int(len(ordered) * share / 100)]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_d33_below_capacity_nothing_is_turned_away(share: float) -> None:
    seen, news = served(list(evenly(CAPACITY * share, 5.0)))
    assert turned_away(seen) == {}
    assert news == []


@pytest.mark.parametrize("stall_s", [0.05, 0.3, 1.0])
def test_d33_a_stall_or_a_burst_at_half_of_capacity_is_no_overload_for_what_is_durable(stall_s: float) -> None:
    seen, _ = served(list(evenly(CAPACITY / 2, 4.0)), stalls=[(1.0, stall_s), (3.0, stall_s)])
    assert set(turned_away(seen)) <= {Worth.PARTIAL}
    burst = sorted([*evenly(CAPACITY / 2, 4.0), *((2.0, Worth.EVENT) for _ in range(150))])
    assert set(turned_away(served(burst)[0])) <= {Worth.PARTIAL}


@pytest.mark.parametrize("times", [1.5, 2.0])
def test_d33_at_twice_capacity_what_is_admitted_and_what_is_refused_is_quick(times: float) -> None:
    seen, _ = served(list(evenly(CAPACITY * times, 10.0)))
    assert percentile((one.waited_s for one in seen if one.admitted), 99) <= 0.25
    noticed = [one for one in seen if one.arrived_s > 2.0]
    assert percentile((one.waited_s for one in noticed if not one.admitted), 99) <= 0.05
    assert percentile((one.waited_s for one in noticed if one.admitted), 99) <= 0.1
    assert sum(one.admitted for one in seen) > CAPACITY * 10.0 * 0.2, "most of its time goes into what it takes"


def test_d33_partials_go_first_then_events_and_the_end_of_a_call_last() -> None:
    shares = {}
    for times in (1.2, 2.0, 4.0):
        seen, _ = served(list(evenly(CAPACITY * times, 10.0)))
        away, all_of = turned_away(seen), Counter(one.worth for one in seen)
        shares[times] = {worth: away[worth] / all_of[worth] for worth in Worth}
        assert shares[times][Worth.PARTIAL] >= shares[times][Worth.EVENT] >= shares[times][Worth.LAST]
        first = {
            worth: next((one.answered_s for one in seen if one.worth is worth and not one.admitted), 1e9)
            for worth in Worth
        }
        assert first[Worth.PARTIAL] <= first[Worth.EVENT] <= first[Worth.LAST]
    assert shares[1.2][Worth.EVENT] < 0.001, "partials alone are enough to shed"
    assert shares[2.0][Worth.LAST] < 0.01, "and so are events"


def test_d33_it_is_over_as_soon_as_the_rush_is() -> None:
    rush = list(evenly(CAPACITY * 2, 5.0))
    calm = list(evenly(CAPACITY / 2, 5.0, from_s=5.0, seed=2))
    seen, _ = served(rush + calm)
    assert turned_away([one for one in seen if one.arrived_s > 6.0]) == {}


def test_d33_a_slow_session_service_turns_events_away_and_a_single_slow_answer_does_not() -> None:
    overload = Overload()
    overload.answered(0.3, 1.0)
    assert not overload.refuses(Worth.EVENT, 1.0)
    overload.answered(0.3, 1.02)
    assert not overload.refuses(Worth.EVENT, 1.02)
    overload.answered(0.3, 1.1)
    assert [worth for worth in Worth if overload.refuses(worth, 1.1)] == [Worth.PARTIAL, Worth.EVENT]
    overload.answered(0.01, 1.12)
    assert [worth for worth in Worth if overload.refuses(worth, 1.12)] == []
    for at_s in (2.0, 2.1, 2.2):
        overload.answered(0.3, at_s)
    assert overload.refuses(Worth.EVENT, 2.3)
    assert not overload.refuses(Worth.EVENT, 2.5), "without any answer nobody knows, and what comes is held"


def test_d33_what_waits_for_session_svc_counts_only_while_events_are_turned_away_anyway() -> None:
    overload = Overload()
    assert not overload.refuses(Worth.EVENT, 0.5, waiting=10 * MOST_WAITING)
    for number in range(20):
        overload.turned(1.0 + number * 0.02)
        overload.over(1.0199 + number * 0.02)
    overload.turned(1.4)
    assert not overload.refuses(Worth.EVENT, 1.4, waiting=MOST_WAITING)
    assert overload.refuses(Worth.EVENT, 1.4, waiting=MOST_WAITING + 1)
    assert not overload.refuses(Worth.LAST, 1.4, waiting=10 * MOST_WAITING)


def test_d33_what_a_body_is_worth_is_seen_at_its_beginning() -> None:
    names = [name.removeprefix("server/") for name in NAMES if name.startswith("server/")]
    worths = {name: worth_of((SAMPLES / f"server/{name}.json").read_bytes()) for name in names}
    assert {name for name, worth in worths.items() if worth is Worth.PARTIAL} == {
        name for name in worths if name.startswith("transcript.partial")
    }
    last = {name for name, worth in worths.items() if worth is Worth.LAST}
    assert last >= {"end-of-call-report", "status-update.ended", "assistant-request", "tool-calls.wire-object-args"}
    assert not any(name.startswith(("transcript", "speech-update", "conversation-update")) for name in last)


def body(**fields: Any) -> bytes:
    return json.dumps({"message": {"call": {"id": "call-1"}} | fields}).encode()


PROOF = {"X-Vapi-Secret": SECRET}


@pytest.mark.parametrize(
    "limits",
    [LinkLimits(max_queued_events=10), LinkLimits(max_queued_bytes=40_000)],
    ids=["in events", "in bytes"],
)
async def test_d33_a_full_queue_drops_partials_first_then_refuses_events_and_last_the_end(
    monkeypatch: pytest.MonkeyPatch, limits: LinkLimits
) -> None:
    monkeypatch.setattr(mesh, "LinkLimits", lambda: limits)
    async with edge(hold_s=20.0) as at:
        at.mesh.session.stuck = True
        link = next(iter(at.ingress.calls.mesh.sessions.all()))
        text = "x" * 3_500 if limits.max_queued_bytes == 40_000 else "x"

        async def count(answer: str) -> int:
            return at.ingress.counters.value(WEBHOOKS, answer=answer)

        for _ in range(8):
            assert (await at.provider.partial(text))[0] == 200
        shed = await count("shed")
        assert 0 < link.backlog <= 5
        assert shed == 8 - link.backlog
        held, refused = await fill(lambda: at.provider.final(text), link)
        assert held
        assert refused
        assert all(status == 503 and headers["Retry-After"] == "1" for status, headers in refused)
        backlog = link.backlog
        end = asyncio.create_task(at.provider.webhook(type="status-update", status="ended"))
        await until(lambda: link.backlog > backlog)
        for task in (*held, end):
            task.cancel()


async def fill(post: Callable[[], Any], link: Any) -> tuple[list[asyncio.Task[Any]], list[Any]]:
    """Post until one is refused. Returns those that are held, and the answers of the refused."""
    held: list[asyncio.Task[Any]] = []
    for _ in range(12):
        before = link.backlog
        task = asyncio.create_task(post())
        await until(lambda task=task, before=before: task.done() or link.backlog > before)  # type: ignore[misc]
        if task.done():
            return held, [task.result(), await post()]
        held.append(task)
    raise AssertionError("no limit")


async def test_d33_under_strain_partials_are_answered_and_dropped_and_events_are_refused_unread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with edge() as at:
        overload = at.ingress.webhook.overload
        monkeypatch.setattr(overload, "strained", lambda now_s: True)
        monkeypatch.setattr(overload, "refuses", lambda worth, now_s, waiting: worth is not Worth.LAST)
        assert (await at.provider.partial("stop"))[0] == 200
        status, headers = await at.provider.final("a table")
        assert (status, headers["Retry-After"]) == (503, "1")
        assert (await at.provider.webhook(type="status-update", status="ended"))[0] == 200
        status, _, _ = await at.provider.post("/vapi/webhook", b"{]", {})
        assert status == 503, "what proves nothing is refused as well: to look would cost as much as to take it"
        assert (await at.provider.post("/vapi/webhook", body(type="transcript", transcriptType="partial"), {}))[
            0
        ] == 401
        counted = {
            answer: at.ingress.counters.value(WEBHOOKS, answer=answer) for answer in ("shed", "overloaded", "taken")
        }
        assert counted == {"shed": 1, "overloaded": 2, "taken": 1}
        assert at.mesh.session.kinds("vapi:call-1")[:1] == ["call_status"]
