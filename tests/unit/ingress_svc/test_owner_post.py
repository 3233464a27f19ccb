"""What is posted to the owner's system, where it may go, and what each answer means."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes.owner_server import FakeOwner, owner_server
from ingress_svc.adapters.owner_post import OwnerPost
from ingress_svc.domain.call_report import CallReport, body
from ingress_svc.domain.owner_post import (
    MOST_BODY_BYTES,
    MOST_RETRY_AFTER_S,
    Delivery,
    Failure,
    OwnersSystem,
    Posted,
    answered,
    failed,
    http_date,
    may_post,
    signed_headers,
)

SECRET = "open-sesame"
PAGE = Path(__file__).parents[3] / "docs/call-report.md"
REPORT = CallReport(
    call_id="vapi:5a2f",
    agent="default@1a2b3c4d",
    outcome="caller_hung_up",
    ended_reason="customer-ended-call",
    started_at_ms=1_790_000_000_000,
    answered_at_ms=1_790_000_001_500,
    ended_at_ms=1_790_000_041_500,
    duration_ms=0,
    turns=({"party": "caller", "at": "2026-09-21T14:13:21.000Z", "text": "A table for four"},),
    turn_count=1,
    cut_count=0,
    tools=({"name": "book_table", "turn": 1, "outcome": "done"},),
    prompt_tokens=120,
    completion_tokens=8,
    cost_usd=None,
    provider_reported=True,
)


@pytest.fixture
async def owner() -> AsyncIterator[FakeOwner]:
    async with owner_server() as fake:
        yield fake


@pytest.fixture
async def post() -> AsyncIterator[OwnerPost]:
    poster = OwnerPost(SECRET, timeout_s=5.0)
    yield poster
    await poster.close()


@pytest.mark.parametrize(
    ("status", "posted"),
    [
        *[(status, Posted.DELIVERED) for status in (200, 201, 204)],
        *[(status, Posted.AGAIN) for status in (408, 409, 425, 429, 500, 502, 503, 504)],
        *[(status, Posted.REFUSED) for status in (302, 307, 400, 401, 404, 410, 422)],
    ],
)
async def test_each_status_means_one_thing(owner: FakeOwner, post: OwnerPost, status: int, posted: Posted) -> None:
    owner.status = status
    # With a Location that would be followed if any were.
    owner.answer = b"" if status in (302, 307) else {}
    assert await post.post(OwnersSystem(owner.url), b"{}", delivery="d") == Delivery(posted, status)
    assert len(owner.asked) == 1


async def test_a_system_that_hangs_is_left_when_its_time_is_over(owner: FakeOwner, post: OwnerPost) -> None:
    owner.go_on.clear()
    done = await post.post(OwnersSystem(owner.url), b"{}", delivery="d", timeout_s=0.05)
    assert done == failed(Failure.LATE)
    assert done.posted is Posted.AGAIN


async def test_a_system_that_is_not_there_is_asked_again(post: OwnerPost) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        assert await post.post(OwnersSystem(url), b"{}", delivery="d") == failed(Failure.NOT_REACHED)


async def test_without_a_system_nothing_is_posted(post: OwnerPost) -> None:
    assert (await post.post(OwnersSystem(), b"{}", delivery="d")).posted is Posted.REFUSED


@pytest.mark.parametrize(
    ("found", "internal", "reached"),
    [
        ("93.184.216.34", False, True),
        ("10.0.0.8", False, False),
        ("10.0.0.8", True, True),
        ("169.254.169.254", True, False),
        ("127.0.0.1", True, False),
    ],
)
async def test_a_name_leads_only_where_the_agents_file_says_that_the_system_is(
    found: str, internal: bool, reached: bool
) -> None:
    async def lookup(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, 9))]

    assert may_post(found, host="crm.example.com", internal=internal) is reached
    if not reached:
        poster = OwnerPost(SECRET, timeout_s=1.0, lookup=lookup)
        try:
            system = OwnersSystem("https://crm.example.com/", internal)
            assert await poster.post(system, b"{}", delivery="d") == failed(Failure.ADDRESS)
        finally:
            await poster.close()


async def test_an_address_in_the_url_itself_is_held_to_the_same(post: OwnerPost) -> None:
    assert await post.post(OwnersSystem("https://10.0.0.8/"), b"{}", delivery="d") == failed(Failure.ADDRESS)
    assert await post.post(OwnersSystem("https://[fe80::1]/", True), b"{}", delivery="d") == failed(Failure.ADDRESS)


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [
        ("", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("99999999999999999999", MOST_RETRY_AFTER_S),
        ("Wed, 21 Oct 2026 07:28:10 GMT", 10.0),
        ("Wed, 21 Oct 2020 07:28:10 GMT", 0.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("\u0667", 0.0),
    ],
)
def test_retry_after_is_heeded_within_bounds(header: str, pause_s: float) -> None:
    now_s = 1_792_567_680.0  # 21 October 2026, 07:28:00 UTC
    assert answered(429, header, now_s=now_s).retry_after_s == pause_s


@pytest.mark.parametrize("zone", ["GMT", "+0000", "-0000", ""])
def test_a_date_is_in_utc_whatever_the_zone_of_this_machine(zone: str) -> None:
    at = http_date(f"Wed, 21 Oct 2026 07:28:10 {zone}".strip())
    assert (at.utcoffset(), at.hour) == (timedelta(0), 7)


def test_the_body_is_what_the_page_shows() -> None:
    [shown] = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.S)
    assert json.loads(body(REPORT)) == json.loads(shown)


@pytest.mark.parametrize("letter", ["x", "\u0416", "\U0001f600", "\x01", "\ud800"])
@pytest.mark.parametrize("chars", [50_000, 500, 50])
def test_a_body_holds_the_last_turns_that_fit_and_says_how_many_do_not(letter: str, chars: int) -> None:
    at = "2026-09-21T14:13:21.000Z"
    turns = [{"party": "agent", "at": at, "text": f"{n}{letter * chars}"} for n in range(50_000 // chars)]
    raw = body(replace(REPORT, turns=tuple(turns), turn_count=len(turns) + 3))
    told = json.loads(raw)
    assert len(raw) <= MOST_BODY_BYTES
    assert len(told["turns"]) + told["turns_left_out"] == len(turns) + 3
    sent = letter if letter != "\ud800" else "?"
    assert told["turns"] == [
        {**turn, "text": str(turn["text"]).replace(letter, sent)} for turn in turns[len(turns) - len(told["turns"]) :]
    ]
    fits = len(json.dumps(turns, ensure_ascii=False).encode("utf-8", "replace")) < MOST_BODY_BYTES - 1_000
    assert not fits or told["turns_left_out"] == 3


async def test_the_check_that_the_page_shows_takes_ours_and_nothing_else(owner: FakeOwner, post: OwnerPost) -> None:
    [check] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    names: dict[str, Any] = {}
    exec(check, names)
    raw = body(REPORT)
    assert (await post.post(OwnersSystem(owner.url), raw, delivery="call-report:vapi:5a2f")).posted is Posted.DELIVERED
    [headers], [sent] = owner.headers, owner.raw
    assert sent == raw
    assert headers["X-Voicemesh-Delivery"] == headers["Idempotency-Key"] == "call-report:vapi:5a2f"
    signed = {name.lower(): value for name, value in headers.items()}
    assert names["is_ours"](SECRET, signed, sent)
    assert not names["is_ours"]("another", signed, sent)
    assert not names["is_ours"](SECRET, signed, sent + b" ")
    assert not names["is_ours"](SECRET, {}, sent)
    old = signed_headers(SECRET.encode(), sent, now_s=time.time() - 3_600, key="k")
    assert not names["is_ours"](SECRET, old, sent)


async def test_posts_that_hang_hold_up_no_other(owner: FakeOwner, post: OwnerPost) -> None:
    owner.go_on.clear()
    slow = [asyncio.create_task(post.post(OwnersSystem(owner.url), b"{}", delivery=f"{n}")) for n in range(20)]
    async with owner_server() as quick, asyncio.timeout(5):
        assert (await post.post(OwnersSystem(quick.url), b"{}", delivery="d")).posted is Posted.DELIVERED
    owner.go_on.set()
    assert {(await task).posted for task in slow} == {Posted.DELIVERED}
