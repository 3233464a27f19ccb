"""One telephone call as Vapi carries it, told step by step by a test: signed webhooks and custom-LLM requests."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import aiohttp
import openai
import orjson
from ingress_svc.domain.paths import COMPLETIONS_PATH, WEBHOOK_PATH
from voicemesh_cli.play import signed
from voicemesh_cli.vapi_shapes import Envelope, Message, openai_messages

EPHEMERAL = "partial"
RETRY_S = 0.25
"""Pause before an unanswered or refused webhook is sent again, as an assistant with a backoffPlan does it."""
GIVE_UP_S = 30.0


@dataclass(slots=True)
class Posted:
    """A webhook and what became of it."""

    kind: str
    at_ms: int
    status: int = 0
    event_id: str = ""
    durable: bool = True
    answered_s: float = 0.0
    """When it was taken, monotonic; 0 before."""
    attempts: list[tuple[int, float]] = field(default_factory=list)
    """(status, seconds) of all attempts, those of a second delivery included; status 0 for no answer."""

    @property
    def statuses(self) -> list[int]:
        return [status for status, _ in self.attempts]


class Answer:
    """What comes back on one custom-LLM request."""

    def __init__(self, words: str) -> None:
        self.words = words
        self.attachment_id = ""
        """As the stream names it; empty while no content has come."""
        self.pieces: list[tuple[float, str]] = []
        """(when, text) of every piece of content."""
        self.finish = ""
        self.end: Literal["open", "done", "broken", "closed", "refused"] = "open"
        """done: the stream was ended as the protocol says. closed: by us."""
        self.asked_s = time.monotonic()
        self.ended_s = 0.0
        self.task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.pieces)

    @property
    def first_text_s(self) -> float:
        return self.pieces[0][0]

    def took(self, completion_id: str, text: str) -> None:
        if text:
            self.attachment_id = completion_id.removeprefix("chatcmpl-")
            self.pieces.append((time.monotonic(), text))
            self._changed.set()

    def over(self, end: Literal["done", "broken", "closed", "refused"]) -> None:
        if self.end == "open":
            self.end, self.ended_s = end, time.monotonic()
            self._changed.set()

    async def has(self, pieces: int = 1, within_s: float = 20.0) -> bool:
        """Wait for so many pieces of content. Returns False when it ends before; raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while len(self.pieces) < pieces and self.end == "open":
                await self._change()
        return len(self.pieces) >= pieces

    async def is_over(self, within_s: float = 20.0) -> str:
        """Wait for the end and return the whole text. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while self.end == "open":
                await self._change()
        return self.text

    async def close(self) -> None:
        """Close the connection, as Vapi does when the caller barges in."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        self.over("closed")

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class Phone:
    """One call. Webhooks go out one after the other, so the log must have them in that order."""

    def __init__(self, line: Line, call_id: str, fields: Mapping[str, Any] = MappingProxyType({})) -> None:
        """``fields`` are laid over the call object of everything that is sent."""
        self.call_id = call_id
        self.url = line.url
        """Where webhooks and requests go: one of several ingress replicas."""
        self.posted: list[Posted] = []
        self.answers: list[Answer] = []
        self.traceparent = ""
        """W3C context of whoever sends: goes with every request when it is set."""
        self._line = line
        self._again: list[tuple[bytes, Posted]] = []
        self._last_ms = time.time_ns() // 1_000_000
        self._envelope = Envelope(
            call_id, self._last_ms, fields, {"system_prompt": "You answer a restaurant's telephone."}
        )
        self._history = [Message("system", self._envelope.system_prompt, self._last_ms, self._last_ms)]

    @property
    def acknowledged(self) -> list[str]:
        """Event ids of what was acknowledged and must be durable, in the order in which it was sent."""
        return [post.event_id for post in self.posted if post.durable and post.status == 200]

    # --- what happens on the call

    async def begins(self) -> None:
        await self.post("status-update", status="in-progress")

    async def caller_starts(self) -> Posted:
        return await self.post("speech-update", status="started", role="user", turn=len(self.answers))

    async def caller_stops(self) -> Posted:
        return await self.post("speech-update", status="stopped", role="user", turn=len(self.answers))

    async def partial(self, text: str) -> Posted:
        return await self.post("transcript", role="user", transcriptType="partial", transcript=text)

    async def final(self, text: str) -> Posted:
        self._say("user", text)
        return await self.post("transcript", role="user", transcriptType="final", transcript=text)

    async def agent_starts(self) -> Posted:
        return await self.post("speech-update", status="started", role="assistant", turn=len(self.answers))

    async def agent_stops(self, heard: str) -> Posted:
        """The agent falls silent; ``heard`` is what the caller had heard of it."""
        stopped = await self.post("speech-update", status="stopped", role="assistant", turn=len(self.answers))
        if heard:
            self._say("bot", heard)
            await self.post("transcript", role="assistant", transcriptType="final", transcript=heard)
            formatted = openai_messages(self._history)
            await self.post("conversation-update", messagesOpenAIFormatted=formatted, conversation=formatted)
        return stopped

    async def hangs_up(self) -> None:
        await self.post("status-update", status="ended", endedReason="customer-ended-call")
        await self.post("end-of-call-report", endedReason="customer-ended-call", durationMs=4_000, analysis={})
        await self.deliver_again()

    async def says(self, text: str, *, through: str = "http") -> Answer:
        """The caller's turn, from the first sound to the request for an answer."""
        await self.caller_starts()
        await self.partial(" ".join(text.split()[:2]))
        await self.final(text)
        await self.caller_stops()
        return self.ask(text) if through == "http" else self.ask_openai(text)

    def _say(self, role: str, text: str) -> None:
        last = self._history[-1]
        if last.role == role:
            last.text = f"{last.text} {text}"
        else:
            now_ms = self._last_ms
            self._history.append(Message(role, text, now_ms, now_ms))

    # --- webhooks

    async def post(self, kind: str, **own: Any) -> Posted:
        """Send a webhook until it is taken. What the line's ``twice`` draws is delivered a second time."""
        self._last_ms = max(self._last_ms + 1, time.time_ns() // 1_000_000)
        posted = Posted(kind, self._last_ms, durable=own.get("transcriptType") != EPHEMERAL)
        self.posted.append(posted)
        raw = orjson.dumps(self._envelope.webhook(kind, self._last_ms, self._history, **own))
        await self._deliver(raw, posted)
        await self.deliver_again()
        if self._line.dice.random() < self._line.twice:
            self._again.append((raw, posted))
        return posted

    async def deliver_again(self) -> None:
        """Send what is to come a second time: behind the webhook that followed it, so it also comes out of order."""
        again, self._again = self._again, []
        for raw, posted in again:
            await self._deliver(raw, posted)

    async def _deliver(self, raw: bytes, posted: Posted) -> None:
        until_s = time.monotonic() + GIVE_UP_S
        while True:
            began_s = time.monotonic()
            status, event_id = await self._attempt(raw)
            posted.attempts.append((status, time.monotonic() - began_s))
            if status == 200:
                assert posted.event_id in ("", event_id), "a second delivery has another event id"
                posted.status, posted.event_id = status, event_id
                posted.answered_s = posted.answered_s or time.monotonic()
                return
            # A refusal for good would be sent for ever.
            assert status in (0, 503), f"{posted.kind} was answered {status}"
            assert time.monotonic() < until_s, f"{posted.kind} was not taken: {posted.attempts}"
            await asyncio.sleep(RETRY_S)

    async def _attempt(self, raw: bytes) -> tuple[int, str]:
        headers = signed(raw, self._line.secret) | ({"traceparent": self.traceparent} if self.traceparent else {})
        try:
            async with asyncio.timeout(self._line.patience_s):
                async with self._line.http.post(self.url + WEBHOOK_PATH, data=raw, headers=headers) as response:
                    await response.read()
                    return response.status, response.headers.get("X-Voicemesh-Event-Id", "")
        except (aiohttp.ClientError, TimeoutError):
            return 0, ""

    # --- custom LLM

    async def asked(self, words: str, *, pieces: int = 1) -> Answer:
        """Return an answer that has begun; a request that breaks off before is sent again, as Vapi's client does."""
        for _ in range(40):
            answer = self.ask(words)
            if await answer.has(pieces):
                return answer
            await asyncio.sleep(RETRY_S)
        raise AssertionError(f"no answer: {[(answer.end, answer.text) for answer in self.answers]}")

    async def whole(self, answer: Answer) -> Answer:
        """Return the complete answer; one that broke off is asked for again."""
        await answer.is_over()
        while answer.end != "done":
            answer = await self.asked(answer.words)
            await answer.is_over()
        return answer

    def ask(self, words: str) -> Answer:
        """Open a custom-LLM request over plain HTTP. The answer comes in the background."""
        answer = self._new_answer(words)
        body = orjson.dumps(self._envelope.llm_request(self._messages(words)))
        answer.task = asyncio.create_task(self._read_http(answer, body))
        return answer

    def ask_openai(self, words: str) -> Answer:
        """Open it with OpenAI's own client."""
        answer = self._new_answer(words)
        answer.task = asyncio.create_task(self._read_openai(answer, self._messages(words)))
        return answer

    def _new_answer(self, words: str) -> Answer:
        answer = Answer(words)
        self.answers.append(answer)
        self._line.answers.append(answer)
        return answer

    def _messages(self, words: str) -> list[dict[str, str]]:
        """Return the history, ending in what the caller has said since the agent last spoke."""
        messages = openai_messages(self._history)
        if messages[-1]["role"] != "user":
            messages.append({"role": "user", "content": words})
        return messages

    async def _read_http(self, answer: Answer, body: bytes) -> None:
        headers = {"Authorization": f"Bearer {self._line.secret}", "Content-Type": "application/json"}
        headers |= {"traceparent": self.traceparent} if self.traceparent else {}
        try:
            async with self._line.http.post(self.url + COMPLETIONS_PATH, data=body, headers=headers) as response:
                if response.status != 200:
                    return answer.over("refused")
                async for line in response.content:
                    if line.startswith(b"data: [DONE]"):
                        return answer.over("done")
                    if line.startswith(b"data:"):
                        chunk = orjson.loads(line[5:])
                        choice = chunk["choices"][0]
                        answer.finish = choice["finish_reason"] or answer.finish
                        answer.took(chunk["id"], choice["delta"].get("content") or "")
            answer.over("broken")
        except (aiohttp.ClientError, TimeoutError):
            answer.over("broken")

    async def _read_openai(self, answer: Answer, messages: list[Any]) -> None:
        around = self._envelope.llm_request([])
        extra = {name: around[name] for name in ("call", "phoneNumber", "customer", "metadata")}
        async with openai.AsyncOpenAI(base_url=f"{self.url}/vapi/llm", api_key=self._line.secret) as client:
            try:
                stream = await client.chat.completions.create(
                    model="voice-backend",
                    messages=messages,
                    stream=True,
                    temperature=0.5,
                    extra_body=extra,
                )
                async for chunk in stream:
                    answer.finish = chunk.choices[0].finish_reason or answer.finish
                    answer.took(chunk.id, chunk.choices[0].delta.content or "")
                answer.over("done" if answer.finish else "broken")
            except openai.APIError:
                answer.over("broken")


@dataclass
class Line:
    """What the calls of one test share: where to, with which secret, and how much comes twice."""

    url: str
    secret: str
    http: aiohttp.ClientSession
    twice: float = 0.0
    """Of so many webhooks, as a fraction, a second delivery follows."""
    patience_s: float = 20.0
    """How long an answer is waited for; Vapi's default."""
    dice: random.Random = field(default_factory=lambda: random.Random(2))
    answers: list[Answer] = field(default_factory=list)

    def call(self, name: str = "call", **fields: Any) -> Phone:
        return Phone(self, f"{name}-{uuid.uuid4()}", fields)


@asynccontextmanager
async def line(url: str, secret: str, *, twice: float = 0.0, patience_s: float = 20.0) -> AsyncIterator[Line]:
    """Open a line. Leaving it closes every request that is still open."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as http:
        opened = Line(url, secret, http, twice=twice, patience_s=patience_s)
        try:
            yield opened
        finally:
            await asyncio.gather(*(answer.close() for answer in opened.answers))
