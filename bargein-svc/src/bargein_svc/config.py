"""Settings of bargein-svc, and the policy in agent.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svc_runtime.config import ConfigError, setting

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
_KEYS = ("language", "min_words", "greeting_interruptible", *_EXTRA)


@dataclass(frozen=True, slots=True)
class Settings:
    """Read from ``VOICEMESH_*`` variables. What counts as an interruption stands in agent.toml instead."""

    listen: str = setting(
        "VOICEMESH_BARGEIN_LISTEN", "127.0.0.1:50052", meaning="host:port on which bargein-svc listens."
    )
    http: str = setting(
        "VOICEMESH_BARGEIN_HTTP",
        "",
        meaning="host:port on which bargein-svc answers GET /metrics, /healthz and /readyz; empty for none.",
    )
    agent_file: str = setting("VOICEMESH_AGENT_FILE", "agent.toml", meaning="The agent: model, greeting, barge-in.")
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


def load_policy(agent_file: str) -> Policy:
    """Return the policy in ``[barge_in]`` of the agent's file, with defaults where it says nothing.

    Raises ConfigError listing every problem with the file, the key and what would be right.
    """
    path = Path(agent_file)
    if not path.exists():
        return Policy()
    try:
        agent = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from error
    section = agent.get("barge_in", {})
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: barge_in must be a section, [barge_in]")
    reader = _Section(section)
    policy = reader.policy()
    if reader.problems:
        raise ConfigError("\n".join(f"{path}: [barge_in] {problem}" for problem in reader.problems))
    return policy


class _Section:
    """Reads ``[barge_in]``, going on after a problem so that all are told at once."""

    def __init__(self, section: Mapping[str, Any]) -> None:
        self._section = section
        self.problems = [f"{key} is not a setting; there are {', '.join(_KEYS)}" for key in section if key not in _KEYS]

    def policy(self) -> Policy:
        min_words = self._get("min_words", 2)
        if type(min_words) is not int or not 0 <= min_words <= _MOST_MIN_WORDS:
            self.problems.append(f"min_words={min_words!r} must be a whole number from 0 to {_MOST_MIN_WORDS}")
            min_words = 2
        interruptible = self._get("greeting_interruptible", True)
        if not isinstance(interruptible, bool):
            self.problems.append(f"greeting_interruptible={interruptible!r} must be true or false")
        extra = {kind: self._phrases(key) for key, kind in _EXTRA.items()}
        return Policy(
            min_words=min_words,
            greeting_interruptible=interruptible is not False,
            phrases=PhraseBook([PACKS[language] for language in self._languages()], extra),
        )

    def _languages(self) -> list[str]:
        language = self._get("language", "en")
        languages = language if isinstance(language, list) else [language]
        unknown = [one for one in languages if not isinstance(one, str) or one not in PACKS]
        if unknown or not languages:
            self.problems.append(f"language={language!r} must be one of {', '.join(PACKS)}, or a list of them")
            return ["en"]
        return languages

    def _phrases(self, key: str) -> list[str]:
        phrases = self._get(key, [])
        if isinstance(phrases, list) and all(_has_word(phrase) for phrase in phrases):
            return phrases
        self.problems.append(f"{key}={phrases!r} must be a list of phrases with at least one word each")
        return []

    def _get(self, key: str, default: Any) -> Any:
        return self._section.get(key, default)


def _has_word(phrase: object) -> bool:
    return isinstance(phrase, str) and any(character.isalnum() for character in phrase)
