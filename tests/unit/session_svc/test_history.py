"""Heard, not sent: what the model is told it said."""

from __future__ import annotations

import pytest
from fakes.call_events import POLICY, agent, asked, assistant, caller, cut, finished, fold, history, system, user
from hypothesis import given, settings
from hypothesis import strategies as st
from session_svc.domain.call import Policy
from session_svc.domain.commands import StartGeneration
from session_svc.domain.events import ChatMessage, Event
from session_svc.domain.history import (
    Said,
    asked_words,
    first_words,
    for_model,
    heard_in,
    tail,
    words_of,
)

ASKED = user("I'd like a table.")
SAID = "Sure! For how many people, and at 7 p.m.?"


def heard(told: str, *said: str) -> list[tuple[int, str]]:
    """What one assistant message shows as heard of generations 1, 2, …"""
    found = heard_in([assistant(told)], [Said(number, text) for number, text in enumerate(said, start=1)])
    return [(part.generation, part.text) for entry in found for part in entry.parts]


def told(*happened: Event, policy: Policy = POLICY) -> list[str]:
    """What the model is told after these events, the last of which asks for an answer."""
    _, commands = fold(*happened, policy=policy)
    order = commands[-1].order
    assert isinstance(order, StartGeneration)
    return [f"{message.role}: {message.content}" for message in order.messages]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I'd like — a TABLE, please!", ("id", "like", "a", "table", "please")),
        ("", ()),
        ("…?!", ()),
        ("snake_case e-mail", ("snake", "case", "e", "mail")),
        ("Straße ＡＢＣ ½", ("strasse", "abc", "1", "2")),
        ("no’s", ("nos",)),
    ],
)
def test_words_are_what_two_transcripts_of_the_same_speech_share(text: str, words: tuple[str, ...]) -> None:
    assert words_of(text) == words


@settings(deadline=None)
@given(st.text())
def test_words_are_the_same_when_taken_again(text: str) -> None:
    assert words_of(" ".join(words_of(text))) == words_of(text)


MESSAGES = st.lists(
    st.builds(ChatMessage, st.sampled_from(["system", "user", "assistant", "tool"]), st.sampled_from(["a", "b c", ""]))
)


@settings(deadline=None)
@given(MESSAGES)
def test_the_tail_of_a_tail_is_the_same_tail(messages: list[ChatMessage]) -> None:
    assert tail(tail(messages)) == tail(messages)


@settings(deadline=None)
@given(MESSAGES)
def test_a_tail_still_holds_all_that_is_asked(messages: list[ChatMessage]) -> None:
    assert asked_words(tail(messages)) == asked_words(messages)


def test_a_tail_begins_at_the_second_last_answer_and_holds_no_prompt() -> None:
    whole = [system("p"), user("1"), assistant("a"), user("2"), assistant("b"), system("q"), user("3"), assistant("c")]
    assert tail(whole) == (assistant("b"), user("3"), assistant("c"))


@pytest.mark.parametrize(("count", "text"), [(0, ""), (1, "Sure!"), (3, "Sure! For how"), (99, SAID)])
def test_first_words_keep_their_spelling(count: int, text: str) -> None:
    assert first_words(SAID, count) == text


# Heard


def test_all_of_it_was_heard() -> None:
    assert heard("sure for how many people and at 7 p m", SAID) == [(1, SAID)]


def test_the_part_that_was_heard_is_in_our_spelling() -> None:
    assert heard("sure for how", SAID) == [(1, "Sure! For how")]


def test_digits_may_be_told_as_words() -> None:
    said = "We have a table at 7 for 4 people by the window."
    assert heard("we have a table at seven for four people by the window", said) == [(1, said)]
    assert heard("we have a table at seven for four", said) == [(1, "We have a table at 7 for 4")]


def test_a_figure_told_in_several_words_moves_the_end_of_what_was_heard_by_none() -> None:
    said = "The whole evening would come to 125 euros for all of you together."
    assert heard("the whole evening would come to one hundred and twenty five euros for all", said) == [
        (1, "The whole evening would come to 125 euros for all")
    ]


def test_two_words_told_as_one_lose_nothing_at_the_end() -> None:
    said = "Please give me your e-mail address and your name."
    assert heard("please give me your email address and your name", said) == [(1, said)]


def test_one_message_may_hold_several_answers() -> None:
    assert heard("let me see we have one at eight", "Let me see.", "We have one at eight!") == [
        (1, "Let me see."),
        (2, "We have one at eight!"),
    ]


def test_of_several_answers_in_one_message_the_last_may_be_heard_in_part() -> None:
    assert heard("let me see we have", "Let me see.", "We have one at eight!") == [(1, "Let me see."), (2, "We have")]


def test_a_word_told_as_two_does_not_make_the_next_answer_heard() -> None:
    assert heard("please give me your e mail address", "Please give me your email address.", "Hello?") == [
        (1, "Please give me your email address.")
    ]


def test_a_filler_of_the_providers_does_not_make_the_next_answer_heard() -> None:
    assert heard("please give me your address um okay", "Please give me your address.", "Which day suits you?") == [
        (1, "Please give me your address.")
    ]


def test_an_answer_that_nobody_heard_is_passed_over() -> None:
    assert heard("which day would suit you", "A table, sure.", "Which day would suit you?") == [
        (2, "Which day would suit you?")
    ]


def test_the_same_words_said_twice_are_heard_of_the_newer() -> None:
    assert heard("sure which day", "Sure. Which day?", "Sure. Which day?") == [(2, "Sure. Which day?")]


def test_what_fits_best_is_heard_not_what_is_newest() -> None:
    assert heard("for how many people is it", "For how many people is it?", "For how many people?") == [
        (1, "For how many people is it?")
    ]


