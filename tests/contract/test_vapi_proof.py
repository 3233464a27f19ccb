"""The credential that `voicemesh vapi connect` makes at Vapi, held against what ingress asks for: the same settings."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from fakes.ingress import CALL_ID, edge
from fakes.vapi_api import ASSISTANT, KEY, FakeVapiApi, proven, vapi_api
from ingress_svc.auth import auth
from ingress_svc.config import Config
from ingress_svc.domain.signatures import SignatureMismatch, Verifier
from multidict import CIMultiDict
from svc_runtime.config import ConfigError, load
from voicemesh_cli.checks import State
from voicemesh_cli.checks_url import Way, signed_event
from voicemesh_cli.config import Config as CliConfig
from voicemesh_cli.doctor import Asked, _vapi, examine
from voicemesh_cli.state_dir import StateDir
from voicemesh_cli.vapi_api import VapiApi
from voicemesh_cli.vapi_commands import wanted_of
from voicemesh_cli.vapi_connect import ConnectFailed, Wanted, connect
from voicemesh_cli.vapi_diff import Change
from voicemesh_cli.vapi_proof import in_header

URL = "https://voice.example.com"
HOOK = URL + "/vapi/webhook"
SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""Base64 as well, so that every scheme takes it."""
BODY = b'{"message": {"type": "hang", "note": "{timestamp}"}}'
FILE = """
[scheme.billing]
algorithm = "sha512"
signature_header = "x-billing-signature"
timestamp_header = "x-billing-time"
payload_format = "{method} {url} {timestamp} {body}"
signature_encoding = "base64"
signature_prefix = "v9="

[scheme.static]
header = "x-our-key"
"""


@dataclass
class Screen:
    text: str = ""

    def say(self, line: str) -> None:
        self.text += line + "\n"

    def show(self, title: str, found: list[Change]) -> None:
        self.text += "\n".join([title, *(f"{c.kind} {c.path} {c.old} {c.new}" for c in found), ""])

    def agrees(self) -> bool:
        return True


@pytest.fixture
async def vapi() -> AsyncIterator[FakeVapiApi]:
    async with vapi_api() as fake:
        yield fake


def settings(tmp_path: Path, **more: str) -> dict[str, str]:
    """Return the variables of an owner; FILE stands in a file where one is named."""
    (tmp_path / "auth.toml").write_text(FILE)
    env = {"VOICEMESH_VAPI_SECRET": SECRET, "VOICEMESH_STATE_DIR": str(tmp_path / "state")}
    return env | {
        f"VOICEMESH_{name}": value.replace("FILE", str(tmp_path / "auth.toml")) for name, value in more.items()
    }


def wanted(env: Mapping[str, str], tmp_path: Path, scheme: str = "", url: str = URL) -> Wanted:
    given = argparse.Namespace(
        url=url, assistant=ASSISTANT, phone_number_id="", credential_id="", llm_credential_id="", scheme=scheme
    )
    return wanted_of(given, env, StateDir(str(tmp_path / "state")))


async def connected(vapi: FakeVapiApi, asked: Wanted, tmp_path: Path, *, dry_run: bool = False) -> str:
    async with aiohttp.ClientSession() as http:
        api = VapiApi(http, KEY, base_url=vapi.url, spacing_s=0.0)
        screen = Screen()
        (tmp_path / "state").mkdir(exist_ok=True)
        await connect(api, asked, screen, tmp_path / "state" / "backups", dry_run=dry_run)
        return screen.text


def plan_of(vapi: FakeVapiApi) -> dict[str, Any]:
    """Return the plan of the credential that the assistant's server names."""
    id_ = vapi.assistants[ASSISTANT]["server"]["credentialId"]
    plan: dict[str, Any] = next(item for item in vapi.credentials if item["id"] == id_)["authenticationPlan"]
    return plan


def verifier(env: Mapping[str, str]) -> Verifier:
    found = auth(load(Config, {**env, "VOICEMESH_PUBLIC_URL": URL})).webhooks
    assert isinstance(found, Verifier)
    return found


