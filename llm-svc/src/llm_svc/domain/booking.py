"""What a caller has asked for so far, read from the whole history. The newest words win."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_svc.domain.chat import Message
from llm_svc.domain.english import English
from llm_svc.domain.spanish import Spanish
from llm_svc.domain.speech import (
    Clock,
    Day,
    Intent,
    Language,
    Mention,
    Slot,
    Word,
    has,
    listed,
    on_24_hours,
    plain_at,
    words_of,
)

LANGUAGES: tuple[Language, ...] = (English(), Spanish())
"""The first is spoken until somebody is heard to speak another."""

_FILLERS = frozenset(
    listed("uh um er eh its it is es yes si sure please the name for under a nombre de claro well pues")
)


@dataclass(frozen=True, slots=True)
class Booking:
    """What is known of the booking."""

    party: int | None = None
    day: Day | None = None
    time: Clock | None = None
    name: str | None = None
    booked: bool = False
    """Whether the caller has confirmed what is known now."""
    newest: Slot | None = None
    """The slot that was stated last: what a bare number corrects when nothing was asked."""

    def value(self, slot: Slot) -> int | Day | Clock | str | None:
        """Return what is known for ``slot``."""
        return {Slot.PARTY: self.party, Slot.DAY: self.day, Slot.TIME: self.time, Slot.NAME: self.name}[slot]

    def missing(self) -> tuple[Slot, ...]:
        """Return the slots that are not known, in the order in which to ask."""
        return tuple(slot for slot in Slot if self.value(slot) is None)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a history says, and what its newest words did."""

    booking: Booking
    language: Language
    stated: frozenset[Slot] = frozenset()
    """Slots that the newest words filled."""
    changed: frozenset[Slot] = frozenset()
    """Those of them that had another value before."""
    intents: frozenset[Intent] = frozenset()
    topic: Slot | None = None
    """The slot that the newest words named without filling it."""
    just_booked: bool = False
    spoken: bool = False
    """Whether the caller has said anything at all."""


def read(messages: Sequence[Message]) -> Reading:
    """Return what ``messages`` say. The newest words are the user's since the assistant last spoke."""
    language = LANGUAGES[0]
    booking = before = Booking()
    asked: tuple[Slot, ...] = ()
    stated: frozenset[Slot] = frozenset()
    intents: frozenset[Intent] = frozenset()
    topic: Slot | None = None
    spoken = False
    for message in messages:
        words = words_of(message.content)
        if message.role == "assistant":
            language = language if spoken else _language(words, language)
            asked = _asked(message.content, language)
            before, stated, intents, topic = booking, frozenset(), frozenset(), None
        elif message.role == "user" and words:
            spoken = True
            language = _language(words, language)
            wants = language.intents(words)
            mentions = _mentions(words, language)
            heard = _resolve(mentions, booking, asked) or _name_alone(words, language, asked, wants)
            booking = _step(booking, heard, wants)
            stated |= {mention.slot for mention in heard if mention.slot}
            intents |= wants
            topic = next((slot for slot in Slot if has(words, language.topics[slot])), topic)
    changed = frozenset(s for s in stated if before.value(s) not in (None, booking.value(s)))
    just_booked = booking.booked and not before.booked
    return Reading(booking, language, stated, changed, intents, topic, just_booked, spoken)


def _step(booking: Booking, heard: Sequence[Mention], wants: frozenset[Intent]) -> Booking:
    if Intent.CANCEL in wants and not heard:
        return Booking()
    after = booking
    for mention in heard:
        after = _with(after, mention)
    if heard and replace(after, newest=booking.newest) != booking:
        return replace(after, booked=False)
    agreed = Intent.YES in wants and not wants & {Intent.NO, Intent.WAIT}
    return replace(after, booked=after.booked or (agreed and not heard and not booking.missing()))


def _with(booking: Booking, mention: Mention) -> Booking:
    value = mention.value
    if mention.slot is Slot.PARTY and isinstance(value, int):
        return replace(booking, party=value, newest=Slot.PARTY)
    if isinstance(value, Clock):
        return replace(booking, time=value, newest=Slot.TIME)
    if isinstance(value, Day):
        return replace(booking, day=value, newest=Slot.DAY)
    return replace(booking, name=value, newest=Slot.NAME) if isinstance(value, str) else booking


def _mentions(words: Sequence[Word], language: Language) -> list[Mention]:
    mentions = []
    at = 0
    while at < len(words):
        found = language.find(words, at)
        if found is not None and found.mention is not None:
            mentions.append(found.mention)
        at += found.used if found else 1
    return mentions


def _resolve(mentions: Sequence[Mention], booking: Booking, asked: Sequence[Slot]) -> list[Mention]:
    """Give each bare number a slot: what was asked for, else what is missing, else what was stated last."""
    known = {slot for slot in (Slot.PARTY, Slot.TIME) if booking.value(slot) is not None}
    newest = booking.newest
    resolved = []
    waiting = [slot for slot in asked if slot in (Slot.PARTY, Slot.TIME)]
    clear = {mention.slot for mention in mentions}
    for mention in mentions:
        slot, value = mention
        if slot is None and isinstance(value, int):
            open_slots = [s for s in (*waiting, Slot.PARTY, Slot.TIME) if s in waiting or s not in known | clear]
            slot = open_slots[0] if open_slots else Slot.PARTY if newest is Slot.PARTY else Slot.TIME
            time = on_24_hours(value, 0, "")
            if slot is Slot.TIME and time is None:
                continue
            mention = Mention(slot, time if slot is Slot.TIME and time else value)
        waiting = [s for s in waiting if s is not slot]
        known.add(slot) if slot else None
        newest = slot
        resolved.append(mention)
    return resolved


def _name_alone(
    words: Sequence[Word], language: Language, asked: Sequence[Slot], wants: frozenset[Intent]
) -> list[Mention]:
    """Read a short answer to "what name?" as a name."""
    rest = [word for word in words if word.plain not in _FILLERS]
    if Slot.NAME not in asked or wants - {Intent.YES} or not 1 <= len(rest) <= 3:
        return []
    if any(word.plain in language.not_names or not word.plain.isalpha() for word in rest):
        return []
    return [Mention(Slot.NAME, " ".join(word.spoken[:1].upper() + word.spoken[1:] for word in rest))]


def _asked(text: str, language: Language) -> tuple[Slot, ...]:
    """Return what the last sentence of the agent asked for, finished or cut off."""
    sentences = [part for part in re.split(r"[.!?¿¡]", text) if part.strip()]
    words = words_of(sentences[-1]) if sentences else ()
    return tuple(slot for slot in Slot if has(words, language.cues[slot]))


def _language(words: Sequence[Word], spoken: Language) -> Language:
    """Return the language with the most words that give it away; a tie changes nothing."""
    scores = [sum(plain_at(words, at) in language.hints for at in range(len(words))) for language in LANGUAGES]
    best = max(scores)
    if best == scores[LANGUAGES.index(spoken)]:
        return spoken
    return LANGUAGES[scores.index(best)]
