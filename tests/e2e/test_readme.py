"""The commands that a newcomer copies, run; and every address that they print, asked."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import mesh
from fakes.vapi_api import ASSISTANT, KEY, vapi_api
from ingress_svc.domain.paths import LLM_PATHS, TOKEN_PATH, WEBHOOK_PATHS

PAGES = ("README.md", "docs/quickstart-vapi.md", "docs/recipes.md")
PUBLIC = "https://voice.example.com"
ELSEWHERE = (
    "cloudflared",
    "ngrok",
    "docker compose",
    "git clone",
    "openssl",
    "ollama",
    "OLLAMA_",
    "llama-server",
    "vllm",
    "SSL_CERT_FILE=",
)
"""What takes another machine, or a program that is not ours. tests/compose runs docker compose."""
STEPS = (". .venv/bin/activate", "export VAPI_API_KEY_FILE=$PWD/vapi-key", "curl -s http://127.0.0.1:8080/metrics")
"""What stands for something that the test does in its own way."""
ROUTES = {*WEBHOOK_PATHS, *LLM_PATHS, TOKEN_PATH, "", "/healthz", "/readyz", "/metrics"}


def commands(page: str) -> Iterator[str]:
    """Yield every command of a page's shell blocks, and of those that stand in its tables and sentences."""
    text = (mesh.REPOSITORY / page).read_text(encoding="utf-8")
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            for command in re.split(r"\s+#\s|^#|\s&&\s(?=make|cd)", line)[:1]:
                if command.strip():
                    yield command.strip()
    for command in re.findall(r"`((?:voicemesh|make) [a-z][^`…|]*)`", text):
        yield command


def told(page: str) -> list[str]:
    return [line for line in dict.fromkeys(commands(page)) if not line.startswith((*ELSEWHERE, *STEPS))]


def test_d36_every_command_of_the_pages_is_one_that_we_know() -> None:
    for page in PAGES:
        strange = [line for line in told(page) if shlex.split(line)[0] not in ("voicemesh", "make")]
        assert strange == [], f"{page}: run it here, or name it in ELSEWHERE"


def test_d36_each_make_target_of_the_pages_exists_and_up_runs_the_mesh() -> None:
    targets = {shlex.split(line)[1] for page in PAGES for line in told(page) if line.startswith("make ")}
    assert targets >= {"up", "test"}
    for target in targets:
        # -n prints what would be done, and asks no network.
        done = subprocess.run(
            ["make", "-n", target, f"PY={sys.executable}"],
            cwd=mesh.REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"]},
        )
        assert done.returncode == 0, done.stderr
        if target == "up":
            assert "-m voicemesh_cli up" in done.stdout


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mesh.Mesh]:
    with mesh.running(tmp_path_factory.mktemp("readme"), DEMO="on", SCRIPTED_TOKEN_MS="5", COLUMNS="200") as running:
        mesh.Mesh.until(lambda: "caller hung up" in running.said(), 90.0)
        yield running


def addresses(text: str, base: str) -> set[str]:
    """Return the paths of the addresses below ``base`` that a text names."""
    return {path.rstrip(".,;:") for path in re.findall(re.escape(base) + r"(/[^\s)\"'→]*|)", text)}


def test_d36_up_prints_where_vapi_finds_it_in_full(house: mesh.Mesh) -> None:
    printed = addresses(house.said(), house.url)
    assert printed == {"", WEBHOOK_PATHS[0], LLM_PATHS[0]}
    for path in printed - {""}:
        # Served, and guarded: a path that is not there is 404, and one with another method 405.
        assert post(house.url + path) == 401


def post(url: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, b"{}", method="POST"), timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


async def test_d36_the_commands_of_the_pages_run_and_print_addresses_that_are_served(
    house: mesh.Mesh, tmp_path: Path
) -> None:
    key = tmp_path / "vapi-key"
    key.write_text(KEY)
    house.env["VAPI_API_KEY_FILE"] = str(key)
    first = json.loads(house.command("calls", "--json").stdout.splitlines()[0])
    call_id = first["call_id"]
    tried: dict[str, str] = {}
    async with vapi_api() as vapi:
        for line in dict.fromkeys(line for page in PAGES for line in told(page) if line.startswith("voicemesh ")):
            arguments = filled(line, house, vapi.url, call_id)
            if arguments is None:
                continue
            tried[line] = await run(house, arguments)
    assert len(tried) >= 8
    said = "\n".join(tried.values())
    for base in (PUBLIC, house.url):
        assert addresses(said, base) <= ROUTES, addresses(said, base) - ROUTES
    assert PUBLIC + WEBHOOK_PATHS[0] in said
    assert PUBLIC + LLM_PATHS[0] in said
    assert house.url + WEBHOOK_PATHS[0] in said
    server = vapi.assistants[ASSISTANT]["server"]["url"], vapi.assistants[ASSISTANT]["model"]["url"]
    assert server == (PUBLIC + WEBHOOK_PATHS[0], PUBLIC + LLM_PATHS[0])


async def run(house: mesh.Mesh, arguments: list[str]) -> str:
    done = await asyncio.to_thread(house.command, *arguments)
    assert done.returncode == 0, f"voicemesh {shlex.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


def filled(line: str, house: mesh.Mesh, vapi_url: str, call_id: str) -> list[str] | None:
    """Return a command with a newcomer's own values; None for one that stands for another or takes the network."""
    words = shlex.split(line)[1:]
    if words[0] == "up" or "FILE" in words or words == ["vapi", "connect"]:
        return None
    stands_for = {"ASSISTANT-ID": ASSISTANT, "CALL-ID": call_id, "ID": ASSISTANT if words[0] == "vapi" else call_id}
    # The doctor looks at an address: here it is the mesh itself, as a tunnel on loopback would show it.
    host = house.url if words[0] == "doctor" else PUBLIC
    given = [host if word.startswith("https://") else stands_for.get(word, word) for word in words]
    if words[:2] == ["vapi", "connect"]:
        given += ["--base-url", vapi_url, "--yes"]
    return given
