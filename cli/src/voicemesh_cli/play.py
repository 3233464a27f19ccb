"""Plays a recorded call against a running mesh: the sockets and the clock around `vapi_call.VapiCall`."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp
import orjson
from ingress_svc.domain.paths import COMPLETIONS_PATH, WEBHOOK_PATH
from ingress_svc.domain.schemes import VAPI_DEFAULT

from voicemesh_cli import vapi_proof
from voicemesh_cli.recording import RecordedCall
from voicemesh_cli.vapi_call import VapiCall
from voicemesh_cli.vapi_events import CloseLlm, Effect, Happening, LlmDone, LlmFailed, LlmText, OpenLlm, Webhook

WEBHOOK_RETRIES = 3
"""With the backoff below, what voicemesh recommends to set as the assistant's ``server.backoffPlan``."""
_LLM_RETRIES = 2
"""What OpenAI's client does by default, for refused connections and for 5xx."""
_WAIT_S = 20.0
"""Vapi's own default for a webhook, and for the first token of an answer."""


class PlayFailed(Exception):
    """The call could not be played; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to play to."""

    url: str
    secret: str = field(repr=False)
    llm_key: str = field(default="", repr=False)
    """Bearer of the custom-LLM requests; the secret when empty."""


@dataclass(slots=True)
class Delivery:
    """One webhook, and what became of it. Times in milliseconds on the machine's clock."""

    kind: str
    at_ms: int
    status: int = 0
    """Of the last attempt; 0 when no answer came."""
    event_id: str = ""
    took_ms: float = 0.0
    attempts: int = 0


@dataclass(slots=True)
class Reply:
    """One custom-LLM request, and what was read of its answer."""

    request: int
    asked: str
    """The last message it sent."""
    status: int = 0
    text: str = ""
    first_text_ms: float = 0.0
    """From sending the request to its first text; 0 when none came."""
    end: Literal["open", "done", "broken", "closed_by_caller", "failed"] = "open"
    attempts: int = 0


@dataclass(slots=True)
class Played:
    """All that passed between the simulated Vapi and the mesh."""

    call_id: str
    deliveries: list[Delivery] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)

    @property
    def refused(self) -> list[Delivery]:
        return [delivery for delivery in self.deliveries if not 200 <= delivery.status < 300]


