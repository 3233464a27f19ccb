import json

import pytest
from fakes.vapi_samples import AT_MS, CALL, NAMES, SAMPLES, message, sample
from ingress_svc.domain.asks import (
    AssistantRequest,
    EndpointingRequest,
    FunctionCall,
    HandoffRequest,
    KnowledgeRequest,
    PhoneControl,
    PredialRequest,
    ToolCall,
    ToolCalls,
    TransferRequest,
    VoiceRequest,
)
from ingress_svc.domain.chat import MAX_TEXT_CHARS, ChatMessage
from ingress_svc.domain.vapi import (
    UNKNOWN_TYPES,
    AgentSilent,
    BadReason,
    BadWebhook,
    Body,
    CallReported,
    CallStatus,
    HistoryReported,
    Party,
    Phase,
    ProviderInterrupted,
    SpeechEdge,
    Unknown,
    Webhook,
    Words,
    decode,
)

SID = "CA00000000000000000000000000000001"
RECEIVED_MS = 1_787_428_900_000
TABLE = "I need a table for four tonight at seven."
GREETING = "Thank you for calling. I can help you"
TAIL = (ChatMessage("assistant", GREETING), ChatMessage("user", TABLE))
HISTORY = HistoryReported(TAIL, 1)
BOOK_ID = "call_000000000000000000000001"
BOOK = ToolCalls((ToolCall(BOOK_ID, "book_table", {"party_size": 4, "time": "19:00"}),))

EXPECTED: dict[str, tuple[int | None, Body]] = {
    "server/assistant-request": (1787428800000, AssistantRequest("+15005550101", "+15005550006")),
    "server/assistant.speechStarted.text": (1787428802905, Unknown("assistant.speechStarted")),
    "server/assistant.speechStarted.word-alignment": (1787428807905, Unknown("assistant.speechStarted")),
    "server/assistant.started": (1787428801600, Unknown("assistant.started")),
    "server/call.artifact.upload": (1787428847000, Unknown("call.artifact.upload")),
    "server/call.delete.failed": (1787428800000, Unknown("call.delete.failed")),
    "server/call.deleted": (1787428800000, Unknown("call.deleted")),
    "server/chat.deleted": (1787428800000, Unknown("chat.deleted")),
    "server/conversation-update": (1787428806949, HISTORY),
    "server/end-of-call-report": (1787428844380, CallReported("customer-ended-call", 40_000, 0.0543)),
    "server/hang": (1787428812249, AgentSilent()),
    "server/knowledge-base-request": (1787428807000, KnowledgeRequest(TAIL)),
    "server/language-change-detected": (1787428807000, Unknown("language-change-detected")),
    "server/model-output.token": (1787428807554, Unknown("model-output")),
    "server/phone-call-control.hang-up": (1787428840000, PhoneControl("hang-up")),
    "server/session.created": (1787428800000, Unknown("session.created")),
    "server/session.deleted": (1787428800000, Unknown("session.deleted")),
    "server/speech-update.assistant-started": (1787428802900, SpeechEdge(Party.AGENT, True, "turn:0")),
    "server/speech-update.assistant-stopped": (1787428804985, SpeechEdge(Party.AGENT, False, "turn:0")),
    "server/speech-update.user-started": (1787428804780, SpeechEdge(Party.CALLER, True, "turn:1")),
    "server/status-update.ended": (1787428841580, CallStatus(Phase.ENDED, "customer-ended-call", SID)),
    "server/status-update.in-progress": (1787428801500, CallStatus(Phase.IN_PROGRESS, "", SID)),
    "server/tool-calls.docs-flat-arguments": (1787428808000, BOOK),
    "server/tool-calls.schema-string-args": (1787428808000, BOOK),
    "server/tool-calls.wire-object-args": (1787428808000, BOOK),
    "server/transcript-final-only.user": (1787428806950, Words(Party.CALLER, True, TABLE)),
    "server/transcript.final.assistant": (1787428805100, Words(Party.AGENT, True, GREETING)),
    "server/transcript.final.user": (1787428806950, Words(Party.CALLER, True, TABLE)),
    "server/transcript.partial.user": (1787428804950, Words(Party.CALLER, False, "I need")),
    "server/transfer-destination-request": (1787428820000, TransferRequest(TAIL)),
    "server/user-interrupted": (1787428804980, ProviderInterrupted("6e0d5c4b-3a29-4180-9f7e-8d6c5b4a3928")),
    "server/voice-input": (1787428807555, Unknown("voice-input")),
    "server/voice-request": (1787428807600, VoiceRequest("Perfect, I can book that for you.", 24_000)),
    "server_made/call.endpointing.request": (1787428806960, EndpointingRequest(TAIL)),
    "server_made/campaign.predial": (
        1787428790000,
        PredialRequest(
            "5b1f0d3c-7a51-4a55-8e52-2d6f3c8d6a77", "c0ffee00-7a51-4a55-8e52-2d6f3c8d6a78", "+15005550101", "Ada"
        ),
    ),
    "server_made/chat.created": (1787428800000, Unknown("chat.created")),
    "server_made/function-call.arguments": (
        1787428808000,
        FunctionCall(ToolCall(BOOK_ID, "book_table", {"party_size": 4})),
    ),
    "server_made/handoff-destination-request": (1787428821000, HandoffRequest({"department": "billing"}, TAIL)),
    "server_made/phone-call-control.forward": (
        1787428839000,
        PhoneControl("forward", "+15005550199", "", "One moment."),
    ),
    "server_made/session.updated": (1787428800000, Unknown("session.updated")),
    "server_made/tool-calls.docs-flat-parameters": (1787428808000, BOOK),
    "server_made/transfer-update": (1787428822000, Unknown("transfer-update")),
    "server_legacy/function-call": (None, FunctionCall(ToolCall("", "book_table", {"party_size": 4}))),
    "server_legacy/language-changed": (None, Unknown("language-change-detected")),
    "seed_shape/end-of-call-report": (None, CallReported()),
    "seed_shape/speech-update.started": (None, SpeechEdge(Party.AGENT, True, "stream_abc")),
    "seed_shape/speech-update.stopped": (None, SpeechEdge(Party.AGENT, False, "stream_abc")),
    "seed_shape/transcript.final": (None, Words(Party.CALLER, True, "I need a table for four tonight at 7pm")),
    "seed_shape/transcript.partial": (None, Words(Party.CALLER, False, "I need")),
}
ABOUT_NO_CALL = {
    "server/chat.deleted",
    "server/session.created",
    "server/session.deleted",
    "server_made/campaign.predial",
    "server_made/chat.created",
    "server_made/session.updated",
}


