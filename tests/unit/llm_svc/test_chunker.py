"""Pieces that wait for a writer merge; nothing is lost, changed or reordered."""

from hypothesis import given
from hypothesis import strategies as st
from llm_svc.domain.chat import Piece, Text, ToolPiece
from llm_svc.domain.chunker import Chunker

TEXT = st.text(max_size=5).map(Text)
TOOL = st.builds(
    ToolPiece,
    st.integers(0, 2),
    st.sampled_from(["", "", "call"]),
    st.sampled_from(["", "", "book"]),
    st.text(max_size=5),
)


def took(*pieces: Piece) -> list[Piece]:
    chunker = Chunker()
    for piece in pieces:
        chunker.add(piece)
    return list(chunker.take())


def test_a_piece_alone_leaves_as_it_came() -> None:
    assert took(Text("Perfect,")) == [Text("Perfect,")]


def test_text_that_waits_merges_into_one_piece() -> None:
    assert took(Text("Perfect,"), Text(" I"), Text(" can")) == [Text("Perfect, I can")]


def test_arguments_of_one_tool_call_merge_into_its_first_piece() -> None:
    pieces = took(ToolPiece(0, "call-1", "book", ""), ToolPiece(0, arguments='{"party"'), ToolPiece(0, arguments=":4}"))
    assert pieces == [ToolPiece(0, "call-1", "book", '{"party":4}')]


def test_two_tool_calls_never_merge_even_with_the_same_index() -> None:
    first, second = ToolPiece(0, "call-1", "book", "{}"), ToolPiece(0, "call-2", "book", "{}")
    assert took(first, second) == [first, second]
    assert took(ToolPiece(0, arguments="a"), ToolPiece(1, arguments="b")) == [
        ToolPiece(0, arguments="a"),
        ToolPiece(1, arguments="b"),
    ]


def test_text_before_and_after_a_tool_call_keeps_its_place() -> None:
    call = ToolPiece(0, "call-1", "book", "{}")
    assert took(Text("One "), Text("moment"), call, Text(".")) == [Text("One moment"), call, Text(".")]


def test_what_was_taken_is_gone() -> None:
    chunker = Chunker()
    chunker.add(Text("once"))
    chunker.take()
    assert chunker.take() == ()
    assert chunker.chars == 0


def test_characters_that_wait_are_counted() -> None:
    chunker = Chunker()
    chunker.add(Text("four"))
    chunker.add(ToolPiece(0, "an id", "a name", "{}"))
    assert chunker.chars == 6


@given(st.lists(st.one_of(TEXT, TOOL)), st.sets(st.integers(0, 20)))
def test_wherever_the_writer_takes_the_same_is_said_in_the_same_order(pieces: list[Piece], takes: set[int]) -> None:
    chunker = Chunker()
    taken: list[Piece] = []
    for number, piece in enumerate(pieces):
        chunker.add(piece)
        if number in takes:
            taken += chunker.take()
    taken += chunker.take()
    assert said(taken) == said(pieces)


def said(pieces: list[Piece]) -> list[tuple[str, str]]:
    """Return each character with whom it belongs to, and the beginnings of tool calls between them."""
    flat: list[tuple[str, str]] = []
    for piece in pieces:
        if isinstance(piece, Text):
            flat += [("text", character) for character in piece.text]
            continue
        if piece.id or piece.name:
            flat.append((f"call {piece.index}", f"{piece.id}/{piece.name}"))
        flat += [(f"call {piece.index}", character) for character in piece.arguments]
    return flat
