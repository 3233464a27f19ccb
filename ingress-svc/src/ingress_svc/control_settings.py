"""From settings to where live calls may be controlled, and what proves us there."""

from __future__ import annotations

from svc_runtime.config import ConfigError

from ingress_svc.config import Config
from ingress_svc.domain.control_url import AllowedHost, allowed_hosts


def control_token(config: Config) -> str:
    """Return what proves us where calls are controlled; "" for nothing. Raises ConfigError."""
    token = config.control_token.strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigError("VOICEMESH_CONTROL_TOKEN holds what no key has: spaces, or characters outside of ASCII")
    return token


def control_hosts(config: Config) -> tuple[AllowedHost, ...]:
    """Return what control URLs may name. Raises ConfigError."""
    if not config.control_timeout_s > 0:
        raise ConfigError(f"VOICEMESH_CONTROL_TIMEOUT_S={config.control_timeout_s} leaves no time; 3 is usual")
    try:
        return allowed_hosts(config.control_hosts)
    except ValueError as error:
        raise ConfigError(f"VOICEMESH_CONTROL_HOSTS: {error}") from error
