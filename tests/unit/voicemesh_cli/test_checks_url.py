from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest
from voicemesh_cli.checks import State
from voicemesh_cli.checks_url import Streamed, clock, judge_streaming

NOW_S = 1_790_000_000.4


def _streamed(**over: Any) -> Streamed:
    body = b'data: {"a":1}\n\n' * 20 + b"data: [DONE]\n\n"
    given = {"status": 200, "kind": "text/event-stream; charset=utf-8", "arrivals_ms": (300.0, 900.0), "body": body}
    return Streamed(**{**given, **over})


AT_ONCE = _streamed(arrivals_ms=(900.0, 901.0))


@pytest.mark.parametrize(
    ("off_s", "state"), [(0, State.OK), (-4, State.OK), (30, State.WARN), (-200, State.FAIL), (4000, State.FAIL)]
)
def test_a_clock_is_held_against_the_window_of_signatures(off_s: int, state: State) -> None:
    assert clock(formatdate(NOW_S + off_s, usegmt=True), NOW_S, "h").state is state


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_a_date_that_is_none_says_nothing(date: str) -> None:
    assert clock(date, NOW_S, "h").state is State.SKIPPED


def test_an_answer_in_pieces_is_well() -> None:
    assert judge_streaming(_streamed(), None).state is State.OK


def test_an_answer_at_once_is_buffering_only_if_it_comes_in_pieces_without_the_proxy() -> None:
    assert judge_streaming(AT_ONCE, _streamed()).state is State.FAIL
    assert judge_streaming(AT_ONCE, AT_ONCE).state is State.OK
    assert judge_streaming(AT_ONCE, None).state is State.WARN


def test_an_answer_of_two_pieces_proves_nothing() -> None:
    few = _streamed(arrivals_ms=(1.0, 2.0), body=b"data: {}\n\ndata: {}\n\ndata: [DONE]\n\n")
    assert judge_streaming(few, None).state is State.OK


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"status": 401}, "VOICEMESH_VAPI_LLM_KEY"),
        ({"status": 404}, "let the proxy pass POST"),
        ({"status": 0, "problem": "no answer in 20 s"}, "let the proxy"),
        ({"status": 503}, "the logs of"),
        ({"kind": "application/json"}, "as they are"),
        ({"body": b"data: {}\n\n"}, "proxy_read_timeout"),
        ({"body": b"", "arrivals_ms": ()}, "proxy_read_timeout"),
    ],
)
def test_each_way_of_failing_has_its_remedy(over: dict[str, Any], told: str) -> None:
    result = judge_streaming(_streamed(**over), None)
    assert result.state is State.FAIL
    assert told in result.remedy
