"""Checks of what runs beside the command: the services, and the model that answers."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
import orjson
from llm_svc.agent_model import ModelSpec

from voicemesh_cli.checks import Result, fail, ok, skipped, warn
from voicemesh_cli.checks_here import is_alive
from voicemesh_cli.state_dir import Run
from voicemesh_cli.words import printable

_WAIT = aiohttp.ClientTimeout(total=10)
_LEAST_ERROR = 400


async def services(http: aiohttp.ClientSession, run: Run | None) -> Result:
    """Ask every service of the mesh that runs here whether it is ready."""
    if run is None:
        return warn("services", "no mesh runs here", "start it: `voicemesh up`, or `make up`")
    if not is_alive(run):
        return fail("services", f"the mesh was killed: process {run.pid} is gone", "start it again: `voicemesh up`")
    asked = {"ingress-svc": run.url} | {name: f"http://{at}" for name, at in run.side_ports.items() if at}
    told = {name: await _readiness(http, url) for name, url in asked.items()}
    missing = [f"{name} {why}" for name, (why, _) in told.items() if why]
    if missing:
        return fail("services", "; ".join(missing), "read its log in the folder logs of the state directory")
    if degraded := [f"{name} ({', '.join(degraded)})" for name, (_, degraded) in told.items() if degraded]:
        what = f"not by its file as it is, but by an older version or not at all: {'; '.join(degraded)}"
        return warn("services", what, "correct that file: the services read it again by themselves")
    return ok("services", f"{', '.join(asked)}: ready")


async def _readiness(http: aiohttp.ClientSession, url: str) -> tuple[str, list[str]]:
    """Return why it is not ready, empty where it is; and what of it works otherwise than it should."""
    try:
        async with http.get(f"{url}/readyz", timeout=_WAIT) as response:
            told = orjson.loads(await response.read())
            if response.status == 200:
                return "", [printable(str(one)) for one in told.get("degraded", [])]
            return printable(f"waits for {', '.join(map(str, told.get('waits_for', [])))}"), []
    except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError, TypeError):
        return f"does not answer at {url}", []


async def model(http: aiohttp.ClientSession, spec: ModelSpec, keys: Mapping[str, str], *, name: str) -> Result:
    """Ask the model's server for its models. ``keys`` holds the variable that gives the key, and the key."""
    if spec.provider != "openai":
        return ok(name, f"{spec.label}: plays a restaurant, no language model")
    variable, key = next(iter(keys.items()))
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = spec.base_url.rstrip("/") + "/models"
    try:
        async with http.get(url, headers=headers, timeout=_WAIT, allow_redirects=False) as response:
            status, raw = response.status, await response.content.read(1 << 20)
    except (aiohttp.ClientError, TimeoutError) as error:
        why = "no answer in time" if isinstance(error, TimeoutError) else printable(str(error))
        return fail(name, f"{spec.base_url} cannot be reached: {why}", "start that server, or correct model.base_url")
    if status in (401, 403):
        what = "takes no request without a key" if not key else "does not take the key"
        return fail(name, f"{spec.base_url} {what} ({status})", f"set {variable} to a key of that server")
    if status >= _LEAST_ERROR:
        return warn(name, f"{spec.base_url} lists no models ({status})", "if calls stay silent, see model.base_url")
    names = _names(raw)
    if names and spec.name not in names and not any(known.split(":")[0] == spec.name for known in names):
        near = ", ".join(sorted(names)[:5])
        return warn(name, f"{spec.base_url} does not list {spec.name}", f"set model.name to one of its own: {near}, …")
    return ok(name, f"{spec.label} at {spec.base_url}")


def no_model(name: str) -> Result:
    return skipped(name, "the agent file cannot be read")


def _names(raw: bytes) -> set[str]:
    try:
        data = orjson.loads(raw)["data"]
        return {printable(str(item["id"])) for item in data}
    except (ValueError, KeyError, TypeError):
        return set()
