"""The models of an agent file: the tables [model] and [model.fallback]."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from svc_runtime.file_shelf import FileShelf
from svc_runtime.metrics import Counters
from svc_runtime.toml_file import Section, TomlFile

from llm_svc.agent_tools import read_tools
from llm_svc.config import Settings

OPENAI_URL = "https://api.openai.com/v1"
HINT = "VOICEMESH_AGENT_FILE names the agent file"

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


def models(settings: Settings, counters: Counters) -> FileShelf[AgentModels]:
    """Return the models of every agent, without their keys, and look at their tools without loading them. Raises
    ConfigError with every problem of every file."""

    def read(_: str, file: TomlFile) -> AgentModels:
        read_tools(file)
        return models_in(file)

    return FileShelf(settings.agent_file, settings.agents_dir, read, counters=counters, required=True, hint=HINT)


def load_models(path: Path) -> AgentModels:
    """Return the models of the agent file at ``path``.

    Raises ConfigError with every problem: the file, the line, the key, its value, and what would be right.
    """
    file = TomlFile.read(path, hint=HINT)
    models = models_in(file)
    file.check()
    return models


def models_in(file: TomlFile) -> AgentModels:
    """Return the models of an agent file, or something like them after noting problems there."""
    table = file.root.section("model")
    second = table.section("fallback")
    primary = _spec(table)
    fallback = _spec(second) if "fallback" in table.tables else None
    file.root.leave("agent", "barge_in", "match", "owner", "slow_turn", "tools", "vapi")
    file.root.refuse_unknown()
    return AgentModels(primary, fallback)


def _spec(table: Section) -> ModelSpec:
    """Return the model of one table, or something like it after noting problems."""
    provider = table.text("provider", "", required=True, one_of=_PROVIDERS)
    spec = ModelSpec(
        provider=provider,
        name=_name(table, provider),
        base_url=table.value("base_url", OPENAI_URL, _is_url, f'a URL with http:// or https://, like "{OPENAI_URL}"'),
        temperature=table.number("temperature", None, least=0.0, most=2.0),
        max_tokens=table.whole("max_tokens", None),
        first_token_timeout_s=table.number("first_token_timeout_s", None, least=0.1, most=60.0),
        include_usage=table.switch("include_usage", False),
    )
    table.refuse_unknown()
    return spec


def _name(table: Section, provider: str) -> str:
    if provider == "scripted":
        right = f'"{_SCRIPTED_NAME}", the only scripted model'
        return table.text("name", _SCRIPTED_NAME, one_of=[_SCRIPTED_NAME], right=right)
    right = 'the model as its server calls it, for example "gpt-4.1-mini"'
    return table.text("name", "", required=provider == "openai", right=right)


def _is_url(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))
