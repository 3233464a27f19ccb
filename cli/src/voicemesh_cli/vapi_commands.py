"""`voicemesh vapi …` at the terminal: what it takes from the settings, what it prints, and whom it asks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from rich.console import Console
from rich.text import Text
from svc_runtime.config import ConfigError, is_set, load

from voicemesh_cli.commands import secret_of
from voicemesh_cli.config import SECRET, Config, VapiKey
from voicemesh_cli.state_dir import Run, StateDir
from voicemesh_cli.vapi_api import BASE_URL, VapiApi
from voicemesh_cli.vapi_connect import ConnectFailed, Wanted, connect, restore
from voicemesh_cli.vapi_diff import Change
from voicemesh_cli.vapi_proof import chosen, in_header, proofs

_COLOUR = {"+": "green", "-": "red", "~": "yellow"}
_MOST_PATH = 54


async def run(given: argparse.Namespace, config: Config, env: Mapping[str, str], out: Console) -> None:
    """Run `voicemesh vapi connect` or `restore`. Raises ConfigError, ConnectFailed, VapiError."""
    state = StateDir(config.state_dir)
    screen = Terminal(out, yes=given.yes)
    backups = (state.path / "vapi-backups").resolve()
    if given.vapi_command == "restore":
        async with api_of(env, given.base_url) as api:
            return await restore(api, Path(given.backup), screen, backups, dry_run=given.dry_run)
    wanted = wanted_of(given, env, state)
    async with api_of(env, given.base_url, hide=(wanted.proof.secret, wanted.llm_key)) as api:
        return await connect(api, wanted, screen, backups, dry_run=given.dry_run)


@asynccontextmanager
async def api_of(env: Mapping[str, str], base_url: str, *, hide: tuple[str, ...] = ()) -> AsyncIterator[VapiApi]:
    """Yield Vapi's API with the key of the settings. Raises ConfigError without one."""
    key = load(VapiKey, env).api_key.strip()
    if not key:
        raise ConfigError(
            "VAPI_API_KEY is not set: the private key of your organisation, from Vapi's dashboard; "
            "or name a file that holds it with VAPI_API_KEY_FILE"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError("VAPI_API_KEY holds what no key has: spaces, or characters outside of ASCII")
    async with aiohttp.ClientSession() as http:
        yield VapiApi(http, key, base_url=base_url, hide=hide)


def wanted_of(given: argparse.Namespace, env: Mapping[str, str], state: StateDir) -> Wanted:
    """Return what is to be connected to what. Raises ConfigError without a secret."""
    run = state.read_run()
    found = proofs(env, secret_file_of(state, run))
    if not found:
        if is_set(SECRET, env):
            raise ConfigError(f"{SECRET} is set to nothing: set it, or unset it to use the one of `voicemesh up`")
        raise ConfigError(
            "there is no secret yet for Vapi to prove itself with: set VOICEMESH_VAPI_SECRET, or run `voicemesh up` "
            "once, which makes one"
        )
    _, llm_key = secrets_of(env, state, run)
    return Wanted(
        url=given.url,
        assistant_id=given.assistant,
        proof=chosen(found, given.scheme or ""),
        llm_key=llm_key,
        phone_number_id=given.phone_number_id or "",
        credential_id=given.credential_id or "",
        llm_credential_id=given.llm_credential_id or "",
        header=in_header(found),
    )


def secret_file_of(state: StateDir, run: Run | None) -> str:
    """Return the file with the secret that `voicemesh up` has made; "" for none."""
    made = state.path / "vapi-secret"
    return run.secret_file if run else str(made) if made.exists() else ""


def secrets_of(env: Mapping[str, str], state: StateDir, run: Run | None) -> tuple[str, str]:
    """Return the secret of the webhooks and the key of the custom LLM, as ingress-svc has them; "" for none."""
    secret = secret_of(env, SECRET, secret_file_of(state, run))
    return secret, secret_of(env, "VOICEMESH_VAPI_LLM_KEY") or secret


class Terminal:
    """Prints, and asks on a terminal unless it has been told yes."""

    def __init__(self, out: Console, *, yes: bool) -> None:
        self._out = out
        self._yes = yes

    def say(self, line: str) -> None:
        self._out.print(Text(line), soft_wrap=True)

    def show(self, title: str, found: list[Change]) -> None:
        self._out.print(Text(title, style="bold"))
        column = min(_MOST_PATH, max((len(change.path) for change in found), default=0))
        for change in found:
            self._out.print(_line(change, column), soft_wrap=True)

    def agrees(self) -> bool:
        if self._yes:
            return True
        if not sys.stdin.isatty():
            raise ConnectFailed("nobody can be asked whether to change it: say --yes, or --dry-run only to look")
        self._out.print("change it? [y/N] ", end="")
        return sys.stdin.readline().strip().lower() in ("y", "yes")


def _line(change: Change, column: int) -> Text:
    values = {"+": change.new, "-": change.old, "~": f"{change.old} → {change.new}"}
    return Text.assemble(
        (f"  {change.kind} ", _COLOUR[change.kind]), f"{change.path:<{column}}  ", (values[change.kind], "dim")
    )


def add_parser(parsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command line of `voicemesh vapi`."""
    vapi = parsers.add_parser("vapi", help="connect an assistant at Vapi to this server, or undo it")
    below = vapi.add_subparsers(dest="vapi_command", required=True, metavar="COMMAND")
    connecting = below.add_parser(
        "connect",
        help="let an existing assistant use this server",
        description="Let an existing assistant at Vapi use this server: its webhooks, its model, its interruptions. "
        "Shows each change and asks; keeps what was there in a file. VAPI_API_KEY holds the key.",
    )
    connecting.add_argument("--url", required=True, type=public_url, metavar="https://HOST", help="where Vapi finds us")
    connecting.add_argument("--assistant", required=True, type=vapi_id, metavar="ID", help="the assistant to connect")
    connecting.add_argument(
        "--phone-number", dest="phone_number_id", type=vapi_id, metavar="ID", help="answer this number too"
    )
    add_credentials(connecting)
    restoring = below.add_parser(
        "restore",
        help="put back what connect has changed",
        description="Put back what `connect` has changed, from the file that it has kept.",
    )
    restoring.add_argument("backup", help="the file that connect has kept")
    for parser in (connecting, restoring):
        parser.add_argument("--dry-run", action="store_true", help="only show what would change")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--base-url", default=BASE_URL, metavar="URL", help=argparse.SUPPRESS)


def add_credentials(parser: argparse.ArgumentParser) -> None:
    """Declare how credentials that were made by hand are named."""
    for name, what in (("--credential-id", "a webhook credential"), ("--llm-credential-id", "a custom-llm credential")):
        parser.add_argument(name, type=vapi_id, metavar="ID", help=f"{what} made in Vapi's dashboard, in place of ours")
    parser.add_argument(
        "--scheme", metavar="NAME", help="of the ways that ingress takes, this one: a preset, a table's name, oauth2"
    )


def public_url(text: str) -> str:
    """Return the address without its last slash. Raises ArgumentTypeError."""
    parts = urlsplit(text)
    wrong = ""
    if parts.scheme != "https" or not parts.hostname:
        wrong = "Vapi sends secrets there, so it must be https://HOST"
    elif "@" in parts.netloc or parts.query or parts.fragment:
        wrong = "it must be https://HOST and at most a path"
    elif parts.path.rstrip("/").endswith(("/webhook", "/llm", "/vapi")):
        wrong = "leave /vapi/… out: connect adds it"
    if wrong:
        raise argparse.ArgumentTypeError(f"{text!r}: {wrong}")
    return text.rstrip("/")


def vapi_id(text: str) -> str:
    """Return an id that can be no path. Raises ArgumentTypeError."""
    if not text or not all(character.isascii() and (character.isalnum() or character in "-_") for character in text):
        raise argparse.ArgumentTypeError(f"{text!r} is no id of Vapi's, such as 9c2f7a10-5b1e-4c3d-8a77-1f0e2d3c4b5a")
    return text
