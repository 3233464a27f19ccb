"""What a caller has asked for is read from the whole history, and the newest words win."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_svc.domain.booking import Booking, read
from llm_svc.domain.chat import Message
from llm_svc.domain.speech import Clock, Day, Intent, Slot

ASK_NAME = "May I have a name for the booking?"
ASK_TIME = "What time would suit you?"
ASK_PARTY = "How many people will you be?"


def heard(*user: str, asked: str = "") -> Booking:
    """Return the booking after the caller's messages, with ``asked`` by the agent before each."""
    history = []
    for text in user:
        history += [Message("assistant", asked)] if asked else []
        history.append(Message("user", text))
    return read(history).booking


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("tonight at seven", Clock(19)),
        ("at 7", Clock(19)),
        ("7pm", Clock(19)),
        ("7 p.m.", Clock(19)),
        ("7 P. M.", Clock(19)),
        ("at seven o'clock", Clock(19)),
        ("seven thirty", Clock(19, 30)),
        ("7:30", Clock(19, 30)),
        ("7.45 pm", Clock(19, 45)),
        ("730 pm", Clock(19, 30)),
        ("half past seven", Clock(19, 30)),
        ("a quarter past eight", Clock(20, 15)),
        ("quarter to eight", Clock(19, 45)),
        ("ten past eight", Clock(20, 10)),
        ("twenty to one", Clock(12, 40)),
        ("quarter to one", Clock(12, 45)),
        ("19:30", Clock(19, 30)),
        ("at 20", Clock(20)),
        ("at eleven in the morning", Clock(11)),
        ("9 am", Clock(9)),
        ("noon", Clock(12)),
        ("at midnight", Clock(0)),
        ("around eight in the evening", Clock(20)),
        ("make that 8pm", Clock(20)),
        ("not seven, eight pm", Clock(20)),
        ("eight pm, not seven", Clock(20)),
        ("a las siete", Clock(19)),
        ("a las siete y media", Clock(19, 30)),
        ("a las nueve menos cuarto", Clock(20, 45)),
        ("a la una y cuarto", Clock(13, 15)),
        ("a las ocho y diez de la noche", Clock(20, 10)),
        ("a las 10 de la mañana", Clock(10)),
        ("al mediodía", Clock(12)),
        ("mejor las nueve", Clock(21)),
        ("hola, a las 21:30", Clock(21, 30)),
    ],
)
def test_a_time_is_heard_in_words_and_digits(text: str, time: Clock) -> None:
    assert heard(text).time == time


@pytest.mark.parametrize("text", ["25:00", "at 7:75", "at 24", "for 99 minutes"])
def test_what_is_no_time_of_day_is_not_taken_for_one(text: str) -> None:
    assert heard(text).time is None


@pytest.mark.parametrize(
    ("text", "party"),
    [
        ("a table for four", 4),
        ("table for 12 tonight", 12),
        ("a party of six at seven", 6),
        ("for two people", 2),
        ("we're five", 5),
        ("there will be the two of us", 2),
        ("two adults and three kids", 5),
        ("twenty five guests", 25),
        ("just me", 1),
        ("for one", 1),
        ("for about ten people", 10),
        ("four people at half past five", 4),
        ("not four people, five people", 5),
        ("una mesa para cuatro", 4),
        ("somos tres", 3),
        ("seremos 8 personas", 8),
        ("dos adultos y dos niños", 4),
        ("solo yo, gracias", 1),
    ],
)
def test_a_party_is_heard(text: str, party: int) -> None:
    assert heard(text).party == party


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("tonight", Day("tonight")),
        ("this evening", Day("tonight")),
        ("tomorrow at seven", Day("tomorrow")),
        ("the day after tomorrow", Day("overmorrow")),
        ("on friday", Day("friday")),
        ("next Saturday night", Day("saturday", coming=True)),
        ("December 5th", Day("date", number=5, month=12)),
        ("the fifth of December", Day("date", number=5, month=12)),
        ("on the twenty first", Day("date", number=21)),
        ("not friday, saturday", Day("saturday")),
        ("esta noche, por favor", Day("tonight")),
        ("mañana por la noche, gracias", Day("tomorrow")),
        ("pasado mañana a las ocho", Day("overmorrow")),
        ("el viernes que viene, por favor", Day("friday", coming=True)),
        ("para el 5 de diciembre", Day("date", number=5, month=12)),
    ],
)
def test_a_day_is_heard(text: str, day: Day) -> None:
    assert heard(text).day == day


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("my name is Anna", "Anna"),
        ("My name is anna smith and we are four", "Anna Smith"),
        ("It's under Rossi", "Rossi"),
        ("I'm Bob. Four people please", "Bob"),
        ("The name is Ludwig van der Berg", "Ludwig van der Berg"),
        ("me llamo Ana García", "Ana García"),
        ("a nombre de Pedro de la Torre, por favor", "Pedro de la Torre"),
        ("I'm looking for a table", None),
        ("I am not sure", None),
        ("this is great", None),
        ("Soy vegetariano, hola", None),
    ],
)
def test_a_name_is_heard_where_one_is_given(text: str, name: str | None) -> None:
    assert heard(text).name == name


