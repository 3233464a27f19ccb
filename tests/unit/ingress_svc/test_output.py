from __future__ import annotations

from typing import Any

import pytest
from ingress_svc.domain.chat import ChatMessage
from ingress_svc.domain.effects import (
    AskAgain,
    AttachmentClosed,
    CancelGenerate,
    Close,
    Cut,
    CutReason,
    Effect,
    Ended,
    Finish,
    OpenGenerate,
    PlayoutChanged,
    PlayoutState,
    RequestCut,
    SayAnswer,
    Started,
    Usage,
    Write,
    WriteToolCall,
)
from ingress_svc.domain.output import Output
from ingress_svc.domain.voice import TAIL_CHARS

ASKED = (ChatMessage("user", "a table for four"),)


def attached(*attachment_ids: str) -> Output:
    output = Output()
    for attachment_id in attachment_ids:
        output.attached(attachment_id)
    return output


def start(output: Output, generation: int, attachment_id: str = "a", *, answers_until_ms: int = 1_000) -> list[Effect]:
    return output.start(
        generation, turn=1, attachment_id=attachment_id, answers_until_ms=answers_until_ms, messages=ASKED
    )


def running(generation: int = 1, *, said: str = "", answers_until_ms: int = 1_000) -> Output:
    """An output whose generation runs on attachment "a"."""
    output = attached("a")
    start(output, generation, answers_until_ms=answers_until_ms)
    output.token(generation, said)
    return output


def sounding(generation: int = 1, *, said: str = "Four, then.", answers_until_ms: int = 1_000) -> Output:
    """An output whose generation has had its last token and is still heard."""
    output = running(generation, said=said, answers_until_ms=answers_until_ms)
    output.finished(generation, Finish.STOP)
    return output


def of(effects: list[Effect], *kinds: Any) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kinds)]


# --- one answer, undisturbed ------------------------------------------------------------------------------------------


def test_a_start_opens_the_model_reports_itself_and_tells_that_something_is_prepared() -> None:
    assert start(attached("a"), 1) == [
        OpenGenerate(1, 1, "a", ASKED),
        Started(1, "a"),
        PlayoutChanged(1, PlayoutState.PREPARING, 1_000, answered_tail="a table for four"),
    ]


def test_tokens_leave_as_they_come_and_only_the_first_tells_that_playout_began() -> None:
    output = running()
    assert output.token(1, "Four") == [
        Write("a", 1, "Four"),
        PlayoutChanged(1, PlayoutState.PLAYING, 1_000, "Four", "a table for four"),
    ]
    assert output.token(1, ", then.") == [Write("a", 1, ", then.")]


def test_the_record_names_the_model_that_answered() -> None:
    output = running(said="For when?")
    assert of(output.finished(1, Finish.STOP, model="a/b"), Ended) == [Ended(1, 1, "For when?", model="a/b")]


def test_an_empty_token_is_nothing_said() -> None:
    assert running().token(1, "") == []


def test_the_end_of_the_model_closes_the_request_while_the_agent_sounds_on() -> None:
    output = running(said="For when?")
    assert output.finished(1, Finish.LENGTH) == [
        Close("a", Finish.LENGTH),
        Ended(1, 1, "For when?", Finish.LENGTH),
        PlayoutChanged(1, PlayoutState.PLAYING, 1_000, "For when?", "a table for four"),
    ]
    assert output.voice is not None


def test_token_counts_go_to_whoever_asked_and_into_the_record() -> None:
    output = running(said="For when?")
    effects = output.finished(1, Finish.STOP, Usage(21, 6))
    assert [effect.usage for effect in of(effects, Close, Ended)] == [Usage(21, 6)] * 2
    output.attached("b")
    assert of(output.move(1, "b"), Close) == [Close("a"), Close("b", Finish.STOP, Usage(21, 6))]


