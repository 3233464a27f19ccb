"""The section [owner] of an agent file, and the settings of what goes there."""

from __future__ import annotations

from svc_runtime.config import ConfigError
from svc_runtime.toml_file import Section

from ingress_svc.config import Config
from ingress_svc.domain.owner_post import OwnersSystem
from ingress_svc.vapi_settings import read_url


def read_owner(root: Section) -> OwnersSystem:
    """Return where the owner is told of things; problems are noted in ``root``'s file."""
    section = root.section("owner")
    url = read_url(section)
    internal = section.switch("internal", False)
    if root.has("owner") and not section.has("url"):
        section.missing("a url")
    # session-svc reads these.
    section.leave("reports", "transcript")
    section.refuse_unknown()
    return OwnersSystem(url, internal)


def owner_timeout_s(config: Config) -> float:
    """Return how long one POST may take. Raises ConfigError."""
    if not config.owner_timeout_s > 0:
        raise ConfigError(f"VOICEMESH_OWNER_TIMEOUT_S={config.owner_timeout_s} leaves no time; 10 is usual")
    return config.owner_timeout_s
