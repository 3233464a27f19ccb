"""What an utterance is by its words alone: a stop, a correction, an acknowledgement, a filler, or speech.

Phrases match whole normalised words where an utterance begins (fillers, acknowledgements and lead words may stand
before: "okay, please stop"), or as its whole last clause after a pause ("for four, no wait"). So "bus stop" and
"cannot wait" hold no stop, and "nonstop" is one other word. The longest phrase at a place wins: "no problem" is an
acknowledgement although "no" is a correction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from bargein_svc.domain.packs import Pack
from bargein_svc.domain.text import Spoken, normalise


class Kind(IntEnum):
    """What a phrase is, and with `OPENER` and below, what an utterance is that no phrase decides."""

    STOP = 1
    STOP_ALONE = 2
    CORRECTION = 3
    ACKNOWLEDGEMENT = 4
    FILLER = 5
    LEAD = 6
    OPENER = 7
    SPEECH = 8
    """Enough words for an interruption, without an opener."""
    SHORT = 9
    """Words, but too few."""
    MAYBE_ACKNOWLEDGEMENT = 10
    """A partial that so far is the beginning of an acknowledgement: "I hear" may become "I hear you"."""
    NOTHING = 11
    """No words at all."""


class Reading(NamedTuple):
    """An utterance, read. Kind is never STOP_ALONE or LEAD."""

    kind: Kind
    matched: str
    """The deciding words, normalised; empty where none did. Private."""
    word_count: int
    language: str
    """Of the phrase that matched; empty where none did."""
    tokens: tuple[str, ...] = ()
    """The words, normalised. Private."""
    substance: int = 0
    """Words without fillers and without acknowledgements at the end: "for four, um, okay" says no more than
    "for four"."""

    @property
    def first(self) -> str:
        return self.tokens[0] if self.tokens else ""


class _Phrase(NamedTuple):
    tokens: tuple[str, ...]
    kind: Kind
    language: str


class PhraseBook:
    """Packs, compiled once: a dict of phrases, and for each first word the lengths to look up, longest first."""

    __slots__ = ("_fillers", "_idle", "_lengths", "_openers", "_phrases", "_unfinished", "languages")

    def __init__(self, packs: Sequence[Pack], extra: Mapping[Kind, Iterable[str]] | None = None) -> None:
        """Compile ``packs``; where they disagree on a phrase, the earlier one counts, and ``extra`` before all.

        Raises ValueError for an extra phrase without a word in it.
        """
        self.languages = tuple(pack.language for pack in packs)
        phrases: dict[tuple[str, ...], _Phrase] = {}
        for kind, texts in (extra or {}).items():
            _add(phrases, kind, texts, "custom")
        for pack in packs:
            _add(phrases, Kind.STOP, pack.stop, pack.language)
            _add(phrases, Kind.STOP_ALONE, pack.stop_alone, pack.language)
            _add(phrases, Kind.CORRECTION, pack.correction, pack.language)
            _add(phrases, Kind.ACKNOWLEDGEMENT, pack.acknowledgement, pack.language)
            _add(phrases, Kind.FILLER, pack.filler, pack.language)
            _add(phrases, Kind.LEAD, pack.lead, pack.language)
        self._phrases = phrases
        self._lengths: dict[str, tuple[int, ...]] = {}
        for tokens in phrases:
            lengths = {len(tokens), *self._lengths.get(tokens[0], ())}
            self._lengths[tokens[0]] = tuple(sorted(lengths, reverse=True))
        acknowledgements = [phrase for phrase in phrases.values() if phrase.kind is Kind.ACKNOWLEDGEMENT]
        self._unfinished = {a.tokens[:n]: a.language for a in acknowledgements for n in range(1, len(a.tokens))}
        single = [phrase for phrase in phrases.values() if len(phrase.tokens) == 1]
        self._fillers = {phrase.tokens[0] for phrase in single if phrase.kind is Kind.FILLER}
        self._idle = self._fillers | {p.tokens[0] for p in single if p.kind is Kind.ACKNOWLEDGEMENT}
        self._openers: dict[str, str] = {}
        for pack in packs:
            for opener in pack.opener:
                self._openers.setdefault(normalise(opener).tokens[0], pack.language)

    def read(self, text: str, *, final: bool, min_words: int) -> Reading:
        """Return what ``text`` is.

        ``min_words`` from an opener on are an interruption ("I need"), and one more without an opener: two words that
        open nothing are as often a fragment of a phrase heard in the background ("bus stop").
        """
        spoken = normalise(text)
        if not spoken.tokens:
            return Reading(Kind.NOTHING, "", 0, "")
        reading = self._read(spoken, final=final, min_words=min_words)
        return reading._replace(tokens=spoken.tokens, substance=self._substance(spoken))

    def _read(self, spoken: Spoken, *, final: bool, min_words: int) -> Reading:
        at, passed, urgent = self._pass_preface(spoken, final=final)
        urgent = urgent or self._urgent_clause(spoken, at, final=final)
        if urgent is not None:
            kind = Kind.CORRECTION if urgent.kind is Kind.CORRECTION else Kind.STOP
            return Reading(kind, " ".join(urgent.tokens), spoken.word_count, urgent.language)
        if at == len(spoken.tokens):
            return _preface_only(spoken, passed, min_words)
        return self._speech(spoken, at, passed, final=final, min_words=min_words)

    def _pass_preface(self, spoken: Spoken, *, final: bool) -> tuple[int, list[_Phrase], _Phrase | None]:
        """Return where the preface ends, what stood in it, and the stop or correction that follows it, if any."""
        at = 0
        passed: list[_Phrase] = []
        while (phrase := self._match(spoken.tokens, at)) is not None:
            if phrase.kind in (Kind.STOP, Kind.CORRECTION):
                return at, passed, phrase
            if phrase.kind is Kind.STOP_ALONE:
                return at, passed, phrase if _stands_alone(spoken, at + len(phrase.tokens), final=final) else None
            passed.append(phrase)
            at += len(phrase.tokens)
        return at, passed, None

    def _urgent_clause(self, spoken: Spoken, start: int, *, final: bool) -> _Phrase | None:
        """Return the first stop or correction of the last clause, if that clause holds nothing of substance beside."""
        at = next((pause for pause in reversed(spoken.pauses) if pause > start), 0)
        urgent = None
        while 0 < at < len(spoken.tokens):
            phrase = self._match(spoken.tokens, at)
            if phrase is None:
                return None
            at += len(phrase.tokens)
            stops = phrase.kind in (Kind.STOP, Kind.CORRECTION)
            if stops or (phrase.kind is Kind.STOP_ALONE and _stands_alone(spoken, at, final=final)):
                urgent = urgent or phrase
        return urgent

    def _speech(self, spoken: Spoken, at: int, passed: Sequence[_Phrase], *, final: bool, min_words: int) -> Reading:
        rest = spoken.tokens[at:]
        if not final and rest in self._unfinished:
            return Reading(Kind.MAYBE_ACKNOWLEDGEMENT, " ".join(rest), spoken.word_count, self._unfinished[rest])
        words = spoken.word_count - at - sum(map(self._fillers.__contains__, rest))
        opener = self._openers.get(rest[0])
        if opener is not None and words >= max(min_words, 1):
            return Reading(Kind.OPENER, rest[0], spoken.word_count, opener)
        words += sum(len(phrase.tokens) for phrase in passed if phrase.kind is Kind.LEAD)
        return Reading(Kind.SPEECH if words > min_words else Kind.SHORT, "", spoken.word_count, "")

    def _substance(self, spoken: Spoken) -> int:
        end = len(spoken.tokens)
        beyond = spoken.word_count - end
        while not beyond and end and spoken.tokens[end - 1] in self._idle:
            end -= 1
        return beyond + end - sum(map(self._fillers.__contains__, spoken.tokens[:end]))

    def _match(self, tokens: tuple[str, ...], at: int) -> _Phrase | None:
        if at < len(tokens):
            for length in self._lengths.get(tokens[at], ()):
                phrase = self._phrases.get(tokens[at : at + length])
                if phrase is not None:
                    return phrase
        return None


def _add(phrases: dict[tuple[str, ...], _Phrase], kind: Kind, texts: Iterable[str], language: str) -> None:
    for text in texts:
        tokens = normalise(text).tokens
        if not tokens:
            raise ValueError(f"{text!r} has no word in it")
        phrases.setdefault(tokens, _Phrase(tokens, kind, language))


def _stands_alone(spoken: Spoken, end: int, *, final: bool) -> bool:
    """A partial may go on after its last word; a final has ended."""
    return end in spoken.pauses or (final and end == len(spoken.tokens))


def _preface_only(spoken: Spoken, passed: Sequence[_Phrase], min_words: int) -> Reading:
    """Read an utterance that is nothing but acknowledgements, fillers and lead words."""
    leads = sum(len(phrase.tokens) for phrase in passed if phrase.kind is Kind.LEAD)
    for kind in (Kind.ACKNOWLEDGEMENT, Kind.FILLER):
        phrase = next((phrase for phrase in passed if phrase.kind is kind), None)
        if phrase is not None and (kind is Kind.ACKNOWLEDGEMENT or not leads):
            return Reading(kind, " ".join(spoken.tokens), spoken.word_count, phrase.language)
    return Reading(Kind.SPEECH if leads > min_words else Kind.SHORT, "", spoken.word_count, "")
