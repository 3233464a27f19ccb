"""Prints a list of calls."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text
from voicemesh.session.v1 import session_pb2 as pb

from voicemesh_cli.words import counted, outcome_words, printable

_HEADER = ("call", "began", "length", "outcome", "events")
_RIGHT = ("length", "events")
_GAP = "   "


def show_calls(out: Console, calls: Sequence[pb.CallSummary]) -> None:
    """Print a line for each call, or two where the terminal is narrow. No id is ever cut: it is there to be copied."""
    if not calls:
        out.print(Text("no calls yet", style="dim"))
        return
    rows = [_row(call) for call in calls]
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    if out.is_terminal and sum(widths) + len(_GAP) * (len(widths) - 1) > out.width:
        for row, call in zip(rows, calls, strict=True):
            _print(out, row[0], style=_style(call))
            _print(out, _GAP.join(["", *_padded(row, widths)[1:-1], counted(call.event_count, "event")]), style="dim")
        return
    _print(out, _GAP.join(_padded(_HEADER, widths)), style="dim")
    for row, call in zip(rows, calls, strict=True):
        _print(out, _GAP.join(_padded(row, widths)), style=_style(call))


def length_ms(call: pb.CallSummary) -> int | None:
    """Return how long a call was: from when its first event came in to when its end did; None while it lives.

    What comes later, such as the report, is no part of it.
    """
    return call.ended_at_ms - call.started_at_ms if call.ended_at_ms else None


def _row(call: pb.CallSummary) -> tuple[str, ...]:
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(call.started_at_ms / 1000))
    length = length_ms(call)
    shown = f"{length / 1000:.1f} s" if length is not None else ""
    return printable(call.call_id), began, shown, outcome_words(call.outcome), str(call.event_count)


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    cells = zip(_HEADER, row, widths, strict=True)
    return [cell.rjust(width) if name in _RIGHT else cell.ljust(width) for name, cell, width in cells]


def _style(call: pb.CallSummary) -> str:
    if not call.outcome:
        return "green"
    return "red" if call.outcome.startswith("failed") else ""


def _print(out: Console, line: str, *, style: str) -> None:
    out.print(Text(line.rstrip(), style=style), soft_wrap=True)
