"""What agent.toml says of the apology."""

from __future__ import annotations

from pathlib import Path

import pytest
from ingress_svc.config import APOLOGY, apology
from svc_runtime.config import ConfigError


def of(tmp_path: Path, text: str) -> str:
    path = tmp_path / "agent.toml"
    path.write_text(text, encoding="utf-8")
    return apology(str(path))


def test_the_apology_is_the_files_or_ours(tmp_path: Path) -> None:
    assert of(tmp_path, '[agent]\napology = "One moment."\nprompt = "Be brief."') == "One moment."
    assert of(tmp_path, "") == apology(str(tmp_path / "none.toml")) == APOLOGY


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[agent]\napology = " "', '[agent] apology = " " is not a text in quotes, not an empty one'),
        ('[agent]\napologies = "x"', "[agent] apologies is not known; did you mean apology?"),
    ],
)
def test_a_mistake_is_told_with_file_key_and_what_is_right(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        of(tmp_path, text)
    assert str(raised.value) == f"{tmp_path / 'agent.toml'}: {problem}"
