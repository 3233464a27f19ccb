"""The scripted model behind the interface of a provider, with a provider's timing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from llm_svc.domain import scripted
from llm_svc.domain.chat import End, Finish, Piece, Prompt, Text


class ScriptedModel:
    """Implements `llm_svc.adapters.model.Model`. It offers no tool calls and ignores the temperature."""

    def __init__(self, *, first_token_ms: float, token_ms: float, max_tokens: int | None = None) -> None:
        self.label = scripted.NAME
        self._first_token_ms = first_token_ms
        self._token_ms = token_ms
        self._max_tokens = max_tokens

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Piece | End]:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        pieces = scripted.pieces(scripted.answer(prompt.messages))
        limit = prompt.max_tokens or self._max_tokens or len(pieces)
        delays = scripted.delays_ms(prompt.messages, self._first_token_ms, self._token_ms)
        for piece, delay_ms in zip(pieces[:limit], delays, strict=False):
            # Each token is due after the one before it was due, not after it was read: a slow reader gets the rest
            # in a burst, as from a real provider.
            due_s += delay_ms / 1_000
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            yield Text(piece)
        asked = sum(len(scripted.pieces(message.content)) for message in prompt.messages)
        finish = Finish.LENGTH if limit < len(pieces) else Finish.STOP
        yield End(finish, prompt_tokens=asked, completion_tokens=min(limit, len(pieces)))

    async def warm_up(self) -> None:
        return None

    async def close(self) -> None:
        return None
