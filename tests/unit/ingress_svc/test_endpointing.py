import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingress_svc.domain.endpointing import MOST_S, EndpointingRules, timeout_s

RULES = EndpointingRules(after_sentence_s=1, after_number_s=2, unfinished_s=3, otherwise_s=4)


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [
        ("I need a table for four.", 1),
        ("For when?", 1),
        ("Perfect!", 1),
        ("my number is 555 01", 2),
        ("at 19:30.", 2),
        ("I need a table and", 3),
        ("I need a table and.", 3),
        ("una mesa para", 3),
        ("well,", 3),
        ("let me see...", 3),
        ("let me see…", 3),
        ("UM", 3),
        ("I need a table", 4),
        ("I like the sand", 4),
        ("", 4),
        ("...", 4),
        ("x" * 100_000, 4),
    ],
)
def test_the_end_of_what_was_said_decides_how_long_to_wait(said: str, wait_s: float) -> None:
    assert timeout_s(said, RULES) == wait_s


def test_one_wait_may_stand_for_all() -> None:
    assert timeout_s("and", EndpointingRules(always_s=0.0)) == 0.0


@given(st.text(max_size=300))
def test_any_words_get_a_wait_that_vapi_takes(said: str) -> None:
    assert 0 <= timeout_s(said, EndpointingRules()) <= MOST_S
