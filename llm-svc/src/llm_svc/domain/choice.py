"""Which model to ask, and what a failure means for the next try.

A generation gets two tries at most. The first is the primary model's. The second is the fallback's, whatever went
wrong; without a fallback it is the primary's again, if the failure may pass and the caller has not waited long.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What went wrong with a try, in the words of logs, spans and status messages."""

    TIMEOUT = "timeout"
    """No token in time."""
    UNREACHABLE = "unreachable"
    """No connection, or it broke."""
    BUSY = "busy"
    """The provider asks for patience: HTTP 408, 409, 429."""
    PROVIDER_ERROR = "provider_error"
    """HTTP 5xx, or an error in the stream."""
    BAD_STREAM = "bad_stream"
    """The provider's stream cannot be understood, or ended in the middle."""
    REJECTED = "rejected"
    """The provider refuses this prompt: HTTP 400, 413, 422 and the like. The next prompt may pass."""
    MISCONFIGURED = "misconfigured"
    """Key, address or model name is wrong: HTTP 401, 403, 404, a redirect. It stays wrong until somebody mends it."""
    BREAKER_OPEN = "breaker_open"
    """Not asked, because it kept failing."""


class ProviderError(Exception):
    """A try failed. The reason is for people; it never quotes the provider, who may echo a prompt or a key."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class Failure(NamedTuple):
    """A try that failed."""

    model: str
    kind: Kind
    reason: str


class Role(Enum):
    """Which of the agent's models."""

    PRIMARY = "primary"
    FALLBACK = "fallback"


_MAY_PASS = frozenset({Kind.UNREACHABLE, Kind.BUSY, Kind.PROVIDER_ERROR, Kind.BAD_STREAM})
"""A timeout may pass too, but trying the same model again would double a silence that is already long."""

_NOT_THE_PROVIDERS_FAULT = frozenset({Kind.REJECTED, Kind.BREAKER_OPEN})


def next_try(failures: Sequence[Failure], *, has_fallback: bool) -> Role | None:
    """Return whom to ask after ``failures``, all before a first token; None when every chance is used."""
    if not failures:
        return Role.PRIMARY
    if len(failures) > 1:
        return None
    if has_fallback:
        return Role.FALLBACK
    return Role.PRIMARY if failures[0].kind in _MAY_PASS else None


def counts_against(kind: Kind) -> bool:
    """Return whether a failure of this kind brings the model's breaker closer to opening."""
    return kind not in _NOT_THE_PROVIDERS_FAULT


def is_fatal(kind: Kind) -> bool:
    """Return whether a failure of this kind opens the model's breaker at once."""
    return kind is Kind.MISCONFIGURED


def kind_of_status(status: int) -> Kind:
    """Return what an HTTP status that is no success means."""
    if status in (408, 409, 425, 429):
        return Kind.BUSY
    if status < 400 or status in (401, 403, 404, 405):
        return Kind.MISCONFIGURED
    return Kind.REJECTED if 400 <= status < 500 else Kind.PROVIDER_ERROR


def out_of_time(failures: Sequence[Failure]) -> bool:
    """Return whether no model was anything but too slow."""
    return all(failure.kind is Kind.TIMEOUT for failure in failures)
