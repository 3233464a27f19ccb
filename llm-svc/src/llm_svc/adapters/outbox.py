"""From the task that asks a provider to the task that writes to the client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from llm_svc.domain.chat import Piece
from llm_svc.domain.chunker import Chunker

MOST_CHARS = 65_536
"""What may wait for a client that does not read: over an hour of speech, so only a client that is stuck gets here."""


class Outbox:
    """One writer, one reader, one event loop."""

    def __init__(self, most_chars: int = MOST_CHARS) -> None:
        self._chunker = Chunker()
        self._most_chars = most_chars
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether the writer is to wait for `room`."""
        return self._chunker.chars >= self._most_chars

    def put(self, piece: Piece) -> None:
        """Queue ``piece``."""
        self._chunker.add(piece)
        self._filled.set()

    async def room(self) -> None:
        """Wait until the reader has taken what waits."""
        self._emptied.clear()
        await self._emptied.wait()

    def close(self) -> None:
        """Say that nothing more comes."""
        self._closed = True
        self._filled.set()

    async def take(self) -> Sequence[Piece]:
        """Return all that waits, or the next piece when nothing does; empty after the last."""
        await self._filled.wait()
        taken = self._chunker.take()
        self._emptied.set()
        if not self._closed:
            self._filled.clear()
        return taken