@pytest.mark.parametrize(
    ("text", "name"), [("Anna", "Anna"), ("it's maria lopez", "Maria Lopez"), ("uh, Jean-Luc", "Jean Luc")]
)
def test_a_short_answer_to_the_question_for_a_name_is_one(text: str, name: str) -> None:
    assert heard(text, asked=ASK_NAME).name == name


@pytest.mark.parametrize("text", ["no", "what?", "wait", "thank you", "hello", "tomorrow", "seven", "yes please"])
def test_not_every_answer_to_the_question_for_a_name_is_one(text: str) -> None:
    assert heard(text, asked=ASK_NAME).name is None


def test_a_bare_number_answers_what_was_asked() -> None:
    assert heard("seven", asked=ASK_TIME).time == Clock(19)
    assert heard("seven", asked=ASK_PARTY).party == 7


def test_a_bare_number_corrects_what_was_stated_last() -> None:
    assert heard("a table for four at seven", "no, eight").time == Clock(20)
    assert heard("at seven", "four people", "no, five").party == 5


def test_two_bare_numbers_fill_party_and_time_in_the_order_of_the_question() -> None:
    booking = heard("four, seven", asked="How many people will you be, and what time would suit you?")
    assert (booking.party, booking.time) == (4, Clock(19))


def test_the_articles_burst_keeps_the_rest_of_the_booking() -> None:
    booking = heard("I need a table for four tonight at 7pm", "Actually - no wait - make that 8pm")
    assert booking == Booking(party=4, day=Day("tonight"), time=Clock(20), newest=Slot.TIME)


def test_the_burst_may_come_in_pieces() -> None:
    booking = heard("I need a table for four tonight at 7pm", "Actually", "no wait", "make that 8pm")
    assert (booking.party, booking.day, booking.time) == (4, Day("tonight"), Clock(20))


def test_the_agents_own_words_and_the_system_prompt_book_nothing() -> None:
    history = [
        Message("system", "Tables for two at nine. My name is Robin."),
        Message("assistant", "A table for six tonight at seven?"),
        Message("tool", '{"time": "at ten"}', tool_call_id="call-1"),
    ]
    assert read(history).booking == Booking()


def test_a_cancelled_booking_is_forgotten() -> None:
    assert heard("a table for four at seven", "cancel that please") == Booking()


def test_to_cancel_and_correct_in_one_breath_is_a_correction() -> None:
    assert heard("a table for four at seven", "cancel that, make it eight pm").party == 4


def test_a_yes_books_only_what_is_complete() -> None:
    whole = "a table for four tonight at seven, my name is Anna"
    assert not heard("a table for four", "yes").booked
    assert heard(whole, "yes").booked
    assert not heard(whole, "no, wait").booked


def test_a_correction_after_the_booking_wants_a_new_yes() -> None:
    assert not heard("a table for four tonight at seven, my name is Anna", "yes", "make that 8pm").booked


def test_to_repeat_the_same_after_the_booking_changes_nothing() -> None:
    assert heard("a table for four tonight at seven, my name is Anna", "yes", "at seven").booked


