"""agent.toml is read or refused as a whole; a refusal names the file, the key, and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from llm_svc.adapters.scripted import ScriptedModel
from llm_svc.agent_model import AgentModels, ModelSpec, load_models
from llm_svc.config import Settings
from llm_svc.tool_wiring import Workshop
from llm_svc.wiring import agents, contender, lineup_of
from svc_runtime.config import ConfigError
from svc_runtime.metrics import Counters

SHIPPED = Path(__file__).parents[3] / "agent.toml"


def load(tmp_path: Path, text: str) -> AgentModels:
    path = tmp_path / "agent.toml"
    path.write_text(text, encoding="utf-8")
    return load_models(path)


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(str(tmp_path / "agent.toml")) for line in lines)
    return [line.partition(": ")[2] for line in lines]


def test_the_shipped_agent_is_scripted_and_says_so() -> None:
    assert load_models(SHIPPED) == AgentModels(ModelSpec("scripted", "booking"))
    assert load_models(SHIPPED).primary.label == "scripted/booking"


def test_the_openai_variant_in_the_shipped_comments_is_valid(tmp_path: Path) -> None:
    comments = SHIPPED.read_text(encoding="utf-8").partition("# provider =")
    variant = "[model]\n" + "\n".join(
        line.removeprefix("# ").removeprefix("#")
        for line in (comments[1] + comments[2]).partition("[barge_in]")[0].splitlines()
    )
    models = load(tmp_path, variant)
    assert models.primary.label == "openai/gpt-4.1-mini"
    assert (models.primary.temperature, models.primary.max_tokens, models.primary.include_usage) == (0.4, 250, True)
    assert models.fallback == ModelSpec("scripted", "booking")


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    text = """
    [model]
    provider = "openai"
    base_url = "localhost:8000"
    temperature = 3
    max_tokens = 0
    first_token_timeout_s = "soon"
    include_usage = "yes"
    tempreature = 0.1
    [model.fallback]
    provider = "gpt"
    """
    assert problems(tmp_path, text) == [
        '[model] name is missing; it must be the model as its server calls it, for example "gpt-4.1-mini"',
        '[model] base_url = "localhost:8000" is not a URL with http:// or https://, like "https://api.openai.com/v1"',
        "[model] temperature = 3 is not a number from 0 to 2",
        "[model] max_tokens = 0 is not a whole number from 1",
        '[model] first_token_timeout_s = "soon" is not a number from 0.1 to 60',
        '[model] include_usage = "yes" is not true or false',
        "[model] tempreature is not known; did you mean temperature?",
        '[model.fallback] provider = "gpt" is not one of "scripted", "openai"',
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", '[model] provider is missing; it must be one of "scripted", "openai"'),
        ("[model", "is not TOML"),
        ("[model]", '[model] provider is missing; it must be one of "scripted", "openai"'),
        ('[model]\nprovider = "scripted"\n[mdoel]', "[mdoel] is not known; did you mean model?"),
        ("model = 3", "model = 3 is not a table; write [model]"),
        (
            '[model]\nprovider = "scripted"\nname = "gpt"',
            '[model] name = "gpt" is not "booking", the only scripted model',
        ),
        (
            '[model]\nprovider = "scripted"\nfallback = "b"',
            '[model] fallback = "b" is not a table; write [model.fallback]',
        ),
    ],
)
def test_a_problem_says_what_would_be_right(tmp_path: Path, text: str, problem: str) -> None:
    assert problems(tmp_path, text)[0].startswith(problem)


def test_a_missing_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="VOICEMESH_AGENT_FILE names the agent file"):
        load_models(tmp_path / "none.toml")


def refusal(tmp_path: Path, text: str, **settings: str) -> str:
    path = tmp_path / "agent.toml"
    path.write_text(text, encoding="utf-8")
    place = Settings(agent_file=str(path), agents_dir=str(tmp_path / "agents"), **settings)
    with pytest.raises(ConfigError) as caught:
        agents(place, Workshop(place), Counters())
    return str(caught.value).removeprefix(str(path))


def test_openai_without_a_key_is_refused_at_the_start(tmp_path: Path) -> None:
    assert refusal(tmp_path, '# hosted\n[model]\nprovider = "openai"\nname = "gpt"') == (
        ":2: [model] asks openai/gpt at https://api.openai.com/v1, and VOICEMESH_OPENAI_API_KEY is not set; "
        'set the key, or a base_url that needs none, or provider = "scripted"'
    )


def test_a_hosted_fallback_of_a_local_model_wants_its_own_key(tmp_path: Path) -> None:
    text = (
        '[model]\nprovider = "openai"\nname = "m"\nbase_url = "http://127.0.0.1:1/v1"\n'
        '[model.fallback]\nprovider = "openai"\nname = "gpt"'
    )
    told = refusal(tmp_path, text, openai_api_key="of the local server")
    assert told.startswith(":5: [model.fallback] asks openai/gpt at https://api.openai.com/v1, and ")
    assert "VOICEMESH_OPENAI_FALLBACK_API_KEY is not set" in told


def test_every_agent_of_the_folder_is_held_to_the_same_and_refused_with_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "agents"
    folder.mkdir()
    (folder / "one.toml").write_text('[modle]\nprovider = "scripted"')
    (folder / "two.toml").write_text('[match]\n[model]\nprovider = "scripted"')
    told = refusal(tmp_path, '[model]\nprovider = "gpt"').splitlines()
    assert told[0] == ':2: [model] provider = "gpt" is not one of "scripted", "openai"'
    assert f"{folder / 'one.toml'}:1: [modle] is not known; did you mean model?" in told
    assert not any("two.toml" in line for line in told)


def test_a_key_never_goes_to_another_server_than_the_one_it_was_given_for() -> None:
    hosted = ModelSpec("openai", "gpt")
    elsewhere = ModelSpec("openai", "other", base_url="http://127.0.0.1:1/v1")
    scripted = ModelSpec("scripted", "booking")
    assert keys(Settings(openai_api_key="one"), AgentModels(hosted, elsewhere)) == ["one", ""]
    assert keys(Settings(openai_api_key="one"), AgentModels(hosted, hosted)) == ["one", "one"]
    both = Settings(openai_api_key="one", openai_fallback_api_key="two")
    assert keys(both, AgentModels(hosted, elsewhere)) == ["one", "two"]
    assert keys(both, AgentModels(scripted, hosted)) == ["", "two"]


async def test_a_model_is_asked_with_its_key() -> None:
    (one,) = lineup_of(Settings(openai_api_key="one"), AgentModels(ModelSpec("openai", "gpt")))
    model = contender(Settings(), one).model
    assert not isinstance(model, ScriptedModel)
    assert model._client.api_key == "one"  # type: ignore[attr-defined]
    await model.close()
    assert "'one'" not in repr(one)


def keys(settings: Settings, models: AgentModels) -> list[str]:
    return [one.api_key for one in lineup_of(settings, models)]
