"""`voicemesh up`: the whole mesh as processes on this machine, the sample call, then service until told to end."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import aiohttp
from ingress_svc.domain.paths import LLM_PATH, WEBHOOK_PATH
from svc_runtime.config import is_set

from voicemesh_cli.child import Service
from voicemesh_cli.commands import play_sample
from voicemesh_cli.config import SECRET, Config
from voicemesh_cli.preflight import complaints
from voicemesh_cli.state_dir import Run, StateDir
from voicemesh_cli.supervisor import CannotStart, Supervisor, told

_INNER = {"session-svc": "SESSION", "bargein-svc": "BARGEIN", "llm-svc": "LLM"}
_INGRESS = "ingress-svc"
_LLM = "llm-svc"
_SECRETS_OF = {
    "VOICEMESH_VAPI_": (_INGRESS,),
    "VOICEMESH_CONTROL_TOKEN": (_INGRESS,),
    "VOICEMESH_OPENAI_": (_LLM,),
    "VOICEMESH_OWNER_": (_INGRESS, _LLM),
    "VAPI_API_KEY": (),
}
"""By the beginning of their names, who sees them."""
_GRACE_OVER_DRAIN_S = 2.0
"""A service stops within its drain time and this, or is killed."""
_FIRST_PORT = 15_000
_LAST_PORT = 32_000
"""Below the range from which Linux takes the ports of outgoing connections. Inside it, a client that looks for a
service being restarted can be given that very port, connects to itself, and keeps the service from its address."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What will run, and where."""

    services: tuple[Service, ...]
    run: Run


def plan(config: Config, env: Mapping[str, str], state: StateDir) -> Plan:
    """Return the services with their environments. What the user has set stays as it is."""
    shared = dict(env)
    shared.setdefault("VOICEMESH_STORE", str(state.store))
    shared.setdefault("VOICEMESH_AGENT_VERSIONS", str(state.agent_versions))
    secret_file = shared.get(f"{SECRET}_FILE", "")
    # An empty secret was set by somebody: ingress says what is wrong with it.
    if not is_set(SECRET, shared):
        secret_file = shared[f"{SECRET}_FILE"] = str(state.dev_secret_file().resolve())
    free = _free_ports()
    shared["VOICEMESH_HTTP_PORT"] = str(config.http_port or next(free))
    targets, side_ports = {}, {}
    for name, variable in _INNER.items():
        listen = shared.setdefault(f"VOICEMESH_{variable}_LISTEN", f"127.0.0.1:{next(free)}")
        side_ports[name] = shared.setdefault(f"VOICEMESH_{variable}_HTTP", f"127.0.0.1:{next(free)}")
        targets[name] = shared.setdefault(f"VOICEMESH_{variable}_TARGETS", listen).split(",")[0].strip()
    services = tuple(
        Service(name, (sys.executable, "-m", name.replace("-", "_")), _env_of(name, shared))
        for name in (*_INNER, _INGRESS)
    )
    url = f"http://{_reachable(config.http_host)}:{shared['VOICEMESH_HTTP_PORT']}"
    run = Run(os.getpid(), url, targets, shared["VOICEMESH_STORE"], secret_file, side_ports=side_ports)
    return Plan(services, run)


def _env_of(name: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of one service: it sees no secret of another."""
    foreign = tuple(prefix for prefix, owners in _SECRETS_OF.items() if name not in owners)
    return {key: value for key, value in env.items() if not key.startswith(foreign)}


async def up(config: Config, env: Mapping[str, str]) -> int:
    """Run the mesh until SIGTERM or Ctrl-C. Returns the exit code."""
    state = StateDir(config.state_dir)
    state.claim()
    try:
        _check_port(config)
        if not config.store and (unread := state.unread_store):
            _say(
                f"{unread} is not read: {state.store.name} stands beside it; VOICEMESH_STORE={unread} reads it instead"
            )
        return await _Mesh(config, env, state).serve()
    except CannotStart as error:
        print(f"voicemesh: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        state.release()


class _Mesh:
    def __init__(self, config: Config, env: Mapping[str, str], state: StateDir) -> None:
        self._config = config
        self._env = env
        self._state = state
        self._plan = plan(config, env, state)
        if found := complaints(self._plan.services):
            raise CannotStart(told(found))
        self._run = self._plan.run
        self._ending = asyncio.Event()
        self._supervisor = Supervisor(
            self._plan.services,
            stop_first=[_INGRESS],
            log_dir=state.logs,
            log_file_bytes=config.log_file_bytes,
            grace_s=config.drain_s + _GRACE_OVER_DRAIN_S,
            say=_say,
            on_started=self._write_run,
        )

    async def serve(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        try:
            main = asyncio.create_task(self._main())
            ending = asyncio.create_task(self._ending.wait())
            await asyncio.wait([main, ending], return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            if not main.done():
                main.cancel()
            await asyncio.wait([main])
            if not main.cancelled():
                main.result()
        finally:
            await self._supervisor.stop()
        return 0

    async def _main(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
            await self._supervisor.start(lambda: self._is_ready(http), self._config.ready_s)
        url = self._plan.run.url
        _say(
            f"voicemesh is ready at {url} (webhooks: {url}{WEBHOOK_PATH}, custom LLM: {url}{LLM_PATH}; Ctrl-C ends it)"
        )
        if self._config.demo:
            await play_sample(self._run, self._env)
        await asyncio.Event().wait()

    def _on_signal(self) -> None:
        if self._ending.is_set():
            self._supervisor.kill()
        self._ending.set()

    async def _is_ready(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get(f"{self._plan.run.url}/readyz") as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _write_run(self, pids: dict[str, int]) -> None:
        self._run = replace(self._run, pids=pids)
        self._state.write_run(self._run)


def _say(line: str) -> None:
    print(line, flush=True)


def _check_port(config: Config) -> None:
    """Raise CannotStart where the public port is taken: ingress would say so too, but again and again."""
    with socket.socket(socket.AF_INET6 if ":" in config.http_host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.http_host, config.http_port))
        except (OSError, OverflowError) as error:
            where = f"{config.http_host}:{config.http_port}"
            what_helps = "stop what uses it, or set VOICEMESH_HTTP_PORT to another port"
            raise CannotStart(
                f"{where} cannot be listened on ({getattr(error, 'strerror', None) or error}); {what_helps}"
            ) from error


def _free_ports() -> Iterator[int]:
    """Yield loopback ports that nothing listens on now, each once."""
    for port in random.sample(range(_FIRST_PORT, _LAST_PORT + 1), k=1_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


def _reachable(host: str) -> str:
    """Return where this machine finds a server that listens on ``host``."""
    if host in ("", "0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
