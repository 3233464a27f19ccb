"""Prints timelines and tables of calls: in colour on a terminal that has it, else as plain text of 100 columns."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text
from voicemesh.session.v1 import session_pb2 as pb

from voicemesh_cli.timeline import HopLine, Piece, Row, Timeline, TurnHops

_PLAIN_COLUMNS = 100
_BAR_COLUMNS = 20
_TEXT_COLUMN = 17
"""Where the text of a row begins: behind its time and its speaker."""
_COLOUR = {"caller": "bold cyan", "agent": "bold green", "vapi": "magenta", "mesh": "yellow"}


def console(file: TextIO | None = None, env: Mapping[str, str] = os.environ) -> Console:
    """Return where to print: plain where NO_COLOR is set or ``file`` is no terminal."""
    file = file or sys.stdout
    if env.get("NO_COLOR") or not file.isatty():
        width = None if file.isatty() else _PLAIN_COLUMNS
        return Console(file=file, color_system=None, highlight=False, width=width, soft_wrap=False, emoji=False)
    return Console(file=file, highlight=False, emoji=False)


def show_timeline(out: Console, timeline: Timeline, *, call_id: str, outcome: str) -> None:
    """Print a whole call."""
    marks = _Marks(out)
    out.print()
    out.print(Text.assemble(" ", ("call ", "dim"), (printable(call_id), "bold"), "  ", (outcome or "live", "bold")))
    out.print(Text(f" {_numbers(timeline)}", style="dim"))
    out.print()
    for row in timeline.rows:
        _show_row(out, row, marks)
    if any(piece.fate == "unheard" for row in timeline.rows for piece in row.pieces):
        out.print()
        out.print(Text(f" what stands behind {marks.cut} was said, and never heard by the caller", style="dim"))
    for turn in timeline.turns:
        out.print()
        out.print(_turn_title(turn))
        for hop in turn.hops:
            out.print(_hop(hop, marks, is_culprit=hop.name == turn.culprit))
    out.print()


def show_calls(out: Console, calls: Sequence[pb.CallSummary]) -> None:
    """Print a table of calls."""
    table = Table(box=None, header_style="dim", padding=(0, 3, 0, 0))
    for name in ("call", "began", "length", "outcome", "events"):
        table.add_column(name, justify="right" if name in ("length", "events") else "left", no_wrap=True)
    for call in calls:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(call.started_at_ms / 1000))
        length = f"{(call.ended_at_ms - call.started_at_ms) / 1000:.1f} s" if call.ended_at_ms else ""
        table.add_row(printable(call.call_id), began, length, call.outcome or "live", str(call.event_count))
    out.print(table)


class _Marks:
    """The signs that this output can show."""

    def __init__(self, out: Console) -> None:
        is_unicode = out.encoding.lower().startswith("utf")
        self.is_plain = out.color_system is None
        self.cut = "‖" if is_unicode else "||"
        self.full, self.empty = ("█", "░") if is_unicode else ("#", ".")


def _numbers(timeline: Timeline) -> str:
    numbers = [f"{timeline.length_ms / 1000:.1f} s", f"{timeline.generations} generations"]
    numbers += [f"{timeline.cut} cut by the caller"] if timeline.cut else []
    numbers += [f"{timeline.dropped} dropped unheard"] if timeline.dropped else []
    return ", ".join([*numbers, f"{timeline.events} durable events"])


def _show_row(out: Console, row: Row, marks: _Marks) -> None:
    """Print one row; what does not fit goes on below the text, not below the time."""
    for number, line in enumerate(_line(row, marks).wrap(out, max(20, out.width - _TEXT_COLUMN - 1))):
        line.rstrip()
        at = f"{row.at_ms / 1000:7.2f}  " if number == 0 else " " * 9
        who = Text(f"{row.who if number == 0 else '':<6}  ", style=_COLOUR[row.who])
        out.print(Text.assemble((at, "dim"), who, line))


def _line(row: Row, marks: _Marks) -> Text:
    text = Text()
    for number, piece in enumerate(row.pieces):
        text.append(" " if number else "")
        _append(text, piece, marks, told="" if row.who == "mesh" else "dim")
    if row.note:
        text.append(f"  ({row.note})", style="dim")
    return text


def _append(text: Text, piece: Piece, marks: _Marks, *, told: str) -> None:
    if piece.fate == "unheard":
        text.append(f"{marks.cut} ", style="bold red")
        unheard = printable(piece.text)
        text.append(f"[{unheard}]" if marks.is_plain else unheard, style="dim strike")
    else:
        text.append(printable(piece.text), style={"heard": "", "unknown": "italic", "told": told}[piece.fate])


def printable(text: str) -> str:
    """Return ``text``, which came from outside, without what could steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def _turn_title(turn: TurnHops) -> Text:
    title = Text(f" turn {turn.turn}" if turn.turn else " outside a turn", style="bold")
    title.append(f", generation {turn.generation}" if turn.generation else "")
    return title.append(f", {turn.reason.replace('_', ' ')}" if turn.reason else "")


def _hop(hop: HopLine, marks: _Marks, *, is_culprit: bool) -> Text:
    line = Text(f"   {hop.name:<18}{_time(hop.duration_us):>8}  ")
    if not hop.budget_us:
        return line.append(f"{'no budget':<{_BAR_COLUMNS + 14}}{_times(hop)}".rstrip(), style="dim")
    style = "red" if hop.is_over else "green"
    share = min(1.0, hop.duration_us / hop.budget_us)
    filled = max(1, round(share * _BAR_COLUMNS)) if hop.duration_us else 0
    line.append(f"of {_time(hop.budget_us):<9}  ", style="dim")
    line.append(marks.full * filled, style=style).append(marks.empty * (_BAR_COLUMNS - filled), style="dim")
    line.append("  OVER" if hop.is_over else "  ok", style=f"bold {style}" if hop.is_over else style)
    return line.append(", the culprit" if is_culprit else "", style=style).append(_times(hop), style="dim")


def _times(hop: HopLine) -> str:
    return f"  slowest of {hop.count}" if hop.count > 1 else ""


def _time(us: int) -> str:
    if us >= 10_000_000:
        return f"{us / 1_000_000:.1f} s"
    return f"{us / 1000:.0f} ms" if us >= 10_000 else f"{us / 1000:.1f} ms"


def heard_now(who: str, words: str) -> Text:
    """Return a line for the words of a call that is being played."""
    return Text.assemble((who, _COLOUR.get(who, "")), "  ", (words, "dim"))
