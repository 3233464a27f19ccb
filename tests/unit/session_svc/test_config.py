"""What agent.toml says of the conversation."""

from __future__ import annotations

from pathlib import Path

import pytest
from session_svc.config import Config, policy
from svc_runtime.config import ConfigError


def prompt(tmp_path: Path, text: str) -> str:
    path = tmp_path / "agent.toml"
    path.write_text(text, encoding="utf-8")
    return policy(Config(agent_file=str(path))).prompt


def test_the_prompt_is_the_files_or_none(tmp_path: Path) -> None:
    assert prompt(tmp_path, '[agent]\nprompt = "Be brief."\napology = "Sorry."') == "Be brief."
    assert prompt(tmp_path, '[agent]\nprompt = ""') == ""
    assert prompt(tmp_path, '[agent]\nname = "Ana"') == ""
    assert policy(Config(agent_file=str(tmp_path / "none.toml"), idle_s=1.5)).idle_ms == 1500


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[agent]\nprompt = 3", "[agent] prompt = 3 is not a text in quotes"),
        ('[agent]\npromt = "x"', "[agent] promt is not known; did you mean prompt?"),
        ("agent = 3", "agent = 3 is not a table; write [agent]"),
    ],
)
def test_a_mistake_is_told_with_file_key_and_what_is_right(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        prompt(tmp_path, text)
    assert str(raised.value) == f"{tmp_path / 'agent.toml'}: {problem}"
