"""Resolves a name and lets its addresses through only if all of them may be connected to.

The connection then goes to one of just these: what was checked is what is called.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp.abc import AbstractResolver, ResolveResult

Lookup = Callable[..., Awaitable[list[tuple[Any, ...]]]]
"""`loop.getaddrinfo`, or what stands for it in a test."""


class May(Protocol):
    def __call__(self, address: str, *, host: str) -> bool: ...


class AddressRefused(OSError):
    """A name leads where nothing is sent."""


class CheckedResolver(AbstractResolver):
    """Asked for names only: an address that stands in a URL itself must be checked by whoever calls it."""

    def __init__(self, lookup: Lookup, may: May) -> None:
        self._lookup = lookup
        self._may = may

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._lookup(host, port, type=socket.SOCK_STREAM, family=family)
        if not found:
            raise OSError("the name has no address")
        if not all(self._may(str(address[0]), host=host) for *_, address in found):
            raise AddressRefused
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=each,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for each, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """There is nothing to close."""
