"""What each service would refuse to start with, read as it reads it, before any is started."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bargein_svc import config as bargein
from ingress_svc import agent_file as ingress_agents
from ingress_svc import config as ingress
from ingress_svc.auth import auth
from ingress_svc.control_settings import control_hosts, control_token
from llm_svc import config as llm
from llm_svc.agent_model import models
from session_svc import config as session
from svc_runtime.budget import Budget
from svc_runtime.config import ConfigError, load
from svc_runtime.file_shelf import DEFAULT
from svc_runtime.kept_versions import KeptVersions
from svc_runtime.metrics import Counters

from voicemesh_cli.child import Service

CONFIGS: Mapping[str, type] = {
    "ingress-svc": ingress.Config,
    "session-svc": session.Config,
    "bargein-svc": bargein.Settings,
    "llm-svc": llm.Settings,
}
Read = Callable[[Any], object]
SETTINGS: Mapping[str, tuple[Read, ...]] = {
    "ingress-svc": (auth, control_hosts, control_token),
    "session-svc": (session.sync_of,),
}
"""By service, what it makes of its settings besides reading them."""
AGENTS: Mapping[str, Read] = {
    "llm-svc": lambda settings: models(settings, Counters()),
    "session-svc": lambda config: session.agents(config, Counters()),
    "bargein-svc": lambda settings: bargein.agents(settings, Counters()),
    "ingress-svc": lambda config: ingress_agents.agents(config, Counters()),
}
"""By service, how it reads the agent files; llm-svc imports the tools too, which is left to it."""


def complaints(services: tuple[Service, ...]) -> list[tuple[str, str]]:
    """Return (service, problem) of each that would refuse to start, one line a problem."""
    return [(service.name, line) for service in services for line in _of(service.name, service.env)]


def problems(read: Callable[..., object], *given: object) -> Iterator[str]:
    """Yield what is wrong, one line a problem."""
    try:
        read(*given)
    except ConfigError as error:
        yield from str(error).splitlines()


def of_settings(name: str, env: Mapping[str, str]) -> Iterator[str]:
    """Yield what a service has against its settings, but not against the files that they name."""
    try:
        config: Any = load(CONFIGS[name], env)
    except ConfigError as error:
        yield from str(error).splitlines()
        return
    for read in SETTINGS.get(name, ()):
        yield from problems(read, config)


def _of(name: str, env: Mapping[str, str]) -> Iterator[str]:
    yield from of_settings(name, env)
    try:
        config: Any = load(CONFIGS[name], env)
    except ConfigError:
        return
    if isinstance(config, ingress.Config):
        yield from problems(Budget.load, config.budget_file)
    # With a version that was good before, the service starts; what is wrong it says itself.
    if KeptVersions(config.agent_versions, name).last_good(DEFAULT, Path(config.agent_file)) is None:
        yield from problems(AGENTS[name], config)