def read(body: object, *, header: str | None = None, raw: bytes | None = None) -> Webhook:
    raw = json.dumps(body).encode() if raw is None else raw
    return decode(body, received_at_ms=RECEIVED_MS, header_call_id=header, raw=raw)


def refusal(body: object, *, header: str | None = None) -> BadReason:
    with pytest.raises(BadWebhook) as caught:
        read(body, header=header)
    return caught.value.reason


def test_every_sample_is_expected_to_mean_something() -> None:
    assert set(NAMES) == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_d1_each_documented_message_says_what_it_says(name: str) -> None:
    webhook = read(sample(name))
    at_ms, body = EXPECTED[name]
    assert webhook.body == body
    assert webhook.call_id == ("" if name in ABOUT_NO_CALL else f"vapi:{CALL}")
    assert (webhook.at_ms, webhook.has_time) == ((at_ms, True) if at_ms else (RECEIVED_MS, False))
    assert webhook.dropped_chars == 0


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_d1_no_known_type_is_counted_as_other(name: str) -> None:
    body = read(sample(name)).body
    assert not isinstance(body, Unknown) or body.counted_as == body.type_name != "other"


@pytest.mark.parametrize("name", sorted(UNKNOWN_TYPES))
def test_every_value_of_the_counter_of_unknown_types_can_occur(name: str) -> None:
    body = read(message(type=name, status="on-the-moon")).body
    assert isinstance(body, Unknown)
    assert body.counted_as == name


@pytest.mark.parametrize(
    ("type_name", "known_as"),
    [
        ("voice-input", "voice-input"),
        ("assistant.speech-started", "assistant.speechStarted"),
        ("assistant-started", "assistant.started"),
        ("brand.new-type", "brand.new-type"),
        ("x" * 65, "other"),
        ("+1 500 555 0101", "other"),
        ("", "other"),
    ],
)
def test_d1_an_unknown_type_is_an_answer_and_its_name_is_harmless(type_name: str, known_as: str) -> None:
    assert read(message(type=type_name)).body == Unknown(known_as)


