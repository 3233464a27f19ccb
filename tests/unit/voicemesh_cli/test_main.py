from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from session_svc.adapters.sqlite_store import SqliteStore
from voicemesh_cli.__main__ import main
from voicemesh_cli.commands import SAMPLE, secret_of, target_of
from voicemesh_cli.play import PlayFailed
from voicemesh_cli.state_dir import Run


@pytest.fixture(autouse=True)
def _own_state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VAPI_SECRET", "VAPI_SECRET_FILE", "SESSION_TARGETS", "STORE", "HTTP_PORT"):
        monkeypatch.delenv(f"VOICEMESH_{name}", raising=False)
    monkeypatch.setenv("VOICEMESH_STATE_DIR", str(tmp_path / "state"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["events"], "no mesh runs here"),
        (["calls"], "no mesh runs here"),
        (["calls", "abc"], "no mesh runs here"),
        (["play", str(SAMPLE)], "start one with `voicemesh up`"),
        (["play", str(SAMPLE), "--url", "http://127.0.0.1:9"], "no secret to sign with"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line_and_exit_code_1(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert len(err.splitlines()) == 1


def test_a_file_that_is_no_recorded_call_is_refused_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VOICEMESH_VAPI_SECRET", "s")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{}\n{"at_ms": 0}\n')
    assert main(["play", str(broken), "--url", "http://127.0.0.1:9"]) == 1
    assert "line 2 says nothing to do" in capsys.readouterr().err


def test_settings_of_the_wrong_form_are_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VOICEMESH_HTTP_PORT", "http")
    assert main(["calls"]) == 2
    complaint = capsys.readouterr().err
    assert "VOICEMESH_HTTP_PORT" in complaint
    assert "'http' is not a whole number" in complaint


def test_connecting_without_a_key_or_a_secret_is_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VAPI_API_KEY", raising=False)
    command = ["vapi", "connect", "--url", "https://h.example", "--assistant", "a"]
    assert main(command) == 2
    assert "there is no secret yet" in capsys.readouterr().err
    monkeypatch.setenv("VOICEMESH_VAPI_SECRET", "s")
    assert main(command) == 2
    assert "VAPI_API_KEY is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "assistant"),
    [
        ("http://h.example", "a"),
        ("https://u:p@h.example", "a"),
        ("https://h.example/?token=x", "a"),
        ("https://h.example/vapi/webhook", "a"),
        ("h.example", "a"),
        ("https://h.example", "../credential"),
        ("https://h.example", ""),
    ],
)
def test_addresses_and_ids_that_cannot_be_right_are_refused(url: str, assistant: str) -> None:
    with pytest.raises(SystemExit):
        main(["vapi", "connect", "--url", url, "--assistant", assistant])


@pytest.mark.parametrize("arguments", [[], ["dance"], ["events", "--since", "-1"], ["play", "x", "--speed", "0"]])
def test_a_command_line_that_means_nothing_is_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


async def _empty_store(path: Path) -> None:
    await (await SqliteStore.open(path)).close()


def test_an_unknown_call_is_exit_code_1_and_an_empty_log_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(_empty_store(tmp_path / "kept.db"))
    monkeypatch.setenv("VOICEMESH_STORE", str(tmp_path / "kept.db"))
    assert main(["events"]) == 0
    assert main(["calls", "--json"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["calls", "abc"]) == 1
    assert "there is no call vapi:abc" in capsys.readouterr().err


def test_the_first_of_several_secrets_signs(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from-file\n")
    assert secret_of({"X": "new,old"}, "X", str(file)) == "new"
    assert secret_of({"X_FILE": str(file)}, "X") == "from-file"
    assert secret_of({}, "X", str(file)) == "from-file"
    assert secret_of({}, "X") == ""


def test_a_call_is_played_to_the_mesh_that_runs_here_unless_another_is_named(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s")
    run = Run(1, "http://127.0.0.1:8080", {}, "", str(file))
    assert target_of(run, {}).url == "http://127.0.0.1:8080"
    assert target_of(run, {}, url="http://other:1/").url == "http://other:1"
    with pytest.raises(PlayFailed):
        target_of(None, {})


def test_the_sample_is_a_file_of_json_lines() -> None:
    assert all(isinstance(json.loads(line), dict) for line in SAMPLE.read_text().splitlines())
