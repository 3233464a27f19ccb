"""`voicemesh doctor` before a real mesh, through proxies that are right and wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import mesh
from fakes.openai_server import KEY as MODEL_KEY
from fakes.openai_server import openai_server
from fakes.proxy import Manner, proxy
from fakes.vapi_api import ASSISTANT, KEY, vapi_api
from svc_runtime.config import load
from voicemesh_cli.checks import Result, State
from voicemesh_cli.config import Config
from voicemesh_cli.doctor import Asked, examine


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mesh.Mesh]:
    with mesh.running(
        tmp_path_factory.mktemp("doctor"), SCRIPTED_FIRST_TOKEN_MS="20", SCRIPTED_TOKEN_MS="10"
    ) as running:
        yield running


async def _examined(house: mesh.Mesh, url: str = "", **env: str) -> dict[str, Result]:
    given = {**house.env, **env}
    found = await examine(Asked(url), load(Config, given), given)
    assert all(result.remedy for result in found if result.state in (State.FAIL, State.WARN))
    return {result.name: result for result in found}


def _failing(found: dict[str, Result]) -> set[str]:
    return {name for name, result in found.items() if result.state is State.FAIL}


async def test_a_mesh_as_it_comes_is_well_without_and_behind_a_proxy(house: mesh.Mesh) -> None:
    found = await _examined(house)
    assert _failing(found) == set()
    assert found["streaming"].state is State.OK
    async with proxy(house.url, Manner.FAITHFUL) as url:
        behind = await _examined(house, url)
    assert _failing(behind) == set()
    assert behind["raw body"].state is behind["large body"].state is behind["streaming"].state is State.OK


@pytest.mark.parametrize(
    ("manner", "failing", "remedy"),
    [
        (Manner.REWRITES_JSON, {"raw body"}, "no inspection or rewriting"),
        (Manner.SMALL, {"large body"}, "client_max_body_size"),
        (Manner.BUFFERS, {"streaming"}, "proxy_buffering off"),
        (Manner.IMPATIENT, {"streaming"}, "proxy_read_timeout"),
        (Manner.ASKS_PASSWORD, {"unsigned", "signed", "streaming"}, "let /vapi/ through"),
        (Manner.ANSWERS_ITSELF, {"unsigned", "signed", "streaming"}, "something else answers"),
        (Manner.LOST, {"address"}, "not the mesh behind it"),
        (Manner.STRANGE, {"address"}, "something else answers"),
    ],
)
async def test_what_a_proxy_does_wrong_is_named(
    house: mesh.Mesh, manner: Manner, failing: set[str], remedy: str
) -> None:
    async with proxy(house.url, manner) as url:
        found = await _examined(house, url)
    assert _failing(found) == failing
    assert any(remedy in found[name].remedy for name in failing)


async def test_another_secret_than_the_meshs_is_told(house: mesh.Mesh) -> None:
    found = await _examined(house, VOICEMESH_VAPI_SECRET="0123456789abcdef" * 4)
    assert _failing(found) == {"signed", "streaming"}


async def test_the_calls_that_it_makes_are_over_at_once(house: mesh.Mesh) -> None:
    await _examined(house)
    listed = house.command("calls", "--json").stdout
    assert "doctor-" in listed
    assert '"ended_at_ms": 0' not in listed


async def test_a_model_is_asked_for_its_list_with_the_key(house: mesh.Mesh, tmp_path: Path) -> None:
    agent = tmp_path / "agent.toml"
    async with openai_server() as fake:
        agent.write_text(f'[model]\nprovider = "openai"\nname = "test-model"\nbase_url = "{fake.url}"\n')
        keyed = {"VOICEMESH_AGENT_FILE": str(agent), "VOICEMESH_OPENAI_API_KEY": MODEL_KEY}
        assert (await _examined(house, **keyed))["model"].state is State.OK
    gone = (await _examined(house, **keyed))["model"]
    assert gone.state is State.FAIL
    assert "base_url" in gone.remedy


async def test_an_assistant_that_is_not_connected_is_told_with_the_command(house: mesh.Mesh) -> None:
    async with vapi_api() as vapi:
        env = {**house.env, "VAPI_API_KEY": KEY, "VOICEMESH_HTTP_PORT": "0"}
        asked = Asked("https://127.0.0.1:9", ASSISTANT, base_url=vapi.url)
        found = {result.name: result for result in await examine(asked, load(Config, env), env)}
    assert found["assistant"].state is State.FAIL
    assert "voicemesh vapi connect --url https://127.0.0.1:9" in found["assistant"].remedy
    assert "server.url" in found["assistant"].what
    assert vapi.bodies == []


def test_the_command_ends_with_1_when_a_check_fails_and_prints_no_secret(house: mesh.Mesh) -> None:
    well = house.command("doctor")
    assert well.returncode == 0, well.stdout
    ill = house.command("doctor", "--url", "http://127.0.0.1:9")
    assert ill.returncode == 1
    assert "is the tunnel or proxy running" in ill.stdout
    assert house.secret not in well.stdout + ill.stdout + well.stderr + ill.stderr
