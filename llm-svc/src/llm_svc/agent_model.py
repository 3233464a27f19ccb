"""The models of agent.toml: the tables [model] and [model.fallback]."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svc_runtime.config import ConfigError

OPENAI_URL = "https://api.openai.com/v1"

_PROVIDERS = ("scripted", "openai")
_SCRIPTED_NAME = "booking"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model and how to ask it."""

    provider: str
    """scripted, or openai for any server that speaks its chat completions."""
    name: str
    base_url: str = OPENAI_URL
    temperature: float | None = None
    max_tokens: int | None = None
    first_token_timeout_s: float | None = None
    """None for VOICEMESH_LLM_FIRST_TOKEN_S."""
    include_usage: bool = False
    """Ask for token counts with ``stream_options``, which some servers refuse."""

    @property
    def label(self) -> str:
        """Return provider and name, as logs and spans have it."""
        return f"{self.provider}/{self.name}"


@dataclass(frozen=True, slots=True)
class AgentModels:
    """Whom to ask, and whom when that fails."""

    primary: ModelSpec
    fallback: ModelSpec | None = None


def load_models(path: Path) -> AgentModels:
    """Return the models of the agent file at ``path``.

    Raises ConfigError with every problem: the file, the key, its value, and what would be right.
    """
    try:
        with path.open("rb") as file:
            agent = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; VOICEMESH_AGENT_FILE names the agent file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    table = agent.get("model")
    if not isinstance(table, dict):
        raise ConfigError(f'{path}: has no table [model]; the least is provider = "scripted"')
    problems: list[str] = []
    fallback = table.get("fallback")
    primary = _spec({key: value for key, value in table.items() if key != "fallback"}, "model", problems)
    second = None
    if isinstance(fallback, dict):
        second = _spec(fallback, "model.fallback", problems)
    elif fallback is not None:
        problems.append(f"model.fallback = {fallback!r} is not a table; write [model.fallback]")
    if problems:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in problems))
    return AgentModels(primary, second)


def _spec(table: Mapping[str, Any], where: str, problems: list[str]) -> ModelSpec:
    """Return the model of one table, or something like it after adding to ``problems``."""
    reader = _Reader(table, where, problems)
    provider = reader.text("provider", "")
    if provider not in _PROVIDERS:
        wrong = f"is {provider!r}" if provider else "is missing"
        problems.append(f'{where}.provider {wrong}; it is one of "scripted", "openai"')
    name = reader.text("name", _SCRIPTED_NAME if provider == "scripted" else "")
    if provider == "scripted" and name != _SCRIPTED_NAME:
        problems.append(f'{where}.name is {name!r}; the only scripted model is "{_SCRIPTED_NAME}"')
    if provider == "openai" and not name:
        problems.append(f'{where}.name is missing; give the model as its server calls it, for example "gpt-4.1-mini"')
    base_url = reader.text("base_url", OPENAI_URL)
    if not base_url.startswith(("http://", "https://")):
        problems.append(f'{where}.base_url is {base_url!r}; it begins with http:// or https://, like "{OPENAI_URL}"')
    spec = ModelSpec(
        provider=provider,
        name=name,
        base_url=base_url,
        temperature=reader.number("temperature", 0.0, 2.0),
        max_tokens=reader.whole("max_tokens"),
        first_token_timeout_s=reader.number("first_token_timeout_s", 0.1, 60.0),
        include_usage=reader.switch("include_usage"),
    )
    reader.refuse_unknown()
    return spec


class _Reader:
    """Takes typed values out of one TOML table."""

    def __init__(self, table: Mapping[str, Any], where: str, problems: list[str]) -> None:
        self._table = table
        self._where = where
        self._problems = problems
        self._known: list[str] = []

    def text(self, key: str, default: str) -> str:
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, str):
            self._wrong(key, value, "a text in quotes")
            return default
        return value

    def number(self, key: str, least: float, most: float) -> float | None:
        value = self._take(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            self._wrong(key, value, f"a number from {least:g} to {most:g}")
            return None
        return float(value)

    def whole(self, key: str) -> int | None:
        value = self._take(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self._wrong(key, value, "a whole number above 0")
            return None
        return value

    def switch(self, key: str) -> bool:
        value = self._take(key)
        if value is not None and not isinstance(value, bool):
            self._wrong(key, value, "true or false")
        return value is True

    def refuse_unknown(self) -> None:
        """Report keys that nobody asked for: a typo would otherwise silently leave a default in force."""
        for key in sorted(set(self._table) - set(self._known)):
            self._problems.append(f"{self._where}.{key} is not known; the keys are {', '.join(sorted(self._known))}")

    def _take(self, key: str) -> Any:
        self._known.append(key)
        return self._table.get(key)

    def _wrong(self, key: str, value: object, right: str) -> None:
        self._problems.append(f"{self._where}.{key} = {value!r} is not {right}")
