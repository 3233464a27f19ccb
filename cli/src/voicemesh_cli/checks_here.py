"""Checks of this machine: settings, files, the secret, ports, the store, and whether the mesh runs."""

from __future__ import annotations

import difflib
import os
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from svc_runtime.budget import Budget
from svc_runtime.config import describe, is_set, load

from voicemesh_cli.checks import Result, fail, ok, skipped, warn
from voicemesh_cli.config import SECRET, Config
from voicemesh_cli.preflight import AGENTS, CONFIGS, of_settings, problems
from voicemesh_cli.state_dir import Run

_OLDEST_PYTHON = (3, 11)
_SHORT_SECRET = 16
_FAIR_SECRET = 32
"""The number of hex digits in 128 bits."""
_FEW_CHARACTERS = 6
_GUESSABLE = ("secret", "password", "changeme", "voicemesh", "test", "vapi", "12345", "example")
_LITTLE_DISK_BYTES = 1_000_000_000
_NO_DISK_BYTES = 100_000_000
_INNER = ("SESSION", "BARGEIN", "LLM")


def python_version(version: Sequence[Any] = sys.version_info) -> Result:
    text = ".".join(str(part) for part in version[:3])
    if tuple(version[:2]) < _OLDEST_PYTHON:
        return fail("python", f"this is Python {text}", "install Python 3.11 or newer, delete .venv, `make up` again")
    return ok("python", text)


def settings(env: Mapping[str, str]) -> list[Result]:
    """Check the variables as every service would. A missing secret is the matter of `secret`."""
    found_wrong: dict[str, None] = {}
    given = dict(env)
    if not is_set(SECRET, env):
        given[SECRET] = "made by voicemesh up"
    for name in CONFIGS:
        found_wrong |= dict.fromkeys(of_settings(name, given))
    found_wrong |= dict.fromkeys(problems(load, Config, given))
    remedy = "set it as docs/settings.md says, or unset it"
    found = [fail("settings", problem, remedy) for problem in found_wrong]
    known = {row.variable for config in (*CONFIGS.values(), Config) for row in describe(config)}
    known |= {f"{name}_FILE" for name in known}
    for name in sorted(name for name in env if name.startswith("VOICEMESH_") and name not in known):
        near = difflib.get_close_matches(name, known, n=1)
        found.append(
            warn(
                "settings", f"nothing reads {name}", f"did you mean {near[0]}?" if near else "unset it, if it is a slip"
            )
        )
    return found or [ok("settings", "every variable parses")]


def files(agent_file: str, agents_dir: str, budget_file: str) -> list[Result]:
    """Check the agent files and budget.toml as the services read them."""
    found: list[Result] = []
    place: dict[str, Any] = {"agent_file": agent_file, "agents_dir": agents_dir}
    agents = (problem for name, read in AGENTS.items() for problem in problems(read, CONFIGS[name](**place)))
    budget = problems(Budget.load, budget_file)
    for what, path, wrong in (("agent file", agent_file, agents), ("budget file", budget_file, budget)):
        remedy = f"correct it; docs/settings.md has the keys of {path}"
        found += [fail(what, problem, remedy) for problem in dict.fromkeys(wrong)] or [ok(what, path)]
    return found


def secret(value: str, file: Path | None, *, runs: bool, is_set: bool = False) -> Result:
    """``file`` is where it stands, if in a file; ``runs``: a mesh runs here, so that it must have one; ``is_set``: a
    setting gives it, if only an empty one."""
    if not value and is_set:
        return skipped("secret", f"{SECRET} is set to nothing: what ingress makes of that, the settings above tell")
    if not value:
        if runs:
            return fail("secret", "not found, though a mesh runs here", "run the doctor with the mesh's own settings")
        return ok("secret", "none yet: `voicemesh up` makes one")
    better = "make another: `openssl rand -hex 32`, then `voicemesh vapi connect` again"
    if weakness := weakness_of(value):
        return fail("secret", f"it {weakness}; who guesses it can speak for Vapi", better)
    if len(value) < _FAIR_SECRET:
        return warn("secret", f"it has only {len(value)} characters", better)
    if file is not None and file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        return warn("secret", f"others on this machine can read {file}", f"chmod 600 {file}")
    return ok("secret", f"{len(value)} characters" + (f", in {file}" if file else ""))


def weakness_of(value: str) -> str:
    """Return what makes a secret guessable; empty for nothing that shows."""
    if len(value) < _SHORT_SECRET:
        return f"has only {len(value)} characters"
    if len(set(value)) < _FEW_CHARACTERS:
        return f"repeats {len(set(value))} characters"
    word = next((word for word in _GUESSABLE if word in value.lower() and len(value) < len(word) + _SHORT_SECRET), "")
    return "is built around a common word" if word else ""


def is_alive(run: Run | None) -> bool:
    """Whether the process that wrote run.json still runs."""
    if run is None:
        return False
    try:
        os.kill(run.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def ports(config: Config, env: Mapping[str, str], run: Run | None) -> list[Result]:
    """Check that each port that was chosen is free, or the running mesh's own."""
    wanted = {"VOICEMESH_HTTP_PORT": f"{config.http_host}:{config.http_port}"} if config.http_port else {}
    for name in _INNER:
        for variable in (f"VOICEMESH_{name}_LISTEN", f"VOICEMESH_{name}_HTTP"):
            wanted |= {variable: env[variable]} if env.get(variable) else {}
    ours = set()
    if run is not None and is_alive(run):
        ours = {address.rpartition(":")[2] for address in (run.url, *run.targets.values(), *run.side_ports.values())}
    found = []
    for variable, address in wanted.items():
        port = address.rpartition(":")[2]
        if port not in ours and (problem := _cannot_listen(address)):
            found.append(fail("ports", f"{address}: {problem}", f"stop what uses it, or set {variable} to another"))
    used = "the running mesh has its own" if ours else "free"
    return found or [ok("ports", f"{', '.join(wanted.values()) or 'any'}: {used}")]


def _cannot_listen(address: str) -> str:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except (OSError, OverflowError, ValueError) as error:
            return getattr(error, "strerror", None) or str(error)
    return ""


def store(path: Path, *, free_bytes: int | None = None) -> Result:
    """Check that the durable log can be written. ``free_bytes``: on its disk; asked for where it is None."""
    directory = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"x")
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(0, "no permission to write it")
    except OSError as error:
        remedy = "give this user the right to write there, or set VOICEMESH_STORE to another path"
        return fail("store", f"{path}: {error.strerror}", remedy)
    free = shutil.disk_usage(directory).free if free_bytes is None else free_bytes
    what = f"{path}, {free / 1e9:,.1f} GB free"
    if free < _NO_DISK_BYTES:
        return fail("store", what, "make room: nothing is acknowledged that cannot be written")
    if free < _LITTLE_DISK_BYTES:
        return warn("store", what, "make room, or shorten VOICEMESH_RETENTION_H")
    return ok("store", what)
