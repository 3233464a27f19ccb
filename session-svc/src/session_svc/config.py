"""Settings of session-svc."""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace
from typing import Literal

from svc_runtime.config import ConfigError, setting
from svc_runtime.file_shelf import FileShelf
from svc_runtime.kept_versions import KeptVersions
from svc_runtime.metrics import Counters
from svc_runtime.shelf_settings import ShelfSettings
from svc_runtime.toml_file import TomlFile

from session_svc.domain.call import Policy, ReportPolicy


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
        meaning="Address under which others reach this replica of session-svc; empty means the listen address, or the "
        "address of this host's name where that is 0.0.0.0.",
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
    report_wait_s: float = setting(
        "VOICEMESH_REPORT_WAIT_S",
        30.0,
        meaning="Seconds after a call's end in which Vapi's end-of-call report is waited for; then the owner's system "
        "is told without it (`[owner]` of an agent file).",
    )
    report_pauses_s: tuple[str, ...] = setting(
        "VOICEMESH_REPORT_PAUSES_S",
        ("1", "5", "30", "120", "600", "3600"),
        meaning="Seconds between two tries to tell the owner's system, with commas; the last is for all that follow.",
    )
    report_give_up_h: float = setting(
        "VOICEMESH_REPORT_GIVE_UP_H",
        24.0,
        meaning="Hours after the first try was due in which others are made. Less than VOICEMESH_RETENTION_H.",
    )
    owner_timeout_s: float = setting(
        "VOICEMESH_OWNER_TIMEOUT_S",
        10.0,
        meaning="Seconds that one POST of a call's report to the owner's system may take.",
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


def address_of(config: Config) -> str:
    """Return what other processes call this replica. It must be what DNS says of it: they take it for another else."""
    host, _, port = config.listen.rpartition(":")
    if config.address or host != "0.0.0.0":
        return config.address or config.listen
    try:
        return f"{socket.gethostbyname(socket.gethostname())}:{port}"
    except OSError as error:
        raise ConfigError(
            f"VOICEMESH_SESSION_ADDRESS is not set, and this host's name has no address ({error}); set it to host:port"
        ) from error


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


def report_policy(config: Config) -> ReportPolicy:
    """Return how reports of calls are sent where an agent has them sent. Raises ConfigError."""
    try:
        pauses_ms = tuple(round(float(pause) * 1000) for pause in config.report_pauses_s)
    except (ValueError, OverflowError):
        pauses_ms = ()
    if not pauses_ms or min(pauses_ms) < 1:
        raise ConfigError(
            f"VOICEMESH_REPORT_PAUSES_S={','.join(config.report_pauses_s)!r} is no list of seconds above 0; "
            "1,5,30 would be one"
        )
    if not 0 <= config.report_give_up_h < config.retention_h:
        raise ConfigError(
            f"VOICEMESH_REPORT_GIVE_UP_H={config.report_give_up_h} is not from 0 to less than "
            f"VOICEMESH_RETENTION_H={config.retention_h}: a call that is forgotten cannot be told of"
        )
    if not (config.report_wait_s >= 0 and config.owner_timeout_s > 0):
        raise ConfigError("VOICEMESH_REPORT_WAIT_S must not be negative, and VOICEMESH_OWNER_TIMEOUT_S above 0")
    return ReportPolicy(
        wait_ms=round(config.report_wait_s * 1000),
        pauses_ms=pauses_ms,
        give_up_ms=round(config.report_give_up_h * 3_600_000),
    )


def policy_in(file: TomlFile, config: Config) -> Policy:
    """Return what an agent file says of the conversation; its problems are noted in ``file``."""
    agent = file.root.section("agent")
    prompt = agent.value("prompt", "", lambda text: isinstance(text, str), "a text in quotes")
    agent.leave("apology", "builtin_tools")
    agent.refuse_unknown()
    owner = file.root.section("owner")
    wanted = owner.switch("reports", True) and owner.has("url")
    with_texts = owner.switch("transcript", True)
    owner.leave("url", "internal")
    owner.refuse_unknown()
    file.root.leave("barge_in", "match", "model", "slow_turn", "tools", "vapi")
    file.root.refuse_unknown()
    report = replace(report_policy(config), with_texts=with_texts) if wanted else None
    return Policy(prompt=prompt, report=report, idle_ms=round(config.idle_s * 1000))
