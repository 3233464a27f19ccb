"""How much of the memory bodies may take that are being read: nothing of them is proven yet."""

from __future__ import annotations

SMALL_BYTES = 65_536
"""What a body may have without asking: nearly every webhook."""
MOST_BYTES = 256 * 1_048_576
"""Of all bodies above that, on all connections."""


class BodyRoom:
    """What is taken of it, by everybody who reads bodies."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.taken_bytes = 0
        self._most_bytes = most_bytes

    def hold(self) -> Hold:
        """Return what one body has of it; nothing yet."""
        return Hold(self)

    def take(self, count: int) -> bool:
        if self.taken_bytes + count > self._most_bytes:
            return False
        self.taken_bytes += count
        return True


class Hold:
    """The room of one body."""

    __slots__ = ("_bytes", "_room")

    def __init__(self, room: BodyRoom) -> None:
        self._room = room
        self._bytes = 0

    def reach(self, count: int) -> bool:
        """Take room for a body of ``count`` bytes in all; False where there is none."""
        more = count - self._bytes
        if count <= SMALL_BYTES or more <= 0:
            return True
        if not self._room.take(more):
            return False
        self._bytes = count
        return True

    def release(self) -> None:
        """Give it back; again is harmless."""
        self._room.taken_bytes -= self._bytes
        self._bytes = 0