def test_barge_in_sees_the_end_of_what_was_said_and_no_more() -> None:
    long = "word " * 100
    playing = of(running(said=long).finished(1, Finish.STOP), PlayoutChanged)
    assert playing == [PlayoutChanged(1, PlayoutState.PLAYING, 1_000, long[-TAIL_CHARS:], "a table for four")]


def test_a_generation_that_said_nothing_is_over_at_its_end() -> None:
    output = running()
    assert output.finished(1, Finish.STOP)[-1] == PlayoutChanged(1, PlayoutState.OVER, 1_000)
    assert output.voice is None


def test_the_providers_silence_ends_what_sounded() -> None:
    output = sounding()
    assert output.agent_fell_silent() == [PlayoutChanged(1, PlayoutState.OVER, 1_000)]
    assert output.agent_fell_silent() == []


def test_the_providers_silence_between_two_sentences_ends_nothing_that_still_runs() -> None:
    output = running(said="One moment.")
    assert output.agent_fell_silent() == []
    assert output.token(1, " Done.") == [Write("a", 1, " Done.")]


def test_what_was_said_to_its_end_may_still_leave_when_the_provider_has_fallen_silent() -> None:
    """Frames may wait for a slow reader; nothing has cut them."""
    output = sounding()
    output.agent_fell_silent()
    assert output.may_write(1)


def test_tool_calls_pass_through_and_may_leave_although_nothing_was_said() -> None:
    output = running()
    piece = output.tool_call(WriteToolCall("", 1, 0, "c", "book", '{"party":'))
    assert piece == [WriteToolCall("a", 1, 0, "c", "book", '{"party":')]
    output.tool_call(WriteToolCall("", 1, 0, "", "", "4}"))
    assert output.finished(1, Finish.TOOL_CALLS)[0] == Close("a", Finish.TOOL_CALLS)
    assert output.may_write(1)


def test_an_apology_is_said_and_recorded_as_part_of_the_failed_answer() -> None:
    output = running(said="Let me")
    assert output.token(1, " Sorry.") == [Write("a", 1, " Sorry.")]
    assert of(output.finished(1, Finish.FAILED), Ended) == [Ended(1, 1, "Let me Sorry.", Finish.FAILED)]


# --- cuts -------------------------------------------------------------------------------------------------------------


def test_a_cut_cancels_closes_and_reports_what_was_said_in_this_order() -> None:
    output = running(said="We have")
    assert output.cut(1, 1_500, "stop_phrase") == [
        CancelGenerate(1),
        Close("a"),
        Cut(1, 1, "We have", CutReason.BARGE_IN, 1_500, "stop_phrase"),
        PlayoutChanged(1, PlayoutState.OVER, 1_000),
    ]
    assert not output.may_write(1)


def test_no_token_or_end_of_a_cut_generation_has_an_effect() -> None:
    output = running(said="We have")
    output.cut(1, 1_500, "stop_phrase")
    assert output.token(1, " a table") == []
    assert output.tool_call(WriteToolCall("", 1, 0, "c", "book", "{}")) == []
    assert output.finished(1, Finish.STOP) == []


def test_d20_a_generation_that_only_sounds_is_cut_without_anything_left_to_cancel() -> None:
    output = sounding()
    assert output.cut(1, 1_500, "stop_phrase") == [
        Cut(1, 1, "Four, then.", CutReason.BARGE_IN, 1_500, "stop_phrase"),
        PlayoutChanged(1, PlayoutState.OVER, 1_000),
    ]
    assert not output.may_write(1)


def test_d21_a_start_after_its_own_cut_never_runs_and_its_request_is_closed() -> None:
    output = attached("a")
    assert output.cut(1, 1_500, "stop_phrase") == [RequestCut(1, 1_500, "stop_phrase")]
    assert start(output, 1, answers_until_ms=2_000) == [Close("a"), Cut(1, 1, "", CutReason.SUPERSEDED)]
    assert not output.may_write(1)


