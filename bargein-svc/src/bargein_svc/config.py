"""Settings of bargein-svc, and the policy in an agent file."""

from __future__ import annotations

from dataclasses import dataclass

from svc_runtime.config import setting
from svc_runtime.file_shelf import FileShelf
from svc_runtime.kept_versions import KeptVersions
from svc_runtime.metrics import Counters
from svc_runtime.shelf_settings import ShelfSettings
from svc_runtime.toml_file import TomlFile

from bargein_svc.domain.packs import PACKS
from bargein_svc.domain.phrases import Kind, PhraseBook
from bargein_svc.domain.verdict import Policy

_MOST_MIN_WORDS = 10
"""As Vapi's `numWords`; an agent that needs more cannot be interrupted."""
_EXTRA = {
    "stop_phrases": Kind.STOP,
    "correction_phrases": Kind.CORRECTION,
    "acknowledgement_phrases": Kind.ACKNOWLEDGEMENT,
}


@dataclass(frozen=True, slots=True)
class Settings(ShelfSettings):
    """Read from ``VOICEMESH_*`` variables. What counts as an interruption stands in the agent files instead."""

    listen: str = setting(
        "VOICEMESH_BARGEIN_LISTEN", "127.0.0.1:50052", meaning="host:port on which bargein-svc listens."
    )
    http: str = setting(
        "VOICEMESH_BARGEIN_HTTP",
        "",
        meaning="host:port on which bargein-svc answers GET /metrics, /healthz and /readyz; empty for none.",
    )
    max_calls: int = setting(
        "VOICEMESH_BARGEIN_MAX_CALLS",
        20_000,
        meaning="Calls that a replica of bargein-svc remembers, at most 4 kB each; over it the longest silent one is "
        "forgotten and judged by words alone.",
    )
    idle_s: float = setting(
        "VOICEMESH_SESSION_IDLE_S", 300.0, meaning="Seconds without any event after which a call is given up."
    )
    otlp_endpoint: str = setting(
        "VOICEMESH_OTLP_ENDPOINT", "", meaning="host:port of an OTLP receiver for spans; empty for none."
    )
    log_level: str = setting("VOICEMESH_LOG_LEVEL", "info", meaning="debug, info, warning or error.")
    drain_s: float = setting(
        "VOICEMESH_DRAIN_S", 8.0, meaning="Seconds that running work gets after SIGTERM before it is cut off."
    )


def agents(settings: Settings, counters: Counters, kept: KeptVersions | None = None) -> FileShelf[Policy]:
    """Return every agent's policy. Raises ConfigError with every problem of every file."""
    return FileShelf(
        settings.agent_file, settings.agents_dir, lambda _, file: policy_in(file), counters=counters, kept=kept
    )


def policy_in(file: TomlFile) -> Policy:
    """Return the policy in ``[barge_in]`` of an agent file, with defaults where it says nothing.

    Notes every problem in ``file``; of what is wrong the defaults stand in.
    """
    section = file.root.section("barge_in")
    packs = ", ".join(f'"{name}"' for name in PACKS)
    languages = section.value("language", "en", _are_languages, f"one of {packs}, or a list of them")
    min_words = section.whole("min_words", 2, least=0, most=_MOST_MIN_WORDS)
    interruptible = section.switch("greeting_interruptible", True)
    extra = {
        kind: section.value(key, [], _are_phrases, "a list of phrases with at least one word each")
        for key, kind in _EXTRA.items()
    }
    section.refuse_unknown()
    file.root.leave("agent", "match", "model", "owner", "slow_turn", "tools", "vapi")
    file.root.refuse_unknown()
    names = [languages] if isinstance(languages, str) else languages
    return Policy(
        min_words=min_words,
        greeting_interruptible=interruptible,
        phrases=PhraseBook([PACKS[name] for name in names], extra),
    )


def _are_languages(value: object) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) and name in PACKS for name in names)


def _are_phrases(value: object) -> bool:
    return isinstance(value, list) and all(_has_word(phrase) for phrase in value)


def _has_word(phrase: object) -> bool:
    return isinstance(phrase, str) and any(character.isalnum() for character in phrase)
