"""Prints the timeline of a call: in colour on a terminal that has it, else as plain text of 100 columns."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TextIO

from rich.console import Console
from rich.text import Text

from voicemesh_cli.timeline import HopLine, Piece, Row, Timeline, TurnHops
from voicemesh_cli.words import counted, model_words, outcome_words, printable

_PLAIN_COLUMNS = 100
_TEXT_COLUMN = 17
"""Where the text of a row begins: behind its time and its speaker."""
_WHY_KEPT = {"cut": "the agent was cut off", "failed": "the model failed", "over_budget": "over budget", "sampled": ""}
_COLOUR = {"caller": "bold cyan", "agent": "bold green", "vapi": "magenta", "mesh": "yellow"}


def console(file: TextIO | None = None, env: Mapping[str, str] = os.environ) -> Console:
    """Return where to print: plain where NO_COLOR is set or ``file`` is no terminal."""
    file = file or sys.stdout
    if env.get("NO_COLOR") or not file.isatty():
        width = None if file.isatty() else _PLAIN_COLUMNS
        return Console(file=file, color_system=None, highlight=False, width=width, soft_wrap=False, emoji=False)
    return Console(file=file, highlight=False, emoji=False)


def show_timeline(
    out: Console, timeline: Timeline, *, call_id: str, outcome: str, length_ms: int | None = None
) -> None:
    """Print a whole call. ``length_ms`` is None while it lives."""
    marks = _Marks(out)
    out.print()
    _say(out, Text.assemble(("call ", "dim"), (printable(call_id), "bold")))
    _say(out, Text.assemble((_ending(timeline, outcome, length_ms), "bold"), (f", {_numbers(timeline)}", "dim")))
    if timeline.agent:
        _say(out, Text(f"agent: {printable(timeline.agent)}", style="dim"))
    if timeline.models:
        _say(out, Text(f"model: {'; '.join(printable(model_words(model)) for model in timeline.models)}", style="dim"))
    out.print()
    for row in timeline.rows:
        _show_row(out, row, marks)
    if any(piece.fate == "unheard" for row in timeline.rows for piece in row.pieces):
        out.print()
        _say(out, Text(f"what stands behind {marks.cut} was said, and never heard by the caller", style="dim"))
    form = _form_of_hops(timeline.turns, marks, out.width)
    has_begun = False
    for turn in timeline.turns:
        out.print()
        has_begun = has_begun or turn.turn > 0
        _say(out, _turn_title(turn, has_begun=has_begun))
        for hop in turn.hops:
            out.print(_hop(hop, marks, form, is_culprit=hop.name == turn.culprit))
    out.print()


class _Marks:
    """The signs that this output can show."""

    def __init__(self, out: Console) -> None:
        is_unicode = out.encoding.lower().startswith("utf")
        self.is_plain = out.color_system is None
        self.cut = "‖" if is_unicode else "||"
        self.full, self.empty = ("█", "░") if is_unicode else ("#", ".")


def _say(out: Console, text: Text) -> None:
    """Print ``text`` indented by one column, in as many lines as it takes."""
    for line in text.wrap(out, max(20, out.width - 2)):
        line.rstrip()
        out.print(Text.assemble(" ", line))


def _ending(timeline: Timeline, outcome: str, length_ms: int | None) -> str:
    length = f"{(timeline.so_far_ms if length_ms is None else length_ms) / 1000:.1f} s"
    return f"{outcome_words(outcome)} after {length}" if outcome else f"live, {length} so far"


def _numbers(timeline: Timeline) -> str:
    numbers = [counted(timeline.generations, "generation")]
    numbers += [f"{timeline.cut} cut by the caller"] if timeline.cut else []
    numbers += [f"{timeline.dropped} dropped unheard"] if timeline.dropped else []
    tokens = timeline.tokens_in + timeline.tokens_out
    numbers += [f"{timeline.tokens_in} tokens in, {timeline.tokens_out} out"] if tokens else []
    return ", ".join([*numbers, counted(timeline.events, "event")])


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


def _turn_title(turn: TurnHops, *, has_begun: bool) -> Text:
    """``has_begun``: a turn has had its number before, or has it here. Without one, no answer was asked for."""
    nameless = "between turns" if has_begun else "before the first turn"
    title = Text(f"turn {turn.turn}" if turn.turn else nameless, style="bold")
    title.append(f", generation {turn.generation}" if turn.generation else "")
    why = _WHY_KEPT.get(turn.reason, printable(turn.reason))
    return title.append(f", {why}" if why else "")


class _Form(NamedTuple):
    """How much of a hop's line is shown: the first that fits is taken."""

    bar_columns: int
    has_times: bool


_FORMS = (_Form(20, True), _Form(10, True), _Form(10, False), _Form(0, False))


def _form_of_hops(turns: Sequence[TurnHops], marks: _Marks, columns: int) -> _Form:
    """Return one form for all lines, so that they stand below one another."""
    hops = [(hop, hop.name == turn.culprit) for turn in turns for hop in turn.hops]
    for form in _FORMS:
        if all(len(_hop(hop, marks, form, is_culprit=is_culprit)) <= columns for hop, is_culprit in hops):
            return form
    return _FORMS[-1]


def _hop(hop: HopLine, marks: _Marks, form: _Form, *, is_culprit: bool) -> Text:
    line = Text(f"   {hop.name:<17}{_time(hop.duration_us):>7}  ")
    times = f"  slowest of {hop.count}" if form.has_times and hop.count > 1 else ""
    gap = "  " if form.bar_columns else ""
    if not hop.budget_us:
        return line.append(f"{'no budget':<{15 + form.bar_columns + len(gap)}}{times}".rstrip(), style="dim")
    style = "red" if hop.is_over else "green"
    share = min(1.0, hop.duration_us / hop.budget_us)
    filled = max(1, round(share * form.bar_columns)) if hop.duration_us and form.bar_columns else 0
    line.append(f"of {_time(hop.budget_us):<8}", style="dim")
    line.append(gap).append(marks.full * filled, style=style)
    line.append(marks.empty * (form.bar_columns - filled), style="dim")
    line.append("  OVER" if hop.is_over else "  ok", style=f"bold {style}" if hop.is_over else style)
    return line.append(", the culprit" if is_culprit else "", style=style).append(times, style="dim")


def _time(us: int) -> str:
    if us >= 10_000_000:
        return f"{us / 1_000_000:.1f} s"
    return f"{us / 1000:.0f} ms" if us >= 10_000 else f"{us / 1000:.1f} ms"


def heard_now(who: str, words: str) -> Text:
    """Return a line for the words of a call that is being played."""
    return Text.assemble((who, _COLOUR.get(who, "")), "  ", (words, "dim"))
