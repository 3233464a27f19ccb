"""What Vapi asks is read in every form in which it comes, and never refused."""

from __future__ import annotations

import json

import pytest
from fakes.vapi_samples import message, sample, seed_shape
from ingress_svc.domain.asks import (
    KIND,
    READERS,
    AssistantRequest,
    FunctionCall,
    HandoffRequest,
    Kind,
    KnowledgeRequest,
    PhoneControl,
    PredialRequest,
    ToolCall,
    ToolCalls,
    TransferRequest,
    VoiceRequest,
    said_last,
)
from ingress_svc.domain.chat import ChatMessage
from ingress_svc.domain.vapi import Webhook, decode

CALL_ID = "call_000000000000000000000001"
BOOK = ToolCalls((ToolCall(CALL_ID, "book_table", {"party_size": 4, "time": "19:00"}),))
SHAPES = [
    "server/tool-calls.wire-object-args",
    "server/tool-calls.schema-string-args",
    "server/tool-calls.docs-flat-arguments",
    "server_made/tool-calls.docs-flat-parameters",
]


def read(body: object) -> Webhook:
    return decode(body, received_at_ms=1_787_428_900_000, header_call_id=None, raw=json.dumps(body).encode())


def asked(**fields: object) -> object:
    return read(message(**fields)).body


# --- tool calls -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_d14_tool_calls_read_alike_in_all_four_shapes(name: str) -> None:
    assert read(sample(name)).body == BOOK
    assert read(seed_shape(sample(name))).body == BOOK


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("left", ["toolCallList", "toolCalls", "toolWithToolCallList"])
def test_d14_any_one_of_the_three_lists_is_enough(name: str, left: str) -> None:
    body = sample(name)
    lists = {"toolCallList", "toolCalls", "toolWithToolCallList"}
    if left not in body["message"]:
        left = "toolCallList"
    for other in lists - {left}:
        body["message"].pop(other, None)
    assert read(body).body == BOOK


@pytest.mark.parametrize(
    ("sent", "arguments"),
    [
        ({"a": 1}, {"a": 1}),
        ('{"a": 1}', {"a": 1}),
        ("", ""),
        ("{", "{"),
        ("not json", "not json"),
        ("[1]", "[1]"),
        ([1], "[1]"),
        (7, "7"),
        (None, ""),
        ('{"a": NaN}', '{"a": NaN}'),
        ('{"a": 1e400}', '{"a": 1e400}'),
        ("[" * 5_000, "[" * 5_000),
        ("9" * 5_000, "9" * 5_000),
    ],
)
def test_arguments_are_an_object_or_the_text_as_sent(sent: object, arguments: object) -> None:
    calls = [{"id": "c", "function": {"name": "f", "arguments": sent}}]
    assert asked(type="tool-calls", toolCallList=calls) == ToolCalls((ToolCall("c", "f", arguments),))  # type: ignore[arg-type]


def test_calls_keep_their_order_and_their_ids_to_the_last_character() -> None:
    ids = ["b", "a", " c\n", "é" * 10, "b"]
    body = asked(type="tool-calls", toolCallList=[{"id": each, "name": "f"} for each in ids])
    assert isinstance(body, ToolCalls)
    assert [call.id for call in body.calls] == ids


@pytest.mark.parametrize("bad", [None, 7, "", [], "x" * 1_001, {"id": "x"}])
def test_a_call_that_cannot_be_answered_is_left_out(bad: object) -> None:
    calls = [{"id": bad, "name": "f"}, "call", None, {"toolCall": 3}, {"id": "c", "name": ["f"]}]
    assert asked(type="tool-calls", toolCallList=calls) == ToolCalls((ToolCall("c", ""),))


@pytest.mark.parametrize("entry", [{}, {"name": 3}, {"arguments": "{"}, None, "book", []])
def test_the_older_form_reads_whatever_it_holds(entry: object) -> None:
    assert isinstance(asked(type="function-call", functionCall=entry), FunctionCall)


# --- the others -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(READERS))
@pytest.mark.parametrize("junk", [None, 7, "x", [], {}, [[]], {"number": {}}, [{"role": "user"}]])
def test_an_ask_is_never_refused_whatever_its_fields_hold(kind: str, junk: object) -> None:
    names = ("call", "customer", "phoneNumber", "messages", "messagesOpenAIFormatted", "artifact", "parameters")
    more = ("toolCallList", "toolCalls", "toolWithToolCallList", "functionCall", "contact", "campaignId", "text")
    last = ("sampleRate", "request", "destination")
    body = asked(type=kind, **dict.fromkeys((*names, *more, *last), junk))
    assert type(body) in KIND or isinstance(body, PhoneControl)
    assert read({"type": kind, "message": None}).body is not None


