"""Any server that speaks OpenAI's chat completions, through the `openai` client."""

from __future__ import annotations

import asyncio
import json
import operator
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import orjson
from svc_runtime import logs

from llm_svc.domain.chat import End, Finish, Message, Piece, Prompt, Text, ToolPiece
from llm_svc.domain.choice import Kind, ProviderError, kind_of_status
from llm_svc.domain.sse import Event, EventReader, EventTooLong

if TYPE_CHECKING:
    from httpx2 import Response
    from openai import AsyncOpenAI

_CONNECT_S = 2.0
"""A connection that takes longer would leave too little of the first-token deadline."""

_TAIL_S = 1.0
"""How long a server may take from the finish reason to the usage and the end of its stream. Tokens do not wait for it;
the connection can only be used again when the stream was read to its end."""

_KEEP_IDLE_S = 300.0
"""How long an idle connection is kept. The client's own 5 s would drop it between two turns of a slow caller, who then
waits for TCP and TLS again."""

_BODY = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
"""Not orjson: what callers hand over as tools may hold what it refuses, half a surrogate pair or a long number."""

_MOST_TOOL_CALLS = 1_024
"""Of one answer. A number that the contract cannot hold would be a defect of ours behind words already said."""

_FINISH = {
    "stop": Finish.STOP,
    "length": Finish.LENGTH,
    "tool_calls": Finish.TOOL_CALLS,
    "function_call": Finish.TOOL_CALLS,
}


class OpenAiModel:
    """Implements `llm_svc.adapters.model.Model`. One client, and so one pool of connections, for its whole life."""

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_key: str,
        temperature: float | None = None,
        max_tokens: int | None = None,
        include_usage: bool = False,
    ) -> None:
        # Imported here, for it takes seconds and 40 MB that a process with only the scripted model can do without.
        import httpx2
        import openai

        self.label = f"openai/{name}"
        self._openai = openai
        self._httpx = httpx2
        self._lost = (httpx2.HTTPError, aiohttp.ClientError)
        self._name = name
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._include_usage = include_usage
        # Retries are `llm_svc.domain.choice`'s to decide, deadlines `llm_svc.adapters.generation`'s to keep. The pool
        # never makes anyone wait, so its timeout only adds the look-up of the address to what may take _CONNECT_S.
        timeout = openai.Timeout(None, connect=_CONNECT_S, pool=_CONNECT_S)
        # The servicer's limit on generations is the one that acts; aiohttp reads 0 as no limit, and None as 100.
        limits = httpx2.Limits(max_connections=0, keepalive_expiry=_KEEP_IDLE_S)
        self._client: AsyncOpenAI = openai.AsyncOpenAI(
            api_key=api_key or "none",
            base_url=base_url,
            max_retries=0,
            timeout=timeout,
            # Over httpx's own transport a request and a token take a quarter longer.
            http_client=openai.DefaultAioHttpClient(timeout=timeout, limits=limits, follow_redirects=False),
        )
        # Whole, or the client would put it together and take it apart again for every request.
        self._url = f"{self._client.base_url}chat/completions"

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Piece | End]:
        chunks = _Chunks(await self._open(prompt), self._lost)
        try:
            finish: Finish | None = None
            end = End(Finish.STOP)
            while finish is None:
                chunk = await chunks.next()
                if chunk is None:
                    raise ProviderError(Kind.BAD_STREAM, "ended its stream without a finish reason")
                pieces, finish = _read(chunk)
                end = _count(chunk, end)
                for piece in pieces:
                    yield piece
            yield (await _tail(chunks, end))._replace(finish=finish)
        finally:
            await chunks.close()

    async def warm_up(self) -> None:
        try:
            async with asyncio.timeout(5.0):
                await self._client.models.with_raw_response.list()
        except (self._openai.APIStatusError, self._openai.APIResponseValidationError):
            # An answer, even a refusal, has opened the connection; whether the key is right shows at the first call.
            pass
        except (self._openai.OpenAIError, aiohttp.ClientError, TimeoutError) as error:
            logs.get().warning("llm.warm_up.failed", model=self.label, error_type=type(error).__name__)

    async def close(self) -> None:
        await self._client.close()

    async def _open(self, prompt: Prompt) -> Response:
        try:
            # The client's own method would walk the whole history to rename nothing, and its streams build objects of
            # every token. Asked for a response it gives just that, whatever the stream class that its types insist on.
            response: Any = await self._client.post(
                self._url,
                cast_to=self._httpx.Response,
                content=_BODY.encode(self._body(prompt)).encode(),
                stream=True,
                stream_cls=self._openai.AsyncStream[object],
            )
            return cast("Response", response)
        except (self._openai.OpenAIError, *self._lost) as error:
            raise self._failure(error) from None

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        temperature = self._temperature if prompt.temperature is None else prompt.temperature
        max_tokens = prompt.max_tokens or self._max_tokens
        asked: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "tools": list(prompt.tools)}
        body = {key: value for key, value in asked.items() if value not in (None, [])}
        if self._include_usage:
            body["stream_options"] = {"include_usage": True}
        return body | {
            "model": self._name,
            "messages": [_message(message) for message in prompt.messages],
            "stream": True,
        }

    def _failure(self, error: Exception) -> ProviderError:
        """Return what ``error`` means. Its own text is left out: servers echo keys and prompts."""
        if isinstance(error, self._openai.APIStatusError):
            return ProviderError(kind_of_status(error.status_code), f"answered HTTP {error.status_code}")
        if _timed_out(error):
            return ProviderError(Kind.TIMEOUT, f"did not connect within {_CONNECT_S:g} s")
        return ProviderError(Kind.UNREACHABLE, "could not be reached, or broke the connection")


