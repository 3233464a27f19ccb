"""Every service's complaint is told before any is started, each once, with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from svc_runtime.kept_versions import InForce, KeptVersions, version_of
from voicemesh_cli.config import Config
from voicemesh_cli.preflight import complaints
from voicemesh_cli.state_dir import StateDir
from voicemesh_cli.supervisor import told
from voicemesh_cli.up import plan

ROOT = Path(__file__).parents[3]
GOOD = '[model]\nprovider = "scripted"\n'


@pytest.fixture
def house(tmp_path: Path) -> Path:
    (tmp_path / "agent.toml").write_text(GOOD)
    (tmp_path / "agent-versions").mkdir()
    return tmp_path


def found(house: Path, **settings: str) -> list[tuple[str, str]]:
    env = {
        "AGENT_FILE": str(house / "agent.toml"),
        "AGENTS_DIR": str(house / "agents"),
        "BUDGET_FILE": str(ROOT / "budget.toml"),
        "VAPI_SECRET": "s3cret",
    }
    named = {f"VOICEMESH_{name}": value for name, value in (env | settings).items()}
    return complaints(plan(Config(), named, StateDir(house)).services)


def test_nothing_is_said_of_settings_that_all_can_start_with(house: Path) -> None:
    assert found(house) == []


def test_all_services_complain_at_once(house: Path) -> None:
    (house / "agent.toml").write_text(
        '[model]\nprovider = "scripted"\n[barge_in]\nmin_words = 99\n[agent]\nprompt = 1\n'
    )
    file = house / "agent.toml"
    said = found(house, STORE_SYNC="often", VAPI_SECRET="", LLM_TOTAL_S="long", CONTROL_HOSTS="*.vapi.ai")
    assert [name for name, _ in said] == ["session-svc"] * 2 + ["bargein-svc", "llm-svc"] + ["ingress-svc"] * 2
    text = told(said)
    assert text.splitlines()[0] == "the services refuse their settings:"
    for line in (
        "session-svc: VOICEMESH_STORE_SYNC='often' is neither normal nor full",
        f"session-svc: {file}:6: [agent] prompt = 1 is not a text in quotes",
        f"bargein-svc: {file}:4: [barge_in] min_words = 99 is not a whole number from 0 to 10",
        "llm-svc: VOICEMESH_LLM_TOTAL_S='long' is not a number",
        "ingress-svc: VOICEMESH_VAPI_SECRET is empty or not set",
        "ingress-svc: VOICEMESH_CONTROL_HOSTS: '*.vapi.ai' is no host",
    ):
        assert f"\n  {line}" in text


def test_what_several_services_say_is_told_once_with_their_names(house: Path) -> None:
    (house / "agent.toml").write_text(GOOD + "[modle]\n")
    text = told(found(house))
    assert text.startswith("session-svc, bargein-svc, llm-svc, ingress-svc refuse their settings: ")
    assert text.endswith("agent.toml:3: [modle] is not known; did you mean model?")


def test_a_file_that_was_good_before_stops_no_service_and_so_is_no_complaint(house: Path) -> None:
    file, good = house / "agent.toml", GOOD.encode()
    for name in ("session-svc", "bargein-svc", "llm-svc", "ingress-svc"):
        in_force = {"default": InForce(file, version_of(good), good)}
        KeptVersions(house / "agent-versions", name).keep(in_force)
    file.write_text(GOOD + "[modle]\n")
    assert found(house) == []
