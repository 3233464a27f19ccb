"""Prints timelines and tables of calls: in colour on a terminal that has it, else as plain text of 100 columns."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from voicemesh.session.v1 import session_pb2 as pb

from voicemesh_cli.timeline import HopLine, Piece, Row, Timeline, TurnHops

_PLAIN_COLUMNS = 100
_BAR_COLUMNS = 20
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
    out.print(_headline(timeline, call_id, outcome))
    out.print()
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for row in timeline.rows:
        table.add_row(f"{row.at_ms / 1000:.2f}", Text(row.who, style=_COLOUR[row.who]), _line(row, marks))
    out.print(Padding(table, (0, 1)))
    if any(piece.fate == "unheard" for row in timeline.rows for piece in row.pieces):
        out.print()
        meaning = f"said, and never heard by the caller: what stands behind {marks.cut}"
        out.print(Padding(Text(meaning, style="dim"), (0, 1)))
    if timeline.turns:
        out.print()
        out.print(Padding(_hops(timeline.turns, marks), (0, 1)))
    out.print()


def show_calls(out: Console, calls: Sequence[pb.CallSummary]) -> None:
    """Print a table of calls."""
    table = Table(box=None, header_style="dim", padding=(0, 3, 0, 0))
    for name in ("call", "began", "length", "outcome", "events"):
        table.add_column(name, justify="right" if name in ("length", "events") else "left", no_wrap=name == "call")
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
        self.dot = "·" if is_unicode else "-"


def _headline(timeline: Timeline, call_id: str, outcome: str) -> Text:
    numbers = f"{timeline.length_ms / 1000:.1f} s, {timeline.generations} generations"
    if timeline.cut or timeline.dropped:
        numbers += f" ({timeline.cut} cut by the caller, {timeline.dropped} dropped unheard)"
    return Text.assemble(
        " ",
        ("call ", "dim"),
        (call_id, "bold"),
        "  ",
        (outcome or "live", "bold"),
        f"  {numbers}, {timeline.events} events",
    )


def _line(row: Row, marks: _Marks) -> Text:
    text = Text()
    for number, piece in enumerate(row.pieces):
        text.append(" " if number else "")
        _append(text, piece, marks)
    if row.note:
        text.append(f"  ({row.note})", style="dim")
    return text


def _append(text: Text, piece: Piece, marks: _Marks) -> None:
    if piece.fate == "unheard":
        text.append(f"{marks.cut} ", style="bold red")
        unheard = printable(piece.text)
        text.append(f"[{unheard}]" if marks.is_plain else unheard, style="dim strike")
    else:
        text.append(printable(piece.text), style={"heard": "", "unknown": "italic", "told": "dim"}[piece.fate])


def printable(text: str) -> str:
    """Return ``text``, which came from outside, without what could steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def _hops(turns: Sequence[TurnHops], marks: _Marks) -> Table:
    table = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "left", "left", "left"):
        table.add_column(justify=justify, no_wrap=True)
    for number, turn in enumerate(turns):
        if number:
            table.add_row()
        table.add_row(_turn_title(turn), "", "", "", "")
        for hop in turn.hops:
            table.add_row(*_hop(hop, marks, is_culprit=hop.name == turn.culprit))
    return table


def _turn_title(turn: TurnHops) -> Text:
    title = Text(f"turn {turn.turn}", style="bold")
    title.append(f", generation {turn.generation}" if turn.generation else "")
    title.append(f", {turn.reason.replace('_', ' ')}" if turn.reason else "")
    return title


def _hop(hop: HopLine, marks: _Marks, *, is_culprit: bool) -> tuple[Text, ...]:
    style = "red" if hop.is_over else "green"
    took = Text(_time(hop.duration_us))
    if not hop.budget_us:
        return Text(f"  {hop.name}"), took, Text("no budget", style="dim"), Text(""), Text(_times(hop), style="dim")
    share = min(1.0, hop.duration_us / hop.budget_us)
    filled = max(1, round(share * _BAR_COLUMNS)) if hop.duration_us else 0
    bar = Text(marks.full * filled, style=style).append(marks.empty * (_BAR_COLUMNS - filled), style="dim")
    verdict = Text("OVER" if hop.is_over else "ok", style=f"bold {style}" if hop.is_over else style)
    verdict.append(" and the culprit" if is_culprit else "", style="red").append(_times(hop), style="dim")
    return Text(f"  {hop.name}"), took, Text(f"of {_time(hop.budget_us)}", style="dim"), bar, verdict


def _times(hop: HopLine) -> str:
    return f" slowest of {hop.count}" if hop.count > 1 else ""


def _time(us: int) -> str:
    if us >= 10_000_000:
        return f"{us / 1_000_000:.1f} s"
    return f"{us / 1000:.0f} ms" if us >= 10_000 else f"{us / 1000:.1f} ms"


def heard_now(who: str, words: str) -> Text:
    """Return a line for the words of a call that is being played."""
    return Text.assemble((who, _COLOUR.get(who, "")), "  ", (words, "dim"))
