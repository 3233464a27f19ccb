"""`voicemesh vapi connect` and `restore` against a local Vapi."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fakes.vapi_api import ASSISTANT, KEY, NUMBER, VOICE_CREDENTIAL, FakeVapiApi, assistant, vapi_api
from ingress_svc.domain.schemes import VAPI_DEFAULT, X_VAPI_SECRET
from voicemesh_cli.vapi_api import VapiApi, VapiError
from voicemesh_cli.vapi_connect import ConnectFailed, Wanted, connect, restore
from voicemesh_cli.vapi_diff import Change
from voicemesh_cli.vapi_proof import Proof

SECRET = "a-webhook-secret-of-some-length"
IN_HEADER = Proof(X_VAPI_SECRET, SECRET)
WANTED = Wanted(
    "https://voice.example.com",
    ASSISTANT,
    Proof(VAPI_DEFAULT, SECRET),
    "an-llm-key-of-some-length",
    header=IN_HEADER,
)


@dataclass
class Screen:
    """Remembers what was shown."""

    yes: bool = True
    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.lines.append(line)

    def show(self, title: str, found: list[Change]) -> None:
        self.lines += [title, *(f"{c.kind} {c.path} {c.old} {c.new}" for c in found)]

    def agrees(self) -> bool:
        return self.yes

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass
class Desk:
    """One owner at work: a local Vapi, and how long was slept."""

    vapi: FakeVapiApi
    http: aiohttp.ClientSession
    backups: Path
    slept: list[float] = field(default_factory=list)

    def api(self, key: str = KEY, **options: Any) -> VapiApi:
        return VapiApi(self.http, key, base_url=self.vapi.url, sleep=self._sleep, hide=(SECRET,), **options)

    async def _sleep(self, s: float) -> None:
        self.slept.append(s)

    async def connect(self, wanted: Wanted = WANTED, *, yes: bool = True, dry_run: bool = False) -> Screen:
        screen = Screen(yes)
        await connect(self.api(), wanted, screen, self.backups, dry_run=dry_run)
        return screen

    @property
    def assistant(self) -> dict[str, Any]:
        return self.vapi.assistants[ASSISTANT]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with vapi_api() as vapi, aiohttp.ClientSession() as http:
        yield Desk(vapi, http, tmp_path / "state" / "vapi-backups")


async def test_an_assistant_is_connected_and_a_second_run_has_nothing_to_change(desk: Desk) -> None:
    screen = await desk.connect()
    assert "connected and verified" in screen.text
    hook, llm = (item["id"] for item in desk.vapi.credentials[1:])
    assert desk.assistant["server"]["credentialId"] == hook
    assert desk.assistant["credentialIds"] == [VOICE_CREDENTIAL, llm]
    assert desk.assistant["model"]["messages"] == assistant()["model"]["messages"]
    assert desk.assistant["voice"] == assistant()["voice"]
    before = len(desk.vapi.bodies)
    assert "nothing to change" in (await desk.connect()).text
    assert len(desk.vapi.bodies) == before
    assert len(desk.vapi.credentials) == 3


async def test_what_was_there_is_kept_for_the_owner_alone_and_can_be_put_back(desk: Desk) -> None:
    await desk.connect(replace(WANTED, phone_number_id=NUMBER))
    (kept,) = desk.backups.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(desk.backups.stat().st_mode) == 0o700
    assert json.loads(kept.read_text())["assistant"] == assistant()
    assert "hunter4" not in kept.read_text()
    assert desk.vapi.numbers[NUMBER]["assistantId"] == ASSISTANT
    assert "squadId" not in desk.vapi.numbers[NUMBER]
    screen = Screen()
    await restore(desk.api(), kept, screen, desk.backups, dry_run=False)
    assert "restored and verified" in screen.text
    assert desk.assistant == assistant()
    assert "assistantId" not in desk.vapi.numbers[NUMBER]
    await restore(desk.api(), kept, screen, desk.backups, dry_run=False)
    assert "nothing to change" in screen.lines[-1]


async def test_no_secret_is_shown(desk: Desk) -> None:
    text = (await desk.connect()).text
    assert "~ model.provider openai custom-llm" in text
    assert not [secret for secret in (SECRET, WANTED.llm_key, KEY, "hunter") if secret in text]


@pytest.mark.parametrize(("yes", "dry_run"), [(False, False), (True, True)])
async def test_nothing_is_changed_without_consent(desk: Desk, yes: bool, dry_run: bool) -> None:
    screen = await desk.connect(yes=yes, dry_run=dry_run)
    assert screen.lines[-1].startswith("nothing was changed")
    assert "credential to be made" in screen.text
    assert desk.vapi.bodies == []
    assert desk.assistant == assistant()
    assert not desk.backups.exists()


async def test_what_vapi_loses_is_named(desk: Desk) -> None:
    desk.vapi.loses = {"speech-update"}
    with pytest.raises(ConnectFailed, match="serverMessages without speech-update"):
        await desk.connect()


async def test_where_vapi_makes_no_credentials_the_secrets_stand_in_the_assistant(desk: Desk) -> None:
    desk.vapi.makes_credentials = False
    screen = await desk.connect()
    assert "the secret goes in the header X-Vapi-Secret instead" in screen.text
    assert desk.assistant["server"]["headers"] == {"X-Vapi-Secret": SECRET}
    assert desk.assistant["credentials"][0]["apiKey"] == WANTED.llm_key
    desk.vapi.lists_credentials = False
    assert "nothing to change" in (await desk.connect()).text


async def test_a_credential_made_by_hand_is_used(desk: Desk) -> None:
    desk.vapi.lists_credentials = desk.vapi.makes_credentials = False
    desk.vapi.credentials += [{"id": "mine", "provider": "custom-credential"}, {"id": "llm", "provider": "custom-llm"}]
    await desk.connect(replace(WANTED, credential_id="mine", llm_credential_id="llm"))
    assert desk.assistant["server"]["credentialId"] == "mine"
    assert desk.assistant["credentialIds"] == ["llm"]
    assert "credentials" not in desk.assistant


async def test_a_secret_in_a_header_is_not_used_where_ingress_would_refuse_it(desk: Desk) -> None:
    desk.vapi.lists_credentials = False
    with pytest.raises(ConnectFailed, match="--credential-id"):
        await desk.connect(replace(WANTED, header=None))


async def test_a_new_secret_makes_a_new_credential(desk: Desk) -> None:
    await desk.connect()
    await desk.connect(replace(WANTED, proof=Proof(VAPI_DEFAULT, "another-secret-of-some-length")))
    assert desk.assistant["server"]["credentialId"] == desk.vapi.credentials[-1]["id"]
    assert len(desk.vapi.credentials) == 4


async def test_requests_are_spaced_and_repeated_while_vapi_is_busy(desk: Desk) -> None:
    desk.vapi.busy = 3
    await desk.connect()
    assert [s for s in desk.slept if s >= 1] == [1.0, 2.0, 4.0]
    assert len([s for s in desk.slept if 0.5 < s <= 0.7]) >= len(desk.vapi.requests) - 1


async def test_a_busy_vapi_is_given_up_after_a_while(desk: Desk) -> None:
    desk.vapi.busy = 99
    with pytest.raises(VapiError, match="429"):
        await desk.connect()
    assert len(desk.vapi.requests) == 5


async def test_a_credential_is_not_made_twice_by_a_retry(desk: Desk) -> None:
    desk.vapi.busy_status = 502
    desk.vapi.busy = 1
    with pytest.raises(VapiError, match="502"):
        await desk.api().create_credential({"provider": "custom-llm", "name": "n", "apiKey": "k"})
    assert desk.vapi.requests == [("POST", "/credential")]


async def test_a_wrong_key_is_told_without_repeating_it(desk: Desk) -> None:
    with pytest.raises(VapiError, match="VAPI_API_KEY must be the private key") as told:
        await connect(desk.api("wrong-key"), WANTED, Screen(), desk.backups, dry_run=False)
    assert "wrong-key" not in str(told.value)


async def test_an_unknown_assistant_is_told(desk: Desk) -> None:
    with pytest.raises(VapiError, match="there is no assistant abc"):
        await desk.connect(replace(WANTED, assistant_id="abc"))


async def test_a_client_without_a_name_is_refused_before_its_key_is_looked_at(desk: Desk) -> None:
    async with desk.http.get(desk.vapi.url + "/credential", headers={"Authorization": f"Bearer {KEY}"}) as refused:
        assert refused.status == 403


async def test_cloudflare_is_told_apart_from_vapi(desk: Desk) -> None:
    desk.vapi.dislikes_everyone = True
    with pytest.raises(VapiError, match=r"Cloudflare .*1010"):
        await desk.connect()


async def test_vapis_own_words_are_passed_on_without_secrets(desk: Desk) -> None:
    with pytest.raises(VapiError, match=r"stopSpeakingPlan.numWords must not be less than 0 or greater than 10"):
        await desk.api().patch_assistant(ASSISTANT, {"stopSpeakingPlan": {"numWords": 11}})


async def test_a_vapi_that_takes_no_null_gets_the_rest_back_and_is_told_what_stays(desk: Desk) -> None:
    await desk.connect()
    desk.vapi.takes_null = False
    (kept,) = desk.backups.iterdir()
    with pytest.raises(ConnectFailed, match=r"monitorPlan.* is still set"):
        await restore(desk.api(), kept, Screen(), desk.backups, dry_run=False)
    assert desk.assistant["model"] == assistant()["model"]


async def test_the_whole_command_at_a_terminal_without_anybody(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    command = ["vapi", "connect", "--url", WANTED.url, "--assistant", ASSISTANT, "--base-url", desk.vapi.url]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("VOICEMESH_", "VAPI_"))}
    env |= {"VAPI_API_KEY_FILE": "key", "VOICEMESH_VAPI_SECRET_FILE": "secret", "VOICEMESH_STATE_DIR": "state"}
    code, said = await _run(command, tmp_path, env)
    assert code == 1
    assert "say --yes" in said
    code, said = await _run([*command, "--yes"], tmp_path, env)
    assert (code, said.splitlines()[-1].split(";")[0]) == (0, "connected and verified")
    assert desk.assistant["server"]["url"] == "https://voice.example.com/vapi/webhook"
    assert not [secret for secret in (SECRET, KEY, "hunter") if secret in said]


async def _run(command: list[str], directory: Path, env: dict[str, str]) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "voicemesh_cli",
        *command,
        cwd=directory,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_the_key_travels_only_over_tls_or_loopback(desk: Desk) -> None:
    with pytest.raises(VapiError, match="not https"):
        VapiApi(desk.http, KEY, base_url="http://api.vapi.example")


async def test_a_secret_that_is_shown_in_stars_is_not_sent_back(desk: Desk) -> None:
    desk.assistant["model"] = {"provider": "custom-llm", "url": f"{WANTED.url}/x", "headers": {"X-Key": "ab**cd"}}
    before = dict(desk.assistant)
    with pytest.raises(ConnectFailed, match=r"model\.headers\.X-Key .* nothing was changed"):
        await desk.connect()
    assert desk.assistant == before
    assert [credential["name"] for credential in desk.vapi.credentials] == ["voice"]
