"""Which agent takes a call."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from fakes.vapi_samples import SAMPLES
from hypothesis import given
from hypothesis import strategies as st
from ingress_svc.domain.agents import Choice, Facts, Match, clashes, e164, facts_of

NUMBER, OTHER_NUMBER = "+15005550006", "+15005550007"
ASSISTANT = "9c2f7a10-5b1e-4c3d-8a77-1f0e2d3c4b5a"


def chosen(facts: Facts, **matches: Match) -> str:
    return Choice(matches).name_for(facts)


def numbers(*found: str) -> Match:
    return Match(numbers=frozenset(found))


def ids(*found: str) -> Match:
    return Match(assistant_ids=frozenset(found))


def metadata(**pairs: Any) -> Match:
    return Match(metadata=pairs)


def call(metadata: dict[str, object] | None = None, assistant: str = "", number: str = "") -> Facts:
    return Facts(metadata or {}, (assistant,) if assistant else (), (number,) if number else ())


def test_a_call_that_nobody_claims_is_the_default_agents() -> None:
    claims = {"one": numbers(NUMBER), "two": ids("a"), "three": metadata(tenant="x")}
    assert chosen(call({"tenant": "y"}, "b", OTHER_NUMBER), **claims) == "default"
    assert chosen(call()) == "default"
    assert Choice({}).is_trivial
    assert not Choice(claims).is_trivial


def test_any_one_of_the_three_chooses() -> None:
    one = Match(frozenset({NUMBER}), frozenset({"a"}), {"tenant": "x"})
    assert chosen(call(number=NUMBER), one=one) == "one"
    assert chosen(call(assistant="a"), one=one) == "one"
    assert chosen(call({"tenant": "x", "more": [1]}), one=one) == "one"


def test_metadata_comes_before_the_assistant_and_the_assistant_before_the_number() -> None:
    claims = {"number": numbers(NUMBER), "id": ids("a"), "metadata": metadata(tenant="x")}
    assert chosen(call({"tenant": "x"}, "a", NUMBER), **claims) == "metadata"
    assert chosen(call({"tenant": "y"}, "a", NUMBER), **claims) == "id"
    assert chosen(call({}, "b", NUMBER), **claims) == "number"


def test_all_pairs_must_fit_and_most_pairs_win() -> None:
    claims = {"wide": metadata(tenant="x"), "narrow": metadata(tenant="x", language="es")}
    assert chosen(call({"tenant": "x", "language": "es"}), **claims) == "narrow"
    assert chosen(call({"tenant": "x", "language": "en"}), **claims) == "wide"
    assert chosen(call({"language": "es"}), **claims) == "default"


@pytest.mark.parametrize(
    ("found", "wanted", "fits"),
    [
        ("1", 1, False),
        (1, 1, True),
        (1.0, 1, True),
        (True, 1, False),
        (1, True, False),
        (True, True, True),
        (None, "", False),
        ({}, "x", False),
    ],
)
def test_values_fit_as_json_has_them(found: object, wanted: Any, fits: bool) -> None:
    assert (chosen(call({"k": found}), one=metadata(k=wanted)) == "one") is fits


def test_every_sample_of_a_call_tells_the_same_of_it() -> None:
    files = [*(SAMPLES / "server").glob("*.json"), SAMPLES / "custom_llm/request.json"]
    whole = 0
    for path in files:
        facts = facts_of(orjson.loads(path.read_bytes()))
        if facts.numbers:
            whole += 1
            assert facts.numbers == (NUMBER,), path
            assert set(facts.assistant_ids) <= {ASSISTANT}, path
            assert facts.metadata.get("tenant") in (None, "trattoria"), path
    assert whole > 20


@pytest.mark.parametrize(
    "body",
    [
        {"message": {"type": "hang", "call": {"assistantId": ASSISTANT}}},
        {"message": {"type": "hang", "assistant": {"id": ASSISTANT}}},
        {"type": "hang", "message": {}, "call": {"assistantId": ASSISTANT}},
        {"type": "hang", "call": {"assistantId": ASSISTANT}},
        {"messages": [], "call": {"assistantId": ASSISTANT}},
    ],
)
def test_the_assistant_is_found_in_every_shape(body: object) -> None:
    assert facts_of(body).assistant_ids == (ASSISTANT,)


@pytest.mark.parametrize(
    "body",
    [
        {"message": {"phoneNumber": {"number": NUMBER}, "call": {"customer": {"number": OTHER_NUMBER}}}},
        {"message": {"call": {"phoneNumber": {"number": "+1 500 555 0006"}}, "customer": {"number": OTHER_NUMBER}}},
        {"message": {"call": {"phoneNumber": {"twilioPhoneNumber": NUMBER}}}},
        {"messages": [], "phoneNumber": {"number": NUMBER}, "customer": {"number": OTHER_NUMBER}},
    ],
)
def test_the_number_is_the_one_that_is_called_never_the_callers(body: object) -> None:
    assert facts_of(body).numbers == (NUMBER,)


def test_metadata_of_the_call_holds_against_what_its_assistant_has_for_all_calls() -> None:
    body = {
        "message": {
            "assistant": {"metadata": {"a": 1, "b": 1, "c": 1}},
            "call": {"assistantOverrides": {"metadata": {"b": 2, "c": 2}}, "metadata": {"c": 3}},
        }
    }
    assert facts_of(body).metadata == {"a": 1, "b": 2, "c": 3}
    assert facts_of({"messages": [], "metadata": {"a": 1}, "call": {"metadata": {"b": 2}}}).metadata == {"a": 1, "b": 2}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*"ab", "message", "call", "assistant", "assistantId", "id", "phoneNumber", "number", "metadata"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@given(JSON)
def test_no_body_is_too_strange_to_choose_by(body: object) -> None:
    claims = {"one": numbers(NUMBER), "two": ids("a"), "three": metadata(a=1)}
    assert chosen(facts_of(body), **claims) in {"default", *claims}


def test_facts_are_not_printed() -> None:
    assert NUMBER not in repr(call({"tenant": "x"}, "a", NUMBER))
    assert NUMBER not in repr(Match(numbers=frozenset({NUMBER})))


def test_a_number_is_e164_however_it_is_written() -> None:
    assert e164(" +1 (500) 555-0006 ") == NUMBER
    assert [e164(text) for text in ("5005550006", "+0500", "+1", "", None, 15005550006, "+1500555000612345")] == [
        ""
    ] * 7


CLAIMS = st.builds(
    Match,
    st.frozensets(st.sampled_from([NUMBER, OTHER_NUMBER]), max_size=1),
    st.frozensets(st.sampled_from(["a", "b"]), max_size=1),
    st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from(["x", "y"]), max_size=2),
)


@given(
    st.dictionaries(st.sampled_from(["one", "two", "three"]), CLAIMS),
    st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from(["x", "y"])),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["", NUMBER, OTHER_NUMBER]),
)
def test_where_nothing_clashes_the_order_of_the_files_decides_nothing(
    matches: dict[str, Match], found: dict[str, object], assistant: str, number: str
) -> None:
    if not list(clashes(matches)):
        backwards = dict(reversed(matches.items()))
        facts = call(found, assistant, number)
        assert chosen(facts, **matches) == chosen(facts, **backwards)
