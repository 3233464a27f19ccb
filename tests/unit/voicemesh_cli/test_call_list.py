from __future__ import annotations

import io

import pytest
from fakes.call_log import event, log
from rich.console import Console
from voicemesh.session.v1 import session_pb2 as pb
from voicemesh_cli import render
from voicemesh_cli.call_list import length_ms, show_calls
from voicemesh_cli.timeline import build
from voicemesh_cli.words import counted

LONG = "vapi:84724303-5a0d-4211-9373-f9dd5d0737b7"
DONE = pb.CallSummary(call_id=LONG, started_at_ms=1000, ended_at_ms=26_000, outcome="caller_hung_up", event_count=70)
LIVE = pb.CallSummary(call_id="vapi:live", started_at_ms=1000, event_count=1)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _on_terminal(columns: int, *calls: pb.CallSummary) -> list[str]:
    file = _Terminal()
    show_calls(Console(file=file, width=columns, color_system=None, highlight=False), calls)
    return file.getvalue().splitlines()


def _in_a_pipe(*calls: pb.CallSummary) -> list[str]:
    file = io.StringIO()
    show_calls(render.console(file, {}), calls)
    return file.getvalue().splitlines()


def test_a_call_is_as_long_in_the_list_as_in_its_timeline() -> None:
    (logged,) = log(event(40_000, report=pb.CallReported(ended_reason="customer-ended-call")))
    file = io.StringIO()
    render.show_timeline(
        render.console(file, {}), build([logged]), call_id=LONG, outcome=DONE.outcome, length_ms=length_ms(DONE)
    )
    assert "caller hung up after 25.0 s" in file.getvalue()
    assert "25.0 s   caller hung up" in _in_a_pipe(DONE)[1]


def test_a_live_call_has_no_length_and_says_that_it_lives() -> None:
    header, done, live = _in_a_pipe(DONE, LIVE)
    assert header.split() == ["call", "began", "length", "outcome", "events"]
    assert "25.0 s   caller hung up" in done
    assert " s " not in live
    assert "live" in live.split()


@pytest.mark.parametrize("id_chars", [1, 100, 200])
def test_a_pipe_gets_one_whole_line_a_call_however_long(id_chars: int) -> None:
    call = pb.CallSummary(call_id="x" * id_chars, started_at_ms=1000, outcome="completed", event_count=123_456)
    _, line = _in_a_pipe(call)
    assert line.startswith("x" * id_chars + "   ")
    assert line.endswith(" 123456")


def test_columns_stand_below_one_another_and_no_line_ends_in_spaces() -> None:
    header, *lines = _in_a_pipe(DONE, LIVE)
    assert {len(line) for line in (header, *lines)} == {len(header)}
    assert all(line == line.rstrip() for line in (header, *lines))


@pytest.mark.parametrize("columns", [60, 80])
def test_a_narrow_terminal_gets_two_lines_a_call_with_its_whole_id(columns: int) -> None:
    lines = _on_terminal(columns, DONE, LIVE)
    assert max(map(len, lines)) <= columns
    assert lines[0] == LONG
    assert lines[1].endswith("25.0 s   caller hung up   70 events")
    assert lines[2] == "vapi:live"
    assert lines[3].endswith(" 1 event")


def test_a_wide_terminal_gets_a_line_a_call() -> None:
    assert len(_on_terminal(120, DONE, LIVE)) == 3


def test_a_list_of_nothing_says_so() -> None:
    assert _in_a_pipe() == ["no calls yet"]


def test_one_is_no_plural() -> None:
    assert [counted(number, "generation") for number in (0, 1, 2)] == ["0 generations", "1 generation", "2 generations"]
