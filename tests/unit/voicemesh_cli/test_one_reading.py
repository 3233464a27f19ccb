"""The secret of the webhooks means the same to ingress and to every command, whatever is set."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from ingress_svc.auth import webhook_credentials
from ingress_svc.config import Config as IngressConfig
from svc_runtime.config import ConfigError, load
from voicemesh_cli import checks_here
from voicemesh_cli.checks import State
from voicemesh_cli.commands import secret_of, target_of
from voicemesh_cli.config import SECRET, Config
from voicemesh_cli.play import PlayFailed
from voicemesh_cli.state_dir import StateDir
from voicemesh_cli.up import plan
from voicemesh_cli.vapi_commands import wanted_of
from voicemesh_cli.vapi_proof import proofs

MADE = "made-by-voicemesh-up"


@pytest.fixture
def made(tmp_path: Path) -> str:
    (tmp_path / "vapi-secret").write_text(MADE + "\n")
    (tmp_path / "mine").write_text("mine\n")
    (tmp_path / "nothing").write_text("\n")
    return str(tmp_path / "vapi-secret")


@pytest.mark.parametrize(
    "setting",
    [{SECRET: ""}, {SECRET: "  "}, {f"{SECRET}_FILE": "nothing"}, {SECRET: "mine"}, {f"{SECRET}_FILE": "mine"}, {}],
)
def test_a_secret_that_is_set_is_never_replaced_by_the_one_that_up_has_made(
    tmp_path: Path, made: str, setting: dict[str, str]
) -> None:
    env = {name: str(tmp_path / text) if name.endswith("_FILE") else text for name, text in setting.items()}
    found = {one.secret for one in proofs(env, made)}
    passed_on = dict(next(one.env for one in plan(Config(), env, StateDir(tmp_path)).services if "ingress" in one.name))
    ingress = {one.secrets[0] for one in webhook_credentials(load(IngressConfig, passed_on))}
    assert found == ingress
    assert {secret_of(env, SECRET, made)} - {""} == ingress
    assert ingress == ({MADE} if not setting else {"mine"} if "mine" in "".join(setting.values()) else set())


def test_a_file_variable_that_names_no_file_is_told_by_every_command_and_by_ingress(made: str) -> None:
    env = {f"{SECRET}_FILE": ""}
    right = f"{SECRET}_FILE is set and names no file; name one, or unset it"
    for read in (lambda: load(IngressConfig, env), lambda: proofs(env, made), lambda: secret_of(env, SECRET, made)):
        with pytest.raises(ConfigError, match=right):
            read()


def test_the_commands_say_what_to_do_about_an_empty_secret(tmp_path: Path, made: str) -> None:
    given = argparse.Namespace(url="https://x.example", assistant="a", scheme="")
    with pytest.raises(ConfigError, match="is set to nothing: set it, or unset it to use the one of `voicemesh up`"):
        wanted_of(given, {SECRET: ""}, StateDir(tmp_path))
    with pytest.raises(PlayFailed, match="no secret to sign with"):
        target_of(None, {SECRET: ""}, url="http://127.0.0.1:9")
    assert target_of(None, {SECRET: ""}, url="http://127.0.0.1:9", secret_file=made).secret == MADE


def test_the_doctor_does_not_promise_a_new_secret_where_an_empty_one_is_set() -> None:
    assert checks_here.secret("", None, runs=False, is_set=True).state is State.SKIPPED
    (told,) = (one for one in checks_here.settings({SECRET: ""}) if one.state is State.FAIL)
    assert "unset it" in told.remedy
