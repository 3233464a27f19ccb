"""Spoken words, and the things of a booking that can be heard in them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, NamedTuple, Protocol


class Word(NamedTuple):
    """One word of a message."""

    plain: str
    """Lower case, without accents and apostrophes: what rules compare."""
    spoken: str
    """As it was written."""
    breaks: bool
    """Whether a comma, a full stop or the like stands before it."""


class Clock(NamedTuple):
    """A time of day, on 24 hours."""

    hour: int
    minute: int = 0


class Day(NamedTuple):
    """A day as people say it."""

    word: str
    """today, tonight, tomorrow, overmorrow, monday to sunday, or date."""
    coming: bool = False
    """Whether the caller said "next" with a weekday."""
    number: int = 0
    """Day of the month, for a date."""
    month: int = 0
    """1 to 12, or 0 when the caller did not say."""


class Slot(Enum):
    """What a booking needs, in the order in which the agent asks."""

    PARTY = "party"
    DAY = "day"
    TIME = "time"
    NAME = "name"


class Intent(Enum):
    """What a caller wants apart from filling slots."""

    YES = "yes"
    NO = "no"
    WAIT = "wait"
    CANCEL = "cancel"
    THANKS = "thanks"
    GOODBYE = "goodbye"
    REPEAT = "repeat"
    HELLO = "hello"
    OTHER = "other"
    """Something that this agent cannot do, such as reading out the menu."""


class Mention(NamedTuple):
    """A value that was heard; slot None is a number that could be a party or a time."""

    slot: Slot | None
    value: int | Clock | Day | str


class Found(NamedTuple):
    """What a rule found: a mention (None: words to skip) and how many words it took."""

    mention: Mention | None
    used: int


@dataclass(frozen=True, slots=True)
class Phrases:
    """What the agent says in one language. Braces are filled by `llm_svc.domain.scripted`."""

    ask: Mapping[tuple[Slot, ...], str]
    """By what is missing."""
    confirm: str
    anything_else: str
    welcome: str
    hello: str
    accept: str
    """Party, day and time are known."""
    noted: str
    """One of them is still missing."""
    changed: str
    change: str
    """The caller has named what to change, but not into what."""
    thank_name: str
    booked: str
    cancelled: str
    bye_booked: str
    bye_open: str
    thanks_booked: str
    thanks_open: str
    wait: str
    what_to_change: str
    say_again: str
    say_again_empty: str
    other: str
    puzzled: str
    puzzled_so_far: str


class Language(Protocol):
    """Hears and says a booking in one language."""

    hints: ClassVar[frozenset[str]]
    """Words that give the language away."""
    phrases: ClassVar[Phrases]
    cues: ClassVar[Mapping[Slot, Sequence[str]]]
    """What in a question of the agent shows that it asks for a slot; plain words."""
    topics: ClassVar[Mapping[Slot, Sequence[str]]]
    """How a caller names a slot without filling it; plain words."""
    not_names: ClassVar[frozenset[str]]
    """Words that are no answer to "what name?"."""

    def find(self, words: Sequence[Word], at: int) -> Found | None:
        """Return what begins at ``words[at]``, None when nothing does."""

    def intents(self, words: Sequence[Word]) -> frozenset[Intent]:
        """Return what the whole message wants."""

    def say_time(self, time: Clock) -> str:
        """Return for example "8 pm"."""

    def say_day(self, day: Day) -> str:
        """Return for example "on Friday"."""

    def say_table(self, party: int | None, day: Day | None, time: Clock | None, name: str | None) -> str:
        """Return for example "a table for four tonight at 8 pm"."""

    def say_slot(self, slot: Slot, party: int | None, day: Day | None, time: Clock | None, name: str | None) -> str:
        """Return one value alone, to repeat a change."""


_WORD = re.compile(r"\d{1,2}:\d{2}|\d+|[^\W\d_]+(?:['’][^\W\d_]+)*|[.,;:!?…—–]")
_HALF_OF_DAY = re.compile(r"\b([ap])\.?\s?m\b\.?", re.IGNORECASE)
_DOTTED_TIME = re.compile(r"\b(\d{1,2})[.h](\d{2})\b")


def listed(words: str) -> tuple[str, ...]:
    """Return the words of a vocabulary that is written down as one string."""
    return tuple(words.split())


def words_of(text: str) -> tuple[Word, ...]:
    """Return the words of ``text``; "7.30 p.m." becomes "7:30", "pm"."""
    text = _DOTTED_TIME.sub(r"\1:\2", re.sub(r"(?<=\d)(?=[ap]\.?\s?m\b)", " ", text, flags=re.IGNORECASE))
    text = _HALF_OF_DAY.sub(r"\1m", text)
    words = []
    breaks = False
    for spoken in _WORD.findall(text):
        if not spoken[0].isalnum():
            breaks = True
            continue
        words.append(Word(plain(spoken), spoken, breaks))
        breaks = False
    return tuple(words)


def plain(text: str) -> str:
    """Return ``text`` in lower case, without accents and apostrophes."""
    bare = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(c))
    return bare.replace("'", "").replace("’", "")


def is_at(words: Sequence[Word], at: int, phrase: str) -> bool:
    """Return whether the plain words of ``phrase`` begin at ``words[at]``."""
    wanted = phrase.split()
    return [word.plain for word in words[at : at + len(wanted)]] == wanted


def first_at(words: Sequence[Word], at: int, phrases: Sequence[str]) -> str | None:
    """Return the first of ``phrases`` that begins at ``words[at]``."""
    return next((phrase for phrase in phrases if is_at(words, at, phrase)), None)


def has(words: Sequence[Word], phrases: Sequence[str]) -> bool:
    """Return whether any of ``phrases`` occurs."""
    return any(first_at(words, at, phrases) is not None for at in range(len(words)))


def plain_at(words: Sequence[Word], at: int) -> str:
    """Return the plain word at ``at``, empty past either end."""
    return words[at].plain if 0 <= at < len(words) else ""


def number_at(words: Sequence[Word], at: int, units: Mapping[str, int], tens: Mapping[str, int]) -> tuple[int, int]:
    """Return the number that begins at ``words[at]`` and how many words it takes; (-1, 0) for none."""
    word = plain_at(words, at)
    if word.isdecimal() and len(word) <= 4:
        return int(word), 1
    if word in tens:
        unit = units.get(plain_at(words, at + 1), 0)
        return (tens[word] + unit, 2) if 1 <= unit <= 9 and not words[at + 1].breaks else (tens[word], 1)
    return (units[word], 1) if word in units else (-1, 0)


def name_from(words: Sequence[Word], at: int, ends: frozenset[str], particles: frozenset[str]) -> tuple[str, int]:
    """Return the name that begins at ``words[at]`` and how many words it takes; ("", 0) for none.

    A name is up to two words and the particles between them ("de la"), within one breath.
    """
    parts: list[str] = []
    real = 0
    for word in words[at : at + 5]:
        if real == 2 or (parts and word.breaks) or not word.plain.isalpha() or word.plain in ends:
            break
        particle = word.plain in particles
        parts.append(word.spoken.lower() if particle else word.spoken[:1].upper() + word.spoken[1:])
        real += not particle
    while parts and plain(parts[-1]) in particles:
        parts.pop()
    return " ".join(parts), len(parts)


def on_24_hours(hour: int, minute: int, half: str) -> Clock | None:
    """Return the time, None when there is no such time.

    ``half`` is am, pm or empty. Without it, 1 to 11 are after noon: nobody books a dinner at seven in the morning.
    """
    if not (0 <= hour <= 23 and 0 <= minute <= 59) or (half and not 1 <= hour <= 23):
        return None
    if hour > 12 or (hour == 0):
        return Clock(hour, minute)
    if half == "am":
        return Clock(hour % 12, minute)
    return Clock(hour % 12 + 12, minute)