def test_d21_a_late_start_that_answers_words_from_before_a_cut_is_stale() -> None:
    output = running(1)
    output.cut(1, 1_500, "stop_phrase")
    output.attached("b")
    assert start(output, 2, "b", answers_until_ms=1_499) == [Close("b"), Cut(2, 1, "", CutReason.STALE)]
    assert not output.may_write(2)


def test_d22_a_cut_between_two_generations_leaves_the_answer_to_its_own_words_alone() -> None:
    output = running(1)
    output.cut(1, 1_500, "correction")
    output.attached("b")
    assert of(start(output, 2, "b", answers_until_ms=1_500), OpenGenerate)
    assert output.token(2, "Eight") != []


def test_d22_a_cut_through_g_never_touches_g_plus_one_whose_words_are_newer() -> None:
    output = running(1)
    output.attached("b")
    start(output, 2, "b", answers_until_ms=2_000)
    assert output.cut(1, 1_500, "stop_phrase") == [RequestCut(1, 1_500, "stop_phrase")]
    assert output.token(2, "Eight") != []


def test_a_cut_by_time_names_a_newer_generation_that_answers_older_words() -> None:
    """The verdict was given where generation 2 was not known yet."""
    output = running(2, answers_until_ms=1_000)
    assert of(output.cut(1, 1_001, "stop_phrase"), Cut) == [
        Cut(2, 1, "", CutReason.BARGE_IN, 1_001, "stop_phrase"),
    ]
    assert not output.may_write(2)


def test_a_cut_by_words_that_the_answer_knows_does_not_touch_it() -> None:
    output = running(2, answers_until_ms=1_000)
    assert of(output.cut(1, 1_000, "stop_phrase"), Cut) == []
    assert output.may_write(2)


def test_a_second_cut_by_the_same_words_has_no_effect() -> None:
    output = running(said="We have")
    output.cut(1, 1_500, "stop_phrase")
    assert output.cut(1, 1_500, "stop_phrase") == []


def test_an_older_cut_after_a_newer_one_lowers_nothing() -> None:
    output = running(3, answers_until_ms=3_000)
    output.cut(3, 3_500, "stop_phrase")
    assert output.cut(1, 1_500, "stop_phrase") == []
    output.attached("b")
    assert of(start(output, 4, "b", answers_until_ms=3_400), Cut) == [Cut(4, 1, "", CutReason.STALE)]


def test_a_verdict_where_the_output_is_not_goes_on_to_session_svc_once() -> None:
    output = Output()
    assert output.cut(4, 1_500, "opener") == [RequestCut(4, 1_500, "opener")]
    assert output.cut(4, 1_500, "opener") == []
    assert output.cut(4, 1_700, "opener") == [RequestCut(4, 1_700, "opener")]


def test_a_commanded_cut_of_what_is_not_here_is_recorded_so_that_the_command_is_settled() -> None:
    output = Output()
    recorded = [Cut(3, 0, "", CutReason.BARGE_IN, 1_500, "opener")]
    assert output.obey_cut(3, 1_500, CutReason.BARGE_IN, "opener") == recorded
    assert output.obey_cut(3, 1_500, CutReason.BARGE_IN, "opener") == recorded


def test_a_commanded_cut_silences_what_runs() -> None:
    output = running(3)
    assert of(output.obey_cut(3, 0, CutReason.SUPERSEDED, ""), CancelGenerate, Cut) == [
        CancelGenerate(3),
        Cut(3, 1, "", CutReason.SUPERSEDED),
    ]


# --- slow turns; the rest stands in tests/unit/mesh/test_slow_turns.py -----------------------------------------------


def aside() -> Output:
    """An output whose request has ended with a filler."""
    output = running()
    output.set_aside(1, "Moment.")
    output.peer_closed("a", answered=True)
    return output


def test_a_filler_ends_the_request_and_is_heard() -> None:
    output = running()
    assert output.set_aside(1, "Moment.") == [
        Write("a", 1, "Moment."),
        Close("a"),
        PlayoutChanged(1, PlayoutState.PLAYING, 1_000, "Moment.", "a table for four"),
    ]
    assert output.set_aside(1, "Moment.") == []


