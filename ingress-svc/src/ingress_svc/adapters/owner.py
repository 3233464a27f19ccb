"""Asks the owner's own server: one signed POST, capped in time by the asker and in size here."""

from __future__ import annotations

import enum
import time

import aiohttp

from ingress_svc.domain.owner_post import signed_headers


class Failure(enum.StrEnum):
    """Why there is no answer of the owner's to give. Closed set, fit for a counter."""

    LATE = "late"
    NOT_REACHED = "not_reached"
    STATUS = "status"
    TOO_LARGE = "too_large"
    BAD_ANSWER = "bad_answer"
    """It is not what Vapi reads."""
    DEFECT = "defect"
    STOPPED = "stopped"
    """Ingress ended first."""


class NoAnswer(Exception):
    """The server gave none that can be used."""

    def __init__(self, failure: Failure, detail: str = "") -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail
        """For a log: a status, or what would be right; nothing of what was sent."""


class OwnerServer:
    """Made on the loop that it uses. The URLs come from the agent's file, which has checked them."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, url: str, raw: bytes, *, event_id: str, most_bytes: int) -> bytes:
        """Return the body of a 200. Raises NoAnswer."""
        headers = signed_headers(self._secret, raw, now_s=time.time(), key=event_id)
        try:
            async with self._http().post(url, data=raw, headers=headers, allow_redirects=False) as response:
                if response.status != 200:
                    raise NoAnswer(Failure.STATUS, str(response.status))
                return await _body(response.content, most_bytes)
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswer(Failure.NOT_REACHED, type(error).__name__) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # The asker has a cap of its own for the whole.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=2.0),
                connector=aiohttp.TCPConnector(limit=0),
                trust_env=False,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


async def _body(content: aiohttp.StreamReader, most_bytes: int) -> bytes:
    """Stop reading where it is over the size: a length that is told may be wrong."""
    parts, size = [], 0
    async for part in content.iter_any():
        size += len(part)
        if size > most_bytes:
            raise NoAnswer(Failure.TOO_LARGE, str(most_bytes))
        parts.append(part)
    return b"".join(parts)
