"""What is sent to the endpoint of a tool, and what its answer means."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_svc.domain.tool_http import REPEATABLE, Answer, body_of, headers_of, may_have_acted, outcome_of, pause_s
from llm_svc.domain.tools import MOST_RESULT_CHARS, Ask, Reason, returned_text

ASK = Ask(call_id="vapi:1", turn=1, generation=1, name="echo", arguments_json="", idempotency_key="k-1")
KINDS = ["application/json", "application/problem+json", "text/plain", "text/html", ""]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    max_leaves=20,
)


def is_one_line(text: str) -> bool:
    return text.splitlines() == [text] and bool(text.encode())


@given(st.integers(100, 599), st.sampled_from(KINDS), st.binary() | st.text().map(str.encode))
def test_whatever_an_endpoint_answers_the_model_gets_one_line(status: int, kind: str, body: bytes) -> None:
    outcome = outcome_of(Answer(status, kind, body), tries=1, effect_unknown=False)
    told = outcome.failure.message if outcome.failure else outcome.result
    assert is_one_line(told)
    assert (outcome.failure is None) <= (200 <= status < 300)


@given(JSON)
def test_json_stays_the_value_that_it_was(value: Any) -> None:
    body = json.dumps(value).encode()
    outcome = outcome_of(Answer(200, "application/json", body), tries=1, effect_unknown=False)
    if isinstance(value, str) or value is None:
        assert outcome == returned_text(value or "")
    elif outcome.failure is None:
        assert is_one_line(outcome.result)
        assert json.loads(outcome.result) == value


@pytest.mark.parametrize("breaker", ["\n", "\r", "\x85", "\u2028", "\u2029", "\x1c", "\x0b"])
def test_no_character_that_breaks_a_line_survives_in_json_or_text(breaker: str) -> None:
    value = {"a": f"x{breaker}y"}
    bodies = [("text/plain", value["a"])]
    bodies += [("application/json", json.dumps(value, ensure_ascii=ascii_only)) for ascii_only in (True, False)]
    for kind, body in bodies:
        outcome = outcome_of(Answer(200, kind, body.encode()), tries=1, effect_unknown=False)
        assert is_one_line(outcome.result)


@pytest.mark.parametrize("body", [b"1e999", b'{"a": -1e999}', b"NaN", b"[Infinity]"])
def test_a_number_that_json_cannot_say_is_a_defect(body: bytes) -> None:
    outcome = outcome_of(Answer(200, "application/json", body), tries=1, effect_unknown=False)
    assert outcome.failure is not None
    assert outcome.failure.reason is Reason.DEFECT


def test_half_a_character_does_not_reach_the_wire() -> None:
    answer = Answer(200, "application/json", b'{"a": "\\ud800"}')
    assert outcome_of(answer, tries=1, effect_unknown=False).result == '{"a":"?"}'


@pytest.mark.parametrize("length", [MOST_RESULT_CHARS, MOST_RESULT_CHARS + 1])
def test_the_longest_result_is_as_long_as_it_says(length: int) -> None:
    outcome = outcome_of(Answer(200, "text/plain", b"x" * length), tries=1, effect_unknown=False)
    assert (outcome.failure is not None) == (length > MOST_RESULT_CHARS)


def test_the_signature_is_the_hex_hmac_of_timestamp_dot_body() -> None:
    headers = headers_of(ASK, b'{"a":1}', secret="open-sesame", now_s=1_787_428_804.9)
    assert headers["x-timestamp"] == "1787428804"
    # printf '1787428804.{"a":1}' | openssl dgst -sha256 -hmac open-sesame
    assert headers["x-signature"] == "129191cf651867079d55bf4422625cf40b41e097c5fdff117eb057ad3128fff5"


def test_the_body_names_tool_arguments_call_and_key_and_nothing_else() -> None:
    assert json.loads(body_of(ASK, {"text": "é"})) == {
        "tool": "echo",
        "arguments": {"text": "é"},
        "call_id": "vapi:1",
        "idempotency_key": "k-1",
    }


@pytest.mark.parametrize(
    ("tries", "retry_after", "pause"),
    [(1, "", 0.2), (2, "", 0.4), (3, "", 0.8), (1, "3", 3.0), (2, "0", 0.4), (1, "Wed, 25 Nov 2026", 0.2),
     (1, "-1", 0.2), (1, "9" * 400, 0.2), (1, "²", 0.2)],
)  # fmt: skip
def test_the_pause_grows_and_never_falls_below_what_the_endpoint_asks(
    tries: int, retry_after: str, pause: float
) -> None:
    assert pause_s(tries, retry_after) == pytest.approx(pause)


def test_what_says_that_nothing_was_done_is_told_from_what_does_not() -> None:
    assert [status for status in (302, 400, 401, 429, 500, 501, 502, 503, 504) if may_have_acted(status)] == [
        500,
        501,
        502,
        504,
    ]
    assert {429, 502, 503, 504} == REPEATABLE


def test_a_failure_whose_effect_is_unknown_says_so_to_the_model() -> None:
    outcome = outcome_of(Answer(401), tries=2, effect_unknown=True)
    assert outcome.failure is not None
    assert outcome.failure.reason is Reason.REFUSED
    assert outcome.failure.message == "The tool refused (HTTP 401). It is not known whether it was done."
