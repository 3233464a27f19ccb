"""What an agent file says of the conversation."""

from __future__ import annotations

from pathlib import Path

import pytest
from session_svc.config import Config, policy_in
from svc_runtime.config import ConfigError
from svc_runtime.toml_file import TomlFile


def prompt(tmp_path: Path, text: str) -> str:
    path = tmp_path / "agent.toml"
    path.write_text(text, encoding="utf-8")
    file = TomlFile.read(path, hint="")
    policy = policy_in(file, Config(idle_s=1.5))
    assert policy.idle_ms == 1500
    file.check()
    return policy.prompt


def test_the_prompt_is_the_files_or_none(tmp_path: Path) -> None:
    assert prompt(tmp_path, '[agent]\nprompt = "Be brief."\napology = "Sorry."') == "Be brief."
    assert prompt(tmp_path, '[agent]\nprompt = ""') == ""
    assert prompt(tmp_path, "[model]\n[match]\n[barge_in]") == ""
    assert prompt(tmp_path, "") == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[agent]\nprompt = 3", "2: [agent] prompt = 3 is not a text in quotes"),
        ('[agent]\npromt = "x"', "2: [agent] promt is not known; did you mean prompt?"),
        ("[agents]", "1: [agents] is not known; did you mean agent?"),
        ("agent = 3", "1: agent = 3 is not a table; write [agent]"),
    ],
)
def test_a_mistake_is_told_with_file_key_and_what_is_right(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        prompt(tmp_path, text)
    assert str(raised.value) == f"{tmp_path / 'agent.toml'}:{problem}"
