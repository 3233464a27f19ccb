"""The compose stack as a test has it: `docker compose` for what a user does, the engine's API for what a test sees."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container
from voicemesh.session.v1 import session_pb2 as pb
from voicemesh_cli.log_source import LogSource

REPOSITORY = Path(__file__).parents[2]
OURS = ("ingress-svc", "session-svc", "bargein-svc", "llm-svc")
READY_S = 120.0
END_S = 60.0
SIDE_PORTS = {"ingress-svc": 8080, "session-svc": 9101, "bargein-svc": 9102, "llm-svc": 9103}


def compose_command() -> list[str]:
    """Return what stands for `docker compose` here: COMPOSE, the plugin, one that stand_ins.sh has built, or 1.29."""
    if os.environ.get("COMPOSE"):
        return os.environ["COMPOSE"].split()
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"]
    built = REPOSITORY / ".compose/docker-compose"
    return [str(built)] if built.exists() else ["docker-compose"]


class Stack:
    """One project of compose.yaml on free ports, with overlays of a test and values as .env would have them."""

    def __init__(self, name: str, *overlays: str, root: Path = REPOSITORY, **values: str) -> None:
        """``values`` are VOICEMESH_* variables without the prefix."""
        self._root = root
        self.name = name
        self.port, self.jaeger_port = _free_port(), _free_port()
        self.engine = docker.from_env()
        self._files = [root / "compose.yaml", *(REPOSITORY / "tests/compose" / one for one in overlays)]
        own = {"PORT": str(self.port), "JAEGER_PORT": str(self.jaeger_port), "HEALTH_INTERVAL": "1s"} | values
        self._env = {key: value for key, value in os.environ.items() if not key.startswith("VOICEMESH_")}
        self._env |= {f"VOICEMESH_{key}": value for key, value in own.items()} | {"DOCKER_BUILDKIT": "0"}

    # --- what a user does

    def compose(self, *arguments: str, within_s: float = 600.0) -> str:
        """Run `docker compose` and return what it printed."""
        files = [part for file in self._files for part in ("-f", str(file))]
        command = [*compose_command(), "-p", self.name, *files, *arguments]
        done = subprocess.run(
            command, cwd=self._root, env=self._env, capture_output=True, text=True, timeout=within_s, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def up(self, *services: str, **scale: int) -> None:
        """Start, and wait until everything that was started is healthy. Keys of ``scale`` have _ for -."""
        if not services and not self.has_jaeger:
            services = ("nginx",)
        scales = [part for key, count in scale.items() for part in ("--scale", f"{key.replace('_', '-')}={count}")]
        self.compose("up", "-d", *scales, *services)
        self.until(lambda: not self.unready(), READY_S, lambda: f"{self.unready()} did not become ready")

    def down(self, *, volumes: bool = True) -> None:
        self.compose("down", *(["-v"] if volumes else []), "--remove-orphans", within_s=120.0)

    # --- what there is

    @property
    def has_jaeger(self) -> bool:
        """Whether Jaeger's image is on this machine."""
        named = re.findall(r"VOICEMESH_JAEGER_IMAGE:-([^}]*)", (REPOSITORY / "compose.yaml").read_text())[0]
        return bool(self.engine.images.list(os.environ.get("VOICEMESH_JAEGER_IMAGE", named)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def secret(self) -> str:
        return self.run_in(self.one("ingress-svc"), "cat", "/run/secrets/vapi_secret").strip()

    def containers(self, service: str = "", *, ended: bool = False) -> list[Container]:
        labels = [f"com.docker.compose.project={self.name}"]
        if service:
            labels.append(f"com.docker.compose.service={service}")
        found = self.engine.containers.list(all=ended, filters={"label": labels})
        return sorted(found, key=lambda one: one.attrs["Created"])

    def one(self, service: str) -> Container:
        return self.containers(service)[0]

    def unready(self) -> list[str]:
        """Return the containers that are not healthy; setup, which ends, is none of them."""
        found = [one for one in self.containers(ended=True) if "setup" not in one.name]
        return [one.name for one in found if one.attrs["State"].get("Health", {}).get("Status") != "healthy"]

    def run_in(self, container: Container, *command: str) -> str:
        code, output = container.exec_run(list(command))
        text: str = output.decode(errors="replace")
        assert code == 0, f"{command} ended with {code}: {text}"
        return text

    def address(self, container: Container) -> str:
        container.reload()
        return next(iter(container.attrs["NetworkSettings"]["Networks"].values()))["IPAddress"]

    def lines(self, container: Container) -> list[dict[str, Any]]:
        """Return a service's log."""
        text = container.logs().decode(errors="replace")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def metric(self, container: Container, name: str) -> float:
        """Return the sum of a metric's lines, whatever their labels."""
        service = container.labels["com.docker.compose.service"]
        with urllib.request.urlopen(
            f"http://{self.address(container)}:{SIDE_PORTS[service]}/metrics", timeout=5
        ) as answer:
            text = answer.read().decode()
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return sum(float(value) for head, _, value in lines if head.partition("{")[0] == name)

    async def log(self) -> list[pb.LoggedEvent]:
        """Return the durable log, as session-svc tells it."""
        source = LogSource(target=f"{self.address(self.one('session-svc'))}:50051", store="")
        try:
            return [logged async for page in source.pages() for logged in page]
        finally:
            await source.close()

    # --- Jaeger

    def jaeger(self, path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self.jaeger_port}/api/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.loads(answer.read())["data"]

    # --- time

    def until(
        self, done: Callable[[], object], within_s: float, problem: Callable[[], str] = lambda: "it did not come about"
    ) -> None:
        until_s = time.monotonic() + within_s
        while not done():
            assert time.monotonic() < until_s, f"{problem()}\n{self._state()}"
            time.sleep(0.2)

    def _state(self) -> str:
        return "\n".join(f"{one.name}: {one.attrs['State']}" for one in self.containers(ended=True))


@contextmanager
def stack(name: str, *overlays: str, root: Path = REPOSITORY, **values: str) -> Iterator[Stack]:
    """Give a stack that is not up yet; whatever is left of it is gone afterwards, volumes too."""
    made = Stack(f"{name}{os.getpid()}", *overlays, root=root, **values)
    try:
        yield made
    finally:
        made.down()
        made.engine.close()


def get(url: str, headers: Mapping[str, str] | None = None) -> int:
    """Return the status of a GET; 0 without an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers or {})), timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError:
        return 0


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