def test_what_changed_is_told_from_what_is_new() -> None:
    history = [Message("user", "a table for four at seven"), Message("assistant", "Which day?")]
    reading = read([*history, Message("user", "tonight, and make that 8pm")])
    assert reading.stated == {Slot.DAY, Slot.TIME}
    assert reading.changed == {Slot.TIME}


def test_the_newest_words_alone_say_what_is_wanted() -> None:
    history = [Message("user", "thank you"), Message("assistant", "You are welcome."), Message("user", "goodbye")]
    assert read(history).intents == {Intent.GOODBYE}


def test_the_language_follows_the_callers_words() -> None:
    spanish = Message("user", "Hola, quiero una mesa para cuatro")
    assert type(read([spanish]).language).__name__ == "Spanish"
    assert type(read([spanish, Message("user", "sorry, I would like it in English")]).language).__name__ == "English"
    assert type(read([spanish, Message("user", "7:30")]).language).__name__ == "Spanish"


def test_a_caller_who_has_said_nothing_is_spoken_to_as_greeted() -> None:
    greeting = Message("assistant", "Gracias por llamar. Puedo reservarle una mesa para esta noche.")
    assert type(read([greeting]).language).__name__ == "Spanish"


NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"]
HOURS = st.integers(1, 11)


def times() -> st.SearchStrategy[tuple[str, Clock]]:
    """Ways to say a time, with the time that is meant."""
    digits = st.builds(lambda h, m: (f"{h}:{m:02d} pm", Clock(h + 12, m)), HOURS, st.integers(0, 59))
    short = HOURS.map(lambda h: (f"{h}pm", Clock(h + 12)))
    words = HOURS.map(lambda h: (f"at {NUMBERS[h - 1]}", Clock(h + 12)))
    half = HOURS.map(lambda h: (f"half past {NUMBERS[h - 1]}", Clock(h + 12, 30)))
    quarter = st.integers(2, 11).map(lambda h: (f"quarter to {NUMBERS[h - 1]}", Clock(h + 11, 45)))
    morning = HOURS.map(lambda h: (f"at {NUMBERS[h - 1]} in the morning", Clock(h)))
    return st.one_of(digits, short, words, half, quarter, morning)


BETWEEN = ["Actually", "no wait", "make that", "sorry, I mean", "hmm", "or rather", "please", "and thank you"]
STATEMENTS = st.lists(st.tuples(st.sampled_from(BETWEEN), times()), min_size=1, max_size=6)


@given(STATEMENTS, st.sets(st.integers(0, 5)))
def test_the_last_stated_time_wins_however_it_is_said_and_cut_into_messages(
    statements: list[tuple[str, tuple[str, Clock]]], breaks: set[int]
) -> None:
    messages = [Message("user", "I need a table for four tonight")]
    words: list[str] = []
    for number, (between, (said, _)) in enumerate(statements):
        words += [between, said]
        if number in breaks:
            messages += [Message("user", ", ".join(words)), Message("assistant", "So that is a table for")]
            words = []
    booking = read([*messages, Message("user", ", ".join(words))]).booking
    assert booking.time == statements[-1][1][1]
    assert (booking.party, booking.day) == (4, Day("tonight"))


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system", "tool"]), st.text(max_size=40)), max_size=6))
def test_no_history_is_too_strange_to_be_read(history: list[tuple[str, str]]) -> None:
    read([Message(role, content) for role, content in history])


VOCABULARY = (
    "a table for four at seven no not eight half past quarter to pm am people the of us next friday december fifth "
    "my name is under anna para las cuatro y media menos cuarto el viernes de 7:30 20 730 two and kids instead of"
)


@given(st.lists(st.sampled_from(VOCABULARY.split()), max_size=14))
def test_words_of_the_trade_in_any_order_give_values_that_exist(words: list[str]) -> None:
    booking = heard(" ".join(words))
    assert booking.party is None or 1 <= booking.party <= 120
    assert booking.time is None or (0 <= booking.time.hour <= 23 and 0 <= booking.time.minute <= 59)
    assert booking.day is None or 0 <= booking.day.number <= 31