async def play(
    recorded: RecordedCall,
    target: Target,
    *,
    speed: float = 1.0,
    call_id: str | None = None,
    webhook_retries: int = WEBHOOK_RETRIES,
    on_message: Callable[[dict[str, Any]], None] | None = None,
) -> Played:
    """Play ``recorded`` and return what came of it, when every webhook has been answered or given up.

    ``call_id`` replaces the recording's own, so that one file can be played often; without both it is random.
    ``on_message`` sees each server message as it is sent.
    """
    name = call_id or str(recorded.call.get("id") or uuid.uuid4())
    call = VapiCall(recorded, call_id=name, epoch_ms=time.time_ns() // 1_000_000, speed=speed)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=5)) as http:
        player = _Player(http, target, Played(name), webhook_retries, on_message)
        try:
            await player.run(call, speed)
        finally:
            await player.close()
    return player.played


class _Player:
    def __init__(
        self,
        http: aiohttp.ClientSession,
        target: Target,
        played: Played,
        webhook_retries: int,
        on_message: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        self.played = played
        self._http = http
        self._target = target
        self._webhook_retries = webhook_retries
        self._on_message = on_message
        self._happened: asyncio.Queue[Happening] = asyncio.Queue()
        self._posts: set[asyncio.Task[None]] = set()
        self._answers: dict[int, asyncio.Task[None]] = {}

    async def run(self, call: VapiCall, speed: float) -> None:
        began_s = time.monotonic()
        happened: Happening | None = None
        while not call.is_over:
            now_ms = (time.monotonic() - began_s) * 1000 * speed
            for effect in call.step(now_ms, happened):
                self._do(effect)
            happened = await self._wait(call, began_s, speed)
        if self._posts:
            await asyncio.wait(self._posts, timeout=_WAIT_S)

    async def close(self) -> None:
        tasks = [*self._posts, *self._answers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait(self, call: VapiCall, began_s: float, speed: float) -> Happening | None:
        """Return the next happening, or None when the call's next timer is due first."""
        if call.is_over:
            return None
        wakes_ms = call.wakes_at_ms()
        delay_s = None if wakes_ms is None else began_s + wakes_ms / 1000 / speed - time.monotonic()
        if delay_s is not None and delay_s <= 0:
            return None
        try:
            return await asyncio.wait_for(self._happened.get(), delay_s)
        except TimeoutError:
            return None

    def _do(self, effect: Effect) -> None:
        match effect:
            case Webhook(body):
                if self._on_message and isinstance(body.get("message"), dict):
                    self._on_message(body["message"])
                task = asyncio.create_task(self._post(body))
                self._posts.add(task)
                task.add_done_callback(self._posts.discard)
            case OpenLlm(request, body):
                self._answers[request] = asyncio.create_task(self._ask(request, body))
            case CloseLlm(request):
                # Leaves the response unread: aiohttp then closes the connection, as Vapi does.
                self._answers[request].cancel()

    async def _post(self, body: dict[str, Any]) -> None:
        raw = orjson.dumps(body)
        message = body.get("message")
        message = message if isinstance(message, dict) else body
        delivery = Delivery(str(message.get("type", "")), _number(message.get("timestamp")))
        self.played.deliveries.append(delivery)
        began_s = time.monotonic()
        for attempt in range(self._webhook_retries + 1):
            await _pause_before(attempt)
            delivery.attempts += 1
            if await self._attempt(raw, delivery):
                break
        delivery.took_ms = (time.monotonic() - began_s) * 1000

    async def _attempt(self, raw: bytes, delivery: Delivery) -> bool:
        """Return whether there is an answer that ends the matter."""
        headers = {**signed(raw, self._target.secret), "x-call-id": self.played.call_id}
        try:
            async with asyncio.timeout(_WAIT_S):
                async with self._http.post(self._target.url + WEBHOOK_PATH, data=raw, headers=headers) as response:
                    await response.read()
                    delivery.status = response.status
                    delivery.event_id = response.headers.get("X-Voicemesh-Event-Id", "")
        except (aiohttp.ClientError, TimeoutError):
            return False
        return delivery.status < 500

    async def _ask(self, request: int, body: dict[str, Any]) -> None:
        messages = body.get("messages") or [{}]
        reply = Reply(request, str(messages[-1].get("content", "")))
        self.played.replies.append(reply)
        try:
            for attempt in range(_LLM_RETRIES + 1):
                await _pause_before(attempt)
                reply.attempts += 1
                if await self._answer(reply, orjson.dumps(body)):
                    return
        except asyncio.CancelledError:
            reply.end = "closed_by_caller"
            raise
        reply.end = "failed"
        self._happened.put_nowait(LlmFailed(request))

    async def _answer(self, reply: Reply, raw: bytes) -> bool:
        """Read one answer. Returns False where asking again makes sense: nothing was said yet."""
        headers = {
            "Authorization": f"Bearer {self._target.llm_key or self._target.secret}",
            "Content-Type": "application/json",
            # Vapi's client asks for JSON even where it wants a stream.
            "Accept": "application/json",
            "x-stainless-retry-count": str(reply.attempts - 1),
        }
        began_s = time.monotonic()
        try:
            opening = self._http.post(self._target.url + COMPLETIONS_PATH, data=raw, headers=headers)
            async with await asyncio.wait_for(opening, _WAIT_S) as response:
                reply.status = response.status
                if response.status != 200:
                    return False
                async for text in _streamed_text(response):
                    reply.first_text_ms = reply.first_text_ms or (time.monotonic() - began_s) * 1000
                    reply.text += text
                    self._happened.put_nowait(LlmText(reply.request, text))
        except (aiohttp.ClientError, TimeoutError, ValueError):
            if not reply.text:
                return False
            reply.end = "broken"
        reply.end = "done" if reply.end == "open" else reply.end
        self._happened.put_nowait(LlmDone(reply.request))
        return True


async def _pause_before(attempt: int) -> None:
    """Wait before another attempt: 0.5, 1, 2 … s; not before the first."""
    if attempt:
        await asyncio.sleep(0.25 * 2**attempt)


async def _streamed_text(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """Yield the text of a chat-completion stream. Anything that is no such stream yields nothing: silence."""
    while True:
        # Vapi gives up when so long nothing comes.
        async with asyncio.timeout(_WAIT_S):
            line = await response.content.readline()
        if not line or line.strip() == b"data: [DONE]":
            return
        if line.startswith(b"data:"):
            choices = orjson.loads(line[5:]).get("choices") or [{}]
            if text := (choices[0].get("delta") or {}).get("content"):
                yield text


def signed(raw: bytes, secret: str, *, at_ms: int | None = None) -> dict[str, str]:
    """Return the headers of a webhook with Vapi's default HMAC credential: SHA-256 over ``{timestamp}.{body}``."""
    return {"Content-Type": "application/json"} | vapi_proof.signed(VAPI_DEFAULT, secret, "", raw, at_ms=at_ms)


def _number(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0
