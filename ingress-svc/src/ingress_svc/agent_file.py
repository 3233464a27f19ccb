"""What ingress reads in an agent file: which calls the agent claims, the apology, and what Vapi is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from svc_runtime.config import ConfigError
from svc_runtime.file_shelf import DEFAULT, FileShelf, Version
from svc_runtime.kept_versions import KeptVersions
from svc_runtime.metrics import Counters
from svc_runtime.toml_file import TomlFile

from ingress_svc.config import APOLOGY, Config
from ingress_svc.domain.agents import Match, Scalar, clashes, e164
from ingress_svc.domain.answers import Plan
from ingress_svc.domain.fields import visible
from ingress_svc.domain.owner_post import OwnersSystem
from ingress_svc.domain.slow_turn import SlowTurn
from ingress_svc.owner_settings import read_owner
from ingress_svc.slow_turn_settings import read_slow_turn
from ingress_svc.vapi_settings import read_plan

_WAYS = ("numbers", "assistant_ids", "metadata")


@dataclass(frozen=True, slots=True)
class Agent:
    apology: str = APOLOGY
    """What it says when its model fails."""
    plan: Plan = field(default_factory=Plan)
    """What it answers when Vapi asks."""
    slow_turn: SlowTurn = field(default_factory=SlowTurn)
    """What is done when its model is slow."""
    owner: OwnersSystem = field(default_factory=OwnersSystem)
    """Where its owner is told of its calls."""
    match: Match = field(default_factory=Match)
    places: Mapping[str, str] = field(default_factory=dict)
    """By key of [match], `file:line`."""


def agents(config: Config, counters: Counters, kept: KeptVersions | None = None) -> FileShelf[Agent]:
    """Return every agent. Raises ConfigError with every problem of every file."""

    def read(name: str, file: TomlFile) -> Agent:
        agent = agent_in(name, file)
        if agent.plan.urls and not config.owner_secret:
            problem = "names a url, and VOICEMESH_OWNER_SECRET is not set"
            file.add_problem(f"[vapi] {problem}: that server could not tell our requests from a stranger's", "vapi")
        if agent.owner.url and not config.owner_secret:
            problem = "[owner] names a url, and VOICEMESH_OWNER_SECRET is not set"
            file.add_problem(f"{problem}: that system could not tell our reports from a stranger's", "owner")
        return agent

    return FileShelf(config.agent_file, config.agents_dir, read, counters=counters, check=refuse_clashes, kept=kept)


def agent_in(name: str, file: TomlFile) -> Agent:
    """Return what ``file`` says; its problems are noted there."""
    agent = file.root.section("agent")
    apology = agent.text("apology", APOLOGY)
    agent.leave("builtin_tools", "prompt")
    agent.refuse_unknown()
    match = _match_in(name, file)
    plan = read_plan(file.root, Path(file.name).parent)
    slow_turn = read_slow_turn(file.root)
    owner = read_owner(file.root)
    file.root.leave("barge_in", "model", "tools")
    file.root.refuse_unknown()
    return Agent(apology, plan, slow_turn, owner, match, {way: file.place("match", way) for way in _WAYS})


def refuse_clashes(versions: Mapping[str, Version[Agent]]) -> None:
    """Raise ConfigError where two agents claim the same calls."""
    problems = []
    for one, other, key in clashes({name: version.value.match for name, version in versions.items()}):
        first, second = versions[one].value.places[key], versions[other].value.places[key]
        what = "could be asked for by the same call as" if key == "metadata" else "names one that is claimed at"
        right = "add a pair to one of them" if key == "metadata" else "leave it to one of the two agents"
        problems.append(f"{second}: [match] {key} {what} {first}; {right}")
    if problems:
        raise ConfigError("\n".join(problems))


def _match_in(name: str, file: TomlFile) -> Match:
    if name == DEFAULT:
        if file.root.has("match"):
            file.add_problem("[match] is not for the default agent, which takes what no other claims", "match")
        file.root.leave("match")
        return Match()
    table = file.root.section("match")
    numbers = table.value("numbers", [], _all(e164), "a list of numbers in E.164, such as +15005550006", private=True)
    ids = table.value("assistant_ids", [], _all(visible), "a list of assistant ids as Vapi shows them", private=True)
    right = "a table with at least one pair, each a text, a number, true or false"
    metadata = table.value("metadata", {}, _is_metadata, right, private=True)
    table.refuse_unknown()
    if not any(map(table.has, _WAYS)):
        file.add_problem(f"[match] claims no call; give it one of {', '.join(_WAYS)}", "match", absent=True)
    return Match(frozenset(map(e164, numbers)), frozenset(ids), metadata)


def _all(read: Callable[[object], str]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and bool(value) and all(map(read, value))


def _is_metadata(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(one, Scalar) for one in value.values())
