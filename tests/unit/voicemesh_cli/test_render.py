from __future__ import annotations

import io

import pytest
from fakes.call_log import answered, caller, cut, ended, event, heard, judged, log, speaks, started
from rich.console import Console
from voicemesh.session.v1 import session_pb2 as pb
from voicemesh.type.v1 import call_pb2 as t
from voicemesh_cli import render
from voicemesh_cli.timeline import build

SAID = "Alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa quebec."


class _Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class _Ascii(io.StringIO):
    encoding = "ascii"


def _shown(out: Console, *, words: str = "Stop.") -> None:
    hops = [
        t.Hop(name="ingress.ack", duration_us=4_000, budget_us=100_000, count=9),
        t.Hop(name="session.fold", duration_us=40_000, budget_us=10_000, count=1),
    ]
    events = log(
        answered(),
        started(10, 1),
        speaks(300),
        cut(2000, 1, SAID, spoken_at_ms=1990, rule="stop_phrase"),
        heard(2300, "alpha bravo charlie"),
        caller(2500, words),
        judged(2600, 1, *hops, culprit="session.fold"),
    )
    render.show_timeline(out, build(events), call_id="vapi:c", outcome="caller_hung_up")


def test_a_file_gets_plain_text_of_100_columns_that_tells_heard_from_unheard() -> None:
    file = io.StringIO()
    _shown(render.console(file, {}))
    text = file.getvalue()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert not any(line != line.rstrip() for line in text.splitlines())
    flat = " ".join(text.split())
    assert "Alpha bravo charlie ‖ [delta echo" in flat
    assert "quebec.] (generation 1, heard 3 of 17 words)" in flat
    assert "rule stop_phrase" in text
    assert "OVER, the culprit" in text


@pytest.mark.parametrize(
    ("tokens", "shown"), [((21, 6), "1 generation, 21 tokens in, 6 out, 1 event"), ((0, 0), "n, 1 e")]
)
def test_tokens_are_shown_where_a_provider_counted_them(tokens: tuple[int, int], shown: str) -> None:
    file = io.StringIO()
    timeline = build(log(ended(10, 1, SAID, tokens=tokens)))
    render.show_timeline(render.console(file, {}), timeline, call_id="vapi:c", outcome="")
    assert shown in file.getvalue()


def test_a_terminal_gets_colour_unless_no_color_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    coloured, plain = _Terminal(), _Terminal()
    _shown(render.console(coloured, {}))
    _shown(render.console(plain, {"NO_COLOR": "1"}))
    assert "\x1b[" in coloured.getvalue()
    assert "\x1b" not in plain.getvalue()


def test_an_output_that_knows_ascii_alone_gets_ascii() -> None:
    file = _Ascii()
    _shown(render.console(file, {}))
    assert file.getvalue().isascii()
    assert "||" in file.getvalue()


def test_words_of_a_call_cannot_steer_the_terminal() -> None:
    file = io.StringIO()
    _shown(render.console(file, {}), words="\x1b[2Jgone [bold]not markup[/bold]\r\n")
    assert "\x1b" not in file.getvalue()
    assert "[bold]not markup[/bold]" in file.getvalue()


@pytest.mark.parametrize("columns", [60, 80, 100, 120])
def test_no_line_is_wider_than_its_terminal_and_hops_stand_below_one_another(columns: int) -> None:
    file = _Terminal()
    _shown(Console(file=file, width=columns, color_system=None, highlight=False))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    hops = [line for line in lines if line.startswith("   ") and "  of 1" in line]
    assert len(hops) == 2
    assert hops[0].index("ok") == hops[1].index("OVER")
    assert "OVER, the culprit" in hops[1]
    assert ("█" in hops[1]) == (columns >= 80)


def test_a_call_is_headed_by_how_it_ended_and_by_what_answered_it() -> None:
    file = io.StringIO()
    begun = [answered(), started(10, 1)]
    render.show_timeline(
        render.console(file, {}), build(log(*begun, ended(20, 1, "Hi.", model="a/b"))), call_id="vapi:c", outcome=""
    )
    render.show_timeline(render.console(file, {}), build(log(*begun)), call_id="vapi:c", outcome="failed_mesh")
    assert file.getvalue().count("model:") == 1
    assert " live, 0.0 s so far, 1 generation, 3 events\n model: a/b\n" in file.getvalue()
    assert " failed mesh after 0.0 s, 1 generation, 2 events\n\n" in file.getvalue()


def test_all_models_that_answered_are_named_and_the_scripted_one_as_what_it_is() -> None:
    file = io.StringIO()
    models = ["scripted/booking", "openai/gpt-4.1-mini", "openai/gpt-4.1-mini", ""]
    events = [ended(at, at, "Hi.", model=model) for at, model in enumerate(models, start=1)]
    render.show_timeline(render.console(file, {}), build(log(*events)), call_id="vapi:c", outcome="")
    assert " model: openai/gpt-4.1-mini; scripted/booking (plays a restaurant, no LLM)\n" in file.getvalue()


def test_a_call_is_headed_by_the_agent_that_the_log_named_first() -> None:
    late, early = answered(50), started(10, 1)
    late.agent, early.agent = "sales@1", "sales@2"
    file = io.StringIO()
    render.show_timeline(render.console(file, {}), build(log(late, early)), call_id="vapi:c", outcome="")
    assert " 2 events\n agent: sales@1\n\n" in file.getvalue()


def test_what_no_answer_was_asked_for_in_is_told_from_the_turns_by_its_place() -> None:
    file = io.StringIO()
    hop = t.Hop(name="ingress.ack", duration_us=4_000, budget_us=100_000, count=1)
    turns = [
        event(at_ms, turn_ended=t.TurnEnded(turn=number, generation=number, hops=[hop], reason=reason))
        for at_ms, number, reason in ((100, 0, "cut"), (200, 1, "over_budget"), (300, 0, "sampled"))
    ]
    render.show_timeline(render.console(file, {}), build(log(answered(), *turns)), call_id="vapi:c", outcome="")
    titles = [line for line in file.getvalue().splitlines() if "turn" in line]
    assert titles == [
        " before the first turn, the agent was cut off",
        " turn 1, generation 1, over budget",
        " between turns",
    ]


def test_a_status_without_a_word_of_ours_is_shown_as_it_is() -> None:
    timeline = build(log(event(0, call_status=pb.CallStatus(phase=pb.CALL_PHASE_FORWARDING))))
    assert timeline.rows[0].pieces[0].text == "the call is forwarding"