@pytest.mark.parametrize("begun", ["text", "tool", "end", "cut"])
def test_what_has_begun_to_answer_is_not_slow(begun: str) -> None:
    output = running(said="We" if begun == "text" else "")
    if begun == "tool":
        output.tool_call(WriteToolCall("", 1, 0, "c", "book", "{}"))
    if begun == "end":
        output.finished(1, Finish.STOP)
    if begun == "cut":
        output.cut(1, 1_500, "stop_phrase")
    assert output.set_aside(1, "Moment.") == []


def test_an_answer_aside_is_said_once_it_is_whole_and_then_it_sounds() -> None:
    output = aside()
    assert output.token(1, "Four") + output.token(1, ", then. ") == []
    assert output.finished(1, Finish.LENGTH, Usage(21, 6)) == [SayAnswer(1, "Four, then.")]
    assert output.let_say(1)
    said, playing = output.said(1, accepted=True)
    assert (said.said_text, said.finish, said.usage) == ("Moment. Four, then. ", Finish.LENGTH, Usage(21, 6))
    assert playing.state is PlayoutState.PLAYING
    assert not output.let_say(1)
    assert output.said(1, accepted=True) == []
    assert output.agent_fell_silent() == [PlayoutChanged(1, PlayoutState.OVER, 1_000)]


def test_an_answer_that_was_not_taken_is_not_said_and_over() -> None:
    output = aside()
    output.token(1, "Four.")
    output.finished(1, Finish.STOP)
    output.let_say(1)
    assert output.said(1, accepted=False) == [
        Ended(1, 1, "Moment.", Finish.FAILED),
        PlayoutChanged(1, PlayoutState.OVER, 1_000),
    ]


def test_the_filler_s_end_is_not_the_end_of_an_answer_that_is_still_to_be_said() -> None:
    output = aside()
    assert output.agent_fell_silent() == []
    output.token(1, "Four.")
    assert output.finished(1, Finish.STOP) == [SayAnswer(1, "Four.")]


def test_a_tool_of_the_provider_cannot_be_called_from_aside() -> None:
    output = aside()
    assert output.tool_call(WriteToolCall("", 1, 0, "c", "endCall", "{}")) == []
    assert of(output.finished(1, Finish.TOOL_CALLS), Ended) == [Ended(1, 1, "Moment.", Finish.FAILED)]


# --- starts -----------------------------------------------------------------------------------------------------------


def test_a_second_delivery_of_a_start_changes_nothing() -> None:
    output = running(said="We")
    assert start(output, 1) == [Started(1, "a")]
    assert output.token(1, " have") == [Write("a", 1, " have")]


def test_a_start_that_comes_again_after_its_end_is_not_taken_for_a_refused_one() -> None:
    """A report of a cut would make session-svc forget that the answer was complete."""
    output = sounding()
    output.agent_fell_silent()
    assert start(output, 1) == [Started(1, "a")]
    assert output.may_write(1)


def test_d17_a_newer_start_takes_the_voice_and_the_older_generation_falls_silent_first() -> None:
    output = running(1, said="We")
    output.attached("b")
    effects = start(output, 2, "b")
    assert effects[:3] == [CancelGenerate(1), Close("a"), Cut(1, 1, "We", CutReason.SUPERSEDED)]
    assert of(effects, OpenGenerate) == [OpenGenerate(2, 1, "b", ASKED)]
    assert (output.may_write(1), output.may_write(2)) == (False, True)


def test_a_start_that_comes_behind_a_newer_one_is_refused() -> None:
    output = attached("a", "b")
    start(output, 2, "b")
    assert start(output, 1, "a") == [Close("a"), Cut(1, 1, "", CutReason.SUPERSEDED)]
    assert output.may_write(2)


