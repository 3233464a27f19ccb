"""The scripted agent says what the caller's words call for, and takes as long as a model would."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_svc.domain.chat import Message
from llm_svc.domain.scripted import answer, delays_ms, pieces


def answers(*user: str) -> list[str]:
    """Return what the agent says to each of the caller's messages in turn."""
    history: list[Message] = []
    said = []
    for text in user:
        history.append(Message("user", text))
        said.append(answer(history))
        history.append(Message("assistant", said[-1]))
    return said


def test_the_booking_of_the_article_with_its_correction() -> None:
    assert answers("I need a table for four tonight at 7pm", "Actually - no wait - make that 8pm", "Anna", "yes") == [
        "Perfect, I can book that for you: a table for four tonight at 7 pm. May I have a name for the booking?",
        "No problem, 8 pm it is. So that would be a table for four tonight at 8 pm. May I have a name for the booking?",
        "Thank you, Anna. So that is a table for four tonight at 8 pm, under the name Anna. Shall I go ahead and book "
        "it?",
        "Wonderful, your booking is made: a table for four tonight at 8 pm, under the name Anna. We look forward to "
        "seeing you. Is there anything else I can do for you?",
    ]


def test_other_words_get_another_answer() -> None:
    first, second = answers("a table for two on friday at half past six"), answers("somos cinco, mañana a las nueve")
    assert first[0].startswith("Perfect, I can book that for you: a table for two on Friday at 6:30 pm.")
    assert second[0].startswith("Perfecto, se lo puedo reservar: una mesa para cinco mañana a las 9 de la noche.")


def test_what_is_missing_is_asked_for() -> None:
    said = answers("hello", "we're four", "tomorrow", "eight")
    assert said[0].endswith("How many people will you be, which day, and what time would suit you?")
    assert said[1].endswith("Which day would you like to come, and what time would suit you?")
    assert said[2].endswith("What time would suit you?")
    assert said[3].endswith("a table for four tomorrow at 8 pm. May I have a name for the booking?")


def test_a_caller_who_has_said_nothing_is_greeted() -> None:
    assert answer([Message("system", "You are Robin.")]).startswith("Thank you for calling.")


def test_nonsense_is_asked_back_with_what_is_known() -> None:
    said = answers("xyzzy", "a table for four", "plugh")
    assert said[0].startswith("Sorry, I did not quite catch that. I can book a table for you.")
    assert said[2].startswith("Sorry, I did not quite catch that. So far I have a table for four.")


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("wait", "Of course, take your time."),
        ("what did you say?", "Of course, once more: I have a table for four tonight at 7 pm"),
        ("do you have parking?", "I am afraid I can only help with bookings"),
        ("cancel it please", "No problem, I have dropped that booking."),
        ("thanks", "You are very welcome."),
        ("bye", "Thank you for calling. Nothing is booked yet"),
        ("no", "All right, then I will leave it open."),
        ("the time", "All right, let us change that. What time would suit you?"),
    ],
)
def test_small_talk_has_its_answer(text: str, begins: str) -> None:
    assert answers("a table for four tonight at seven, my name is Anna", text)[-1].startswith(begins)


def test_after_the_booking_a_goodbye_names_the_day() -> None:
    said = answers("a table for four tonight at seven, my name is Anna", "yes please", "no, that's all, bye")
    assert said[-1] == "Thank you for calling. We look forward to seeing you tonight. Goodbye!"


def test_spanish_is_answered_in_spanish_to_the_end() -> None:
    said = answers("Hola, una mesa para cuatro esta noche a las ocho", "no, a las nueve", "Ana García", "sí", "adiós")
    assert said[1].startswith("Muy bien, a las 9 de la noche entonces.")
    assert "a nombre de Ana García" in said[2]
    assert said[3].startswith("Estupendo, su reserva está hecha")
    assert said[4].endswith("¡Hasta luego!")


def test_an_answer_is_long_enough_to_be_interrupted() -> None:
    for text in answers("hello", "a table for four tonight at seven", "make that 8pm", "Anna", "yes", "thanks"):
        assert len(pieces(text)) >= 12


@given(st.text(max_size=200))
def test_pieces_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text


def test_the_same_messages_take_the_same_time_and_others_another() -> None:
    one, other = [Message("user", "a table for four")], [Message("user", "a table for five")]
    assert list(islice(delays_ms(one, 350, 45), 20)) == list(islice(delays_ms(one, 350, 45), 20))
    assert list(islice(delays_ms(one, 350, 45), 20)) != list(islice(delays_ms(other, 350, 45), 20))


@given(st.text(max_size=20))
def test_waits_stay_around_the_settings(text: str) -> None:
    first, *rest = islice(delays_ms([Message("user", text)], 350, 45), 200)
    assert 250 <= first <= 450
    assert all(20 <= wait <= 70 for wait in rest)
    assert 40 <= sum(rest) / len(rest) <= 50


def test_without_a_wait_there_is_none() -> None:
    assert set(islice(delays_ms([Message("user", "hello")], 0, 0), 50)) == {0.0}


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(max_size=30)), max_size=5))
def test_there_is_an_answer_to_everything(history: list[tuple[str, str]]) -> None:
    said = answer([Message(role, content) for role, content in history])
    assert said
    assert "{" not in said
