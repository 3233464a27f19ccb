"""A model's arguments against a schema: what is plainly meant is mended, what is not known is refused.

Types, choices and what is missing are checked where the arguments become Python values; this comes before.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any


class BadArguments(Exception):
    """The arguments do not fit; the text is for the model and says where."""


def tidy(value: Any, schema: Mapping[str, Any], where: str = "") -> Any:
    """Return ``value`` as ``schema`` has it: a number where a text is wanted as text, no null where it may be left out.

    Raises BadArguments for keys that the schema does not name.
    """
    if isinstance(value, dict) and "properties" in schema:
        return _object(value, schema, where)
    if isinstance(value, dict) and isinstance(schema.get("additionalProperties"), Mapping):
        return {key: tidy(item, schema["additionalProperties"], _below(where, key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [tidy(item, schema["items"], f"{where}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, int | float) and not isinstance(value, bool) and _kinds(schema) <= {"string", "null"}:
        return str(value)
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) == 1 and value is not None:
        return tidy(value, choices[0], where)
    return value


def _object(value: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> dict[str, Any]:
    properties, required = schema["properties"], schema.get("required", ())
    tidied = {}
    for key, item in value.items():
        if key not in properties:
            raise BadArguments(_unknown(key, list(properties), where))
        if item is None and key not in required and "null" not in _kinds(properties[key]):
            continue
        tidied[key] = tidy(item, properties[key], _below(where, key))
    return tidied


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """Return the types that ``schema`` allows, with a word that is none of them where it does not say."""
    return {choice.get("type", "unsaid") for choice in schema.get("anyOf", (schema,))}


def _unknown(key: str, known: list[str], where: str) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    known_ones = ", ".join(known) or "none"
    return f"{_below(where, key)[:100]} is no parameter; " + (
        f"did you mean {near[0]}?" if near else f"there are {known_ones}."
    )


def _below(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