def test_an_undocumented_type_adds_no_value_to_the_counter() -> None:
    body = read(message(type="brand.new-type")).body
    assert isinstance(body, Unknown)
    assert body.counted_as == "other"


# --- calls ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "header", "call_id"),
    [
        ({"message": {"type": "hang", "call": {"id": "a"}, "callId": "c"}, "call": {"id": "b"}}, "d", "vapi:a"),
        ({"message": {"type": "hang", "callId": "c"}, "call": {"id": "b"}}, "d", "vapi:b"),
        ({"message": {"type": "hang", "callId": "c"}}, "d", "vapi:c"),
        ({"message": {"type": "hang"}}, "d", "vapi:d"),
        ({"message": {"type": "hang", "call": {"id": 7}}}, "d", "vapi:d"),
        ({"type": "hang", "call": {"id": "a"}}, None, "vapi:a"),
        ({"message": {"type": "hang", "call": {"id": "x" * 195}}}, None, "vapi:" + "x" * 195),
    ],
)
def test_the_call_is_named_by_the_first_place_that_has_a_usable_id(
    body: dict[str, object], header: str | None, call_id: str
) -> None:
    assert read(body, header=header).call_id == call_id


@pytest.mark.parametrize("bad", [None, "", " ", 7, True, [], {}, "x" * 196, "a b", "a\nb", "é", "\ud800", "a\x00"])
@pytest.mark.parametrize("type_name", ["transcript", "speech-update", "status-update", "hang", "end-of-call-report"])
def test_d12_an_event_without_a_usable_call_id_is_refused(bad: object, type_name: str) -> None:
    body = message(type=type_name, call={"id": bad}, role="user", transcript="hi", status="started")
    assert refusal(body) is BadReason.NO_CALL_ID
    assert refusal({"message": {"type": type_name}}) is BadReason.NO_CALL_ID


def test_d12_a_message_about_no_call_never_names_one() -> None:
    assert read({"message": {"type": "chat.deleted", "chat": {"id": "c"}}}).call_id == ""


# --- words and speech ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "final"),
    [
        ({"type": "transcript", "transcriptType": "final"}, True),
        ({"type": "transcript", "transcriptType": "partial"}, False),
        ({"type": "transcript", "isFinal": True}, True),
        ({"type": "transcript", "isFinal": False}, False),
        ({"type": "transcript", "isFinal": "true"}, False),
        ({"type": "transcript", "transcriptType": 1}, False),
        ({"type": "transcript"}, False),
        ({"type": 'transcript[transcriptType="final"]'}, True),
        ({"type": "transcript[transcriptType='final']"}, True),
        ({"type": 'transcript[transcriptType="partial"]'}, False),
        ({"type": 'transcript[transcriptType="final"]', "transcriptType": "partial"}, False),
        ({"type": "transcript.final"}, True),
        ({"type": "transcript.partial"}, False),
    ],
)
def test_words_are_final_only_where_the_message_says_so(fields: dict[str, object], final: bool) -> None:
    webhook = read(message(role="user", transcript="hi", **fields))
    assert webhook.body == Words(Party.CALLER, final, "hi")


def test_the_text_may_stand_in_the_older_field() -> None:
    assert read(message(type="transcript", role="user", text="hi")).body == Words(Party.CALLER, False, "hi")


@pytest.mark.parametrize("transcript", [12345, None, True, [], {}, 1.5])
def test_d11_words_that_are_no_text_are_refused(transcript: object) -> None:
    assert refusal(message(type="transcript", role="user", transcript=transcript)) is BadReason.BAD_FIELD


def test_d11_a_null_message_is_refused() -> None:
    assert refusal({"type": "transcript", "message": None}) is BadReason.NO_CALL_ID
    assert refusal({"message": None}) is BadReason.NO_TYPE


@pytest.mark.parametrize("body", [None, 1, "x", [], [{"message": {}}], True])
def test_d11_a_body_that_is_no_object_is_refused(body: object) -> None:
    assert refusal(body) is BadReason.NOT_AN_OBJECT


@pytest.mark.parametrize(
    ("role", "party"), [("user", Party.CALLER), ("assistant", Party.AGENT), ("bot", Party.AGENT), (None, None)]
)
def test_d24_the_role_decides_whose_words_and_whose_speech_it_is(role: str | None, party: Party | None) -> None:
    fields = {} if role is None else {"role": role}
    words = read(message(type="transcript", transcript="hi", **fields)).body
    speech = read(message(type="speech-update", status="started", turn=3, **fields)).body
    assert words == Words(party or Party.CALLER, False, "hi")
    assert speech == SpeechEdge(party or Party.AGENT, True, "turn:3")