def test_every_kind_is_read_as_its_own() -> None:
    found = {kind: asked(type=kind) for kind in Kind}
    assert {kind: KIND[type(body)] for kind, body in found.items()} == {kind: kind for kind in Kind}


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        ("+15005550101", "+15005550101"),
        ("sip:ada@example.com", "sip:ada@example.com"),
        ("anonymous", ""),
        ("+1 500", ""),
        (15005550101, ""),
        ("+" + "1" * 30, ""),
        (None, ""),
    ],
)
def test_a_number_is_read_where_it_is_one(number: object, kept: str) -> None:
    assert asked(type="assistant-request", customer={"number": number}) == AssistantRequest(kept)
    assert asked(type="assistant-request", call={"id": "c", "customer": {"number": number}}) == AssistantRequest(kept)
    assert asked(type="campaign.predial", contact={"number": number}) == PredialRequest(number=kept)


@pytest.mark.parametrize(("rate", "kept"), [(8000, 8000), (48000, 48000), (0, 24000), ("24000", 24000), (True, 24000)])
def test_a_sample_rate_is_one_that_a_telephone_can_have(rate: object, kept: int) -> None:
    assert asked(type="voice-request", text="Hello.", sampleRate=rate) == VoiceRequest("Hello.", kept)


def test_what_was_said_may_stand_in_the_message_or_in_the_artifact() -> None:
    said = [{"role": "bot", "message": "Hello."}, {"role": "user", "message": "The bill, please."}]
    tail = (ChatMessage("assistant", "Hello."), ChatMessage("user", "The bill, please."))
    assert asked(type="knowledge-base-request", messages=said) == KnowledgeRequest(tail)
    assert asked(type="transfer-destination-request", artifact={"messages": said}) == TransferRequest(tail)
    assert said_last(tail) == "The bill, please."
    assert said_last(()) == ""


def test_parameters_that_json_cannot_carry_on_are_none() -> None:
    deep: object = 1
    for _ in range(100_000):
        deep = [deep]
    assert asked_deep({"department": deep}) == HandoffRequest()
    assert asked_deep({"department": "bill"}) == HandoffRequest({"department": "bill"})


def asked_deep(parameters: object) -> object:
    body = message(type="handoff-destination-request", parameters=parameters)
    return decode(body, received_at_ms=1_787_428_900_000, header_call_id=None, raw=b"raw").body


@pytest.mark.parametrize(
    ("fields", "control"),
    [
        ({"request": "hang-up"}, PhoneControl("hang-up")),
        ({"request": "forward", "destination": {"type": "number", "number": "+15005550199"}}, "number"),
        ({"request": "forward", "destination": {"type": "sip", "sipUri": "sip:a@b.example"}}, "sip"),
        ({"request": "forward", "destination": {"type": "assistant", "assistantName": "a"}}, PhoneControl("forward")),
        ({"request": "explode"}, PhoneControl("")),
        ({"request": ["hang-up"]}, PhoneControl("")),
        ({}, PhoneControl("")),
    ],
)
def test_an_order_is_one_of_two_and_its_destination_a_number_or_a_sip_address(
    fields: dict[str, object], control: object
) -> None:
    named = {
        "number": PhoneControl("forward", "+15005550199"),
        "sip": PhoneControl("forward", sip_uri="sip:a@b.example"),
    }
    assert asked(type="phone-call-control", **fields) == (named[control] if isinstance(control, str) else control)


# --- which ask it is --------------------------------------------------------------------------------------------------


def test_different_asks_of_one_millisecond_have_different_ids() -> None:
    def said(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": text}]

    variants: list[dict[str, object]] = [
        {"type": "tool-calls", "toolCallList": [{"id": "a", "name": "f"}]},
        {"type": "tool-calls", "toolCallList": [{"id": "b", "name": "f"}]},
        {"type": "tool-calls", "toolCallList": [{"id": "a", "name": "f"}, {"id": "b", "name": "f"}]},
        {"type": "function-call", "functionCall": {"name": "f", "parameters": {"a": 1}}},
        {"type": "function-call", "functionCall": {"name": "f", "parameters": {"a": 2}}},
        {"type": "call.endpointing.request", "messages": said("a")},
        {"type": "call.endpointing.request", "messages": said("b")},
        {"type": "knowledge-base-request", "messages": said("a")},
        {"type": "campaign.predial", "contact": {"id": "a"}},
        {"type": "campaign.predial", "contact": {"id": "b"}},
        {"type": "voice-request", "text": "a"},
        {"type": "voice-request", "text": "b"},
        {"type": "phone-call-control", "request": "hang-up"},
        {"type": "phone-call-control", "request": "forward"},
        {"type": "assistant-request"},
    ]
    ids = {read(message(**fields)).event_id for fields in variants}
    assert len(ids) == len(variants)
    again = {read(message(**fields, assistant={"presigned": "another"})).event_id for fields in variants}
    assert again == ids


@pytest.mark.parametrize("name", ["server/assistant-request", "server_made/campaign.predial", "server/voice-request"])
def test_numbers_and_words_of_an_ask_are_not_printed(name: str) -> None:
    printed = repr(read(sample(name)))
    assert not [private for private in ("5005550101", "5005550006", "Ada", "Perfect") if private in printed]
