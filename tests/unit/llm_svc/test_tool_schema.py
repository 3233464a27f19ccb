"""What a model is told of a tool's arguments, and what of its answer is let through."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional, Required, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_svc.adapters.tool_schema import NoSchema, of_callable, of_parameters
from llm_svc.domain.tool_arguments import BadArguments
from llm_svc.domain.tools import Parameter
from voicemesh_tools import ToolContext


class Room(enum.Enum):
    INSIDE = "inside"
    TERRACE = "terrace"


@dataclass
class Guest:
    """A guest."""

    name: Annotated[str, "First and last name"]
    age: int = 30


class Wish(TypedDict, total=False):
    text: Required[Annotated[str, "What is wished for"]]
    urgent: bool


@dataclass
class Endless:
    below: list[Endless]


def book(
    day: str,
    party: Annotated[int, "How many guests"],
    guests: list[Guest],
    context: ToolContext,
    room: Room = Room.INSIDE,
    wish: Wish | None = None,
    notes: dict[str, str] = {},  # noqa: B006 - a default of any kind is the owner's affair
    meal: Literal["lunch", "dinner"] = "dinner",
    deposit: Optional[float] = None,  # noqa: UP045 - owners write both
) -> str:
    """Book a table.

    Args:
        day: The day.
        party: Not this text, the hint has one.
        meal: Which meal.
    """
    return f"{day}{party}{guests}{context}{room}{wish}{notes}{meal}{deposit}"


def read(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    return of_callable(function).arguments.read(json.dumps(arguments))


def refusal(function: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(BadArguments) as caught:
        read(function, **arguments)
    return str(caught.value)


# --- what the model is told


def test_hints_and_docstring_become_the_schema() -> None:
    signature = of_callable(book)
    assert signature.description == "Book a table."
    assert signature.context_names == ("context",)
    schema = signature.arguments.schema
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)
    assert schema["required"] == ["day", "party", "guests"]
    guest = {
        "type": "object",
        "description": "A guest.",
        "properties": {
            "name": {"type": "string", "description": "First and last name"},
            "age": {"type": "integer", "default": 30},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    wish = {
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "What is wished for"},
            "urgent": {"type": "boolean"},
        },
        "required": ["text"],
        "additionalProperties": False,
    }
    assert schema["properties"] == {
        "day": {"type": "string", "description": "The day."},
        "party": {"type": "integer", "description": "How many guests"},
        "guests": {"type": "array", "items": guest},
        "room": {"type": "string", "enum": ["inside", "terrace"], "default": "inside"},
        "wish": {"anyOf": [wish, {"type": "null"}]},
        "notes": {"type": "object", "additionalProperties": {"type": "string"}},
        "meal": {"type": "string", "enum": ["dinner", "lunch"], "default": "dinner", "description": "Which meal."},
        "deposit": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    }


def test_the_schema_goes_into_json_and_refers_to_nothing_outside_of_itself() -> None:
    text = json.dumps(of_callable(book).arguments.schema)
    assert "$" not in text
    assert "title" not in text


def test_a_function_without_parameters_has_an_empty_object() -> None:
    def hang_up() -> None:
        """Do."""

    signature = of_callable(hang_up)
    assert signature.arguments.schema == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }
    assert signature.arguments.read("") == signature.arguments.read("{}") == signature.arguments.read("null") == {}


def test_methods_and_objects_that_can_be_called_have_a_schema_too() -> None:
    class Desk:
        """The desk."""

        def find(self, name: str) -> str:
            """Find."""
            return name

        def __call__(self, name: str) -> str:
            return name

    for function in (Desk().find, Desk()):
        assert list(of_callable(function).arguments.schema["properties"]) == ["name"]
    assert of_callable(Desk()).description == "The desk."


def unhinted(name) -> None: ...  # type: ignore[no-untyped-def]  # the case
def open_ended(*names: str) -> None: ...
def keywords(**names: str) -> None: ...
def by_place(name: str, /) -> None: ...
def of_anything(name: object) -> None: ...
def of_imaginary(name: complex | None) -> None: ...
def of_endless(tree: Endless) -> None: ...
def of_two_classes(one: Guest | Endless) -> None: ...
def unresolved(name: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - the case


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (unhinted, "parameter name has no type hint; give it one of str, int"),
        (open_ended, "*names: 'str' takes any number of arguments; name each parameter"),
        (keywords, "**names: 'str' takes any number of arguments; name each parameter"),
        (by_place, "parameter name goes by its place only; take the / out"),
        (of_anything, "parameter name: object has no JSON schema; use str, int, float, bool, Literal, Enum"),
        (of_imaginary, "parameter name: complex | None has no JSON schema; use"),
        (of_endless, "Endless contains itself; a model is given no type of endless depth"),
        (of_two_classes, "parameter one: "),
        (unresolved, "its type hints cannot be read: name 'Nowhere' is not defined"),
    ],
)
def test_what_has_no_schema_is_told_by_its_name_and_how_to_mend_it(function: Callable[..., Any], problem: str) -> None:
    with pytest.raises(NoSchema) as caught:
        of_callable(function)
    assert str(caught.value).startswith(problem)


# --- what is let through


def test_arguments_become_the_values_that_the_hints_name() -> None:
    given_ = read(
        book,
        day="monday",
        party=2,
        guests=[{"name": "Ann", "age": 4}],
        room="terrace",
        wish={"text": "quiet", "urgent": True},
        notes={"a": "b"},
        meal="lunch",
        deposit=1.5,
    )
    assert given_ == {
        "day": "monday",
        "party": 2,
        "guests": [Guest("Ann", 4)],
        "room": Room.TERRACE,
        "wish": {"text": "quiet", "urgent": True},
        "notes": {"a": "b"},
        "meal": "lunch",
        "deposit": 1.5,
    }


def test_what_is_left_out_is_left_to_the_functions_own_default() -> None:
    assert read(book, day="monday", party=2, guests=[]) == {"day": "monday", "party": 2, "guests": []}


def test_what_a_sloppy_model_plainly_means_is_taken() -> None:
    given_ = read(
        book, day=25, party="4", guests=[{"name": 7, "age": "8"}], meal=None, room=None, deposit="2.5", wish=None
    )
    assert given_ == {"day": "25", "party": 4, "guests": [Guest("7", 8)], "deposit": 2.5, "wish": None}
    assert read(book, day="x", party=4.0, guests=[], wish={"text": "x", "urgent": "true"})["wish"]["urgent"] is True


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"party": 2, "guests": []}, "missing required field `day`"),
        ({"day": "x", "party": "two", "guests": []}, "Expected `int`, got `str` - at `$.party`"),
        ({"day": "x", "party": True, "guests": []}, "Expected `int`, got `bool` - at `$.party`"),
        ({"day": "x", "party": 2.5, "guests": []}, "Expected `int`, got `float` - at `$.party`"),
        ({"day": None, "party": 2, "guests": []}, "Expected `str`, got `null` - at `$.day`"),
        ({"day": ["x"], "party": 2, "guests": []}, "Expected `str`, got `array` - at `$.day`"),
        ({"day": "x", "party": 2, "guests": [{"name": "a", "age": "b"}]}, "at `$.guests[0].age`"),
        ({"day": "x", "party": 2, "guests": [{"age": 3}]}, "missing required field `name` - at `$.guests[0]`"),
        ({"day": "x", "party": 2, "guests": [{"nmae": "a"}]}, "guests[0].nmae is no parameter; did you mean name?"),
        ({"day": "x", "party": 2, "guests": [], "wish": {"txt": "a"}}, "wish.txt is no parameter; did you mean text?"),
        ({"day": "x", "party": 2, "guests": [], "zzz": 1}, "zzz is no parameter; there are day, party, guests, room"),
        ({"day": "x", "party": 2, "guests": [], "meal": "tea"}, "Invalid enum value 'tea' - at `$.meal`"),
        ({"day": "x", "party": 2, "guests": [], "context": {}}, "context is no parameter"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_place(arguments: dict[str, Any], problem: str) -> None:
    assert problem in refusal(book, **arguments)


@pytest.mark.parametrize("text", ["{", "[1]", "3", '"x"', '{"a": NaN}', "[" * 60_000, "x" * 70_000, '{"a": "\\ud800"}'])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(BadArguments, match="The arguments are"):
        of_callable(book).arguments.read(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.sampled_from(["day", "guests", "name", "wish", "x"]), below),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["day", "party", "guests", "wish", "notes", "meal", "x"]), JSON) | JSON)
def test_whatever_a_model_writes_is_read_or_refused(arguments: Any) -> None:
    reader = of_callable(book).arguments
    try:
        taken = reader.read(json.dumps(arguments)).keys()
    except BadArguments:
        return
    assert taken <= reader.schema["properties"].keys()


# --- endpoints


PARAMETERS = (
    Parameter("day-of-week", "string", "The day", one_of=("mo", "tu")),
    Parameter("class", "array", required=False, items="integer"),
    Parameter("extra", "object", required=False),
    Parameter("price", "number", required=False),
)


def test_the_parameters_of_an_endpoint_may_have_names_that_python_has_not() -> None:
    arguments = of_parameters(PARAMETERS)
    assert arguments.schema == {
        "type": "object",
        "properties": {
            "day-of-week": {"type": "string", "enum": ["mo", "tu"], "description": "The day"},
            "class": {"type": "array", "items": {"type": "integer"}},
            "extra": {"type": "object"},
            "price": {"type": "number"},
        },
        "required": ["day-of-week"],
        "additionalProperties": False,
    }
    assert arguments.read('{"day-of-week": "mo", "class": ["1"], "extra": {"a": [1]}, "price": "2"}') == {
        "day-of-week": "mo",
        "class": [1],
        "extra": {"a": [1]},
        "price": 2.0,
    }
    assert arguments.read('{"day-of-week": "tu", "class": null}') == {"day-of-week": "tu"}
    with pytest.raises(BadArguments, match=r"missing required field `day-of-week`"):
        arguments.read("{}")