WAYS: list[tuple[str, dict[str, str], str, dict[str, Any]]] = [
    ("", {}, "hmac", {"signatureHeader": "x-signature", "payloadFormat": "{timestamp}.{body}"}),
    ("", {"VAPI_SCHEMES": "article"}, "hmac", {"signatureHeader": "x-vapi-signature", "includeTimestamp": False}),
    ("", {"VAPI_SCHEMES": "vapi-default,github-style"}, "hmac", {"signaturePrefix": "sha256="}),
    ("", {"VAPI_SCHEMES": "svix"}, "hmac", {"messageIdHeader": "svix-id", "secretIsBase64": True}),
    ("", {"VAPI_SCHEMES": "bearer"}, "bearer", {"token": SECRET}),
    ("", {"VAPI_SCHEMES": "x-vapi-secret"}, "bearer", {"headerName": "X-Vapi-Secret", "bearerPrefixEnabled": False}),
    (
        "",
        {"VAPI_AUTH_FILE": "FILE"},
        "hmac",
        {
            "algorithm": "sha512",
            "signatureHeader": "x-billing-signature",
            "timestampHeader": "x-billing-time",
            "payloadFormat": "{method} {url} {timestamp} {body}",
            "signatureEncoding": "base64",
            "signaturePrefix": "v9=",
        },
    ),
    ("static", {"VAPI_AUTH_FILE": "FILE"}, "bearer", {"headerName": "x-our-key", "bearerPrefixEnabled": False}),
    ("vapi-default", {"VAPI_AUTH_FILE": "FILE"}, "hmac", {"signatureHeader": "x-signature"}),
]


@pytest.mark.parametrize(("scheme", "more", "kind", "fields"), WAYS, ids=range(len(WAYS)))
async def test_what_vapi_is_told_to_send_is_what_ingress_takes(
    vapi: FakeVapiApi, tmp_path: Path, scheme: str, more: dict[str, str], kind: str, fields: dict[str, Any]
) -> None:
    env = settings(tmp_path, **more)
    asked = wanted(env, tmp_path, scheme)
    text = await connected(vapi, asked, tmp_path)
    assert "connected and verified" in text
    assert SECRET not in text
    plan = plan_of(vapi)
    assert plan["type"] == kind
    assert {name: plan.get(name) for name in fields} == fields
    headers = CIMultiDict(proven(plan, BODY, HOOK))
    verifier(env).verify(headers, method="POST", url=HOOK, body=BODY, now_s=time.time())
    if kind == "hmac":
        with pytest.raises(SignatureMismatch):
            verifier(env).verify(headers, method="POST", url=HOOK, body=BODY + b" ", now_s=time.time())
    assert "nothing to change" in await connected(vapi, asked, tmp_path)


async def test_oauth2_gets_the_token_url_and_its_token_opens_the_door(vapi: FakeVapiApi, tmp_path: Path) -> None:
    env = settings(tmp_path, VAPI_OAUTH_CLIENT_SECRET="client-secret-of-some-length", VAPI_OAUTH_CLIENT_ID="robin")
    await connected(vapi, wanted(env, tmp_path, "oauth2"), tmp_path)
    plan = plan_of(vapi)
    assert plan == {
        "type": "oauth2",
        "url": URL + "/oauth/token",
        "clientId": "robin",
        "clientSecret": "client-secret-of-some-length",
    }
    config = load(Config, env)
    async with edge(
        vapi_secrets=config.vapi_secrets,
        oauth_client_id=config.oauth_client_id,
        oauth_client_secrets=config.oauth_client_secrets,
    ) as at:
        form = {
            "grant_type": "client_credentials",
            "client_id": plan["clientId"],
            "client_secret": plan["clientSecret"],
        }
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        status, text, _ = await at.provider.post("/oauth/token", urlencode(form).encode(), kind)
        assert status == 200
        body = json.dumps({"message": {"type": "hang", "call": {"id": "call-1"}}}).encode()
        headers = proven(plan, body, HOOK, token=json.loads(text)["access_token"])
        assert (await at.provider.post("/vapi/webhook", body, headers))[0] == 200
        assert at.mesh.session.kinds(CALL_ID) == ["agent_silent"]


