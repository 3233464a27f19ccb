"""An endpoint of the owner's: one signed POST a run, repeated where that does no harm."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import aiohttp
from yarl import URL

from llm_svc.adapters import tool_schema
from llm_svc.domain.tool_http import (
    MOST_BODY_BYTES,
    REPEATABLE,
    Answer,
    body_of,
    headers_of,
    may_have_acted,
    outcome_of,
    pause_s,
)
from llm_svc.domain.tools import Ask, HttpSpec, Outcome, Reason, failed

_CONNECT_S: Final = 2.0
"""At most; and at most half of a tool's time, so that there is time for a second try."""


class HttpTools:
    """The connections of all endpoints."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # A connection kept open would only add a way to fail that leaves unknown whether the tool was run.
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                timeout=aiohttp.ClientTimeout(),
                trust_env=False,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class HttpTool:
    """Implements `llm_svc.adapters.tool.Tool`."""

    kind = "http"

    def __init__(self, spec: HttpSpec, http: HttpTools, *, secret: str) -> None:
        self.name = spec.name
        self.description = spec.description
        self.arguments = tool_schema.of_parameters(spec.parameters)
        self.timeout_s = spec.timeout_s
        self.speak_while_running = spec.speak_while_running
        self._url = URL(spec.url)
        self._retries = spec.retries
        self._http = http
        self._secret = secret
        self._timeout = aiohttp.ClientTimeout(total=None, connect=min(_CONNECT_S, spec.timeout_s / 2))

    async def run(self, arguments: dict[str, Any], ask: Ask) -> Outcome:
        try:
            body = body_of(ask, arguments)
        except ValueError:
            return failed(Reason.BAD_ARGUMENTS, "A number in the arguments is not finite.")
        tries = _Tries()
        try:
            async with asyncio.timeout(self.timeout_s) as timer:
                return await self._run(ask, body, tries, timer.when() or 0.0)
        except TimeoutError:
            return failed(
                Reason.TIMEOUT, "The tool took too long.", effect_unknown=tries.effect_unknown, tries=tries.made
            )

    async def _run(self, ask: Ask, body: bytes, tries: _Tries, end_at_s: float) -> Outcome:
        loop = asyncio.get_running_loop()
        while True:
            outcome, pause = await self._try(ask, body, tries)
            if pause is None or tries.made > self._retries or loop.time() + pause >= end_at_s:
                return outcome
            await asyncio.sleep(pause)

    async def _try(self, ask: Ask, body: bytes, tries: _Tries) -> tuple[Outcome, float | None]:
        """Return what one try came to, and after how many seconds it may be repeated; None for not at all."""
        tries.made += 1
        headers = headers_of(ask, body, secret=self._secret, now_s=time.time())
        before = tries.effect_unknown
        # Until it is known better, and for as long as it runs: a timeout may fall anywhere.
        tries.effect_unknown = True
        try:
            answer = await self._post(headers, body)
        except aiohttp.ClientConnectorError as error:
            tries.effect_unknown = before
            repeat = None if isinstance(error, aiohttp.ClientSSLError) else pause_s(tries.made)
            return self._unreachable("The tool could not be reached.", tries), repeat
        except aiohttp.ConnectionTimeoutError:
            tries.effect_unknown = before
            return self._unreachable("The tool could not be reached in time.", tries), pause_s(tries.made)
        except (aiohttp.ClientError, OSError):
            return self._unreachable("The tool broke off its answer.", tries), None
        tries.effect_unknown = before or may_have_acted(answer.status)
        outcome = outcome_of(answer, tries=tries.made, effect_unknown=before)
        return outcome, pause_s(tries.made, answer.retry_after) if answer.status in REPEATABLE else None

    async def _post(self, headers: dict[str, str], body: bytes) -> Answer:
        async with self._http.session.post(
            self._url, data=body, headers=headers, allow_redirects=False, timeout=self._timeout
        ) as response:
            content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            retry_after = response.headers.get("Retry-After", "").strip()
            if not 200 <= response.status < 300:
                # The status says it all; a body could be of any length.
                response.close()
                return Answer(response.status, retry_after=retry_after)
            read = bytearray()
            async for part in response.content.iter_any():
                read += part
                if len(read) > MOST_BODY_BYTES:
                    response.close()
                    break
            return Answer(response.status, content_type, bytes(read))

    def _unreachable(self, message: str, tries: _Tries) -> Outcome:
        return failed(Reason.UNREACHABLE, message, effect_unknown=tries.effect_unknown, tries=tries.made)


class _Tries:
    """How often an endpoint has been asked, and whether one of them may have had its effect."""

    def __init__(self) -> None:
        self.made = 0
        self.effect_unknown = False
