from __future__ import annotations

from pathlib import Path

from voicemesh_cli.model import described

ROOT = Path(__file__).parents[3]


def _file(directory: Path, text: str) -> Path:
    file = directory / "agent.toml"
    file.write_text(text)
    return file


def test_the_model_of_the_demo_is_named_as_scripted() -> None:
    assert described(ROOT / "agent.toml") == "scripted/booking (plays a restaurant, no LLM)"


def test_another_model_is_named_as_its_server_calls_it(tmp_path: Path) -> None:
    model = '[model]\nprovider = "openai"\nname = "gpt-4.1-mini"\n'
    assert described(_file(tmp_path, model)) == "openai/gpt-4.1-mini"
    fallback = model + '[model.fallback]\nprovider = "scripted"\n'
    assert described(_file(tmp_path, fallback)) == (
        "openai/gpt-4.1-mini; when that fails, scripted/booking (plays a restaurant, no LLM)"
    )


def test_of_a_file_that_cannot_be_read_nothing_is_claimed(tmp_path: Path) -> None:
    assert described(tmp_path / "none.toml") == ""
    assert described(_file(tmp_path, "[model]\nprovider = 7\n")) == ""