def test_words_that_are_not_ours_are_nobodys() -> None:
    assert heard("thank you for calling the blue door", SAID) == []
    assert heard("", SAID) == []
    assert heard("…", SAID) == []
    assert heard("sure") == []


def test_several_messages_are_matched_in_order() -> None:
    messages = [assistant("which day"), user("friday"), assistant("which time")]
    found = heard_in(messages, [Said(1, "Which day?"), Said(2, "Which time?")])
    assert [[part.generation for part in entry.parts] for entry in found] == [[2], [1]]


@settings(deadline=None)
@given(st.text(max_size=60), st.lists(st.text(max_size=60), max_size=4))
def test_whatever_is_told_what_was_heard_is_the_beginning_of_what_was_said(message: str, said: list[str]) -> None:
    for number, text in heard(message, *said):
        whole = said[number - 1]
        assert words_of(whole)[: len(words_of(text))] == words_of(text) or text == whole


# Told to the model


def test_the_model_is_told_what_was_heard_in_our_spelling() -> None:
    assert told(
        caller("I'd like a table.", 100),
        asked([ASKED], 150),
        finished(1, SAID, 500),
        cut(1, 900, said=SAID, spoken_ms=850),
        caller("Actually, stop.", 850),
        asked([ASKED, assistant("sure for how"), user("Actually, stop.")], 1_500),
    ) == ["user: I'd like a table.", "assistant: Sure! For how", "user: Actually, stop."]


def test_what_was_heard_long_ago_keeps_its_spelling() -> None:
    happened: list[Event] = []
    messages: list[ChatMessage] = []
    for turn in range(1, 21):
        messages = [*messages, user(f"question {turn}")]
        said = f"The answer to question {turn}: it's {turn} o'clock!"
        happened += [asked(messages, turn * 1_000), finished(turn, said, turn * 1_000 + 500)]
        messages = [*messages, assistant(" ".join(words_of(said)))]
    spoken = told(*happened, asked([*messages, user("and now")], 30_000))
    assert [line for line in spoken if line.startswith("assistant")] == [
        f"assistant: The answer to question {turn}: it's {turn} o'clock!" for turn in range(1, 21)
    ]


def test_an_answer_that_was_said_twice_is_told_once_each_time() -> None:
    messages = [user("a"), assistant("sure"), user("b"), assistant("sure"), user("c")]
    assert told(
        asked(messages[:1], 100),
        finished(1, "Sure!", 200),
        asked(messages[:3], 1_100),
        finished(2, "Sure!", 1_200),
        asked(messages, 2_100),
    ) == ["user: a", "assistant: Sure!", "user: b", "assistant: Sure!", "user: c"]


def test_a_merged_message_is_told_in_the_spelling_of_both_answers() -> None:
    merged = [user("a"), assistant("let me see we have one"), user("b")]
    assert told(
        asked(merged[:1], 100),
        finished(1, "Let me see…", 200),
        asked([user("a"), ChatMessage("assistant", "", '[{"id": "t"}]'), ChatMessage("tool", "one", "", "t")], 300),
        finished(2, "We have one!", 400),
        asked(merged, 2_100),
    ) == ["user: a", "assistant: Let me see… We have one!", "user: b"]


def test_what_the_provider_said_by_itself_stays_as_it_is() -> None:
    greeted = [assistant("Hello, this is the Blue Door!"), ASKED]
    assert told(asked(greeted, 100)) == ["assistant: Hello, this is the Blue Door!", "user: I'd like a table."]


def test_the_callers_words_are_never_respelled() -> None:
    messages = [user("sure"), assistant("sure"), user("sure")]
    assert told(asked(messages[:1], 100), finished(1, "Sure!", 200), asked(messages, 1_100)) == [
        "user: sure",
        "assistant: Sure!",
        "user: sure",
    ]


def test_the_providers_prompt_stays_unless_the_owner_sets_one() -> None:
    messages = [system("Be kind."), ASKED]
    assert told(asked(messages, 100))[0] == "system: Be kind."
    assert told(asked(messages, 100), policy=Policy(prompt="Be brief.")) == [
        "system: Be brief.",
        "user: I'd like a table.",
    ]


def test_tool_messages_reach_the_model_untouched() -> None:
    call, result = ChatMessage("assistant", "", '[{"id": "t"}]'), ChatMessage("tool", "free", "", "t")
    assert for_model([ASKED, call, result], {}, "") == (ASKED, call, result)


def test_a_reported_history_tells_what_was_heard_as_a_request_does() -> None:
    told_by_provider = [ASKED, assistant("sure for how"), user("stop")]
    before = (asked([ASKED], 150), finished(1, SAID, 500))
    by_history, _ = fold(*before, history(900, *told_by_provider))
    by_request, _ = fold(*before, asked(told_by_provider, 900))
    assert by_history.generations[0].heard_text == "Sure! For how"
    assert by_request.generations[0] == by_history.generations[0]


def test_what_was_heard_grows_with_the_history() -> None:
    call, _ = fold(
        asked([ASKED], 150),
        finished(1, SAID, 500),
        history(600, ASKED, assistant("sure")),
        history(900, ASKED, assistant("sure for how many")),
    )
    assert call.generations[0].heard_text == "Sure! For how many"
    assert call.spelling() == {"sure for how many": "Sure! For how many"}


def test_a_history_that_comes_before_the_answers_text_is_caught_up_with_by_the_next_request() -> None:
    messages = [ASKED, assistant("sure for how"), user("stop")]
    assert (
        told(
            asked([ASKED], 150),
            history(600, *messages[:2]),
            finished(1, SAID, 700),
            agent("sure for how", 650),
            asked(messages, 900),
        )[1]
        == "assistant: Sure! For how"
    )
