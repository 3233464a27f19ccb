from __future__ import annotations

import random

import pytest
from fakes.call_log import answered, asked, caller, cut, dropped, ended, heard, judged, log, over, speaks, started
from voicemesh.session.v1 import session_pb2 as pb
from voicemesh.type.v1 import call_pb2 as t
from voicemesh_cli.timeline import Piece, Row, Timeline, build, words_heard

SAID = "Perfect, a table for four tonight at 7pm. What name may I put it under?"


def _booking(*, correction: str = "Actually - make that 8pm", cut_ms: int = 4000) -> list[pb.CallEvent]:
    return [
        answered(),
        caller(1500, "A table for four tonight at 7pm."),
        asked(1900, "A table for four tonight at 7pm.", 1),
        started(1910, 1),
        speaks(2500),
        ended(3000, 1, SAID),
        speaks(cut_ms, t.PARTY_CALLER),
        cut(cut_ms + 6, 1, SAID, spoken_at_ms=cut_ms, rule="correction"),
        heard(cut_ms + 300, "perfect a table for four tonight"),
        caller(cut_ms + 800, correction),
        over(9000),
    ]


def _of(timeline: Timeline, who: str) -> list[Row]:
    return [row for row in timeline.rows if row.who == who]


def test_an_interrupted_answer_is_parted_where_the_caller_stopped_hearing_it() -> None:
    [agent] = _of(build(log(*_booking())), "agent")
    assert agent.pieces == (
        Piece("Perfect, a table for four tonight", "heard"),
        Piece("at 7pm. What name may I put it under?", "unheard"),
    )
    assert agent.at_ms == 2500
    assert agent.note == "generation 1, heard 6 of 15 words"


def test_a_cut_names_its_rule_the_words_and_how_long_it_took() -> None:
    [mesh] = _of(build(log(*_booking())), "mesh")
    assert mesh.at_ms == 4006
    assert mesh.pieces[0].text == (
        'cuts generation 1: rule correction on "Actually - make that 8pm", 6 ms after Vapi heard it'
    )


def test_a_callers_line_stands_where_the_caller_began_to_speak() -> None:
    assert [row.at_ms for row in _of(build(log(*_booking())), "caller")] == [1500, 4000]


def test_the_tokens_of_a_call_are_those_of_its_generations() -> None:
    timeline = build(log(ended(10, 1, SAID, tokens=(21, 6)), ended(20, 2, SAID), ended(30, 3, SAID, tokens=(40, 5))))
    assert (timeline.tokens_in, timeline.tokens_out) == (61, 11)


def test_other_words_and_times_give_another_timeline() -> None:
    one, other = build(log(*_booking())), build(log(*_booking(correction="Make it nine", cut_ms=5000)))
    assert one.rows != other.rows
    assert _of(other, "caller")[1].pieces == (Piece("Make it nine", "heard"),)
    assert _of(other, "mesh")[0].at_ms == 5006


def test_another_order_of_what_happened_gives_another_timeline() -> None:
    first = build(log(answered(), caller(1000, "Yes."), caller(2000, "No.")))
    second = build(log(answered(), caller(1000, "No."), caller(2000, "Yes.")))
    assert [row.pieces[0].text for row in _of(first, "caller")] == ["Yes.", "No."]
    assert [row.pieces[0].text for row in _of(second, "caller")] == ["No.", "Yes."]


def test_the_order_in_which_events_were_kept_does_not_matter() -> None:
    kept = log(*_booking())
    mixed = kept[:]
    random.Random(7).shuffle(mixed)
    assert build(mixed) == build(kept)


def test_without_a_word_about_what_was_heard_nothing_is_claimed() -> None:
    [agent] = _of(build(log(answered(), started(10, 1), ended(500, 1, SAID))), "agent")
    assert agent.pieces == (Piece(SAID, "unknown"),)


def test_what_was_heard_is_taken_from_the_next_history_where_no_transcript_told_it() -> None:
    history = pb.HistoryReported(tail=[t.ChatMessage(role="assistant", content="perfect a table")])
    told = pb.CallEvent(call_id="vapi:c", at_ms=answered().at_ms + 5000, history=history)
    [agent] = _of(build(log(answered(), started(10, 1), speaks(300), ended(500, 1, SAID), told)), "agent")
    assert agent.pieces[0] == Piece("Perfect, a table", "heard")


def test_what_ingress_knows_was_heard_is_believed_before_any_transcript() -> None:
    known = cut(4000, 1, SAID, spoken_at_ms=3990, rule="stop")
    known.generation_cut.heard_text = "Perfect, a"
    [agent] = _of(build(log(started(10, 1), speaks(300), known, heard(4300, "perfect a table for four"))), "agent")
    assert agent.pieces[0] == Piece("Perfect, a", "heard")


def test_a_generation_that_another_superseded_is_told_with_its_reason_and_is_never_the_agents_line() -> None:
    timeline = build(
        log(
            answered(),
            asked(1000, "Make that", 1),
            started(1010, 1),
            dropped(1400, 1, pb.CUT_REASON_SUPERSEDED, "Very good"),
            asked(1400, "Make that eight", 1),
            started(1410, 2),
            speaks(2000),
            ended(2100, 2, "Eight it is."),
            heard(4000, "eight it is"),
        )
    )
    assert [row.note for row in _of(timeline, "agent")] == ["generation 2"]
    [mesh] = _of(timeline, "mesh")
    assert mesh.pieces == (
        Piece("drops generation 1: a newer request took its place", "told"),
        Piece("Very good", "unheard"),
    )
    assert (timeline.generations, timeline.cut, timeline.dropped) == (2, 0, 1)
    assert any("went on" in row.pieces[0].text for row in _of(timeline, "vapi"))


def test_what_vapi_speaks_by_itself_is_the_agents_line_without_a_generation() -> None:
    [agent] = _of(build(log(answered(), speaks(300), heard(900, "thank you for calling"))), "agent")
    assert agent == Row(300, "agent", (Piece("thank you for calling", "heard"),), "spoken by Vapi")


def test_a_hop_over_its_budget_is_told_from_one_that_kept_it() -> None:
    hops = [
        t.Hop(name="session.fold", duration_us=9_000, budget_us=10_000, count=4),
        t.Hop(name="ingress.ack", duration_us=120_000, budget_us=100_000, count=1),
        t.Hop(name="llm.generate", duration_us=5_000_000),
    ]
    [turn] = build(log(answered(), judged(900, 1, *hops, culprit="ingress.ack"))).turns
    assert [(hop.name, hop.is_over) for hop in turn.hops] == [
        ("ingress.ack", True),
        ("session.fold", False),
        ("llm.generate", False),
    ]
    assert turn.culprit == "ingress.ack"


def test_an_empty_log_is_an_empty_timeline() -> None:
    assert build([]).rows == ()


@pytest.mark.parametrize(
    ("said", "heard_text", "count"),
    [
        ("One two three.", "one two three", 3),
        ("At 7pm, for 4 people?", "at seven pm for", 3),
        ("At 7pm, for 4 people?", "at seven", 2),
        ("Thank you, Alice Moreno. So that is eight.", "thank you alice marino so that", 6),
        ("the cat and the dog and the bird", "the cat and the", 4),
        ("One two three.", "", 0),
        ("", "one", 0),
        ("One two.", "one two three four", 2),
    ],
)
def test_words_heard_are_counted_as_a_transcriber_wrote_them(said: str, heard_text: str, count: int) -> None:
    assert words_heard(said, heard_text) == count
