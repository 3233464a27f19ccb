"""From settings and agent files to the models that may be asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from svc_runtime.file_shelf import FileShelf
from svc_runtime.kept_versions import KeptVersions
from svc_runtime.metrics import Counters
from svc_runtime.toml_file import TomlFile

from llm_svc.adapters.generation import Contender
from llm_svc.adapters.model import Model
from llm_svc.adapters.runners import Runners
from llm_svc.adapters.scripted import ScriptedModel
from llm_svc.adapters.tool import Toolset
from llm_svc.agent_model import HINT, OPENAI_URL, AgentModels, ModelSpec, models_in
from llm_svc.agent_tools import read_tools
from llm_svc.config import Settings
from llm_svc.domain.breaker import Breaker, BreakerLimits
from llm_svc.tool_wiring import Workshop


@dataclass(frozen=True, slots=True)
class Keyed:
    """A model and the key that it is asked with. Agents of which two are equal share one client and one breaker."""

    spec: ModelSpec
    api_key: str = field(default="", repr=False)
    key_variable: str = field(default="", compare=False)
    """Where the key comes from, for who has not set it."""


Lineup = tuple[Keyed, ...]
"""An agent's models: the first, and the one that is asked when that fails."""


@dataclass(frozen=True, slots=True)
class Agent:
    """What an agent's file says, ready to be used."""

    lineup: Lineup
    tools: Toolset


def agents(
    settings: Settings, workshop: Workshop, counters: Counters, kept: KeptVersions | None = None
) -> FileShelf[Agent]:
    """Return every agent. Raises ConfigError with every problem of every file."""

    def read(_: str, file: TomlFile) -> Agent:
        lineup = lineup_of(settings, models_in(file))
        for place, one in zip((("model",), ("model", "fallback")), lineup, strict=False):
            if file.is_sound and (problem := missing_key(one)):
                file.add_problem(f"[{'.'.join(place)}] {problem}", *place)
        specs = read_tools(file)
        return Agent(lineup, workshop.toolset(specs, file) if file.is_sound else Toolset({}))

    return FileShelf(
        settings.agent_file, settings.agents_dir, read, counters=counters, required=True, hint=HINT, kept=kept
    )


def runners(settings: Settings, shelf: FileShelf[Agent]) -> Runners[Keyed]:
    """Return what runs the agents' generations."""
    return Runners(
        lambda agent: shelf.of(agent).value.lineup,
        lambda: [version.value.lineup for version in shelf.versions()],
        lambda one: contender(settings, one),
        token_gap_s=settings.token_gap_s,
        total_s=settings.total_s,
    )


def lineup_of(settings: Settings, models: AgentModels) -> Lineup:
    """Return an agent's models with their keys. A key never goes to a server that it was not given for."""
    primary = _keyed(models.primary, settings.openai_api_key, "VOICEMESH_OPENAI_API_KEY")
    second = models.fallback
    if second is None:
        return (primary,)
    if models.primary.provider != "openai" or second.base_url == models.primary.base_url:
        key = settings.openai_fallback_api_key or settings.openai_api_key
        return primary, _keyed(second, key, "VOICEMESH_OPENAI_API_KEY")
    return primary, _keyed(second, settings.openai_fallback_api_key, "VOICEMESH_OPENAI_FALLBACK_API_KEY")


def missing_key(one: Keyed) -> str:
    """Return what is wrong with a model that needs a key and has none; "" where it needs none."""
    if one.spec.provider != "openai" or one.spec.base_url != OPENAI_URL or one.api_key:
        return ""
    return (
        f"asks {one.spec.label} at {one.spec.base_url}, and {one.key_variable} is not set; set the key, "
        'or a base_url that needs none, or provider = "scripted"'
    )


def contender(settings: Settings, one: Keyed) -> Contender:
    """Return a model ready to be asked. The first with provider openai takes seconds: see below."""
    limits = BreakerLimits(failures_in_a_row=settings.breaker_failures, pause_s=settings.breaker_pause_s)
    first_token_s = one.spec.first_token_timeout_s or settings.first_token_s
    return Contender(_model(settings, one), Breaker(limits), first_token_s)


def _keyed(spec: ModelSpec, api_key: str, key_variable: str) -> Keyed:
    # A scripted model is the same one with any key.
    return Keyed(spec, api_key if spec.provider == "openai" else "", key_variable)


def _model(settings: Settings, one: Keyed) -> Model:
    spec = one.spec
    if spec.provider == "scripted":
        return ScriptedModel(
            first_token_ms=settings.scripted_first_token_ms,
            token_ms=settings.scripted_token_ms,
            max_tokens=spec.max_tokens,
        )
    # Importing the client takes seconds, which a process with only the scripted model is spared.
    from llm_svc.adapters.openai import OpenAiModel

    return OpenAiModel(
        name=spec.name,
        base_url=spec.base_url,
        api_key=one.api_key,
        temperature=spec.temperature,
        max_tokens=spec.max_tokens,
        include_usage=spec.include_usage,
    )
