"""Vapi's REST API: the few calls that connecting takes, as plain JSON.

Its generated SDK cannot express a backoff plan and reads one message as another, so it is not used.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote, urlsplit

import aiohttp
import orjson
from svc_runtime.listen import is_loopback

from voicemesh_cli.vapi_merge import Credential
from voicemesh_cli.words import printable

BASE_URL = "https://api.vapi.ai"
SPACING_S = 0.7
"""Between two requests: what Vapi's own tools keep to."""
_RETRIES = 4
_LONGEST_PAUSE_S = 30.0
_WAIT_S = 30.0
_MOST_TOLD = 300
_NO_ENDPOINT = (403, 404, 405, 501)

Sleep = Callable[[float], Awaitable[None]]


class VapiError(Exception):
    """Vapi did not do what it was asked; the message says what helps."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
        """Of the answer; 0 when there was none."""


class NoCredentials(VapiError):
    """This organisation or key cannot list or make credentials over the API."""


class VapiApi:
    """One organisation at Vapi. Raises VapiError."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        key: str,
        *,
        base_url: str = BASE_URL,
        hide: Sequence[str] = (),
        spacing_s: float = SPACING_S,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``hide`` are the secrets, beside the key, that no error may repeat."""
        parts = urlsplit(base_url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise VapiError(f"--base-url {printable(base_url)} is not https; the key would travel in the clear")
        self._http = http
        self._key = key
        self._hide = [secret for secret in (key, *hide) if secret]
        self._base_url = base_url.rstrip("/")
        self._spacing_s = spacing_s
        self._sleep = sleep
        self._next_at_s = 0.0
        self.date = ""
        """The Date header of the latest answer: Vapi's clock."""

    async def credentials(self) -> list[Credential]:
        """Raises NoCredentials where the organisation has no such endpoint."""
        found = await self._call("GET", "/credential", what="its list of credentials")
        if not isinstance(found, list):
            raise NoCredentials("Vapi's list of credentials is no list", 200)
        return [_credential(item) for item in found if isinstance(item, dict) and item.get("id")]

    async def create_credential(self, body: Mapping[str, Any]) -> Credential:
        """Raises NoCredentials where Vapi refuses to make one this way."""
        made = await self._call("POST", "/credential", body, what="a new credential")
        if not isinstance(made, dict) or not made.get("id"):
            raise NoCredentials("Vapi's answer to a new credential has no id", 200)
        return _credential(made)

    async def assistant(self, id_: str) -> dict[str, Any]:
        what = f"assistant {id_}"
        return _table(await self._call("GET", f"/assistant/{quote(id_, safe='')}", what=what), what)

    async def patch_assistant(self, id_: str, fields: Mapping[str, Any]) -> None:
        await self._call("PATCH", f"/assistant/{quote(id_, safe='')}", fields, what=f"assistant {id_}")

    async def phone_number(self, id_: str) -> dict[str, Any]:
        what = f"phone number {id_}"
        return _table(await self._call("GET", f"/phone-number/{quote(id_, safe='')}", what=what), what)

    async def patch_phone_number(self, id_: str, fields: Mapping[str, Any]) -> None:
        await self._call("PATCH", f"/phone-number/{quote(id_, safe='')}", fields, what=f"phone number {id_}")

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, what: str) -> Any:
        for attempt in range(_RETRIES + 1):
            try:
                status, headers, raw = await self._send(method, path, body)
            except (aiohttp.ClientError, TimeoutError) as error:
                status, headers, raw, failure = 0, {}, b"", _transport(error)
            if status in (200, 201):
                return _parsed(raw)
            # A credential whose making failed half way may exist: the next run finds it by its name.
            may_retry = status == 429 or (method != "POST" and (status >= 500 or not status))
            if not may_retry or attempt == _RETRIES:
                break
            await self._sleep(_pause_s(attempt, headers.get("Retry-After", "")))
        if not status:
            raise VapiError(f"Vapi at {self._base_url} cannot be reached: {failure}")
        raise self._refusal(method, path, status, raw, what)

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        wait_s = self._next_at_s - time.monotonic()
        if wait_s > 0:
            await self._sleep(wait_s)
        # Cloudflare in front of Vapi refuses who names no client.
        headers = {"Authorization": f"Bearer {self._key}", "User-Agent": "voicemesh/0.1", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else orjson.dumps(body)
        try:
            async with asyncio.timeout(_WAIT_S):
                async with self._http.request(
                    method, self._base_url + path, data=data, headers=headers, allow_redirects=False
                ) as response:
                    self.date = response.headers.get("Date", "")
                    return response.status, response.headers, await response.read()
        finally:
            self._next_at_s = time.monotonic() + self._spacing_s

    def _refusal(self, method: str, path: str, status: int, raw: bytes, what: str) -> VapiError:
        said = self._said(raw)
        if _is_cloudflare(status, raw):
            return VapiError(
                f"Cloudflare in front of Vapi refused the request ({status}, error 1010): it dislikes this client or "
                "network; try from another network, or without a VPN or proxy",
                status,
            )
        if path == "/credential" and (status in _NO_ENDPOINT or (method == "POST" and status == 400)):
            return NoCredentials(f"Vapi refuses {what} over its API ({status}){said}", status)
        if status == 401:
            return VapiError(f"Vapi does not take the key (401){said}; VAPI_API_KEY must be the private key", status)
        if status == 404:
            return VapiError(f"there is no {what} in the organisation of this key (404){said}", status)
        if status == 429:
            return VapiError("Vapi asks for fewer requests (429) and went on asking; try again in a minute", status)
        if status >= 500:
            return VapiError(f"Vapi failed at {what} ({status}){said}; try again later", status)
        return VapiError(f"Vapi refuses {what} ({status}){said}", status)

    def _said(self, raw: bytes) -> str:
        """Return Vapi's own words, without a secret should they repeat one."""
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return ""
        message = body.get("message") if isinstance(body, dict) else None
        lines = message if isinstance(message, list) else [message]
        text = "; ".join(line for line in lines if isinstance(line, str) and line)
        for secret in self._hide:
            text = text.replace(secret, "(secret)")
        return f": {printable(text)[:_MOST_TOLD]}" if text else ""


def _credential(item: Mapping[str, Any]) -> Credential:
    return Credential(str(item["id"]), str(item.get("provider") or ""), str(item.get("name") or ""))


def _table(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise VapiError(f"Vapi's answer for {what} is no JSON object; is --base-url Vapi's?")
    return cast(dict[str, Any], value)


def _parsed(raw: bytes) -> Any:
    """Return the JSON of an answer; None for what is none, which no caller takes for what it wants."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _is_cloudflare(status: int, raw: bytes) -> bool:
    text = raw[:4096].lower()
    return status == 403 and b"1010" in text and (b"error code" in text or b"cloudflare" in text)


def _transport(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else printable(str(error)) or type(error).__name__


def _pause_s(attempt: int, retry_after: str) -> float:
    """Return the seconds before the next attempt: 1, 2, 4, 8, or what Vapi asks for."""
    asked = float(retry_after) if retry_after.isdigit() else 0.0
    return min(_LONGEST_PAUSE_S, max(asked, 2.0**attempt))
