"""Where a call is controlled: which URLs and addresses a command may be sent to.

A control URL comes in the bodies of webhooks and requests, and whoever holds it can speak on the call: it is kept like
a secret, and nothing here shows it. Because ingress calls it, it could also be made to call somewhere else, so only one
plain form of URL is read, below names that the operator allows, and only addresses of the public internet are reached.
"""

import enum
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

MAX_URL_CHARS = 2_000
LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1"})
"""Only these may be spoken to in plain HTTP and on any port, and only where they are allowed by name."""

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"
_MAX_HOST_CHARS = 253
# Spelt out to the last character, so that no two parsers can see different hosts in it: no user, no backslash, no
# fragment, no bracket, no space or control, nothing that is not ASCII.
_URL = re.compile(
    rf"(https?)://({_HOST})(?::([0-9]{{1,5}}))?"
    r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?"
)
_ENTRY = re.compile(rf"(\.?)({_HOST})(?::([0-9]{{1,5}}))?")
_TOP_LABEL = re.compile(r"[a-z][a-z0-9-]*")


class UrlRefusal(enum.StrEnum):
    """Closed set, fit for a counter."""

    NOT_TEXT = "not_text"
    TOO_LONG = "too_long"
    MALFORMED = "malformed"
    """Not of the plain form scheme://host/path."""
    HOST = "host_not_allowed"
    NOT_HTTPS = "not_https"
    PORT = "port_not_allowed"


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """One entry of the allow-list."""

    name: str
    and_below: bool
    """Whether the hosts below it are meant too."""
    port: int | None = None
    """Of a loopback host: the only one; None for any."""

    @property
    def local(self) -> bool:
        return self.name in LOOPBACK_HOSTS

    def covers(self, host: str) -> bool:
        return host == self.name or (self.and_below and host.endswith(f".{self.name}"))


def allowed_hosts(entries: Iterable[str]) -> tuple[AllowedHost, ...]:
    """Read an allow-list: `.vapi.ai` is that host and all below it, `control.vapi.ai` is that one, and for local work
    `127.0.0.1` or `localhost`, with or without a port.

    Raises ValueError naming the entry.
    """
    return tuple(map(_allowed_host, entries))


def _allowed_host(entry: str) -> AllowedHost:
    match = _ENTRY.fullmatch(entry)
    if match is None or len(entry) > _MAX_HOST_CHARS:
        raise ValueError(f"{entry!r} is no host: write control.vapi.ai, or .vapi.ai for all below it")
    dot, name, port = match[1], match[2].lower(), match[3]
    if name in LOOPBACK_HOSTS and not dot:
        if port and not 0 < int(port) < 65_536:
            raise ValueError(f"{entry!r} names no port: they go from 1 to 65535")
        return AllowedHost(name, False, int(port) if port else None)
    if port:
        raise ValueError(f"{entry!r} names a port; only a loopback host may have one, any other is spoken to on 443")
    labels = name.split(".")
    if len(labels) < 2 or not _TOP_LABEL.fullmatch(labels[-1]):
        raise ValueError(f"{entry!r} is no public host name, such as control.vapi.ai; addresses are not allowed")
    return AllowedHost(name, bool(dot))


@dataclass(frozen=True, slots=True, repr=False)
class ControlUrl:
    """A URL that may be called. It is a capability: do not log it, and not the call's id beside its host."""

    value: str
    host: str
    """In lower case."""

    @classmethod
    def read(cls, value: object, allowed: Iterable[AllowedHost]) -> "ControlUrl | UrlRefusal":
        """Return the URL, or why it is refused."""
        if not isinstance(value, str):
            return UrlRefusal.NOT_TEXT
        if len(value) > MAX_URL_CHARS:
            return UrlRefusal.TOO_LONG
        match = _URL.fullmatch(value)
        if match is None or len(match[2]) > _MAX_HOST_CHARS:
            return UrlRefusal.MALFORMED
        scheme, host = match[1], match[2].lower()
        port = int(match[3]) if match[3] else 443 if scheme == "https" else 80
        fitting = [entry for entry in allowed if entry.covers(host)]
        if not fitting:
            return UrlRefusal.HOST
        if fitting[0].local:
            fits = 0 < port < 65_536 and any(entry.port in (None, port) for entry in fitting)
            return cls(value, host) if fits else UrlRefusal.PORT
        if scheme != "https":
            return UrlRefusal.NOT_HTTPS
        return cls(value, host) if port == 443 else UrlRefusal.PORT


def sent_control_url(call: Mapping[str, object]) -> str:
    """Return `monitor.controlUrl` of a call as sent, for `ControlUrl.read`; "" where there is none.

    One that is too long comes back cut, and still reads as too long.
    """
    monitor = call.get("monitor")
    value = monitor.get("controlUrl") if isinstance(monitor, dict) else None
    return value[: MAX_URL_CHARS + 1] if isinstance(value, str) else ""


_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "100.64.0.0/10",  # carrier-grade NAT; one cloud has its metadata there
            "168.63.129.16/32",  # Azure's metadata: a public address by its look
            "192.0.0.0/24",  # protocol assignments; Oracle's metadata. Python 3.11 takes most of it for global
            "192.88.99.0/24",
            "2001::/23",  # Teredo and other assignments
            "2002::/16",  # 6to4: any IPv4 address may hide in it
            "3fff::/20",  # documentation
        ),
    )
)


def may_connect(address: str, *, host: str) -> bool:
    """Whether a command may go to this address of ``host``: to the public internet; of a loopback host, to loopback.

    False too for IPv4 addresses mapped into IPv6: a resolver has no reason to give any.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if host in LOOPBACK_HOSTS:
        return ip.is_loopback
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            # A network without IPv4 reaches IPv4 hosts so: the host behind it is what counts.
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        elif ip not in _GLOBAL_UNICAST or ip.scope_id:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_PUBLIC)
