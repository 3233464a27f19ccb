"""The policy in an agent file."""

from __future__ import annotations

from pathlib import Path

import pytest
from bargein_svc.config import policy_in
from bargein_svc.domain.phrases import Kind
from bargein_svc.domain.verdict import Policy
from svc_runtime.config import ConfigError
from svc_runtime.toml_file import TomlFile


def policy(tmp_path: Path, text: str) -> Policy:
    path = tmp_path / "agent.toml"
    path.write_text(text, encoding="utf-8")
    file = TomlFile.read(path, hint="")
    read = policy_in(file)
    file.check()
    return read


@pytest.mark.parametrize("text", ["", "[agent]\nname = 'Ana'\n[model]\n[match]\n", "[barge_in]\n"])
def test_what_the_file_does_not_say_has_its_default(tmp_path: Path, text: str) -> None:
    loaded = policy(tmp_path, text)
    assert (loaded.min_words, loaded.greeting_interruptible, loaded.phrases.languages) == (2, True, ("en",))


def test_the_section_is_read(tmp_path: Path) -> None:
    loaded = policy(
        tmp_path,
        """
        [barge_in]
        language = ["es", "en"]
        min_words = 3
        greeting_interruptible = false
        stop_phrases = ["red light"]
        acknowledgement_phrases = ["roger that"]
        """,
    )
    assert (loaded.min_words, loaded.greeting_interruptible, loaded.phrases.languages) == (3, False, ("es", "en"))
    assert loaded.phrases.read("Red light!", final=True, min_words=3).kind is Kind.STOP
    assert loaded.phrases.read("roger that", final=True, min_words=3).kind is Kind.ACKNOWLEDGEMENT


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[barge_in", "is not TOML"),
        ("barge_in = 3", "barge_in = 3 is not a table; write [barge_in]"),
        ("[bargein]\nmin_words = 3", ":1: [bargein] is not known; did you mean barge_in?"),
        ("[barge_in]\nmin_word = 3", ":2: [barge_in] min_word is not known; did you mean min_words?"),
        ("[barge_in]\nvoice = 3", "[barge_in] voice is not known; the keys are acknowledgement_phrases, correction_"),
        ("[barge_in]\nmin_words = 11", "[barge_in] min_words = 11 is not a whole number from 0 to 10"),
        ("[barge_in]\nmin_words = true", "min_words = true is not a whole number"),
        ("[barge_in]\nlanguage = 'de'", 'language = "de" is not one of "en", "es", or a list of them'),
        ("[barge_in]\nlanguage = []", "language = [] is not one of"),
        ("[barge_in]\ngreeting_interruptible = 'no'", 'greeting_interruptible = "no" is not true or false'),
        ("[barge_in]\nstop_phrases = 'halt'", 'stop_phrases = "halt" is not a list of phrases'),
        ("[barge_in]\nstop_phrases = ['...', '_']", 'stop_phrases = ["...", "_"] is not a list of phrases'),
    ],
)
def test_a_mistake_is_told_with_file_key_and_what_is_right(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        policy(tmp_path, text)
    assert problem in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'agent.toml'}:")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        policy(tmp_path, "[barge_in]\nmin_words = -1\nlanguage = 'xx'\nminwords = 2\n")
    assert len(str(error.value).splitlines()) == 3
