"""`voicemesh doctor`: run every check in order, and print what it found with its remedy."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from llm_svc.agent_model import AgentModels, load_models
from rich.console import Console
from rich.text import Text
from svc_runtime.config import ConfigError, is_set, load

from voicemesh_cli import checks_here, checks_mesh, checks_url
from voicemesh_cli.checks import Result, State, fail, ok, skipped
from voicemesh_cli.checks_url import Way
from voicemesh_cli.commands import secret_of
from voicemesh_cli.config import SECRET, Config, VapiKey
from voicemesh_cli.state_dir import Run, StateDir, StateDirError
from voicemesh_cli.vapi_api import BASE_URL, VapiError
from voicemesh_cli.vapi_commands import add_credentials, api_of, secret_file_of, secrets_of, vapi_id
from voicemesh_cli.vapi_connect import ConnectFailed, Wanted, look
from voicemesh_cli.vapi_proof import Proof, chosen, in_header, proofs
from voicemesh_cli.words import counted

_SIGN = {State.OK: ("ok", "green"), State.WARN: ("warn", "yellow"), State.FAIL: ("FAIL", "bold red")}
_MOST_NAMED = 6
_NAME_COLUMNS = 12


@dataclass(frozen=True, slots=True)
class Asked:
    """What the doctor is to look at."""

    url: str = ""
    assistant_id: str = ""
    credential_id: str = ""
    llm_credential_id: str = ""
    """Credentials that were made by hand, as connect was given them."""
    scheme: str = ""
    """The way of proof that connect was given."""
    base_url: str = BASE_URL


async def examine(asked: Asked, config: Config, env: Mapping[str, str]) -> list[Result]:
    """Return the result of every check, in the order in which their remedies help."""
    state = StateDir(config.state_dir)
    found = [checks_here.python_version(), *checks_here.settings(env)]
    found += checks_here.files(config.agent_file, config.agents_dir, env.get("VOICEMESH_BUDGET_FILE", "budget.toml"))
    try:
        run = state.read_run()
        secret, llm_key = secrets_of(env, state, run)
    except (StateDirError, ConfigError) as error:
        # Every problem with a secret's variable has been told by the settings.
        run, secret, llm_key = None, "", ""
        if isinstance(error, StateDirError):
            found.append(fail("state", str(error), "remove run.json, if no mesh runs"))
    alive = run if checks_here.is_alive(run) else None
    found.append(
        checks_here.secret(secret, _secret_file(env, state, run), runs=alive is not None, is_set=is_set(SECRET, env))
    )
    found += checks_here.ports(config, env, run)
    found.append(checks_here.store(Path(config.store or (run.store if run else state.store))))
    ways = _proofs(env, secret_file_of(state, run))
    proof = ways[0] if ways else Proof()
    if asked.scheme:
        try:
            proof = chosen(ways, asked.scheme)
        except ConfigError as error:
            found.append(fail("scheme", str(error), "name one of those, or leave --scheme out"))
            proof = Proof()
    way = Way(asked.url or (alive.url if alive else ""), proof, llm_key)
    async with aiohttp.ClientSession(headers={"User-Agent": "voicemesh/0.1"}) as http:
        found.append(await checks_mesh.services(http, run))
        found += await _models(http, config, env)
        if way.url:
            direct = Way(alive.url, proof, llm_key) if alive and alive.url != way.url else None
            found += await checks_url.run(http, way, direct)
        if not asked.url:
            found.append(skipped("public url", "no --url: what Vapi would meet was not looked at"))
    return [*found, *await _vapi(asked, env, way, in_header(ways))]


def _proofs(env: Mapping[str, str], secret_file: str) -> list[Proof]:
    try:
        return proofs(env, secret_file)
    except ConfigError:
        return []  # the settings have told of it


def asked_of(given: argparse.Namespace) -> Asked:
    """Return what the command line asks for."""
    return Asked(
        given.url or "",
        given.assistant or "",
        given.credential_id or "",
        given.llm_credential_id or "",
        given.scheme or "",
        given.base_url,
    )


def show(out: Console, found: list[Result]) -> int:
    """Print the results. Returns the exit code."""
    for result in found:
        sign, style = _SIGN.get(result.state, ("-", "dim"))
        head = Text.assemble(" ", (f"{sign:<6}", style), (f"{result.name:<{_NAME_COLUMNS}}", "bold"))
        for number, line in enumerate(_wrapped(out, result.what, len(head))):
            out.print(Text.assemble(head if number == 0 else " " * len(head), line))
        for number, line in enumerate(_wrapped(out, result.remedy, len(head) + 2)):
            out.print(Text.assemble(" " * len(head), "→ " if number == 0 else "  ", line))
    out.print()
    counts = {state: sum(result.state is state for result in found) for state in State}
    worst = [f"{counts[State.FAIL]} failed", counted(counts[State.WARN], "warning"), f"{counts[State.SKIPPED]} skipped"]
    out.print(Text(f" {counts[State.OK]} ok, {', '.join(worst)}"))
    return 1 if counts[State.FAIL] else 0


def _wrapped(out: Console, text: str, indent: int) -> Iterator[Text]:
    if text:
        yield from Text(text).wrap(out, max(30, out.width - indent - 1))


async def _models(http: aiohttp.ClientSession, config: Config, env: Mapping[str, str]) -> list[Result]:
    try:
        models = load_models(Path(config.agent_file))
        keys = _keys(models, env)
    except ConfigError:
        return [checks_mesh.no_model("model")]
    found = [await checks_mesh.model(http, models.primary, keys[0], name="model")]
    if models.fallback:
        found.append(await checks_mesh.model(http, models.fallback, keys[1], name="fallback"))
    return found


def _keys(models: AgentModels, env: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return variable and key of the model and of its fallback, which llm-svc gives the same key at the same server."""
    own, other = "VOICEMESH_OPENAI_API_KEY", "VOICEMESH_OPENAI_FALLBACK_API_KEY"
    key, second = secret_of(env, own), secret_of(env, other)
    is_same = models.fallback is not None and models.fallback.base_url == models.primary.base_url
    return {own: key}, {other: second or (key if is_same else "")}


