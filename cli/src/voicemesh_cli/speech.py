"""The agent's speech as the caller hears it: text that may still be arriving, spoken word by word."""

from __future__ import annotations

import re

_FLUSH = re.compile(r"<flush\s*/>")
_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
_SMALL = _NUMBERS.split()


class Speech:
    """One stretch of the agent's speech.

    ``start`` once, then `tick` at every `next_ms` until `is_over`.
    """

    def __init__(self, *, words_per_s: float) -> None:
        self.heard = 0
        """Words that the caller has heard to their end."""
        self.is_complete = False
        """Whether no more text will come."""
        self.started_ms: float | None = None
        self.next_ms: float | None = None
        """When the next word will have been heard; None while there is none to speak."""
        self._text = ""
        self._word_ms = 1000 / words_per_s

    def add(self, text: str, now_ms: float) -> None:
        self._text += text
        self._go_on(now_ms)

    def complete(self, now_ms: float) -> None:
        self.is_complete = True
        self._go_on(now_ms)

    def start(self, now_ms: float) -> None:
        self.started_ms = now_ms
        self._go_on(now_ms)

    def tick(self, now_ms: float) -> None:
        """Count the word that has just been heard. ``now_ms`` is `next_ms`."""
        self.heard += 1
        self.next_ms = None
        self._go_on(now_ms)

    @property
    def text(self) -> str:
        """All that came to be spoken."""
        return _FLUSH.sub("", self._text)

    @property
    def heard_text(self) -> str:
        return " ".join(self.text.split()[: self.heard])

    @property
    def is_over(self) -> bool:
        """Whether everything was heard."""
        return self.is_complete and self.heard >= len(self.text.split())

    def is_worth_speaking(self, min_characters: int) -> bool:
        """Whether a voice would be asked to speak what is there."""
        text = self.text.strip()
        return bool(text) and (self.is_complete or len(text) >= min_characters or text[-1] in ".!?")

    def _go_on(self, now_ms: float) -> None:
        if self.started_ms is not None and self.next_ms is None and self.heard < self._whole_words():
            self.next_ms = now_ms + self._word_ms

    def _whole_words(self) -> int:
        words = len(self.text.split())
        # The last word may still grow by the next piece of text.
        return words if self.is_complete or self.text[-1:].isspace() else max(0, words - 1)


def retranscribed(text: str) -> str:
    """Return ``text`` as a transcriber writes what it hears: lower case, no punctuation, small numbers as words."""
    words = (_as_heard(word) for word in re.findall(r"[\w']+", text.lower()))
    return " ".join(words)


def _as_heard(word: str) -> str:
    match = re.fullmatch(r"(\d{1,2})(am|pm|)", word)
    if match is None or int(match[1]) >= len(_SMALL):
        return word
    return f"{_SMALL[int(match[1])]} {match[2]}".strip()
