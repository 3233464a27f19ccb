"""English, for the scripted agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from llm_svc.domain.speech import (
    Clock,
    Day,
    Found,
    Intent,
    Mention,
    Phrases,
    Slot,
    Word,
    first_at,
    has,
    is_at,
    listed,
    name_from,
    number_at,
    on_24_hours,
    plain_at,
)

_UNITS = {
    word: value
    for value, word in enumerate(
        listed(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
            "sixteen seventeen eighteen nineteen"
        )
    )
}
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50}
_ORDINALS = {
    word: value
    for value, word in enumerate(
        listed(
            "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
            "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
        ),
        start=1,
    )
} | {"thirtieth": 30}
_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_PEOPLE = frozenset(listed("people persons person guests guest adults adult diners seats pax kids children friends"))
_TIME_LEADS = ("at about", "at around", "at", "around", "about", "by", "after", "before", "until", "till")
_PARTY_LEADS = tuple(f"{thing} {link}" for thing in ("table", "party", "group", "booking") for link in ("for", "of"))
_NAME_LEADS = (
    "my name is",
    "my names",
    "the name is",
    "names",
    "name is",
    "under the name of",
    "under the name",
    "in the name of",
    "under",
    "call me",
    "this is",
    "im",
    "i am",
)
_NAME_ENDS = frozenset(
    listed(
        "a an and at by for from in is it its no not of on or please thanks thank the to tonight today "
        "tomorrow with yes just so but actually wait sorry sure very still also here there calling looking "
        "thinking trying hoping going wondering having getting coming running interested afraid good fine "
        "great okay ok ready happy glad done back late early in this that what when where who why how i we "
        "you he she they my our your me us only about all hungry busy driving free vegan vegetarian allergic "
        "if can could would will do does did be"
    )
) | frozenset(_WEEKDAYS + _MONTHS + tuple(_UNITS) + tuple(_TENS))
_PARTICLES = frozenset(listed("van von der den de la del di da le mc mac"))

_QUESTION_PARTY = "How many people will you be?"
_QUESTION_DAY = "Which day would you like to come?"
_QUESTION_TIME = "What time would suit you?"
_QUESTION_NAME = "May I have a name for the booking?"

_PHRASES = Phrases(
    ask={
        (Slot.PARTY, Slot.DAY, Slot.TIME): "How many people will you be, which day, and what time would suit you?",
        (Slot.PARTY, Slot.DAY): "How many people will you be, and which day would you like to come?",
        (Slot.PARTY, Slot.TIME): "How many people will you be, and what time would suit you?",
        (Slot.DAY, Slot.TIME): "Which day would you like to come, and what time would suit you?",
        (Slot.PARTY,): _QUESTION_PARTY,
        (Slot.DAY,): _QUESTION_DAY,
        (Slot.TIME,): _QUESTION_TIME,
        (Slot.NAME,): _QUESTION_NAME,
    },
    confirm="Shall I go ahead and book it?",
    anything_else="Is there anything else I can do for you?",
    welcome="Thank you for calling. I can help you book a table for tonight or any other evening. {ask}",
    hello="Hello, and thank you for calling. I can book a table for you. {ask}",
    accept="Perfect, I can book that for you: {table}. {ask}",
    noted="Very good, so far I have {table}. {ask}",
    change="All right, let us change that. {ask}",
    changed="No problem, {change} it is. So that would be {table}. {ask}",
    thank_name="Thank you, {name}. So that is {table}. {ask}",
    booked="Wonderful, your booking is made: {table}. We look forward to seeing you. {ask}",
    cancelled="No problem, I have dropped that booking. If you change your mind, just tell me the day and the time.",
    bye_booked="Thank you for calling. We look forward to seeing you {when}. Goodbye!",
    bye_open="Thank you for calling. Nothing is booked yet, so please call again whenever you like. Goodbye!",
    thanks_booked="You are very welcome. Your booking is {table}. {ask}",
    thanks_open="You are very welcome. {ask}",
    wait="Of course, take your time. Just tell me when you have it, I am listening.",
    what_to_change="All right, then I will leave it open. What would you like to change: the day, the time, or the "
    "number of people?",
    say_again="Of course, once more: I have {table}. {ask}",
    say_again_empty="Of course. I can book a table for you. {ask}",
    other="I am afraid I can only help with bookings on this line. My colleagues at the restaurant will gladly tell "
    "you the rest. {ask}",
    puzzled="Sorry, I did not quite catch that. I can book a table for you. {ask}",
    puzzled_so_far="Sorry, I did not quite catch that. So far I have {table}. {ask}",
)


class English:
    """Implements `llm_svc.domain.speech.Language`."""

    hints: ClassVar = frozenset(
        listed(
            "the a i you we is are it that this need want would like book table people make please tonight today "
            "tomorrow at my name thank thanks yes yeah hello hi and with what wait sorry actually bye goodbye "
            "oclock"
        )
    )
    phrases: ClassVar = _PHRASES
    cues: ClassVar[Mapping[Slot, Sequence[str]]] = {
        Slot.PARTY: ("how many",),
        Slot.DAY: ("which day", "what day", "when would"),
        Slot.TIME: ("what time", "which time", "when would"),
        Slot.NAME: ("a name", "your name", "what name", "which name"),
    }
    topics: ClassVar[Mapping[Slot, Sequence[str]]] = {
        Slot.PARTY: ("number of people", "the number", "how many"),
        Slot.DAY: ("the day", "the date"),
        Slot.TIME: ("the time", "the hour"),
        Slot.NAME: ("the name",),
    }
    not_names: ClassVar = _NAME_ENDS | frozenset(
        listed("hello hi hey what huh pardon um uh well right correct sir madam none")
    )

    def find(self, words: Sequence[Word], at: int) -> Found | None:
        denied = first_at(words, at, ("not for", "not at", "not", "instead of", "rather than"))
        if denied:
            skipped = len(denied.split())
            inner = self.find(words, at + skipped) if at + skipped < len(words) else None
            return Found(None, skipped + inner.used) if inner else None
        return _time(words, at) or _party(words, at) or _day(words, at) or _name(words, at) or _bare(words, at)

    def intents(self, words: Sequence[Word]) -> frozenset[Intent]:
        return frozenset(intent for intent, phrases in _INTENTS.items() if has(words, phrases))

    def say_time(self, time: Clock) -> str:
        if time == Clock(12):
            return "noon"
        if time == Clock(0):
            return "midnight"
        minutes = f":{time.minute:02d}" if time.minute else ""
        return f"{(time.hour - 1) % 12 + 1}{minutes} {'am' if time.hour < 12 else 'pm'}"

    def say_day(self, day: Day) -> str:
        if day.word == "date":
            number = f"{day.number}{_suffix(day.number)}"
            return f"on {_MONTHS[day.month - 1].capitalize()} {number}" if day.month else f"on the {number}"
        if day.word in _WEEKDAYS:
            return f"{'next' if day.coming else 'on'} {day.word.capitalize()}"
        return "the day after tomorrow" if day.word == "overmorrow" else day.word

    def say_table(self, party: int | None, day: Day | None, time: Clock | None, name: str | None) -> str:
        parts = ["a table"]
        parts += [f"for {_say_number(party)}"] if party else []
        parts += [self.say_day(day)] if day else []
        parts += [f"at {self.say_time(time)}"] if time else []
        return " ".join(parts) + (f", under the name {name}" if name else "")

    def say_slot(self, slot: Slot, party: int | None, day: Day | None, time: Clock | None, name: str | None) -> str:
        if slot is Slot.PARTY and party:
            return f"{_say_number(party)} {'person' if party == 1 else 'people'}"
        if slot is Slot.DAY and day:
            return self.say_day(day).removeprefix("on ")
        return self.say_time(time) if slot is Slot.TIME and time else name or ""


_INTENTS = {
    Intent.YES: (
        *listed("yes yeah yep yup sure correct absolutely definitely perfect exactly okay ok"),
        "thats right",
        "go ahead",
        "please do",
        "sounds good",
        "that works",
    ),
    Intent.NO: ("no", "nope", "nah", "not really", "thats wrong"),
    Intent.WAIT: ("wait", "hold on", "one moment", "just a moment", "one second", "hang on", "stop", "let me think"),
    Intent.CANCEL: (
        *["cancel", "nevermind"],
        "never mind",
        "forget it",
        "forget about it",
        "forget the booking",
        "changed my mind",
    ),
    Intent.THANKS: ("thank you", "thanks", "cheers"),
    Intent.GOODBYE: ("bye", "goodbye", "good bye", "see you", "thats all", "that is all", "have a good", "have a nice"),
    Intent.REPEAT: ("repeat", "say that again", "come again", "pardon", "what did you say", "what was that"),
    Intent.HELLO: ("hello", "hi", "hey", "good evening", "good morning", "good afternoon"),
    Intent.OTHER: (
        *listed("menu parking vegan vegetarian allergy allergic allergies address price prices delivery takeaway"),
        "gluten free",
        "opening hours",
        "are you open",
        "where are you",
        "a human",
        "a person",
        "real person",
        "how much",
    ),
}


def _number(words: Sequence[Word], at: int) -> tuple[int, int]:
    return number_at(words, at, _UNITS, _TENS)


def _time(words: Sequence[Word], at: int) -> Found | None:
    lead = first_at(words, at, _TIME_LEADS)
    start = at + len(lead.split()) if lead else at
    spoken = _clock(words, start) or (_led_hour(words, start) if lead else None)
    if spoken is None:
        return None
    hour, minute, used = spoken
    half, more = _half_of_day(words, start + used)
    time = on_24_hours(hour, minute, half)
    return Found(Mention(Slot.TIME, time), start - at + used + more) if time else None


def _clock(words: Sequence[Word], at: int) -> tuple[int, int, int] | None:
    """Return hour, minute and words used of a time that shows by itself that it is one."""
    word = plain_at(words, at)
    if word in ("noon", "midday"):
        return 12, 0, 1
    if word == "midnight":
        return 0, 0, 1
    if ":" in word:
        hour, minute = word.split(":")
        return int(hour), int(minute), 1
    return _relative_clock(words, at) or _hour_and_more(words, at)


def _relative_clock(words: Sequence[Word], at: int) -> tuple[int, int, int] | None:
    """Half past seven, half seven, quarter to eight, ten past seven."""
    start = at + 1 if plain_at(words, at) == "a" else at
    first = plain_at(words, start)
    minutes, used = {"half": 30, "quarter": 15}.get(first, -1), 1
    if minutes < 0:
        minutes, used = _number(words, start)
        if minutes not in (5, 10, 20, 25):
            return None
    used += plain_at(words, start + used) == "minutes"
    link = plain_at(words, start + used)
    if link not in ("past", "after", "to", "before") and first != "half":
        return None
    linked = link in ("past", "after", "to", "before")
    hour, more = _number(words, start + used + linked)
    end = start + used + linked + more
    if not 1 <= hour <= 12 or plain_at(words, end) in _PEOPLE:
        return None
    if link in ("to", "before"):
        return (hour - 2) % 12 + 1, 60 - minutes, end - at
    return hour, minutes, end - at


def _hour_and_more(words: Sequence[Word], at: int) -> tuple[int, int, int] | None:
    """Seven thirty, 730 pm, seven o'clock, 7 pm, seven in the evening."""
    number, used = _number(words, at)
    if used == 0:
        return None
    if number >= 100:
        return (number // 100, number % 100, used) if _half_of_day(words, at + used)[0] else None
    minute, more = _number(words, at + used)
    if number <= 23 and more and minute in (15, 30, 45) and plain_at(words, at + used + more) not in _PEOPLE:
        return number, minute, used + more
    if plain_at(words, at + used) == "oclock":
        return number, 0, used + 1
    return (number, 0, used) if number <= 23 and _half_of_day(words, at + used)[0] else None


def _led_hour(words: Sequence[Word], at: int) -> tuple[int, int, int] | None:
    """An hour that is one only because "at" or the like stands before it."""
    number, used = _number(words, at)
    if plain_at(words, at + used) in _PEOPLE or is_at(words, at + used, "of us"):
        return None
    if number >= 100:
        return number // 100, number % 100, used
    return (number, 0, used) if 1 <= number <= 23 else None


def _half_of_day(words: Sequence[Word], at: int) -> tuple[str, int]:
    said = first_at(words, at, ("am", "pm", "in the morning", "in the afternoon", "in the evening", "at night"))
    if said is None:
        return "", 0
    return ("am" if said in ("am", "in the morning") else "pm"), len(said.split())


def _party(words: Sequence[Word], at: int) -> Found | None:
    alone = first_at(words, at, ("just me", "only me", "by myself", "just myself", "on my own"))
    if alone:
        return Found(Mention(Slot.PARTY, 1), len(alone.split()))
    lead = first_at(words, at, (*_PARTY_LEADS, "for", "were", "we are", "well be", "we will be", "there will be"))
    start = at + len(lead.split()) if lead else at
    start += plain_at(words, start) in ("the", "about", "only", "just") and _number(words, start + 1)[1] > 0
    number, used = _number(words, start)
    if not 1 <= number <= 60 or _clock(words, start):
        return None
    end = start + used
    counted = plain_at(words, end) in _PEOPLE or is_at(words, end, "of us")
    if not lead and not counted:
        return None
    end += 2 if is_at(words, end, "of us") else int(counted)
    more, taken = _number(words, end + 1) if counted and plain_at(words, end) == "and" else (-1, 0)
    if more > 0 and plain_at(words, end + 1 + taken) in _PEOPLE:
        return Found(Mention(Slot.PARTY, number + more), end + 2 + taken - at)
    return Found(Mention(Slot.PARTY, number), end - at)


def _day(words: Sequence[Word], at: int) -> Found | None:
    said = first_at(words, at, ("the day after tomorrow", "this evening", "tonight", "today", "tomorrow"))
    if said:
        word = {"the day after tomorrow": "overmorrow", "this evening": "tonight"}.get(said, said)
        return Found(Mention(Slot.DAY, Day(word)), len(said.split()))
    coming = plain_at(words, at) == "next"
    if plain_at(words, at + coming) in _WEEKDAYS:
        return Found(Mention(Slot.DAY, Day(plain_at(words, at + coming), coming)), 1 + coming)
    return _date(words, at)


def _date(words: Sequence[Word], at: int) -> Found | None:
    """December 5th, the fifth of December, on the 5th."""
    if plain_at(words, at) in _MONTHS:
        start = at + 1 + (plain_at(words, at + 1) == "the")
        number, used = _ordinal(words, start)
        if used == 0:
            number, used = _number(words, start)
        month = _MONTHS.index(plain_at(words, at)) + 1
        return (
            Found(Mention(Slot.DAY, Day("date", number=number, month=month)), start + used - at)
            if (used and 1 <= number <= 31)
            else None
        )
    lead = first_at(words, at, ("on the", "the"))
    start = at + len(lead.split()) if lead else at
    number, used = _ordinal(words, start)
    if used == 0 or not 1 <= number <= 31:
        return None
    end = start + used + (plain_at(words, start + used) == "of")
    if plain_at(words, end) in _MONTHS:
        day = Day("date", number=number, month=_MONTHS.index(plain_at(words, end)) + 1)
        return Found(Mention(Slot.DAY, day), end + 1 - at)
    return Found(Mention(Slot.DAY, Day("date", number=number)), start + used - at) if lead == "on the" else None


def _ordinal(words: Sequence[Word], at: int) -> tuple[int, int]:
    word = plain_at(words, at)
    if word.isdecimal() and len(word) <= 2 and plain_at(words, at + 1) in ("st", "nd", "rd", "th"):
        return int(word), 2
    if word in ("twenty", "thirty") and plain_at(words, at + 1) in _ORDINALS:
        return _TENS[word] + _ORDINALS[plain_at(words, at + 1)], 2
    return (_ORDINALS[word], 1) if word in _ORDINALS else (0, 0)


def _name(words: Sequence[Word], at: int) -> Found | None:
    lead = first_at(words, at, _NAME_LEADS)
    if lead is None:
        return None
    start = at + len(lead.split())
    name, used = name_from(words, start, _NAME_ENDS, _PARTICLES)
    # "I'm looking", "this is great": what follows a loose lead must be written like a name to count as one.
    loose = lead in ("this is", "im", "i am", "under", "names")
    if not name or (loose and not words[start].spoken[0].isupper()):
        return None
    return Found(Mention(Slot.NAME, name), start - at + used)


def _bare(words: Sequence[Word], at: int) -> Found | None:
    """A number alone. "One" is more often a pronoun ("that one") than a number, so it is not enough."""
    number, used = _number(words, at)
    if not 1 <= number <= 23 or words[at].plain == "one":
        return None
    return Found(Mention(None, number), used)


def _say_number(number: int) -> str:
    return next((word for word, value in _UNITS.items() if value == number and value <= 12), str(number))


def _suffix(number: int) -> str:
    return "th" if 11 <= number <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
