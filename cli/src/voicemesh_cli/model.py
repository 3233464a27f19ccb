"""Which model answers in a mesh, for a person to read."""

from __future__ import annotations

from pathlib import Path

from llm_svc.agent_model import ModelSpec, load_models
from svc_runtime.config import ConfigError
from svc_runtime.file_shelf import DEFAULT, version_of


def described(agent_file: str | Path) -> str:
    """Return the models of an agent file; empty where it cannot be read: llm-svc then says why."""
    try:
        models = load_models(Path(agent_file))
    except ConfigError:
        return ""
    fallback = f"; when that fails, {_named(models.fallback)}" if models.fallback else ""
    return _named(models.primary) + fallback


def reference(agent_file: str | Path) -> str:
    """Return what the services call the default agent; empty where its file cannot be read."""
    try:
        return f"{DEFAULT}@{version_of(Path(agent_file).read_bytes())}"
    except OSError:
        return ""


def _named(model: ModelSpec) -> str:
    # Whoever reads an answer of the scripted model must not take it for what a language model would say.
    return model.label + (" (plays a restaurant, no LLM)" if model.provider == "scripted" else "")
