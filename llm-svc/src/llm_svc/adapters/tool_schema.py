"""From type hints, or from the parameters of agent.toml, to the schema that a model is given and the check behind it.

msgspec makes both from one type, so they cannot differ: a struct is built whose fields are the parameters.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import GenericAlias
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from voicemesh_tools import ToolContext

from llm_svc.domain import docstring
from llm_svc.domain.tool_arguments import BadArguments, tidy
from llm_svc.domain.tools import MOST_ARGUMENTS_CHARS, Parameter

_WITH_SCHEMA = "str, int, float, bool, Literal, Enum, Optional, list, dict, a dataclass or a TypedDict"
_KINDS: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "object": dict[str, Any],
}


class NoSchema(Exception):
    """No schema can be made of a callable; the text says of which part, and what would be right."""


class _Field(NamedTuple):
    name: str
    hint: Any
    required: bool
    description: str = ""
    default: Any = None
    """Only told to the model: a parameter that is left out is left out of the call."""


class Arguments:
    """What a tool may be given. Raises NoSchema."""

    def __init__(self, fields: Sequence[_Field]) -> None:
        self._names = [field.name for field in fields]
        # Numbered and renamed, because an endpoint's parameter need not be a name in Python.
        self._struct = msgspec.defstruct(
            "Arguments",
            [
                (f"p{number}", field.hint)
                if field.required
                else (f"p{number}", field.hint | msgspec.UnsetType, msgspec.UNSET)
                for number, field in enumerate(fields)
            ],
            rename={f"p{number}": name for number, name in enumerate(self._names)},
            kw_only=True,
        )
        self.schema = _schema(self._struct, fields)

    def read(self, arguments_json: str) -> dict[str, Any]:
        """Return the arguments that were given, as the values that the hints name. Raises BadArguments."""
        if len(arguments_json) > MOST_ARGUMENTS_CHARS:
            raise BadArguments(f"The arguments are longer than {MOST_ARGUMENTS_CHARS:,} characters.")
        try:
            given = msgspec.json.decode(arguments_json) if arguments_json.strip() else {}
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise BadArguments("The arguments are not JSON.") from None
        if given is None:
            given = {}
        if not isinstance(given, dict):
            raise BadArguments("The arguments are not a JSON object.")
        try:
            values = msgspec.convert(tidy(given, self.schema), self._struct, strict=False)
        except (msgspec.ValidationError, RecursionError) as error:
            raise BadArguments(f"The arguments do not fit: {error}") from None
        named = ((name, getattr(values, f"p{number}")) for number, name in enumerate(self._names))
        return {name: value for name, value in named if value is not msgspec.UNSET}


class Signature(NamedTuple):
    """What a callable says of itself."""

    arguments: Arguments
    description: str
    """The first paragraph of its docstring; empty without one."""
    context_names: tuple[str, ...]
    """The parameters that want the context."""


def of_callable(function: Callable[..., Any]) -> Signature:
    """Return the signature of a function, a method, or an object that can be called. Raises NoSchema."""
    documented = docstring.parse(function.__doc__)
    fields, context_names = [], []
    for parameter, hint in _parameters(function):
        if hint is ToolContext:
            context_names.append(parameter.name)
            continue
        required = parameter.default is parameter.empty
        text = documented.parameters.get(parameter.name, "")
        fields.append(_Field(parameter.name, hint, required, text, None if required else parameter.default))
    return Signature(Arguments(fields), documented.description, tuple(context_names))


def of_parameters(parameters: Iterable[Parameter]) -> Arguments:
    """Return the arguments of an endpoint."""
    return Arguments(
        [
            _Field(parameter.name, _hint(parameter), parameter.required, parameter.description)
            for parameter in parameters
        ]
    )


def _hint(parameter: Parameter) -> Any:
    if parameter.one_of:
        return Literal[parameter.one_of]
    if parameter.kind == "array":
        return GenericAlias(list, (_KINDS[parameter.items],))
    return _KINDS[parameter.kind]


def _parameters(function: Callable[..., Any]) -> Iterator[tuple[inspect.Parameter, Any]]:
    hinted = function if inspect.isroutine(function) else type(function).__call__
    try:
        hints = typing.get_type_hints(hinted, include_extras=True)
    except Exception as error:  # noqa: BLE001 - hints are code of the owner's, which may fail in any way
        raise NoSchema(f"its type hints cannot be read: {error}") from None
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise NoSchema(f"{parameter} takes any number of arguments; name each parameter")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise NoSchema(f"parameter {parameter.name} goes by its place only; take the / out")
        if parameter.name not in hints:
            raise NoSchema(f"parameter {parameter.name} has no type hint; give it one of {_WITH_SCHEMA}")
        yield parameter, hints[parameter.name]


def _schema(struct: type, fields: Sequence[_Field]) -> dict[str, Any]:
    for field in fields:
        try:
            msgspec.json.schema_components([field.hint])
        except Exception:  # noqa: BLE001 - a hint is a value of the owner's, and msgspec promises no one error
            right = f"has no JSON schema; use {_WITH_SCHEMA}"
            raise NoSchema(f"parameter {field.name}: {inspect.formatannotation(field.hint)} {right}") from None
    classes = dict.fromkeys(class_ for field in fields for class_ in _classes(field.hint, set()))
    (root, *refs), components = msgspec.json.schema_components([struct, *classes])
    for class_, ref in zip(classes, refs, strict=True):
        hints = typing.get_type_hints(class_, include_extras=True)
        _describe(components[_name(ref)]["properties"], {name: _text(hint) for name, hint in hints.items()})
    schema = _inlined(root, components, ())
    _describe(schema["properties"], {field.name: _text(field.hint) or field.description for field in fields})
    for field in fields:
        if isinstance(field.default, str | int | float | bool | enum.Enum):
            schema["properties"][field.name]["default"] = msgspec.to_builtins(field.default)
    return schema


def _classes(hint: Any, seen: set[type]) -> Iterator[type]:
    """Yield each class with fields of its own that ``hint`` leads to."""
    for part in typing.get_args(hint):
        yield from _classes(part, seen)
    if isinstance(hint, type) and hint not in seen and (dataclasses.is_dataclass(hint) or typing.is_typeddict(hint)):
        seen.add(hint)
        yield hint
        for below in typing.get_type_hints(hint, include_extras=True).values():
            yield from _classes(below, seen)


def _text(hint: Any) -> str:
    """Return the description in an ``Annotated[type, "description"]``."""
    if typing.get_origin(hint) is not Annotated:
        # Required[...] and NotRequired[...] of a TypedDict.
        return next((text for part in typing.get_args(hint)[:1] if (text := _text(part))), "")
    return next((extra for extra in typing.get_args(hint)[1:] if isinstance(extra, str)), "")


def _describe(properties: Mapping[str, Any], texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        if text and name in properties:
            properties[name]["description"] = text


def _name(ref: Mapping[str, str]) -> str:
    return ref["$ref"].rpartition("/")[2]


def _inlined(schema: Mapping[str, Any], components: Mapping[str, Any], within: tuple[str, ...]) -> dict[str, Any]:
    """Return ``schema`` without references, which not every model's server follows, and without titles."""

    def inline(below: Any) -> Any:
        return _inlined(below, components, within) if isinstance(below, Mapping) else below

    if "$ref" in schema:
        name = _name(schema)
        if name in within:
            raise NoSchema(f"{name} contains itself; a model is given no type of endless depth")
        here = {key: value for key, value in schema.items() if key != "$ref"}
        return _inlined({**components[name], **here}, components, (*within, name))
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("title", "discriminator"):
            continue
        if key == "properties":
            made[key] = {name: inline(below) for name, below in value.items()}
        elif key in ("anyOf", "allOf", "prefixItems"):
            made[key] = [inline(below) for below in value]
        else:
            made[key] = inline(value) if key in ("items", "additionalProperties") else value
    if "properties" in made:
        made.setdefault("additionalProperties", False)
    if "enum" in made and all(isinstance(choice, str) for choice in made["enum"]):
        made["type"] = "string"  # Some servers refuse choices without one.
    return made
