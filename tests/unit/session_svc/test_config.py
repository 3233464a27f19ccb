"""What an agent file says of the conversation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from session_svc.config import Config, policy_in, report_policy
from session_svc.domain.call import ReportPolicy
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


def reports(text: str, **settings: Any) -> ReportPolicy | None:
    file = TomlFile.parse(text, name="a.toml")
    policy = policy_in(file, Config(**settings))
    file.check()
    return policy.report


def test_an_owner_with_a_url_is_told_of_calls_unless_the_file_says_otherwise() -> None:
    url = '[owner]\nurl = "https://crm.example.com/v"\n'
    assert reports(url) == ReportPolicy()
    assert reports(f"{url}transcript = false", report_pauses_s=("0.5", "2")) == ReportPolicy(
        with_texts=False, pauses_ms=(500, 2_000)
    )
    assert reports(f"{url}reports = false") is None
    assert reports("") is None


@pytest.mark.parametrize(
    "settings",
    [
        {"report_pauses_s": ()},
        {"report_pauses_s": ("soon",)},
        {"report_pauses_s": ("0",)},
        {"report_pauses_s": ("nan",)},
        {"report_give_up_h": 200.0},
        {"report_wait_s": -1.0},
        {"owner_timeout_s": 0.0},
    ],
)
def test_settings_that_could_not_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="VOICEMESH_"):
        report_policy(Config(**settings))
