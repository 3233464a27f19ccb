"""Settings of session-svc."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from svc_runtime.config import ConfigError, setting
from svc_runtime.file_shelf import FileShelf
from svc_runtime.kept_versions import KeptVersions
from svc_runtime.metrics import Counters
from svc_runtime.shelf_settings import ShelfSettings
from svc_runtime.toml_file import TomlFile

from session_svc.domain.call import Policy


@dataclass(frozen=True)
class Config(ShelfSettings):
    listen: str = setting(
        "VOICEMESH_SESSION_LISTEN", "127.0.0.1:50051", meaning="Address that session-svc listens on, host:port."
    )
    http: str = setting(
        "VOICEMESH_SESSION_HTTP",
        "",
        meaning="host:port on which session-svc answers GET /metrics, /healthz and /readyz; empty for none.",
    )
    address: str = setting(
        "VOICEMESH_SESSION_ADDRESS",
        "",
        meaning="Address under which others reach this replica of session-svc; empty means the listen address.",
    )
    store: str = setting(
        "VOICEMESH_STORE", ".voicemesh/voicemesh.sqlite", meaning="Path of the SQLite file with the durable log."
    )
    store_sync: str = setting(
        "VOICEMESH_STORE_SYNC",
        "normal",
        meaning="normal: what was acknowledged outlives a killed process; full: a power cut too, at the cost of a disk "
        "flush for each group of commits.",
    )
    idle_s: float = setting(
        "VOICEMESH_SESSION_IDLE_S",
        300.0,
        meaning="Seconds without any event after which a call is given up as abandoned. Idle, not age: a call of an "
        "hour is normal.",
    )
    retention_h: float = setting(
        "VOICEMESH_RETENTION_H", 168.0, meaning="Hours for which ended calls and their log are kept; a week."
    )
    most_calls: int = setting(
        "VOICEMESH_SESSION_MOST_CALLS",
        20_000,
        meaning="Most live calls of one replica; a new one beyond is refused with a retry time.",
    )
    drain_s: float = setting(
        "VOICEMESH_DRAIN_S", 8.0, meaning="Seconds a service may take to finish what it has begun after SIGTERM."
    )
    otlp_endpoint: str = setting(
        "VOICEMESH_OTLP_ENDPOINT",
        "",
        meaning="OTLP/gRPC endpoint for spans, http://host:4317; empty switches them off.",
    )
    log_level: str = setting("VOICEMESH_LOG_LEVEL", "info", meaning="debug, info, warning or error.")


def sync_of(config: Config) -> Literal["normal", "full"]:
    """Return how commits reach the disk. Raises ConfigError."""
    if config.store_sync == "normal":
        return "normal"
    if config.store_sync == "full":
        return "full"
    raise ConfigError(f"VOICEMESH_STORE_SYNC={config.store_sync!r} is neither normal nor full")


def agents(config: Config, counters: Counters, kept: KeptVersions | None = None) -> FileShelf[Policy]:
    """Return every agent's policy. Raises ConfigError with every problem of every file."""
    return FileShelf(
        config.agent_file, config.agents_dir, lambda _, file: policy_in(file, config), counters=counters, kept=kept
    )


def policy_in(file: TomlFile, config: Config) -> Policy:
    """Return what an agent file says of the conversation; its problems are noted in ``file``."""
    agent = file.root.section("agent")
    prompt = agent.value("prompt", "", lambda text: isinstance(text, str), "a text in quotes")
    agent.leave("apology", "builtin_tools")
    agent.refuse_unknown()
    file.root.leave("barge_in", "match", "model", "slow_turn", "tools", "vapi")
    file.root.refuse_unknown()
    return Policy(prompt=prompt, idle_ms=round(config.idle_s * 1000))
