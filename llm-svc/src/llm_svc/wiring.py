"""From settings and agent.toml to a runner."""

from __future__ import annotations

from svc_runtime.config import ConfigError

from llm_svc.adapters.generation import Contender, Runner
from llm_svc.adapters.model import Model
from llm_svc.adapters.scripted import ScriptedModel
from llm_svc.agent_model import OPENAI_URL, AgentModels, ModelSpec
from llm_svc.config import Settings
from llm_svc.domain.breaker import Breaker, BreakerLimits


def build_runner(settings: Settings, models: AgentModels) -> tuple[Runner, tuple[Model, ...]]:
    """Return the runner and the models it asks, which want `warm_up` and `close`. Raises ConfigError."""
    second = models.fallback
    primary = _contender(settings, models.primary, settings.openai_api_key, "VOICEMESH_OPENAI_API_KEY")
    fallback = None
    if second is not None:
        if models.primary.provider != "openai" or second.base_url == models.primary.base_url:
            key = settings.openai_fallback_api_key or settings.openai_api_key
            fallback = _contender(settings, second, key, "VOICEMESH_OPENAI_API_KEY")
        else:
            key = settings.openai_fallback_api_key
            fallback = _contender(settings, second, key, "VOICEMESH_OPENAI_FALLBACK_API_KEY")
    runner = Runner(primary, fallback, token_gap_s=settings.token_gap_s, total_s=settings.total_s)
    return runner, (primary.model, fallback.model) if fallback else (primary.model,)


def _contender(settings: Settings, spec: ModelSpec, api_key: str, key_variable: str) -> Contender:
    limits = BreakerLimits(failures_in_a_row=settings.breaker_failures, pause_s=settings.breaker_pause_s)
    model = _model(settings, spec, api_key, key_variable)
    return Contender(model, Breaker(limits), spec.first_token_timeout_s or settings.first_token_s)


def _model(settings: Settings, spec: ModelSpec, api_key: str, key_variable: str) -> Model:
    if spec.provider == "scripted":
        return ScriptedModel(
            first_token_ms=settings.scripted_first_token_ms,
            token_ms=settings.scripted_token_ms,
            max_tokens=spec.max_tokens,
        )
    if spec.base_url == OPENAI_URL and not api_key:
        raise ConfigError(
            f"{key_variable} is not set, but agent.toml names {spec.label} at {spec.base_url}; set the key, "
            'or a base_url that needs none, or provider = "scripted"'
        )
    # Importing the client takes seconds, which a process with only the scripted model is spared.
    from llm_svc.adapters.openai import OpenAiModel

    return OpenAiModel(
        name=spec.name,
        base_url=spec.base_url,
        api_key=api_key,
        temperature=spec.temperature,
        max_tokens=spec.max_tokens,
        include_usage=spec.include_usage,
    )
