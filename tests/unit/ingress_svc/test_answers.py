"""What is answered, to the byte that Vapi reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.vapi_samples import SAMPLES
from ingress_svc.domain import owner
from ingress_svc.domain.answers import (
    CAPS_S,
    NO_HANDOFF,
    NO_TOOL,
    NO_TRANSFER,
    NOT_SET_UP,
    Destination,
    Plan,
    ToolResult,
    chosen,
    function_result,
    planned,
    tool_results,
)
from ingress_svc.domain.asks import (
    KIND,
    Ask,
    AssistantRequest,
    EndpointingRequest,
    FunctionCall,
    HandoffRequest,
    Kind,
    KnowledgeRequest,
    PredialRequest,
    ToolCall,
    ToolCalls,
    TransferRequest,
    VoiceRequest,
)
from ingress_svc.domain.chat import ChatMessage, json_text
from ingress_svc.domain.knowledge import KnowledgeBase, Passage
from ingress_svc.domain.owner import BadAnswer, checked, question, speech

BOOK = ToolCall("call_000000000000000000000001", "book_table", {"party_size": 4})
ASSISTANT = {"type": "assistant", "assistantId": "9c2f7a10-5b1e-4c3d-8a77-1f0e2d3c4b5a"}
DESK = Destination({"type": "number", "number": "+15005550199"}, say="Transferring you now.")
BILLS = Destination({"type": "sip", "sipUri": "sip:bills@example.com"}, words=("bill", "my invoice", "café"))


def documented(name: str) -> Any:
    return json.loads((SAMPLES / "responses" / f"{name}.json").read_bytes())


def results(body: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body["results"]
    return found


def said(text: str) -> tuple[ChatMessage, ...]:
    return (ChatMessage("assistant", "How can I help you?"), ChatMessage("user", text))


# --- without settings -------------------------------------------------------------------------------------------------

UNCONFIGURED: list[tuple[Ask, object]] = [
    (AssistantRequest(), {"error": NOT_SET_UP}),
    (ToolCalls((BOOK,)), {"results": [{"toolCallId": BOOK.id, "name": "book_table", "error": NO_TOOL}]}),
    (ToolCalls(()), {"results": []}),
    (FunctionCall(BOOK), {"result": f"Error: {NO_TOOL}"}),
    (TransferRequest(said("a person, please")), {"error": NO_TRANSFER}),
    (HandoffRequest({"department": "billing"}), {"error": NO_HANDOFF}),
    (KnowledgeRequest(said("when are you open?")), {"documents": []}),
    (EndpointingRequest(said("a table for four.")), {"timeoutSeconds": 0.2}),
    (EndpointingRequest(), {"timeoutSeconds": 0.9}),
    (PredialRequest(number="+15005550101"), {"eligible": False}),
    (VoiceRequest("Hello."), None),
]


@pytest.mark.parametrize(("ask", "answer"), UNCONFIGURED, ids=lambda value: type(value).__name__)
def test_d14_without_settings_every_ask_gets_an_answer_that_is_safe(ask: Ask, answer: object) -> None:
    assert planned(ask, Plan()) == answer


def test_every_kind_of_ask_has_a_cap_below_the_time_that_vapi_waits() -> None:
    assert set(CAPS_S) == set(Kind) == set(KIND.values())
    assert CAPS_S[Kind.ASSISTANT] <= 6.0
    assert max(CAPS_S.values()) < 20.0


# --- with settings ----------------------------------------------------------------------------------------------------

PLAN = Plan(
    assistant=documented("assistant-request.assistantId"),
    transfer=(BILLS, DESK),
    handoff=(Destination(ASSISTANT, words=("billing",), say="handing\noff"),),
    may_dial=True,
    blocked=frozenset({"15005550101"}),
    knowledge=KnowledgeBase([Passage("doc-1", "Open 17:00 to 23:00.")]),
)


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (AssistantRequest(), documented("assistant-request.assistantId")),
        (TransferRequest(said("a person")), documented("transfer-destination-request")),
        (HandoffRequest({"department": "Billing"}), {"destination": ASSISTANT, "result": "handing off"}),
        (HandoffRequest({}, said("It is about billing.")), {"destination": ASSISTANT, "result": "handing off"}),
        (HandoffRequest({}, said("Hello.")), {"error": NO_HANDOFF}),
        (PredialRequest(number="+15005550199"), {"eligible": True}),
        (PredialRequest(number="+15005550101"), {"eligible": False}),
        (PredialRequest(), {"eligible": False}),
    ],
)
def test_settings_answer_as_they_say(ask: Ask, answer: object) -> None:
    assert planned(ask, PLAN) == answer


def test_the_documented_answers_are_those_that_are_built() -> None:
    result = ToolResult("Booked: table for 4 at 19:00, confirmation 8841.")
    assert tool_results((BOOK,), {0: result}) == documented("tool-calls")
    failed = ToolResult("The booking system did not answer.", failed=True)
    assert tool_results((BOOK,), {0: failed}) == documented("tool-calls.error")
    message = documented("tool-calls.with-message")["results"][0]["message"]
    assert tool_results((BOOK,), {0: ToolResult("ok", message=message)}) == documented("tool-calls.with-message")
    found = planned(KnowledgeRequest(said("open?")), PLAN)
    assert found == {"documents": [{"content": "Open 17:00 to 23:00.", "similarity": 1.0, "uuid": "doc-1"}]}
    assert found is not None
    assert found["documents"][0].keys() == documented("knowledge-base-request")["documents"][0].keys()  # type: ignore[index]


def test_results_stand_in_the_order_of_their_calls_each_with_its_own_id() -> None:
    calls = [ToolCall(each, "f") for each in ("b", " a\n", "b", "é")]
    body = tool_results(calls, {2: ToolResult("third"), 0: ToolResult("first")})
    entries = results(body)
    assert [entry["toolCallId"] for entry in entries] == ["b", " a\n", "b", "é"]
    assert [entry.get("result", entry.get("error")) for entry in entries] == ["first", NO_TOOL, "third", NO_TOOL]


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\rb", "a\u2028b", "a\x85b", "a\x0bb"])
def test_a_result_is_on_one_line(text: str) -> None:
    assert results(tool_results((BOOK,), {0: ToolResult(text)}))[0]["result"] == "a b"
    assert function_result(ToolResult(text)) == {"result": "a b"}


# --- which destination ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("The BILL, please.", BILLS),
        ("It is about my invoice!", BILLS),
        ("the billing department", DESK),
        ("an invoice", DESK),
        ("un cafe", BILLS),
        ("", DESK),
    ],
)
def test_the_callers_whole_words_choose_the_destination(words: str, found: Destination) -> None:
    assert chosen((BILLS, DESK), words) == found
    assert chosen((DESK, BILLS), words) == found
    assert chosen((BILLS,), words) == (BILLS if found is BILLS else None)


# --- the owner's server -----------------------------------------------------------------------------------------------


def asked(ask: Ask) -> dict[str, Any]:
    raw = question(ask, KIND[type(ask)], event_id="e", call_id="vapi:c", at_ms=7)
    body: dict[str, Any] = json.loads(raw)
    assert [body.pop(name) for name in ("event_id", "call_id", "at_ms")] == ["e", "vapi:c", 7]
    return body


def test_the_owners_server_is_told_what_it_needs_to_decide() -> None:
    messages = [{"role": "assistant", "content": "How can I help you?"}, {"role": "user", "content": "é"}]
    book = {"id": BOOK.id, "name": "book_table", "arguments": {"party_size": 4}}
    contact = {"id": "x", "number": "+15005550101", "name": "Ada"}
    assert [
        asked(ask)
        for ask in (
            AssistantRequest("+15005550101", "+15005550006"),
            ToolCalls((BOOK,)),
            FunctionCall(BOOK),
            TransferRequest(said("é")),
            HandoffRequest({"a": 1}, said("é")),
            PredialRequest("p", "x", "+15005550101", "Ada"),
            VoiceRequest("Hello.", 8_000),
        )
    ] == [
        {"type": "assistant-request", "caller": "+15005550101", "called": "+15005550006"},
        {"type": "tool-calls", "tool_calls": [book]},
        {"type": "function-call", "function_call": book},
        {"type": "transfer-destination-request", "messages": messages},
        {"type": "handoff-destination-request", "parameters": {"a": 1}, "messages": messages},
        {"type": "campaign.predial", "campaign_id": "p", "contact": contact},
        {"type": "voice-request", "text": "Hello.", "sample_rate": 8_000},
    ]


DOCUMENTED = [
    (AssistantRequest(), "assistant-request.assistant"),
    (AssistantRequest(), "assistant-request.assistantId"),
    (AssistantRequest(), "assistant-request.destination"),
    (AssistantRequest(), "assistant-request.error"),
    (ToolCalls((BOOK,)), "tool-calls"),
    (ToolCalls((BOOK,)), "tool-calls.error"),
    (ToolCalls((BOOK,)), "tool-calls.with-message"),
    (TransferRequest(), "transfer-destination-request"),
    (HandoffRequest(), "handoff-destination-request"),
    (KnowledgeRequest(), "knowledge-base-request"),
    (EndpointingRequest(), "call.endpointing.request"),
    (PredialRequest(), "campaign.predial"),
]


@pytest.mark.parametrize(("ask", "name"), DOCUMENTED, ids=lambda value: value if isinstance(value, str) else "")
def test_the_owners_answer_reaches_vapi_as_documented_and_nothing_beside_it(ask: Ask, name: str) -> None:
    sent = documented(name)
    assert checked(ask, KIND[type(ask)], sent) == sent
    assert checked(ask, KIND[type(ask)], sent | {"secret": "s", "received": True}) == sent


@pytest.mark.parametrize("ask", [ask for ask, _ in UNCONFIGURED if not isinstance(ask, ToolCalls | VoiceRequest)])
@pytest.mark.parametrize(
    "sent",
    [
        None,
        [],
        {},
        {"received": True},
        {"error": ""},
        {"destination": {"type": "moon"}},
        {"documents": [{"content": "x", "similarity": 2}]},
        {"documents": [{"content": 7, "similarity": 0.5}]},
        {"timeoutSeconds": 16},
        {"timeoutSeconds": float("nan")},
        {"timeoutSeconds": True},
        {"timeoutSeconds": "1"},
        {"eligible": "yes"},
        {"eligible": 1},
        {"assistantOverrides": {"a": 1}},
    ],
)
def test_what_vapi_could_not_read_is_no_answer(ask: Ask, sent: object) -> None:
    try:
        body = checked(ask, KIND[type(ask)], sent)
    except BadAnswer:
        return
    # The older form of a tool call takes anything, for it must be answered with something.
    assert isinstance(ask, FunctionCall)
    assert body == {"result": f"Error: {owner.NOT_ANSWERED}"}


@pytest.mark.parametrize(
    ("entry", "answer"),
    [
        ({"result": {"a": [1]}}, {"result": '{"a":[1]}'}),
        ({"result": 7}, {"result": "7"}),
        ({"result": "a\nb"}, {"result": "a b"}),
        ({"error": "no", "result": "yes"}, {"error": "no"}),
        ({}, {"error": owner.NOT_ANSWERED}),
        ({"result": None}, {"error": owner.NOT_ANSWERED}),
    ],
)
def test_the_owners_results_become_text_on_one_line(entry: dict[str, object], answer: dict[str, object]) -> None:
    sent = {"results": [{"toolCallId": "another", "result": "x"}, "x", {"toolCallId": BOOK.id} | entry]}
    [result] = results(checked(ToolCalls((BOOK,)), Kind.TOOLS, sent))
    assert result == {"toolCallId": BOOK.id, "name": "book_table"} | answer


def test_a_tool_that_the_owner_forgot_has_failed_and_the_others_have_not() -> None:
    calls = ToolCalls((BOOK, ToolCall("second", "f")))
    sent = {"results": [{"toolCallId": "second", "result": "ok"}]}
    first, second = results(checked(calls, Kind.TOOLS, sent))
    assert (first["error"], second["result"]) == (owner.NOT_ANSWERED, "ok")


def test_an_answer_that_json_cannot_carry_on_is_none() -> None:
    deep: object = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BadAnswer, match="nested"):
        checked(AssistantRequest(), Kind.ASSISTANT, {"assistant": {"a": deep}})
    assert json_text(checked(ToolCalls((BOOK,)), Kind.TOOLS, {"results": [{"toolCallId": BOOK.id, "result": deep}]}))


def test_speech_is_whole_samples() -> None:
    assert speech(b"\x00\x01") == b"\x00\x01"
    for bad in (b"", b"\x00"):
        with pytest.raises(BadAnswer, match="16-bit"):
            speech(bad)