async def test_another_way_makes_another_credential_and_the_first_way_finds_its_own_again(
    vapi: FakeVapiApi, tmp_path: Path
) -> None:
    env = settings(tmp_path)
    for _ in range(2):
        for scheme in ("vapi-default", "bearer", "x-vapi-secret"):
            await connected(vapi, wanted(env, tmp_path, scheme), tmp_path)
    made = [item["name"] for item in vapi.credentials if item["provider"] == "custom-credential"]
    assert len(made) == len(set(made)) == 3


async def test_a_dry_run_shows_the_kind_of_credential_and_changes_nothing(vapi: FakeVapiApi, tmp_path: Path) -> None:
    text = await connected(vapi, wanted(settings(tmp_path), tmp_path, "bearer"), tmp_path, dry_run=True)
    assert "(custom-credential, bearer)" in text
    assert vapi.bodies == []


async def test_where_vapi_makes_none_and_no_header_would_do_the_dashboard_is_told_field_by_field(
    vapi: FakeVapiApi, tmp_path: Path
) -> None:
    vapi.lists_credentials = False
    env = settings(tmp_path, VAPI_SCHEMES="github-style")
    with pytest.raises(ConnectFailed) as told:
        await connected(vapi, wanted(env, tmp_path), tmp_path)
    for words in ("x-hub-signature-256", "signaturePrefix sha256=", "payloadFormat {body}", "--credential-id"):
        assert words in str(told.value)
    assert SECRET not in str(told.value)


async def test_where_vapi_makes_none_a_header_of_the_file_is_used(vapi: FakeVapiApi, tmp_path: Path) -> None:
    vapi.makes_credentials = False
    env = settings(tmp_path, VAPI_SCHEMES="vapi-default", VAPI_AUTH_FILE="FILE")
    text = await connected(vapi, wanted(env, tmp_path), tmp_path)
    assert "in the header x-our-key" in text
    headers = vapi.assistants[ASSISTANT]["server"]["headers"]
    verifier(env).verify(headers, method="POST", url=HOOK, body=BODY, now_s=time.time())


def test_a_way_that_ingress_does_not_take_is_refused_with_those_that_it_does(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--scheme svix: ingress takes vapi-default, article, x-vapi-secret, bearer"):
        wanted(settings(tmp_path), tmp_path, "svix")


async def test_the_doctor_sends_what_vapi_would_and_finds_an_assistant_that_proves_itself_otherwise(
    vapi: FakeVapiApi, tmp_path: Path
) -> None:
    env = settings(tmp_path, VAPI_SCHEMES="bearer", VAPI_OAUTH_CLIENT_SECRET="client-secret-of-some-length")
    config = load(Config, env)
    key = {"VAPI_API_KEY": KEY}
    async with (
        edge(
            vapi_secrets=config.vapi_secrets,
            vapi_schemes=config.vapi_schemes,
            oauth_client_secrets=config.oauth_client_secrets,
        ) as at,
        aiohttp.ClientSession() as http,
    ):
        for scheme in ("bearer", "oauth2"):
            proof = wanted(env, tmp_path, scheme).proof
            assert (await signed_event(http, Way(at.url, proof, "key"))).state is State.OK
        asked = Asked(URL, ASSISTANT, scheme="oauth2", base_url=vapi.url)
        first = wanted(env, tmp_path, "oauth2")
        await connected(vapi, first, tmp_path)
        way, header = Way(URL, first.proof, first.llm_key), in_header([first.proof])
        assert [r.state for r in await _vapi(asked, env | key, way, header) if r.name == "assistant"] == [State.OK]
        bearer = Way(URL, wanted(env, tmp_path, "bearer").proof, first.llm_key)
        (found,) = [r for r in await _vapi(asked, env | key, bearer, header) if r.name == "assistant"]
        assert found.state is State.FAIL
        assert "server.credentialId" in found.what


async def test_the_doctor_names_the_ways_there_are_when_it_is_asked_for_another(tmp_path: Path) -> None:
    env = settings(tmp_path)
    found = await examine(Asked(scheme="svix"), load(CliConfig, env), env)
    (told,) = (one for one in found if one.name == "scheme")
    assert told.state is State.FAIL
    assert told.what.startswith("--scheme svix: ingress takes vapi-default, article, x-vapi-secret, bearer")
    known = await examine(Asked(scheme="bearer"), load(CliConfig, env), env)
    assert not [one for one in known if one.name == "scheme"]