@pytest.mark.parametrize("role", ["system", "tool", "", "User", 3, [], {"a": 1}])
def test_d24_a_strange_role_is_nobodys_speech(role: object) -> None:
    assert refusal(message(type="speech-update", status="started", role=role)) is BadReason.BAD_FIELD
    assert refusal(message(type="transcript", transcript="hi", role=role)) is BadReason.BAD_FIELD


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"turnId": "t", "turn": 3, "streamId": "s"}, "t"),
        ({"turn": 3, "streamId": "s"}, "turn:3"),
        ({"turn": 0}, "turn:0"),
        ({"streamId": "s"}, "s"),
        ({"turn": True}, ""),
        ({"turn": -1}, ""),
        ({"turn": "3"}, ""),
        ({"turnId": "x" * 196}, ""),
        ({"turnId": 5, "streamId": "a b"}, ""),
        ({}, ""),
    ],
)
def test_d24_a_stretch_of_speech_is_named_by_vapis_turn(fields: dict[str, object], name: str) -> None:
    assert read(message(type="speech-update", status="started", **fields)).body == SpeechEdge(Party.AGENT, True, name)
    assert read(message(type="user-interrupted", **fields)).body == ProviderInterrupted(name)


@pytest.mark.parametrize("status", [None, "", "begun", 1, [], {}])
def test_an_edge_is_a_start_or_a_stop(status: object) -> None:
    assert refusal(message(type="speech-update", status=status)) is BadReason.BAD_FIELD


def test_words_over_the_cap_are_cut_and_the_cut_is_counted() -> None:
    webhook = read(message(type="transcript", role="user", transcript="é" * (MAX_TEXT_CHARS + 5)))
    assert webhook.body == Words(Party.CALLER, False, "é" * MAX_TEXT_CHARS)
    assert webhook.dropped_chars == 5


def test_a_lone_surrogate_never_leaves_the_edge() -> None:
    webhook = read(message(type="transcript", role="user", transcript="a\ud83d b"))
    assert webhook.body == Words(Party.CALLER, False, "a? b")


# --- status and report ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ("scheduled", Phase.RINGING),
        ("queued", Phase.RINGING),
        ("ringing", Phase.RINGING),
        ("in-progress", Phase.IN_PROGRESS),
        ("forwarding", Phase.FORWARDING),
        ("ended", Phase.ENDED),
    ],
)
def test_a_status_is_a_phase_of_the_call(status: str, phase: Phase) -> None:
    ended_reason = "customer-ended-call" if phase is Phase.ENDED else ""
    webhook = read(message(type="status-update", status=status, endedReason="customer-ended-call"))
    assert webhook.body == CallStatus(phase, ended_reason)


@pytest.mark.parametrize("status", ["not-found", "deletion-failed", "brand-new", "\ud800"])
def test_a_status_that_is_no_phase_is_counted_only(status: str) -> None:
    assert read(message(type="status-update", status=status)).body == Unknown("status-update")


@pytest.mark.parametrize("status", [None, 1, [], {}])
def test_a_status_that_is_no_text_is_refused(status: object) -> None:
    assert refusal(message(type="status-update", status=status)) is BadReason.BAD_FIELD


def test_the_carriers_id_may_stand_in_the_transport() -> None:
    call = {"id": CALL, "phoneCallProviderId": 7, "transport": {"callSid": SID}}
    assert read(message(type="status-update", status="ringing", call=call)).body == CallStatus(Phase.RINGING, "", SID)


