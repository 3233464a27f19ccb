"""What goes to the owner's system by itself: how it is signed, and what its answer means."""

from __future__ import annotations

import enum
import hashlib
import hmac
import ipaddress
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from ingress_svc.domain.control_url import may_connect

MOST_RETRY_AFTER_S: Final = 3_600.0
"""Whoever asks to be left alone for longer is asked again sooner."""
MOST_BODY_BYTES: Final = 256 * 1_024
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode
_NOT_NOW: Final = frozenset({408, 409, 425, 429})
"""409: another delivery of the same is being worked on."""


class Posted(enum.StrEnum):
    """What came of a POST."""

    DELIVERED = "delivered"
    AGAIN = "again"
    REFUSED = "refused"
    """It is of no use to send it again."""


class Failure(enum.StrEnum):
    """Why there was no answer. Closed set."""

    LATE = "late"
    NOT_REACHED = "not_reached"
    ADDRESS = "address"
    """The name leads into a network that the agent's file does not say is the owner's."""
    NO_URL = "no_url"
    DEFECT = "defect"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of one POST, and why."""

    posted: Posted
    status: int = 0
    """0 where there was no answer."""
    failure: Failure | None = None
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class OwnersSystem:
    """Where an agent's owner is told of things: `[owner]` of its file."""

    url: str = ""
    """Empty where there is none."""
    internal: bool = False
    """Whether it may be in a private network."""


def json_bytes(value: object) -> bytes:
    """Return compact JSON in UTF-8. Raises ValueError for what JSON cannot carry."""
    # A model can write half of a pair of surrogates.
    return _encode(value).encode("utf-8", "replace")


def signed_headers(secret: bytes, raw: bytes, *, now_s: float, key: str) -> dict[str, str]:
    """Return the headers of a POST of ``raw``, signed as Vapi signs its webhooks by default.

    x-signature is the HMAC-SHA256, in hex, of `{x-timestamp}.{body}`. ``key`` is the same for every delivery of one
    thing: whoever books a table does it once.
    """
    timestamp = str(int(now_s))
    return {
        "Content-Type": "application/json",
        "User-Agent": "voicemesh",
        "Idempotency-Key": key,
        "x-timestamp": timestamp,
        "x-signature": hmac.digest(secret, timestamp.encode() + b"." + raw, hashlib.sha256).hex(),
    }


def answered(status: int, retry_after: str, *, now_s: float) -> Delivery:
    """Return what a status means; ``retry_after`` is the header as it came."""
    if 200 <= status < 300:
        return Delivery(Posted.DELIVERED, status)
    if status in _NOT_NOW or status >= 500:
        return Delivery(Posted.AGAIN, status, retry_after_s=_pause_s(retry_after, now_s))
    return Delivery(Posted.REFUSED, status)


def failed(failure: Failure) -> Delivery:
    # A wrong address may be put right, and a name lead elsewhere again.
    return Delivery(Posted.REFUSED if failure is Failure.NO_URL else Posted.AGAIN, failure=failure)


def may_post(address: str, *, host: str, internal: bool) -> bool:
    """Whether something may be posted to this address of ``host``."""
    if may_connect(address, host=host):
        return True
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if host == "::1":
        return ip.is_loopback
    # Never link-local: a cloud has its metadata there.
    return internal and ip.is_private and not (ip.is_link_local or ip.is_unspecified or ip.is_loopback)


def http_date(header: str) -> datetime:
    """Return the time that a header names. Raises ValueError for none."""
    at = parsedate_to_datetime(header)
    # "-0000" says UTC, and nothing of where the sender is: it is read as a time without a zone.
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _pause_s(header: str, now_s: float) -> float:
    header = header.strip()
    if header.isascii() and header.isdecimal():
        return min(float(header[:9]), MOST_RETRY_AFTER_S)
    try:
        until_s = http_date(header).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(0.0, until_s - now_s), MOST_RETRY_AFTER_S)
