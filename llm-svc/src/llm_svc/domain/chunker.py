"""What has queued for a writer while its last write was in flight, in as few pieces as it can be said."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from llm_svc.domain.chat import Piece, Text, ToolPiece


class Chunker:
    """A queue whose neighbours merge.

    The first piece that finds the writer idle leaves alone and at once: there is no timer, so nothing is held back to
    make a chunk larger. Only what the writer could not have taken yet is merged.
    """

    def __init__(self) -> None:
        self._text: list[str] = []
        self._pieces: deque[Piece] = deque()
        self.chars = 0
        """Characters that wait. Arguments of tool calls count, their ids and names do not."""

    def add(self, piece: Piece) -> None:
        """Queue ``piece`` behind what waits."""
        if isinstance(piece, Text):
            self._text.append(piece.text)
            self.chars += len(piece.text)
            return
        self._close_text()
        self.chars += len(piece.arguments)
        last = self._pieces[-1] if self._pieces else None
        # A piece with an id or a name begins a call; only its nameless continuations belong to the piece before.
        if isinstance(last, ToolPiece) and last.index == piece.index and not (piece.id or piece.name):
            self._pieces[-1] = replace(last, arguments=last.arguments + piece.arguments)
        else:
            self._pieces.append(piece)

    def take(self) -> Sequence[Piece]:
        """Return all that waits, in order, and forget it."""
        self._close_text()
        taken = tuple(self._pieces)
        self._pieces.clear()
        self.chars = 0
        return taken

    def _close_text(self) -> None:
        if self._text:
            self._pieces.append(Text("".join(self._text)))
            self._text.clear()
