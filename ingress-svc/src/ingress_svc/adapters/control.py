"""Sends commands to live calls: one POST each to an address that was checked, a second one where that does no harm.

A control URL comes in the body of a request. It is signed, and still ingress must not become the hand that reaches into
its own network: the URL has been held against the allow-list (domain/control_url.py), and here the name is resolved,
each of its addresses is checked, and the connection goes to one of just these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from svc_runtime import logs
from svc_runtime.metrics import Counters
from yarl import URL

from ingress_svc.adapters.checked_resolver import AddressRefused, CheckedResolver, Lookup
from ingress_svc.domain.control import (
    KINDS,
    MAX_BODY_BYTES,
    WITHHELD,
    Command,
    Failure,
    Outcome,
    Result,
    answered,
    body,
    failed,
    kind,
    may_repeat,
)
from ingress_svc.domain.control_url import ControlUrl, may_connect

COMMANDS = "voicemesh.control.commands"
FAILURES = "voicemesh.control.failures"
REPEATS = "voicemesh.control.repeats"
MOST_AT_ONCE: Final = 32
"""A command takes Vapi 0.2 to 0.3 s, so these are above a hundred a second."""
# Vapi's front refuses clients that do not name themselves.
_HEADERS = {"Content-Type": "application/json", "User-Agent": "voicemesh"}

LetGo = Callable[[], Awaitable[bool]]
"""Asked right before a command's bytes leave: whether they still may."""


class CallControl:
    """Sends one command at a time per caller of `send`, and counts what became of it. Made on the loop that it uses."""

    def __init__(
        self,
        *,
        counters: Counters,
        timeout_s: float,
        token: str = "",
        most_at_once: int = MOST_AT_ONCE,
        lookup: Lookup | None = None,
    ) -> None:
        """``token`` proves us to whoever may be called; a `ControlUrl` leads to nobody else."""
        self._headers = {**_HEADERS, "Authorization": f"Bearer {token}"} if token else _HEADERS
        self._counters = counters
        self._timeout_s = timeout_s
        self._lookup = lookup
        self._free = asyncio.Semaphore(most_at_once)
        self._session: aiohttp.ClientSession | None = None
        results = tuple(result.value for result in Result)
        reasons = tuple(reason.value for reason in Failure)
        counters.declare(COMMANDS, "Commands to live calls.", command=KINDS, result=results)
        counters.declare(FAILURES, "Commands to live calls that failed.", reason=reasons)
        counters.declare(REPEATS, "Commands to live calls that were sent once more.")

    async def send(self, url: ControlUrl, command: Command, let_go: LetGo | None = None) -> Outcome:
        """Send a command, once more where that does no harm, and return what became of it; raises nothing.

        It takes at most three times the timeout: one for a free connection, and one for each try.
        """
        outcome = await self._sent(url, command, let_go)
        self.count(command, outcome)
        return outcome

    def count(self, command: Command, outcome: Outcome) -> None:
        """Count and log what became of a command, also where it was never sent."""
        self._counters.add(COMMANDS, command=kind(command), result=outcome.result.value)
        if outcome.failure is not None:
            reason = outcome.failure.value
            self._counters.add(FAILURES, reason=reason)
            logs.get().warning("control.failed", command=kind(command), reason=reason, tries=outcome.tries)
        elif outcome.result is Result.GONE:
            logs.get().info("control.gone", command=kind(command), tries=outcome.tries)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _sent(self, url: ControlUrl, command: Command, let_go: LetGo | None) -> Outcome:
        raw = body(command)
        if len(raw) > MAX_BODY_BYTES:
            return failed(Failure.TOO_LARGE, tries=0)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._free.acquire()
        except TimeoutError:
            return failed(Failure.BUSY, tries=0)
        try:
            outcome = await self._try(url, raw, let_go)
            if may_repeat(command, outcome):
                self._counters.add(REPEATS)
                outcome = replace(await self._try(url, raw, let_go), tries=2)
            return outcome
        finally:
            self._free.release()

    async def _try(self, url: ControlUrl, raw: bytes, let_go: LetGo | None) -> Outcome:
        content = _Content(raw, let_go)
        try:
            # `encoded`: what was checked is what is sent.
            response = await self._http().post(
                URL(url.value, encoded=True), data=content, headers=self._headers, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError) as error:
            return WITHHELD if content.withheld else failed(_failure(error))
        # The status says it all; a body could be of any length.
        response.close()
        return answered(response.status)

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            loop = asyncio.get_running_loop()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=CheckedResolver(self._lookup or loop.getaddrinfo, may_connect),
                    use_dns_cache=False,
                    # Vapi closes after each answer anyway. A connection kept open would only add a way to fail that
                    # leaves unknown whether the command was taken.
                    force_close=True,
                    limit=0,
                ),
                # Half for the connection: a failure to connect is then always told from one to answer.
                timeout=aiohttp.ClientTimeout(total=self._timeout_s, connect=self._timeout_s / 2),
                trust_env=False,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


class _Withheld(Exception):
    """The body is not to leave any more."""


class _Content(aiohttp.BytesPayload):
    """A body that asks before it leaves, when the connection stands: it may have taken a second to."""

    def __init__(self, raw: bytes, let_go: LetGo | None) -> None:
        super().__init__(raw, content_type="application/json")
        self._let_go = let_go
        self.withheld = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if self._let_go is not None and not await self._let_go():
            self.withheld = True
            raise _Withheld
        await super().write_with_length(writer, content_length)


def _failure(error: Exception) -> Failure:
    """Return how far a try came; their order matters, for these classes inherit from one another."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Failure.ADDRESS if isinstance(error.os_error, AddressRefused) else Failure.NAME
    if isinstance(error, aiohttp.ClientSSLError):
        return Failure.TLS
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return Failure.CONNECT
    return Failure.TIMEOUT if isinstance(error, TimeoutError) else Failure.LOST