@pytest.mark.parametrize(
    ("fields", "duration_ms"),
    [
        ({"durationMs": 40_000, "durationSeconds": 1}, 40_000),
        ({"durationSeconds": 40.5}, 40_500),
        ({"startedAt": "2026-08-22T20:00:01.500Z", "endedAt": "2026-08-22T20:00:41.500Z"}, 40_000),
        ({"startedAt": "2026-08-22T20:00:01.500", "endedAt": "2026-08-22T22:00:41.500+02:00"}, 40_000),
        ({"startedAt": "2026-08-22T20:00:41Z", "endedAt": "2026-08-22T20:00:01Z"}, 0),
        ({"startedAt": "yesterday", "endedAt": "2026-08-22T20:00:01Z"}, 0),
        ({"durationMs": "40000"}, 0),
        ({"durationMs": True}, 0),
        ({"durationMs": -1, "durationSeconds": 10**400}, 0),
        ({"durationMs": float("nan"), "durationSeconds": float("inf")}, 0),
        ({}, 0),
    ],
)
def test_the_length_of_a_call_is_read_where_it_is_credible(fields: dict[str, object], duration_ms: int) -> None:
    report = read(message(type="end-of-call-report", endedReason="silence-timed-out", **fields)).body
    assert report == CallReported("silence-timed-out", duration_ms)


@pytest.mark.parametrize(
    ("sent", "cost_usd"),
    [(0.0543, 0.0543), (0, 0.0), (True, None), (-1, None), ("0.05", None), (float("nan"), None), (10**400, None)],
)
def test_a_report_says_what_the_call_cost_where_that_is_a_cost(sent: object, cost_usd: float | None) -> None:
    report = read(message(type="end-of-call-report", cost=sent)).body
    assert report == CallReported("", 0, cost_usd)


@pytest.mark.parametrize("reason", [None, 5, "", "x" * 196, "a\nb", "é"])
def test_an_unusable_reason_reads_as_none(reason: object) -> None:
    assert read(message(type="end-of-call-report", endedReason=reason)).body == CallReported()


# --- time and identity ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timestamp", "at_ms"),
    [
        (1787428804980, 1787428804980),
        (1787428804980.7, 1787428804980),
        ("2026-08-22T20:00:04.980Z", 1787428804980),
        ("2026-08-22T22:00:04.980+02:00", 1787428804980),
        ("2026-08-22T20:00:04.980", 1787428804980),
        (RECEIVED_MS + 24 * 3_600_000, RECEIVED_MS + 24 * 3_600_000),
        (RECEIVED_MS + 24 * 3_600_000 + 1, None),
        (1787428804, None),
        (0, None),
        (-1, None),
        (10**400, None),
        (float("nan"), None),
        (float("inf"), None),
        (True, None),
        (None, None),
        ("soon", None),
        ("9999-12-31T23:59:59-14:00", None),
        ([], None),
    ],
)
def test_a_time_that_cannot_be_is_no_time(timestamp: object, at_ms: int | None) -> None:
    webhook = read(message(type="hang", timestamp=timestamp))
    assert (webhook.at_ms, webhook.has_time) == ((at_ms, True) if at_ms else (RECEIVED_MS, False))


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_d15_an_event_delivered_again_has_the_same_id(name: str) -> None:
    raw = (SAMPLES / f"{name}.json").read_bytes()
    first, again = (
        read(json.loads(raw), raw=raw),
        decode(json.loads(raw), received_at_ms=RECEIVED_MS + 5_000, header_call_id=None, raw=raw),
    )
    assert first.event_id == again.event_id
    assert len(first.event_id) == 24
    assert int(first.event_id, 16) >= 0


@pytest.mark.parametrize("name", ["server/end-of-call-report", "server/conversation-update"])
def test_d15_presigned_urls_do_not_make_a_delivery_a_new_event(name: str) -> None:
    first, again = sample(name), sample(name)
    again["message"]["recordingUrl"] = "https://storage.example.com/a.wav?signature=another"
    again["message"]["artifact"]["presignedUrlsExpiresAt"] = "2026-08-23T20:00:00Z"
    assert read(first).event_id == read(again).event_id


def test_d15_a_time_out_of_our_window_still_identifies_its_event() -> None:
    body = message(type="hang", timestamp=RECEIVED_MS + 24 * 3_600_000 + 1)
    late = decode(body, received_at_ms=RECEIVED_MS + 5, header_call_id=None, raw=b"other bytes")
    assert read(body).event_id == late.event_id
    assert (read(body).has_time, late.has_time) == (False, True)