class _Chunks:
    """The chunks of one response, as they come."""

    def __init__(self, response: Response, lost: tuple[type[Exception], ...]) -> None:
        self._response = response
        self._body = response.aiter_bytes()
        self._lost = lost
        self._reader = EventReader()
        self._events: Iterator[Event] = iter(())

    async def next(self) -> object | None:
        """Return the next chunk, None behind the last. Raises ProviderError."""
        while (event := self._next_read()) is None:
            if self._reader.over:
                return None
            self._events = self._reader.feed(await self._more())
        return _parsed(event)

    async def drain(self) -> None:
        """Read the response to its end, so that its connection can be used again. Raises ProviderError."""
        while await self._more():
            pass

    async def close(self) -> None:
        """Give up what has not been read, and its connection with it."""
        await self._body.aclose()
        await self._response.aclose()

    def _next_read(self) -> Event | None:
        try:
            return next(self._events, None)
        except EventTooLong:
            raise ProviderError(Kind.BAD_STREAM, "sent an event of more than 1 MiB") from None

    async def _more(self) -> bytes:
        try:
            return await anext(self._body, b"")
        except self._lost:
            raise ProviderError(Kind.UNREACHABLE, "broke the connection in the middle of its answer") from None


async def _tail(chunks: _Chunks, end: End) -> End:
    """Read what follows the finish reason. All has been said, so nothing that goes wrong here matters."""
    try:
        async with asyncio.timeout(_TAIL_S):
            while (chunk := await chunks.next()) is not None:
                end = _count(chunk, end)
            await chunks.drain()
    except (ProviderError, TimeoutError):
        pass
    return end


def _timed_out(error: BaseException | None) -> bool:
    """Return whether no connection came in time.

    The client's transport calls whatever breaks a connection a timeout; only what it was raised from tells.
    """
    while error is not None and not isinstance(error, aiohttp.ServerTimeoutError):
        error = error.__cause__
    return error is not None


def _parsed(event: Event) -> object:
    """Return the chunk in ``event``. Raises ProviderError, also for an error that the provider sends in its stream."""
    if event.name == b"error":
        raise ProviderError(Kind.PROVIDER_ERROR, "sent an error in its stream")
    try:
        chunk = orjson.loads(event.data)
    except ValueError:
        raise ProviderError(Kind.BAD_STREAM, "sent a chunk that is not JSON") from None
    if isinstance(chunk, dict) and chunk.get("error"):
        raise ProviderError(Kind.PROVIDER_ERROR, "sent an error in its stream")
    return chunk


def _message(message: Message) -> Any:
    """Return ``message`` in the chat format, in which absent and empty are not the same."""
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        told |= {"tool_calls": list(message.tool_calls), "content": message.content or None}
    if message.tool_call_id:
        told["tool_call_id"] = message.tool_call_id
    return told


def _read(chunk: Any) -> tuple[list[Piece], Finish | None]:
    """Return what ``chunk`` says, and its finish reason if it has one. Nobody has checked it before."""
    try:
        choices = chunk.get("choices")
        if not choices:
            return [], None
        choice = choices[0]
        delta = choice.get("delta") or {}
        text = _text(delta, "content")
        pieces: list[Piece] = [Text(text)] if text else []
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            name, arguments = _text(function, "name"), _text(function, "arguments")
            index = operator.index(call.get("index") or 0)
            if not 0 <= index < _MOST_TOOL_CALLS:
                raise IndexError(index)
            pieces.append(ToolPiece(index, _text(call, "id"), name, arguments))
        reason = _text(choice, "finish_reason")
    except (AttributeError, TypeError, KeyError, IndexError):
        raise ProviderError(Kind.BAD_STREAM, "sent a chunk that is not a chat completion chunk") from None
    if not reason:
        return pieces, None
    # content_filter and what else there may be: the answer stops where the provider stopped it.
    return pieces, _FINISH.get(reason, Finish.FAILED)


def _text(fields: Any, name: str) -> str:
    # Joined, so that anything but text fails here.
    return "".join([fields.get(name) or ""])


def _count(chunk: Any, end: End) -> End:
    usage = chunk.get("usage") if isinstance(chunk, dict) else None
    if not isinstance(usage, dict):
        return end
    counts = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
    prompt, completion = (count if type(count) is int and 0 <= count < 2**31 else 0 for count in counts)
    return end._replace(prompt_tokens=prompt, completion_tokens=completion)
