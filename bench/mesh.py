"""The four real services as processes on loopback, with their settings, their CPU time and their memory."""

from __future__ import annotations

import contextlib
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.procs import BenchFailed, Child

SECRET = "bench-secret"
SERVICES = ("session", "bargein", "llm", "ingress")


@dataclass(frozen=True, slots=True)
class Mesh:
    """A mesh that is ready."""

    port: int
    children: Mapping[str, Child]

    def cpu_s(self) -> dict[str, float]:
        return {name: child.cpu_s for name, child in self.children.items()}

    def rss_bytes(self) -> dict[str, int]:
        return {name: child.rss_bytes for name, child in self.children.items()}


@contextlib.contextmanager
def mesh(directory: Path, settings: Mapping[str, str] | None = None) -> Iterator[Mesh]:
    """Run a mesh with an empty store in a new directory below ``directory``. Raises BenchFailed."""
    number = sum(1 for _ in directory.glob("mesh-*"))
    home = directory / f"mesh-{number}"
    home.mkdir()
    session, bargein, llm, http = free_ports(4)
    env = {
        "VOICEMESH_STORE": str(home / "store.sqlite"),
        "VOICEMESH_STATE_DIR": str(home),
        "VOICEMESH_VAPI_SECRET": SECRET,
        "VOICEMESH_HTTP_PORT": str(http),
        "VOICEMESH_LOG_LEVEL": "warning",
        "VOICEMESH_DRAIN_S": "1",
    }
    for name, port in (("SESSION", session), ("BARGEIN", bargein), ("LLM", llm)):
        env[f"VOICEMESH_{name}_LISTEN"] = env[f"VOICEMESH_{name}_TARGETS"] = f"127.0.0.1:{port}"
    env |= settings or {}
    children: dict[str, Child] = {}
    try:
        for name in SERVICES:
            children[name] = Child(f"{name}_svc", log=home / f"{name}.log", env=env)
        _wait_until_ready(http, children)
        yield Mesh(http, children)
    finally:
        # Ingress first: it says goodbye to the others.
        for child in reversed(children.values()):
            child.stop()


def free_ports(count: int) -> list[int]:
    """Return ports on loopback that nobody listens on at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


def _wait_until_ready(port: int, children: Mapping[str, Child], within_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        for child in children.values():
            if not child.alive:
                raise BenchFailed(f"{child.module} ended while it started: {child.last_words()}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise BenchFailed(f"the mesh was not ready within {within_s:g} s: {children['ingress'].last_words()}")
