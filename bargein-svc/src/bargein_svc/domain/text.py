"""Transcripts as tokens: what speech recognisers spell in many ways, spelled in one."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

MAX_CHARS = 240
"""How much of an utterance is read word by word: four times the longest `min_words`, so no decision lies beyond."""

_WORD_OR_PAUSE = re.compile(r"\w+(?:(?<=\d)[.,:](?=\d)\w+)*|[,.;:!?…—–]|(?<=\s)-+(?=\s)")
_MARK = re.compile(r"[^\w\s]|_")
_APOSTROPHE = re.compile("['’‘ʼ`´]")
_ACCENT = re.compile("[\u0300-\u036f]")
_DRAWN_OUT = re.compile(r"([a-z])\1\1+")
_HUM = re.compile(r"\bm+h*m+\b")

HUM = "mhm"
"""How every hum of assent is spelled here: mm, mmm, mhm, mmhmm."""


class Spoken(NamedTuple):
    """An utterance in tokens."""

    tokens: tuple[str, ...]
    pauses: tuple[int, ...]
    """Positions between tokens where punctuation says that the speaker paused: 2 is between the second and third."""
    word_count: int
    """Words in the whole utterance, also those beyond `MAX_CHARS`."""


def normalise(text: str) -> Spoken:
    """Return the words of ``text``: case-folded, without accents, apostrophes and punctuation.

    A hyphen inside a word parts it without a pause (uh-huh is uh huh); drawn-out letters count once (nooo is no).
    """
    head, rest = _split(text)
    if not head.isascii():
        head = _ACCENT.sub("", unicodedata.normalize("NFKD", head))
    head = _APOSTROPHE.sub("", head).casefold()
    head = _DRAWN_OUT.sub(r"\1", _HUM.sub(HUM, head))
    if _MARK.search(head) is None:
        # As most partials come: words and nothing else.
        tokens = head.split()
        return Spoken(tuple(tokens), (), len(tokens) + (len(rest.split()) if rest else 0))
    tokens = []
    pauses: list[int] = []
    for piece in _WORD_OR_PAUSE.findall(head):
        if piece[-1].isalnum():
            tokens.append(piece)
        elif tokens and (not pauses or pauses[-1] != len(tokens)):
            pauses.append(len(tokens))
    if pauses and pauses[-1] == len(tokens):
        pauses.pop()
    return Spoken(tuple(tokens), tuple(pauses), len(tokens) + (len(rest.split()) if rest else 0))


def _split(text: str) -> tuple[str, str]:
    if len(text) <= MAX_CHARS:
        return text, ""
    at = text.rfind(" ", 0, MAX_CHARS) + 1 or MAX_CHARS
    return text[:at], text[at : at + 10 * MAX_CHARS]
