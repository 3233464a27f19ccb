"""Any server that speaks OpenAI's chat completions, through the `openai` client."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from svc_runtime import logs

from llm_svc.domain.chat import End, Finish, Message, Piece, Prompt, Text, ToolPiece
from llm_svc.domain.choice import Kind, ProviderError, kind_of_status

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream

    Chunks = AsyncStream[object]

_CONNECT_S = 2.0
"""A connection that takes longer would leave too little of the first-token deadline."""

_TAIL_S = 1.0
"""How long a server may take from the finish reason to the usage and the end of its stream. Tokens do not wait for it;
the connection can only be used again when the stream was read to its end."""

_KEEP_IDLE_S = 300.0
"""How long an idle connection is kept. The client's own 5 s would drop it between two turns of a slow caller, who then
waits for TCP and TLS again."""

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
        import openai

        self.label = f"openai/{name}"
        self._openai = openai
        self._name = name
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._include_usage = include_usage
        # Retries are `llm_svc.domain.choice`'s to decide, deadlines `llm_svc.adapters.generation`'s to keep.
        timeout = openai.Timeout(None, connect=_CONNECT_S)
        self._client: AsyncOpenAI = openai.AsyncOpenAI(
            api_key=api_key or "none",
            base_url=base_url,
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAsyncHttpxClient(timeout=timeout, limits=_limits(), follow_redirects=False),
        )

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Piece | End]:
        chunks = await self._open(prompt)
        try:
            finish: Finish | None = None
            end = End(Finish.STOP)
            while finish is None:
                chunk = await self._next(chunks)
                if chunk is None:
                    raise ProviderError(Kind.BAD_STREAM, "ended its stream without a finish reason")
                pieces, finish = _read(chunk)
                end = _count(chunk, end)
                for piece in pieces:
                    yield piece
            yield (await self._tail(chunks, end))._replace(finish=finish)
        finally:
            await chunks.close()

    async def warm_up(self) -> None:
        try:
            async with asyncio.timeout(5.0):
                await self._client.models.with_raw_response.list()
        except (self._openai.APIStatusError, self._openai.APIResponseValidationError):
            # An answer, even a refusal, has opened the connection; whether the key is right shows at the first call.
            pass
        except (self._openai.OpenAIError, TimeoutError) as error:
            logs.get().warning("llm.warm_up.failed", model=self.label, error_type=type(error).__name__)

    async def close(self) -> None:
        await self._client.close()

    async def _open(self, prompt: Prompt) -> Chunks:
        temperature = self._temperature if prompt.temperature is None else prompt.temperature
        max_tokens = prompt.max_tokens or self._max_tokens
        asked: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "tools": list(prompt.tools)}
        body = {key: value for key, value in asked.items() if value not in (None, [])}
        if self._include_usage:
            body["stream_options"] = {"include_usage": True}
        body |= {
            "model": self._name,
            "messages": [_message(message) for message in prompt.messages],
            "stream": True,
        }
        try:
            # The client's own method would walk the whole history to rename nothing, and build typed objects of every
            # token: half of what a token costs here. `object` leaves its JSON as it is.
            return await self._client.post(
                "/chat/completions",
                cast_to=object,
                body=body,
                stream=True,
                stream_cls=self._openai.AsyncStream[object],
            )
        except self._openai.OpenAIError as error:
            raise self._failure(error) from None

    async def _next(self, chunks: Chunks) -> object | None:
        """Return the next chunk, None at the end of the stream."""
        try:
            return await anext(chunks, None)
        except self._openai.OpenAIError as error:
            raise self._failure(error) from None
        except ValueError:
            raise ProviderError(Kind.BAD_STREAM, "sent a chunk that is not JSON") from None

    async def _tail(self, chunks: Chunks, end: End) -> End:
        """Read what follows the finish reason. All has been said, so nothing that goes wrong here matters."""
        try:
            async with asyncio.timeout(_TAIL_S):
                while (chunk := await self._next(chunks)) is not None:
                    end = _count(chunk, end)
        except (ProviderError, TimeoutError):
            pass
        return end

    def _failure(self, error: Exception) -> ProviderError:
        """Return what ``error`` means. Its own text is left out: servers echo keys and prompts."""
        if isinstance(error, self._openai.APITimeoutError):
            return ProviderError(Kind.TIMEOUT, f"did not connect within {_CONNECT_S:g} s")
        if isinstance(error, self._openai.APIConnectionError):
            return ProviderError(Kind.UNREACHABLE, "could not be reached, or broke the connection")
        if isinstance(error, self._openai.APIStatusError):
            return ProviderError(kind_of_status(error.status_code), f"answered HTTP {error.status_code}")
        return ProviderError(Kind.PROVIDER_ERROR, "sent an error in its stream")


def _limits() -> Any:
    """Return the bounds of the connection pool; the servicer's limit on generations is the one that acts."""
    import httpx2

    return httpx2.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=_KEEP_IDLE_S)


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
            pieces.append(ToolPiece(operator.index(call.get("index") or 0), _text(call, "id"), name, arguments))
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
    prompt, completion = (count if isinstance(count, int) else 0 for count in counts)
    return end._replace(prompt_tokens=prompt, completion_tokens=completion)
