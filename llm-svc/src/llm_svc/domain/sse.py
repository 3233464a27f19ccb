"""Server-sent events out of bytes, as the HTML standard reads them, for chat completions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

MOST_BYTES = 1 << 20
"""Of one event. A whole answer with all its tool calls in one piece has a few thousand; nothing sane comes near."""

_DONE = b"[DONE]"
"""What ends a stream of chat completions; what follows it says nothing."""
_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event that carries data."""

    data: bytes
    name: bytes = b""
    """Its type, empty for most."""


class EventTooLong(Exception):
    """An event has more than the bytes that a reader keeps."""


class EventReader:
    """Reads one stream. Lines may end in LF, CRLF or CR, and chunks anywhere."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.over = False
        """Whether no event can come any more."""
        self._most_bytes = most_bytes
        self._line = bytearray()
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._name = b""
        self._after_cr = False
        self._first = True

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that ``chunk`` completes; an empty one says that the stream has ended.

        What is yielded must be read to its end before more is fed. Raises EventTooLong, behind the events before it.
        """
        for line in self._lines(chunk):
            self._refuse_beyond(len(line))
            event = self._read(line)
            if event is not None:
                if event.data.startswith(_DONE):
                    self.over = True
                    return
                yield event
        self._refuse_beyond(len(self._line))
        self.over = not chunk

    def _lines(self, chunk: bytes) -> list[bytes]:
        """Return the lines that ``chunk`` completes, and keep the one that it begins."""
        if not chunk:
            # Some servers leave out the last blank line.
            last, self._line = bytes(self._line), bytearray()
            return [last, b""]
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._line += chunk
        if b"\n" not in chunk:
            return []
        *lines, begun = bytes(self._line).split(b"\n")
        self._line = bytearray(begun)
        return lines

    def _read(self, line: bytes) -> Event | None:
        """Return the event that ``line`` completes."""
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._completed()
        field, _, value = line.partition(b":")
        if field == b"data":
            value = value.removeprefix(b" ")
            self._data.append(value)
            self._data_bytes += len(value) + 1
        elif field == b"event":
            self._name = value.removeprefix(b" ")
        return None

    def _completed(self) -> Event | None:
        event = Event(b"\n".join(self._data), self._name)
        self._data.clear()
        self._data_bytes = 0
        self._name = b""
        return event if event.data else None

    def _refuse_beyond(self, line_bytes: int) -> None:
        if self._data_bytes + line_bytes > self._most_bytes:
            raise EventTooLong(f"an event has more than {self._most_bytes} bytes")
