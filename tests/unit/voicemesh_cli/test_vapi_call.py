from __future__ import annotations

from pathlib import Path

import pytest
from fakes.virtual_vapi import Sent, recorded, run
from voicemesh_cli import commands
from voicemesh_cli.recording import parse
from voicemesh_cli.vapi_events import LlmFailed

GREETING = {"first_message": "One two three four five six seven eight nine ten."}
LONG = "Alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa."


def _history(sent: Sent) -> list[tuple[str, str]]:
    """The messages of the last request, without the system prompt."""
    return [(message["role"], message["content"]) for message in sent.opened[-1][2][1:]]


def test_a_greeting_is_cut_at_the_word_and_the_history_holds_what_was_heard() -> None:
    sent = run(
        recorded(
            {"after": "agent_said:3", "caller": "partial", "text": "I need"},
            {"after": "previous", "ms": 900, "caller": "final", "text": "I need a table."},
            {"after": "agent_done", "hangup": True},
            assistant=GREETING,
            speech_words_per_s=2,
            vapi_cuts_after_ms=600,
        ),
        lambda words: "Certainly.",
    )
    # Three words at 2 a second, 600 ms to Vapi's cut: four whole words were heard.
    assert _history(sent) == [("assistant", "one two three four"), ("user", "I need a table.")]
    stopped_ms, _ = sent.of("speech-update", role="assistant", status="stopped")[0]
    assert stopped_ms == 900 + 1500 + 600
    _, final = sent.of("transcript", role="assistant", transcriptType="final")[0]
    assert final["transcript"] == "one two three four"
    assert len(sent.of("user-interrupted")) == 1


def test_a_greeting_that_may_not_be_interrupted_is_heard_to_its_end() -> None:
    sent = run(
        recorded(
            {"after": "agent_said:3", "caller": "final", "text": "I need a table."},
            {"after": "agent_done", "ms": 10, "hangup": True},
            assistant={**GREETING, "firstMessageInterruptionsEnabled": False},
        )
    )
    assert sent.of("user-interrupted") == []
    assert _history(sent)[0] == ("assistant", "one two three four five six seven eight nine ten")


def test_the_caller_who_goes_on_makes_vapi_close_the_request_and_ask_again_with_more_words() -> None:
    sent = run(
        recorded(
            {"at_ms": 0, "caller": "final", "text": "Make that"},
            {"at_ms": 400, "caller": "final", "text": "eight."},
            {"after": "agent_done", "hangup": True},
            endpointing_ms=200,
        ),
        lambda words: "Eight it is.",
        first_text_ms=1000,
    )
    assert sent.asked() == ["Make that", "Make that eight."]
    assert [request for _, request in sent.closed] == [1]
    assert [sum(m["role"] == "user" for m in messages) for _, _, messages in sent.opened] == [1, 1]


def test_a_burst_of_corrections_opens_requests_that_supersede_each_other_and_one_answer_is_spoken() -> None:
    sent = run(
        recorded(
            {"at_ms": 0, "caller": "partial", "text": "Actually"},
            {"at_ms": 250, "caller": "partial", "text": "Actually - no wait"},
            {"at_ms": 590, "caller": "final", "text": "Actually - no wait - make that 8pm"},
            {"after": "agent_done", "hangup": True},
            eager_endpointing_ms=100,
        ),
        lambda words: f"You said {words}.",
    )
    assert sent.asked() == ["Actually", "Actually - no wait", "Actually - no wait - make that 8pm"]
    assert [request for _, request in sent.closed] == [1, 2]
    assert len(sent.of("speech-update", role="assistant", status="started")) == 1


def test_an_eager_answer_is_kept_when_the_final_has_the_same_words_and_spoken_after_the_turn() -> None:
    sent = run(
        recorded(
            {"at_ms": 0, "caller": "partial", "text": "Make it eight"},
            {"at_ms": 1000, "caller": "final", "text": "Make it eight"},
            {"after": "agent_done", "hangup": True},
            eager_endpointing_ms=100,
            endpointing_ms=300,
        ),
        lambda words: "Eight it is.",
        first_text_ms=50,
    )
    assert len(sent.opened) == 1
    assert sent.closed == []
    [(started_ms, _)] = sent.of("speech-update", role="assistant", status="started")
    assert started_ms >= 1300


def test_an_interrupted_answer_has_its_request_closed_and_its_heard_part_in_the_next_history() -> None:
    sent = run(
        recorded(
            {"at_ms": 0, "caller": "final", "text": "Talk."},
            {"after": "agent_said:3", "caller": "final", "text": "Stop that."},
            {"after": "agent_done", "hangup": True},
            speech_words_per_s=2,
            vapi_cuts_after_ms=100,
        ),
        lambda words: LONG if words == "Talk." else "Done.",
        word_ms=900,
    )
    assert sent.closed[0][1] == 1
    assert _history(sent) == [("user", "Talk."), ("assistant", "alpha bravo charlie"), ("user", "Stop that.")]