def test_a_newer_start_that_is_refused_still_ends_the_older_generation() -> None:
    """Otherwise the older one would stay fenced, running and unclosed."""
    output = running(1, answers_until_ms=2_000)
    output.cut(0, 1_800, "stop_phrase")
    output.attached("b")
    effects = start(output, 2, "b", answers_until_ms=1_700)
    assert of(effects, CancelGenerate, Close) == [CancelGenerate(1), Close("a"), Close("b")]
    assert output.voice is None
    assert not output.attachments


def test_an_answer_that_only_sounds_gives_way_without_a_report_of_a_cut() -> None:
    output = sounding()
    output.attached("b")
    effects = start(output, 2, "b")
    assert of(effects, Cut) == []
    assert effects[0] == PlayoutChanged(1, PlayoutState.OVER, 1_000)


def test_a_start_for_a_request_that_was_closed_is_reported_and_never_run() -> None:
    assert start(Output(), 1) == [Cut(1, 1, "", CutReason.PEER_CLOSED)]


# --- the same words again ---------------------------------------------------------------------------------------------


def test_a_move_carries_the_answer_from_its_first_byte_and_closes_the_old_request() -> None:
    output = running(said="We have")
    output.attached("b")
    assert output.move(1, "b") == [Close("a"), Started(1, "b"), Write("b", 1, "We have")]
    assert output.token(1, " a table") == [Write("b", 1, " a table")]
    assert output.peer_closed("a") == []


def test_a_move_before_the_first_token_writes_nothing_yet() -> None:
    output = running()
    output.attached("b")
    assert output.move(1, "b") == [Close("a"), Started(1, "b")]


def test_a_move_takes_tool_calls_along() -> None:
    output = running(said="One moment.")
    output.tool_call(WriteToolCall("", 1, 0, "c", "book", '{"party":'))
    output.attached("b")
    assert output.move(1, "b")[2:] == [
        Write("b", 1, "One moment."),
        WriteToolCall("b", 1, 0, "c", "book", '{"party":'),
    ]


def test_a_move_of_what_sounds_gives_all_of_it_and_closes_as_the_answer_did() -> None:
    output = running(said="Four, then.")
    output.finished(1, Finish.LENGTH)
    output.attached("b")
    assert output.move(1, "b") == [
        Close("a"),
        Started(1, "b"),
        Write("b", 1, "Four, then."),
        Close("b", Finish.LENGTH),
    ]


def test_a_second_delivery_of_a_move_changes_nothing() -> None:
    output = running(said="We")
    output.attached("b")
    output.move(1, "b")
    assert output.move(1, "b") == [Started(1, "b")]


def test_a_move_after_a_cut_asks_for_a_new_answer() -> None:
    output = running(said="We")
    output.cut(1, 1_500, "stop_phrase")
    output.attached("b")
    assert output.move(1, "b") == [AskAgain("b")]


def test_a_move_of_a_generation_whose_start_was_lost_settles_it_and_asks_for_another() -> None:
    """Asking alone would bring the same move again, for ever."""
    output = attached("b")
    assert output.move(1, "b") == [Cut(1, 0, "", CutReason.SUPERSEDED), AskAgain("b")]
    assert of(start(output, 2, "b"), OpenGenerate)
    assert of(start(output, 1, "b"), OpenGenerate) == []


def test_a_move_to_a_request_that_was_closed_leaves_the_answer_where_it_is() -> None:
    output = running(said="We")
    assert output.move(1, "b") == [Started(1, "b")]
    assert output.token(1, " have") == [Write("a", 1, " have")]


def test_a_move_of_what_is_not_here_to_a_request_that_was_closed_asks_for_nothing() -> None:
    assert Output().move(1, "b") == [Cut(1, 0, "", CutReason.SUPERSEDED)]


def test_a_replay_gives_the_whole_answer_and_closes() -> None:
    output = attached("b")
    assert output.replay(1, "b", "Four, then.", 1_000) == [
        Write("b", 1, "Four, then."),
        Close("b"),
        AttachmentClosed("b"),
    ]
    assert output.may_write(1)