async def _vapi(asked: Asked, env: Mapping[str, str], way: Way, header: Proof | None) -> list[Result]:
    """Hold the assistant at Vapi against what connect would make of it."""
    name = "assistant"
    if not asked.assistant_id:
        return [skipped(name, "no --assistant: its configuration at Vapi was not looked at")]
    if not asked.url.startswith("https://") or not way.proof.secret:
        return [skipped(name, "this takes --url https://HOST and a secret")]
    again = f"voicemesh vapi connect --url {asked.url} --assistant {asked.assistant_id}"
    try:
        if not load(VapiKey, env).api_key:
            return [skipped(name, "VAPI_API_KEY is not set")]
        wanted = Wanted(
            asked.url,
            asked.assistant_id,
            way.proof,
            way.llm_key,
            credential_id=asked.credential_id,
            llm_credential_id=asked.llm_credential_id,
            header=header,
        )
        async with api_of(env, asked.base_url, hide=(way.proof.secret, way.llm_key)) as api:
            looked = await look(api, wanted)
            vapis_clock = checks_url.clock(api.date, time.time(), "Vapi")
    except (VapiError, ConnectFailed, ConfigError) as error:
        return [fail(name, str(error), f"then: {again}")]
    differ = list(dict.fromkeys(change.path for change in looked.changes))
    if not differ:
        return [vapis_clock, ok(name, "is connected here as it should be")]
    named = ", ".join(differ[:_MOST_NAMED]) + (", …" if len(differ) > _MOST_NAMED else "")
    return [vapis_clock, fail(name, f"is not as connect would make it: {named}", again)]


def _secret_file(env: Mapping[str, str], state: StateDir, run: Run | None) -> Path | None:
    made = run.secret_file if run else str(state.path / "vapi-secret")
    path = env.get(f"{SECRET}_FILE", "" if is_set(SECRET, env) else made)
    return Path(path) if path else None


def add_parser(parsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command line of `voicemesh doctor`."""
    doctor = parsers.add_parser(
        "doctor",
        help="check settings, services and the way in, and say what to do",
        description="Check this machine, the mesh that runs here and, with --url, what Vapi would meet at the public "
        "address. Asks the model one short question. Exit code 1 when a check fails.",
    )
    doctor.add_argument("--url", type=_address, default=None, metavar="https://HOST", help="the public address")
    doctor.add_argument("--assistant", type=vapi_id, metavar="ID", help="compare this assistant (takes VAPI_API_KEY)")
    add_credentials(doctor)
    doctor.add_argument("--base-url", default=BASE_URL, help=argparse.SUPPRESS)


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or "@" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address such as https://HOST")
    return text.rstrip("/")