def test_an_acknowledgement_neither_interrupts_nor_begins_a_turn_while_the_agent_speaks() -> None:
    sent = run(
        recorded(
            {"at_ms": 0, "caller": "final", "text": "Talk."},
            {"after": "agent_said:2", "caller": "partial", "text": "Uh-huh"},
            {"after": "previous", "ms": 300, "caller": "final", "text": "Uh-huh."},
            {"after": "agent_done", "ms": 1000, "hangup": True},
            vapi_cuts_after_ms=100,
        ),
        lambda words: LONG,
    )
    assert sent.of("user-interrupted") == []
    assert sent.asked() == ["Talk."]
    [(_, final)] = sent.of("transcript", role="assistant", transcriptType="final")
    assert final["transcript"] == LONG.lower().rstrip(".")


def test_without_barge_in_of_its_own_vapi_plays_on_until_the_callers_turn_is_over() -> None:
    sent = run(
        recorded(
            {"at_ms": 0, "caller": "final", "text": "Talk."},
            {"after": "agent_said:2", "caller": "final", "text": "Stop that."},
            {"after": "previous", "ms": 1200, "hangup": True},
            vapi_cuts_after_ms=None,
            endpointing_ms=1100,
            speech_words_per_s=2,
        ),
        lambda words: LONG,
    )
    assert _history(sent)[1] == ("assistant", "alpha bravo charlie delta")


def test_noise_without_words_ends_by_itself_and_the_call_goes_on() -> None:
    sent = run(
        recorded(
            {"at_ms": 0, "caller": "voice"},
            {"at_ms": 2000, "caller": "final", "text": "Hello."},
            {"after": "agent_done", "hangup": True},
        ),
        lambda words: "Hello to you.",
    )
    assert [at for at, _ in sent.of("speech-update", role="user", status="stopped")] == [600, 2020]
    assert len(sent.of("speech-update", role="assistant", status="started")) == 1


def test_an_empty_answer_is_silence_and_vapi_says_that_the_agent_hangs() -> None:
    sent = run(recorded({"at_ms": 0, "caller": "final", "text": "Hello?"}, {"at_ms": 9000, "hangup": True}))
    assert sent.of("speech-update", role="assistant") == []
    assert [at for at, _ in sent.of("hang")] == [5700]


def test_a_call_in_which_nobody_speaks_ends_by_silence() -> None:
    sent = run(recorded({"after": "agent_started", "hangup": True}, silence_ms=4000))
    assert sent.of("status-update", status="ended")[0][1]["endedReason"] == "silence-timed-out"


def test_a_request_that_fails_for_good_ends_the_call() -> None:
    call = recorded({"at_ms": 0, "caller": "final", "text": "Hello?"}, {"after": "agent_done", "hangup": True})
    sent = run(call, first_text_ms=60_000, happenings=[(900, LlmFailed(1))])
    assert "custom-llm" in sent.of("end-of-call-report")[0][1]["endedReason"]


def test_recorded_messages_are_replayed_as_they_stand_and_nothing_is_put_around_them() -> None:
    sent = run(
        recorded(
            {"at_ms": 5, "webhook": {"message": {"type": "hang", "call": {"id": "other"}, "timestamp": 17}}},
            {"at_ms": 9, "webhook": {"message": {"type": "hang"}}},
            {"at_ms": 10, "webhook": {"type": "transcript", "anything": 1, "message": None}},
            {"at_ms": 20, "llm": {"messages": [{"role": "user", "content": "hi"}]}, "close_after_ms": 30},
        ),
        lambda words: LONG,
    )
    assert sent.bodies[0] == {"message": {"type": "hang", "call": {"id": "other"}, "timestamp": 17}}
    assert sent.bodies[1]["message"]["call"] == {"id": "call-1"}
    assert sent.bodies[1]["message"]["timestamp"] == 1_700_000_000_009
    assert sent.bodies[2] == {"type": "transcript", "anything": 1, "message": None}
    assert sent.opened[0][2] == [{"role": "user", "content": "hi"}]
    assert sent.closed == [(50, 1)]
    assert len(sent.bodies) == 3


def test_a_call_played_faster_has_the_same_words_in_less_time() -> None:
    call = parse(commands.SAMPLE.read_text())
    slow, fast = run(call, lambda words: LONG), run(call, lambda words: LONG, speed=4)
    assert slow.asked() == fast.asked()
    assert slow.of("end-of-call-report")[0][1]["durationMs"] == pytest.approx(
        4 * fast.of("end-of-call-report")[0][1]["durationMs"], abs=4
    )


def test_the_sample_interrupts_the_greeting_and_one_answer_and_is_over_in_25_seconds() -> None:
    sent = run(
        parse(Path(commands.SAMPLE).read_text()),
        lambda words: "Of course, I have a table for four tonight. And under what name, please?",
    )
    assert len(sent.of("user-interrupted")) == 2
    assert sent.ended_ms <= 25_000
    assert sent.of("status-update", status="ended")[0][1]["endedReason"] == "customer-ended-call"
    burst = [at for at, m in sent.of("transcript", role="user") if m["transcript"].startswith("Actually")]
    assert len(burst) == 3
    assert burst[-1] - burst[0] <= 600


def test_every_message_carries_call_assistant_number_and_history_as_vapis_do() -> None:
    sent = run(recorded({"at_ms": 0, "caller": "final", "text": "Hi."}, {"at_ms": 50, "hangup": True}))
    for body in sent.bodies:
        message = body["message"]
        assert message["call"]["id"] == "call-1"
        assert {"timestamp", "assistant", "artifact", "phoneNumber", "customer"} <= message.keys()
        assert message["artifact"]["messagesOpenAIFormatted"][0]["role"] == "system"