def test_a_replayed_answer_can_be_cut() -> None:
    output = attached("b")
    output.replay(1, "b", "Four, then.", 1_000)
    assert of(output.cut(1, 1_500, "stop_phrase"), Cut)
    assert not output.may_write(1)


def test_a_replay_of_what_was_cut_meanwhile_asks_again() -> None:
    output = sounding()
    output.attached("b")
    output.cut(1, 1_500, "stop_phrase")
    assert output.replay(1, "b", "Four, then.", 1_000) == [AskAgain("b")]


def test_a_replay_of_what_was_cut_before_it_was_asked_for_asks_again() -> None:
    output = sounding()
    output.cut(1, 1_500, "stop_phrase")
    output.attached("b")
    assert output.replay(1, "b", "Four, then.", 1_000) == [AskAgain("b")]


def test_a_replay_for_words_before_a_cut_asks_again_however_often_it_comes() -> None:
    output = attached("b")
    output.cut(0, 1_500, "opener")
    assert output.replay(1, "b", "Four, then.", 1_000) == [AskAgain("b")]
    assert output.replay(1, "b", "Four, then.", 1_000) == [AskAgain("b")]
    assert of(output.replay(1, "b", "Four, then.", 1_500), Write) == [Write("b", 1, "Four, then.")]


def test_a_replay_after_the_call_is_a_refusal() -> None:
    output = Output()
    output.call_ended()
    output.attached("b")
    assert output.replay(1, "b", "Four, then.", 1_000) == [Close("b"), AttachmentClosed("b")]


def test_a_second_delivery_of_a_replay_writes_nothing() -> None:
    output = attached("b")
    output.replay(1, "b", "Four, then.", 1_000)
    assert output.replay(1, "b", "Four, then.", 1_000) == [AttachmentClosed("b")]


def test_a_refusal_closes_without_content_and_twice_is_harmless() -> None:
    output = attached("a")
    assert output.refuse("a") == output.refuse("a") == [Close("a"), AttachmentClosed("a")]


# --- peers that leave, calls that end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["", "We have"])
def test_a_peer_that_leaves_while_the_model_runs_cancels_it(said: str) -> None:
    effects = running(said=said).peer_closed("a")
    assert effects[:2] == [CancelGenerate(1), Cut(1, 1, said, CutReason.PEER_CLOSED)]


def test_a_peer_that_leaves_before_any_command_is_reported() -> None:
    assert attached("a").peer_closed("a") == [AttachmentClosed("a")]


def test_a_peer_that_leaves_after_the_end_cuts_nothing() -> None:
    output = sounding()
    assert output.peer_closed("a") == []
    assert output.voice is not None


def test_a_peer_that_leaves_another_request_does_not_touch_the_answer() -> None:
    output = running(said="We")
    output.attached("b")
    assert output.peer_closed("b") == [AttachmentClosed("b")]
    assert output.token(1, " have") == [Write("a", 1, " have")]


def test_a_peer_that_leaves_twice_is_one_peer() -> None:
    output = attached("a")
    output.peer_closed("a")
    assert output.peer_closed("a") == []


def test_the_end_of_the_call_silences_everything_and_closes_every_request() -> None:
    output = running(said="We")
    output.attached("b")
    effects = output.call_ended()
    assert of(effects, Close) == [Close("a"), Close("b")]
    assert of(effects, Cut) == [Cut(1, 1, "We", CutReason.CALL_ENDED)]
    assert not output.may_write(1)


def test_nothing_starts_after_the_end_of_the_call() -> None:
    output = Output()
    output.call_ended()
    output.attached("a")
    assert start(output, 1) == [Close("a"), Cut(1, 1, "", CutReason.CALL_ENDED)]


def test_an_ingress_that_ends_reports_that_it_was_lost_and_not_that_the_call_is_over() -> None:
    assert of(running(said="We").ingress_ends(), Cut) == [Cut(1, 1, "We", CutReason.INGRESS_LOST)]
