from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from svc_runtime.config import load
from voicemesh_cli import checks_here
from voicemesh_cli.checks import Result, State
from voicemesh_cli.config import Config
from voicemesh_cli.state_dir import Run

STRONG = "0f8b6a5e9c3d7214a1b2c3d4e5f60718"


def _failed(results: list[Result]) -> list[str]:
    assert all(result.remedy for result in results if result.state in (State.FAIL, State.WARN))
    return [result.what for result in results if result.state is State.FAIL]


def test_an_old_python_fails_and_a_newer_one_does_not() -> None:
    assert checks_here.python_version((3, 10, 2)).state is State.FAIL
    assert checks_here.python_version((3, 11, 0)).state is State.OK
    assert checks_here.python_version((4, 0, 0)).state is State.OK


def test_every_setting_that_does_not_parse_is_told_once() -> None:
    told = _failed(checks_here.settings({"VOICEMESH_HTTP_PORT": "http", "VOICEMESH_DRAIN_S": "soon"}))
    assert told == ["VOICEMESH_HTTP_PORT='http' is not a whole number", "VOICEMESH_DRAIN_S='soon' is not a number"]
    assert _failed(checks_here.settings({})) == []


def test_a_secret_given_twice_is_told_without_it() -> None:
    told = _failed(checks_here.settings({"VOICEMESH_VAPI_SECRET": "hunter2", "VOICEMESH_VAPI_SECRET_FILE": "/x"}))
    assert len(told) == 1
    assert "hunter2" not in told[0]


def test_what_ingress_would_not_start_with_is_told() -> None:
    (told,) = _failed(checks_here.settings({"VOICEMESH_VAPI_SCHEMES": "vapi-defualt"}))
    assert "did you mean vapi-default?" in told
    (told,) = _failed(checks_here.settings({"VOICEMESH_VAPI_SECRET": ""}))
    assert told.startswith("VOICEMESH_VAPI_SECRET is empty or not set")


def test_a_misspelt_setting_is_told_with_what_was_meant() -> None:
    (found,) = checks_here.settings({"VOICEMESH_HTTP_PROT": "80"})
    assert found.state is State.WARN
    assert "VOICEMESH_HTTP_PORT" in found.remedy


def test_errors_of_the_agent_file_and_the_budget_are_told_with_their_keys(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('[model]\nprovider = "openai"\n[barge_in]\nmin_words = 99\n')
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents/sales.toml").write_text("[match]\n")
    paths = [str(tmp_path / name) for name in ("agent.toml", "agents", "budget.toml")]
    told = "\n".join(_failed(checks_here.files(*paths)))
    assert "name" in told
    assert "sales.toml:1: [match] claims no call" in told
    assert "min_words" in told
    assert "budget.toml: cannot be read" in told


@pytest.mark.parametrize("secret", ["short", "a" * 40, "abab" * 10, "voicemesh-secret-1"])
def test_a_secret_that_can_be_guessed_fails(secret: str) -> None:
    result = checks_here.secret(secret, None, runs=True)
    assert result.state is State.FAIL
    assert secret not in result.what + result.remedy


def test_a_long_secret_is_well_and_a_short_one_is_not() -> None:
    assert checks_here.secret(STRONG, None, runs=True).state is State.OK
    assert checks_here.secret(STRONG[:20], None, runs=True).state is State.WARN


def test_a_missing_secret_matters_only_where_a_mesh_runs() -> None:
    assert checks_here.secret("", None, runs=False).state is State.OK
    assert checks_here.secret("", None, runs=True).state is State.FAIL


def test_a_secret_that_others_can_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(STRONG)
    file.chmod(0o644)
    assert "chmod 600" in checks_here.secret(STRONG, file, runs=True).remedy
    file.chmod(0o600)
    assert checks_here.secret(STRONG, file, runs=True).state is State.OK


def test_a_port_that_another_program_has_fails_and_our_own_does_not() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        config = load(Config, {"VOICEMESH_HTTP_PORT": port})
        assert f"127.0.0.1:{port}" in _failed(checks_here.ports(config, {}, None))[0]
        inner = checks_here.ports(
            load(Config, {"VOICEMESH_HTTP_PORT": "0"}), {"VOICEMESH_LLM_LISTEN": f"127.0.0.1:{port}"}, None
        )
        assert "VOICEMESH_LLM_LISTEN" in inner[0].remedy
        run = Run(os.getpid(), f"http://127.0.0.1:{port}", {}, "")
        assert _failed(checks_here.ports(config, {}, run)) == []


def test_a_store_is_writable_and_has_room(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet" / "voicemesh.sqlite"
    assert checks_here.store(path).state is State.OK
    assert checks_here.store(path, free_bytes=5_000_000).state is State.FAIL
    assert checks_here.store(path, free_bytes=500_000_000).state is State.WARN
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_written_fails() -> None:
    assert checks_here.store(Path("/proc/voicemesh.sqlite")).state is State.FAIL