def test_happenings_that_differ_in_any_part_of_their_identity_have_different_ids() -> None:
    words: dict[str, object] = {
        "type": "transcript",
        "role": "user",
        "transcriptType": "partial",
        "transcript": "I need",
    }
    speech = _speech("started", "user", 1)
    variants: list[dict[str, object]] = [
        words,
        words | {"transcript": "I need a"},
        words | {"transcriptType": "final"},
        words | {"role": "assistant"},
        words | {"timestamp": AT_MS - 1},
        words | {"call": {"id": "another"}},
        words | {"turnId": "t"},
        speech,
        speech | {"status": "stopped"},
        speech | {"role": "assistant"},
        speech | {"turn": 2},
        {"type": "status-update", "status": "ringing"},
        {"type": "status-update", "status": "queued"},
        {"type": "user-interrupted", "turnId": "t"},
        {"type": "user-interrupted", "turnId": "u"},
        {"type": "hang"},
        {"type": "end-of-call-report"},
        {"type": "conversation-update", "messages": [{"role": "user", "message": "a"}]},
        {"type": "conversation-update", "messages": [{"role": "user", "message": "b"}]},
        {"type": "model-output"},
        {"type": "voice-input"},
    ]
    assert len({read(message(**fields)).event_id for fields in variants}) == len(variants)


def test_without_a_time_the_bytes_are_the_identity() -> None:
    body = {"type": "transcript", "message": {"call": {"id": CALL}, "role": "user", "transcript": "yes"}}
    assert read(body, raw=b"{}").event_id == read(body, raw=b"{}").event_id
    assert read(body, raw=b"{}").event_id != read(body, raw=b"{ }").event_id
    unnamed = {"type": "hang"}
    assert read(unnamed, header="a", raw=b"{}").event_id != read(unnamed, header="b", raw=b"{}").event_id


# --- a whole call --------------------------------------------------------------------------------------------------


def test_the_timeline_of_an_interrupted_call_reads_as_it_happened() -> None:
    """The order and gaps of a recorded call, with the interruption at its most likely place."""
    start_ms = 1787428800000
    turn_id = "6e0d5c4b-3a29-4180-9f7e-8d6c5b4a3928"
    timeline: list[tuple[int, dict[str, object], Body]] = [
        (139, {"type": "status-update", "status": "in-progress"}, CallStatus(Phase.IN_PROGRESS)),
        (160, {"type": "assistant.started"}, Unknown("assistant.started")),
        (900, _speech("started", "assistant", 0), SpeechEdge(Party.AGENT, True, "turn:0")),
        (1380, _words("partial", "assistant", "Thank you"), Words(Party.AGENT, False, "Thank you")),
        (2900, _speech("started", "user", 1), SpeechEdge(Party.CALLER, True, "turn:1")),
        (2980, {"type": "user-interrupted", "turnId": turn_id}, ProviderInterrupted(turn_id)),
        (2985, _speech("stopped", "assistant", 0), SpeechEdge(Party.AGENT, False, "turn:0")),
        (3100, _words("final", "assistant", GREETING), Words(Party.AGENT, True, GREETING)),
        (3300, _words("partial", "user", "I need"), Words(Party.CALLER, False, "I need")),
        (4980, {"type": "conversation-update", "messages": _spoken()}, HISTORY),
        (4980, _words("final", "user", TABLE), Words(Party.CALLER, True, TABLE)),
        (5000, _speech("stopped", "user", 1), SpeechEdge(Party.CALLER, False, "turn:1")),
        (5400, {"type": "model-output", "output": "Perfect, "}, Unknown("model-output")),
        (6000, _speech("started", "assistant", 1), SpeechEdge(Party.AGENT, True, "turn:1")),
        (9980, {"type": "hang"}, AgentSilent()),
        (40000, {"type": "status-update", "status": "ended"}, CallStatus(Phase.ENDED)),
        (41300, {"type": "end-of-call-report", "durationMs": 39861}, CallReported("", 39861)),
    ]
    webhooks = [read(message(**fields, timestamp=start_ms + offset_ms)) for offset_ms, fields, _ in timeline]
    assert [webhook.body for webhook in webhooks] == [body for _, _, body in timeline]
    assert [webhook.at_ms - start_ms for webhook in webhooks] == [offset_ms for offset_ms, _, _ in timeline]
    assert len({webhook.event_id for webhook in webhooks}) == len(timeline)


def _speech(status: str, role: str, turn: int) -> dict[str, object]:
    return {"type": "speech-update", "status": status, "role": role, "turn": turn}


def _words(kind: str, role: str, text: str) -> dict[str, object]:
    return {"type": "transcript", "transcriptType": kind, "role": role, "transcript": text}


def _spoken() -> list[dict[str, str]]:
    return [{"role": "bot", "message": GREETING}, {"role": "user", "message": TABLE}]
