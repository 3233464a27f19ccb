"""Settings of the `voicemesh` command itself. What it starts has settings of its own."""

from __future__ import annotations

from dataclasses import dataclass

from svc_runtime.config import setting
from svc_runtime.shelf_settings import ShelfSettings

SECRET = "VOICEMESH_VAPI_SECRET"
"""The webhooks' secret; ingress declares it."""


@dataclass(frozen=True)
class Config(ShelfSettings):
    """Read from the environment by every command."""

    state_dir: str = setting(
        "VOICEMESH_STATE_DIR",
        ".voicemesh",
        meaning="Directory of `voicemesh up`: the store, the log files, the generated secret, run.json",
    )
    demo: bool = setting(
        "VOICEMESH_DEMO", True, meaning="Whether `voicemesh up` plays the sample call when it is ready"
    )
    http_host: str = setting("VOICEMESH_HTTP_HOST", "127.0.0.1", meaning="Address that ingress listens on")
    http_port: int = setting("VOICEMESH_HTTP_PORT", 8080, meaning="Port that ingress listens on; 0 for any free one")
    drain_s: float = setting(
        "VOICEMESH_DRAIN_S", 8.0, meaning="Seconds a service has to finish its work after SIGTERM, before it is stopped"
    )
    ready_s: float = setting(
        "VOICEMESH_READY_S", 30.0, meaning="Seconds `voicemesh up` waits for GET /readyz before it gives up"
    )
    session_targets: tuple[str, ...] = setting(
        "VOICEMESH_SESSION_TARGETS",
        (),
        meaning="host:port of each session-svc replica; the command reads calls from the first. Default: run.json's",
    )
    store: str = setting(
        "VOICEMESH_STORE",
        "",
        meaning="Path of session-svc's SQLite file; empty for voicemesh.sqlite in the state directory "
        "(or voicemesh.db, where an older version has left only that)",
    )
    log_file_bytes: int = setting(
        "VOICEMESH_LOG_FILE_BYTES",
        5_000_000,
        meaning="Size at which `voicemesh up` begins a new log file of a service, keeping the one before",
    )


@dataclass(frozen=True)
class VapiKey:
    """Read by the commands that speak to Vapi's API."""

    api_key: str = setting(
        "VAPI_API_KEY",
        "",
        meaning="Private key of your organisation at Vapi, for `voicemesh vapi` and `voicemesh doctor`; no service "
        "sees it",
        secret=True,
    )
