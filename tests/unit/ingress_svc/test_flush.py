"""Flush tags: whole to the provider, and no words to anybody else."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingress_svc.domain.chat import ChatMessage
from ingress_svc.domain.effects import Cut, CutReason, Ended, Finish, PlayoutChanged, SayAnswer, Write
from ingress_svc.domain.flush import without_tags
from ingress_svc.domain.output import Output

TAG = re.compile(r"<\s*flush\s*/?>|<\s*/\s*flush\s*>", re.IGNORECASE)
"""As Vapi documents what it looks for."""
TAGS = ["<flush />", "<flush/>", "<flush>", "</flush>", "< Flush />", "</ FLUSH >"]


def running() -> Output:
    output = Output()
    output.attached("a")
    output.start(1, turn=1, attachment_id="a", answers_until_ms=1, messages=(ChatMessage("user", "a table"),))
    return output


def of(effects: list[Any], kind: type[Any]) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kind)]


@given(st.lists(st.sampled_from([*TAGS, "Four ", "<", "flu", "sh />", "a < b", " ", "\n", "<b>", "<flux "])), st.data())
def test_a_tag_leaves_whole_and_all_text_leaves_in_order(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    marks = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    output = running()
    written: list[str] = []
    for begin, end in zip([0, *marks], [*marks, len(text)], strict=True):
        written += [write.text for write in of(output.token(1, text[begin:end]), Write)]
    effects = output.finished(1, Finish.STOP)
    written += [write.text for write in of(effects, Write)]
    assert "".join(written) == text
    assert sum(len(TAG.findall(piece)) for piece in written) == len(TAG.findall(text))
    assert TAG.search(of(effects, Ended)[0].said_text) is None


def test_text_before_a_tag_that_has_only_begun_does_not_wait() -> None:
    output = running()
    assert of(output.token(1, "One moment. <fl"), Write) == [Write("a", 1, "One moment. ")]
    assert output.token(1, "ush /") == []
    assert of(output.token(1, "> Here"), Write) == [Write("a", 1, "<flush /> Here")]


def test_what_only_looks_like_a_tag_does_not_wait_for_ever() -> None:
    output = running()
    output.token(1, "<")
    assert of(output.token(1, " 5"), Write) == [Write("a", 1, "< 5")]
    assert of(output.token(1, "<" + " " * 20), Write) == [Write("a", 1, "<" + " " * 20)]


def test_a_tag_that_never_ends_leaves_at_the_end() -> None:
    output = running()
    output.token(1, "Four <flush")
    effects = output.finished(1, Finish.STOP)
    assert [type(effect).__name__ for effect in effects[:2]] == ["Write", "Close"]
    assert of(effects, Ended)[0].said_text == "Four <flush"


def test_barge_in_and_the_record_get_words_only() -> None:
    output = running()
    effects = output.token(1, "One moment. <flush /> Four?")
    assert of(effects, PlayoutChanged)[0].said_tail == "One moment. Four?"
    assert of(output.cut(1, 9, "stop_phrase"), Cut) == [
        Cut(1, 1, "One moment. Four?", CutReason.BARGE_IN, 9, "stop_phrase")
    ]


def test_a_request_that_takes_the_answer_over_gets_its_tags_too() -> None:
    output = running()
    output.token(1, "One moment. <flush /> Four")
    output.attached("b")
    assert of(output.move(1, "b"), Write) == [Write("b", 1, "One moment. <flush /> Four")]


def test_what_is_said_aloud_has_no_tags() -> None:
    output = running()
    output.set_aside(1, "One moment.")
    output.token(1, "Four. <flush /> For when?")
    output.peer_closed("a", answered=True)
    assert output.finished(1, Finish.STOP) == [SayAnswer(1, "Four. For when?")]


@pytest.mark.parametrize("tag", TAGS)
def test_words_are_parted_where_a_tag_stood(tag: str) -> None:
    assert without_tags(f"wait{tag}I see") == "wait I see"
    assert without_tags(f"{tag} Hello. {tag}") == "Hello."


@pytest.mark.parametrize("text", ["a < b", "<b>bold</b>", "flush", "<flushed>", " spaces stay ", ""])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert without_tags(text) == text
