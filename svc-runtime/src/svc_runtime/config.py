"""Settings: one frozen dataclass a service, read from ``VOICEMESH_*`` variables.

A field is declared with `setting`, which names its variable, its default and what it means. `load` reads them all and
reports every problem at once. A secret may also stand in a file that ``<VARIABLE>_FILE`` names. `describe` lists the
settings for the table in docs.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

C = TypeVar("C")

_REQUIRED = object()


class ConfigError(Exception):
    """The settings cannot be used; the message lists every problem, one to a line."""


class Setting(NamedTuple):
    """One row of the settings table."""

    variable: str
    default: str
    meaning: str
    secret: bool


def setting(
    variable: str, default: Any = _REQUIRED, *, meaning: str, secret: bool = False, may_be_empty: bool = False
) -> Any:
    """Declare a field of a settings dataclass.

    ``meaning`` is one sentence for the table, with the unit and the reason for the number. Without ``default`` the
    variable must be set. An empty ``secret`` is a problem, unless it ``may_be_empty`` because the service itself judges
    it. Supported field types: str, int, float, bool (on/off), and tuple[str, ...] (commas).
    """
    metadata = {"variable": variable, "meaning": meaning, "secret": secret, "required": default is _REQUIRED}
    metadata["may_be_empty"] = may_be_empty
    if default is _REQUIRED:
        return field(metadata=metadata, kw_only=True)
    return field(default=default, metadata=metadata, kw_only=True)


def load(config: type[C], env: Mapping[str, str]) -> C:
    """Return ``config`` filled from ``env``.

    Raises ConfigError naming every variable that is missing, empty where it must not be, or of the wrong form.
    """
    hints = typing.get_type_hints(config)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for spec in dataclasses.fields(typing.cast(Any, config)):
        variable = spec.metadata["variable"]
        try:
            raw = _secret(spec.metadata, env) if spec.metadata["secret"] else env.get(variable)
            if raw is None:
                if spec.default is MISSING:
                    problems.append(f"{variable} is not set: {spec.metadata['meaning']}")
                continue
            values[spec.name] = _PARSERS[hints[spec.name]](raw)
        except ValueError as error:
            text = str(error)
            problems.append(f"{variable}{'' if text.startswith('=') else ' '}{text}")
    if problems:
        raise ConfigError("\n".join(problems))
    return config(**values)


def describe(config: type) -> list[Setting]:
    """Return the rows of ``config`` for the settings table, in the order of its fields."""
    rows = []
    for spec in dataclasses.fields(config):
        default = "required" if spec.default is MISSING else _show(spec.default)
        rows.append(Setting(spec.metadata["variable"], default, spec.metadata["meaning"], spec.metadata["secret"]))
    return rows


def is_set(variable: str, env: Mapping[str, str]) -> bool:
    """Whether a secret is given, by its variable or by its file. An empty one is: nothing else stands in for it."""
    return variable in env or f"{variable}_FILE" in env


def secret_in(variable: str, env: Mapping[str, str]) -> str:
    """Return a secret as `load` reads it; "" for one that is empty or not set. Raises ConfigError."""
    try:
        return _text_of_secret(variable, env) or ""
    except ValueError as error:
        raise ConfigError(f"{variable} {error}") from error


def _secret(metadata: Mapping[str, Any], env: Mapping[str, str]) -> str | None:
    value = _text_of_secret(metadata["variable"], env)
    if value is not None and not value.strip() and not metadata["may_be_empty"]:
        raise ValueError("is empty; a secret needs at least one character")
    return value


def _text_of_secret(variable: str, env: Mapping[str, str]) -> str | None:
    path = env.get(f"{variable}_FILE")
    value = env.get(variable)
    if path is not None and value is not None:
        raise ValueError(f"and {variable}_FILE are both set; keep one")
    if path == "":
        raise ValueError(f"cannot be read: {variable}_FILE is set and names no file; name one, or unset it")
    if path is not None:
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValueError(f"cannot be read from {variable}_FILE={path!r}: {error.strerror}") from error
    return value


def _whole(raw: str) -> int:
    try:
        return int(raw)
    except ValueError:
        raise ValueError(f"={raw!r} is not a whole number") from None


def _number(raw: str) -> float:
    try:
        return float(raw)
    except ValueError:
        raise ValueError(f"={raw!r} is not a number") from None


def _switch(raw: str) -> bool:
    words = {"on": True, "true": True, "1": True, "yes": True, "off": False, "false": False, "0": False, "no": False}
    if raw.strip().lower() not in words:
        raise ValueError(f"={raw!r} is neither on nor off")
    return words[raw.strip().lower()]


def _list(raw: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in raw.split(",") if part.strip())


_PARSERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: _whole,
    float: _number,
    bool: _switch,
    tuple[str, ...]: _list,
}


def _show(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)
