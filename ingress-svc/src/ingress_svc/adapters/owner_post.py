"""Posts to the owner's system: one signed POST, no redirect, no proxy, and only where the agent's file says it is."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import aiohttp
from yarl import URL

from ingress_svc.adapters.checked_resolver import AddressRefused, CheckedResolver, Lookup
from ingress_svc.domain.owner_post import (
    Delivery,
    Failure,
    OwnersSystem,
    answered,
    failed,
    may_post,
    signed_headers,
)


class OwnerPost:
    """One for the whole process. Made on the loop that it uses."""

    def __init__(self, secret: str, *, timeout_s: float, lookup: Lookup | None = None) -> None:
        """``lookup`` is `loop.getaddrinfo`, or what stands for it in a test."""
        self._secret = secret.encode()
        self._timeout_s = timeout_s
        self._lookup = lookup
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def post(self, owner: OwnersSystem, raw: bytes, *, delivery: str, timeout_s: float | None = None) -> Delivery:
        """Post JSON once, and return what came of it; raises nothing.

        ``delivery`` names what is posted, the same in every delivery of it: visible ASCII, at most 256 characters.
        """
        if not owner.url:
            return failed(Failure.NO_URL)
        url = URL(owner.url)
        headers = signed_headers(self._secret, raw, now_s=time.time(), key=delivery)
        headers["X-Voicemesh-Delivery"] = delivery
        if _is_literal(url) and not may_post(url.host or "", host=url.host or "", internal=owner.internal):
            return failed(Failure.ADDRESS)
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                response = await self._http(owner.internal).post(url, data=raw, headers=headers, allow_redirects=False)
                # The status says it all; a body could be of any length.
                response.close()
        except TimeoutError:
            return failed(Failure.LATE)
        except aiohttp.ClientConnectorDNSError as error:
            refused = isinstance(error.os_error, AddressRefused)
            return failed(Failure.ADDRESS if refused else Failure.NOT_REACHED)
        except (aiohttp.ClientError, OSError, ValueError):
            return failed(Failure.NOT_REACHED)
        return answered(response.status, response.headers.get("Retry-After", ""), now_s=time.time())

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()

    def _http(self, internal: bool) -> aiohttp.ClientSession:
        if internal not in self._sessions:
            lookup = self._lookup or asyncio.get_running_loop().getaddrinfo
            self._sessions[internal] = aiohttp.ClientSession(
                # A connection kept open would only add a way to fail that leaves unknown whether it was taken.
                connector=aiohttp.TCPConnector(
                    resolver=CheckedResolver(lookup, partial(may_post, internal=internal)),
                    use_dns_cache=False,
                    force_close=True,
                    limit=0,
                ),
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._sessions[internal]


def _is_literal(url: URL) -> bool:
    # A client resolves no address that stands in the URL itself.
    host = url.host or ""
    return ":" in host or host.replace(".", "").isdecimal()
