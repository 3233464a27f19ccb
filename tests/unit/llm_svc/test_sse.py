"""Events out of bytes, wherever the network cuts them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_svc.domain.sse import Event, EventReader, EventTooLong

LIMIT = 40


def read(*chunks: bytes, most_bytes: int = LIMIT, ended: bool = True) -> list[Event | str]:
    """Return the events in ``chunks``, "too long" where the reader gives up and "over" when it wants no more."""
    reader = EventReader(most_bytes)
    told: list[Event | str] = []
    try:
        for chunk in (*filter(None, chunks), *([b""] if ended else [])):
            if not reader.over:
                told += reader.feed(chunk)
    except EventTooLong:
        return [*told, "too long"]
    return [*told, "over"] if reader.over else told


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[begin:end] for begin, end in pairwise(at)]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_a_blank_line_ends_an_event_whatever_ends_a_line(newline: bytes) -> None:
    assert read(newline.join([b"data: one", b"", b"data: two", b"", b""]), ended=False) == [
        Event(b"one"),
        Event(b"two"),
    ]


def test_an_event_is_there_when_its_blank_line_is() -> None:
    reader = EventReader()
    assert list(reader.feed(b"data: one\r\n")) == []
    assert list(reader.feed(b"\r")) == [Event(b"one")]
    assert list(reader.feed(b"\ndata: two\n\n")) == [Event(b"two")]


def test_the_lines_of_data_of_one_event_are_one_text() -> None:
    assert read(b"data: {\ndata:  1\ndata:}\n\n", ended=False) == [Event(b"{\n 1\n}")]


def test_comments_and_fields_that_say_nothing_here_are_passed_over() -> None:
    assert read(b": ping\n\nid: 7\nretry: 10\ndatum: x\ndata: one\n\n:\n\n", ended=False) == [Event(b"one")]


def test_an_event_without_data_is_none() -> None:
    assert read(b"event: ping\n\ndata\n\ndata:\n\ndata: one\n\n", ended=False) == [Event(b"one")]


def test_a_name_is_that_of_its_own_event_alone() -> None:
    assert read(b"data: x\nevent: error\n\ndata: y\n\n", ended=False) == [Event(b"x", b"error"), Event(b"y")]


def test_nothing_is_read_behind_done() -> None:
    assert read(b"data: one\n\ndata: [DONE]\n\ndata: two\n\n", ended=False) == [Event(b"one"), "over"]


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
def test_the_end_of_the_stream_ends_its_last_event(end: bytes) -> None:
    assert read(b"data: one\n\ndata: two" + end) == [Event(b"one"), Event(b"two"), "over"]


def test_a_byte_order_mark_counts_for_nothing_at_the_start_and_only_there() -> None:
    assert read(b"\xef\xbb", b"\xbfdata: one\n\n\xef\xbb\xbfdata: two\n\n") == [Event(b"one"), "over"]


@pytest.mark.parametrize("too_long", [b"data: " + b"x" * LIMIT, b":" * (LIMIT + 1), b"data: xxxxxxxx\n" * 5])
def test_an_event_beyond_the_limit_is_refused_behind_those_before_it(too_long: bytes) -> None:
    assert read(b"data: one\n\n" + too_long, ended=False) == [Event(b"one"), "too long"]


def test_a_stream_without_an_end_of_line_is_refused_at_the_limit() -> None:
    reader = EventReader(LIMIT)
    assert list(reader.feed(b"x" * LIMIT)) == []
    with pytest.raises(EventTooLong):
        list(reader.feed(b"x"))


_LINES = st.sampled_from(
    [
        b"data: one",
        b"data:two",
        b"data: " + b"x" * 50,
        b"data",
        b"data: [DONE]",
        b"event: error",
        b": ping",
        b"id: 1",
        b"",
    ]
)
_STREAMS = st.one_of(
    st.lists(st.tuples(_LINES, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12).map(
        lambda lines: b"".join(line + end for line, end in lines)
    ),
    st.text(alphabet="\ufeff\r\n:dat ex", max_size=60).map(str.encode),
    st.binary(max_size=60),
)


@given(stream=_STREAMS, cuts=st.lists(st.integers(min_value=0), max_size=20), ended=st.booleans())
def test_where_the_bytes_are_cut_changes_nothing(stream: bytes, cuts: list[int], ended: bool) -> None:
    whole = read(stream, ended=ended)
    assert read(*split(stream, cuts), ended=ended) == whole
    assert read(*(bytes([byte]) for byte in stream), ended=ended) == whole
