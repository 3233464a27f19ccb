"""What a docstring says of a function."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_svc.domain.docstring import parse

FULL = """Say whether a table is free.
    It looks a month ahead.

    Not told to the model.

    Args:
        day: The day,
            such as 2026-11-25.
        party (int): How many: guests.

        *names: Who.
    Returns:
        answer: Yes or no.
    """


def test_the_first_paragraph_is_the_description_and_the_entries_of_args_are_the_parameters() -> None:
    assert parse(FULL) == (
        "Say whether a table is free. It looks a month ahead.",
        {"day": "The day, such as 2026-11-25.", "party": "How many: guests.", "names": "Who."},
    )


@pytest.mark.parametrize("docstring", [None, "", "   \n  ", "Args:\n    x: A number."])
def test_without_a_first_paragraph_there_is_no_description(docstring: str | None) -> None:
    assert parse(docstring).description == ""


def test_a_section_right_below_the_first_line_ends_it() -> None:
    assert parse("Count.\nArgs:\n    x: A number.") == ("Count.", {"x": "A number."})


@given(st.text(alphabet=st.sampled_from("a: \n\t*()Args:")))
def test_any_text_can_be_read(docstring: str) -> None:
    parse(docstring)
