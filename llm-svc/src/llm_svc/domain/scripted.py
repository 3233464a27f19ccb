"""The scripted model: a restaurant's booking agent that needs no account, key or network.

It is no language model. It reads the history for party, day, time and name (`llm_svc.domain.booking`) and says what is
missing, what changed or what is booked, in two or three sentences, so that there is something to interrupt.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Sequence

from llm_svc.domain.booking import Booking, Reading, read
from llm_svc.domain.chat import Message
from llm_svc.domain.speech import Intent, Language, Slot

NAME = "scripted/booking"

_PIECE = re.compile(r"\s*\S{1,8}")


def answer(messages: Sequence[Message]) -> str:
    """Return what the agent says next."""
    reading = read(messages)
    say = reading.language.phrases
    booking = reading.booking
    template = _template(reading)
    return template.format(
        ask=_ask(reading),
        table=_table(booking, reading.language),
        name=booking.name or "",
        change=", ".join(_slot(booking, slot, reading.language) for slot in Slot if slot in reading.changed),
        when=_when(booking, reading.language) if template is say.bye_booked else "",
    )


def pieces(text: str) -> tuple[str, ...]:
    """Return ``text`` in pieces of a word or less, as models stream it; together they are ``text``."""
    found = _PIECE.findall(text)
    return (*found, text[sum(map(len, found)) :]) if sum(map(len, found)) < len(text) else tuple(found)


def delays_ms(messages: Sequence[Message], first_ms: float, next_ms: float) -> Iterator[float]:
    """Yield the wait before each piece, without end: around ``first_ms``, then around ``next_ms``.

    The same messages give the same waits, so that a call that is played again takes as long.
    """
    seed = hashlib.sha256("\x1e".join(f"{message.role}\x1f{message.content}" for message in messages).encode())
    dice = random.Random(seed.digest())
    yield first_ms * dice.uniform(0.85, 1.25)
    while True:
        yield next_ms * dice.uniform(0.5, 1.5)


def _template(reading: Reading) -> str:
    """Return the phrase for what the newest words did."""
    say, booking, wants = reading.language.phrases, reading.booking, reading.intents
    if not reading.spoken:
        return say.welcome
    if reading.changed:
        return say.changed
    if reading.stated:
        return _accepted(reading)
    if Intent.CANCEL in wants:
        return say.cancelled
    if reading.just_booked:
        return say.booked
    return _small_talk(reading, empty=booking.missing() == tuple(Slot))


def _accepted(reading: Reading) -> str:
    say, missing = reading.language.phrases, reading.booking.missing()
    if reading.stated == {Slot.NAME}:
        return say.thank_name
    return say.accept if missing in ((), (Slot.NAME,)) else say.noted


def _small_talk(reading: Reading, *, empty: bool) -> str:
    say, booked, wants = reading.language.phrases, reading.booking.booked, reading.intents
    if Intent.GOODBYE in wants or (booked and Intent.NO in wants):
        return say.bye_booked if booked else say.bye_open
    if Intent.OTHER in wants:
        return say.other
    if reading.topic:
        return say.change
    if Intent.REPEAT in wants:
        return say.say_again_empty if empty else say.say_again
    if Intent.WAIT in wants:
        return say.wait
    if Intent.THANKS in wants:
        return say.thanks_booked if booked else say.thanks_open
    if Intent.NO in wants and not reading.booking.missing():
        return say.what_to_change
    if Intent.HELLO in wants and empty:
        return say.hello
    return say.puzzled if empty else say.puzzled_so_far


def _ask(reading: Reading) -> str:
    """Return the next question: party, day and time together, then the name, then the confirmation."""
    say, booking = reading.language.phrases, reading.booking
    if reading.topic and not reading.stated:
        return say.ask[reading.topic,]
    if booking.booked:
        return say.anything_else
    missing = tuple(slot for slot in booking.missing() if slot is not Slot.NAME) or booking.missing()
    return say.ask[missing] if missing else say.confirm


def _table(booking: Booking, language: Language) -> str:
    return language.say_table(booking.party, booking.day, booking.time, booking.name)


def _slot(booking: Booking, slot: Slot, language: Language) -> str:
    return language.say_slot(slot, booking.party, booking.day, booking.time, booking.name)


def _when(booking: Booking, language: Language) -> str:
    return " ".join(_slot(booking, slot, language) for slot in (Slot.DAY,) if booking.value(slot))
