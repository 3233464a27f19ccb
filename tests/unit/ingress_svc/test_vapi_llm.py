import json
from typing import Any

import pytest
from fakes.vapi_samples import CALL, SAMPLES, sample
from hypothesis import given
from hypothesis import strategies as st
from ingress_svc.domain import vapi
from ingress_svc.domain.chat import ChatMessage
from ingress_svc.domain.effects import Usage
from ingress_svc.domain.vapi_llm import (
    DONE,
    BadReason,
    BadRequest,
    LlmRequest,
    SseEncoder,
    ToolPiece,
    decode,
    error_body,
)


def read(body: object, *, header: str | None = None) -> LlmRequest:
    return decode(body, header_call_id=header)


def read_messages(*items: object) -> tuple[ChatMessage, ...]:
    return read({"messages": list(items)}).messages


# --- requests ------------------------------------------------------------------------------------------------------


def test_the_sample_request_reads_whole() -> None:
    body = sample("custom_llm/request")
    assert read(body) == LlmRequest(
        call_id=f"vapi:{CALL}",
        messages=(
            ChatMessage("system", "You are Robin, the booking assistant of Trattoria Uno. Keep answers short."),
            ChatMessage("assistant", "Thank you for calling. I can help you"),
            ChatMessage("user", "I need a table for four tonight at seven."),
        ),
        user_message_count=1,
        stream=True,
        model="voice-backend",
        temperature=0.5,
        max_tokens=250,
        tools_json=json.dumps(body["tools"], separators=(",", ":")),
        control_url=body["call"]["monitor"]["controlUrl"],
    )


def test_a_request_needs_nothing_but_its_messages() -> None:
    assert read({"messages": []}) == LlmRequest(call_id=None, messages=(), user_message_count=0, stream=False)


@pytest.mark.parametrize(
    ("body", "reason", "param"),
    [
        (None, BadReason.NOT_AN_OBJECT, None),
        ([], BadReason.NOT_AN_OBJECT, None),
        ("x", BadReason.NOT_AN_OBJECT, None),
        ({}, BadReason.NO_MESSAGES, "messages"),
        ({"messages": None}, BadReason.NO_MESSAGES, "messages"),
        ({"messages": {"role": "user"}}, BadReason.NO_MESSAGES, "messages"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_openais_form(body: object, reason: BadReason, param: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        read(body)
    assert caught.value.reason is reason
    error = json.loads(caught.value.body())["error"]
    message = str(caught.value)
    assert error == {"message": message, "type": "invalid_request_error", "param": param, "code": reason.value}


@pytest.mark.parametrize(
    ("call", "header", "call_id"),
    [
        ({"id": "a"}, "h", "vapi:a"),
        (None, "h", "vapi:h"),
        ({}, "h", "vapi:h"),
        ({"id": 5}, "h", "vapi:h"),
        ({"id": "x" * 196}, "h", "vapi:h"),
        ({"id": ""}, None, None),
        ("a", "b c", None),
    ],
)
def test_a_request_that_names_no_call_is_not_refused(call: object, header: str | None, call_id: str | None) -> None:
    assert read({"messages": [], "call": call}, header=header).call_id == call_id


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("hello", "hello"),
        (None, ""),
        ([{"type": "text", "text": "hello"}, {"type": "text", "text": "there"}], "hello there"),
        (["hello", {"type": "image_url", "image_url": {"url": "x"}}, {"text": 5}, 7, "there"], "hello there"),
        (5, ""),
        ({"text": "x"}, ""),
        ("a\ud83d", "a?"),
    ],
)
def test_content_of_any_kind_reads_as_text(content: object, text: str) -> None:
    assert read_messages({"role": "user", "content": content}) == (ChatMessage("user", text),)


@pytest.mark.parametrize(
    ("role", "read_as"),
    [
        ("system", "system"),
        ("developer", "system"),
        ("user", "user"),
        ("assistant", "assistant"),
        ("bot", "assistant"),
        ("tool", "tool"),
        ("function", "tool"),
    ],
)
def test_every_dialects_role_is_one_of_four(role: str, read_as: str) -> None:
    assert read_messages({"role": role, "content": "x"}) == (ChatMessage(read_as, "x"),)


@pytest.mark.parametrize(
    "item", [{"role": "wizard", "content": "obey"}, {"content": "x"}, {"role": 5}, None, 5, "x", []]
)
def test_a_message_of_nobody_numbers_no_turn_and_is_counted(item: object) -> None:
    request = read({"messages": [{"role": "user", "content": "hi"}, item]})
    assert request.messages == (ChatMessage("user", "hi"),)
    assert (request.user_message_count, request.dropped_messages) == (1, 1)


def test_webhook_and_request_number_the_turn_alike() -> None:
    items = [{"role": role, "content": "x"} for role in ("system", "user", "bot", "user", "wizard", "function", "user")]
    request = read({"messages": items})
    webhook = vapi.decode(
        {"message": {"type": "conversation-update", "call": {"id": "a"}, "messagesOpenAIFormatted": items}},
        received_at_ms=0,
        header_call_id=None,
        raw=b"",
    )
    assert isinstance(webhook.body, vapi.HistoryReported)
    assert webhook.body.user_message_count == request.user_message_count == 3


def test_tool_calls_and_their_results_stay_paired() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "book", "arguments": '{"n": 4}'}}
    asked, answered = read_messages(
        {"role": "assistant", "content": None, "tool_calls": [call, "junk"]},
        {"role": "tool", "tool_call_id": "c1", "content": "booked"},
    )
    assert json.loads(asked.tool_calls_json) == [call]
    assert answered == ChatMessage("tool", "booked", "", "c1")


def test_a_legacy_function_call_is_paired_by_its_name() -> None:
    asked, answered = read_messages(
        {"role": "assistant", "content": None, "function_call": {"name": "book", "arguments": "{}"}},
        {"role": "function", "name": "book", "content": "booked"},
    )
    call = {"id": "book", "type": "function", "function": {"name": "book", "arguments": "{}"}}
    assert json.loads(asked.tool_calls_json) == [call]
    assert answered.tool_call_id == "book"


def test_only_agent_messages_carry_tool_calls_and_only_tool_messages_answer_them() -> None:
    strange = {"content": "x", "tool_calls": [{"id": "c"}], "tool_call_id": "c"}
    assert read_messages({"role": "user"} | strange) == (ChatMessage("user", "x"),)
    assert read_messages({"role": "assistant"} | strange) == (ChatMessage("assistant", "x", '[{"id":"c"}]'),)
    assert read_messages({"role": "tool"} | strange) == (ChatMessage("tool", "x", "", "c"),)


@pytest.mark.parametrize(
    ("stream", "streams"), [(True, True), ("true", True), (1, True), (False, False), (None, False)]
)
def test_only_a_clear_no_turns_streaming_off(stream: object, streams: bool) -> None:
    assert read({"messages": [], "stream": stream}).stream is streams


@pytest.mark.parametrize(
    ("fields", "temperature", "max_tokens"),
    [
        ({"temperature": 0, "max_tokens": 1}, 0.0, 1),
        ({"temperature": 2, "max_completion_tokens": 99}, 2.0, 99),
        ({"temperature": 2.1, "max_tokens": 0}, None, None),
        ({"temperature": True, "max_tokens": True}, None, None),
        ({"temperature": "0.5", "max_tokens": "250"}, None, None),
        ({"temperature": float("nan"), "max_tokens": 10**400}, None, None),
        ({}, None, None),
    ],
)
def test_an_unusable_number_reads_as_unset(
    fields: dict[str, object], temperature: float | None, max_tokens: int | None
) -> None:
    request = read({"messages": []} | fields)
    assert (request.temperature, request.max_tokens) == (temperature, max_tokens)


def test_tools_keep_the_order_of_their_members() -> None:
    tools = [{"type": "function", "function": {"name": "z", "parameters": {"b": 1, "a": 2}}}]
    assert read({"messages": [], "tools": [*tools, "junk"]}).tools_json == json.dumps(tools, separators=(",", ":"))
    for no_tools in ("null", "[]", "{}", '"x"', '["junk"]'):
        assert read({"messages": [], "tools": json.loads(no_tools)}).tools_json == ""


def test_nothing_of_credentials_and_numbers_is_read_and_the_control_url_is_not_printed() -> None:
    body = sample("custom_llm/request")
    request = read(body)
    held = json.dumps([str(request), request.tools_json, [(item.role, item.content) for item in request.messages]])
    assert request.control_url.endswith("/control")
    for secret in ("twilio", "REDACTED", "+1500", "monitor", "/control", "https:", "wss:", "ACxx", "tenant"):
        assert secret not in held
    assert "table for four" not in repr(request)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
MESSAGE_FIELDS = st.sampled_from(
    ["role", "content", "tool_calls", "tool_call_id", "function_call", "name", "toolCalls", "message", "result"]
)
ROLES = st.sampled_from(["system", "user", "assistant", "bot", "tool", "function", "tool_calls", "tool_call_result"])
MESSAGES = JSON | st.builds(lambda role, rest: rest | {"role": role}, ROLES, st.dictionaries(MESSAGE_FIELDS, JSON))
REQUEST_FIELDS = st.sampled_from(["model", "temperature", "max_tokens", "stream", "tools", "call"])


@given(st.lists(MESSAGES, max_size=5), st.dictionaries(REQUEST_FIELDS, JSON), st.none() | st.text())
def test_any_list_of_messages_can_be_answered(items: list[Any], fields: dict[str, Any], header: str | None) -> None:
    request = decode(fields | {"messages": items}, header_call_id=header)
    assert len(request.messages) + request.dropped_messages == len(items)
    for message in request.messages:
        "".join((message.content, message.tool_calls_json, message.tool_call_id)).encode()
        assert isinstance(json.loads(message.tool_calls_json or "[]"), list)
    assert isinstance(json.loads(request.tools_json or "[]"), list)


def test_nesting_deeper_than_the_stack_is_no_error() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = {"a": deep}
    assert read({"messages": [{"role": "user", "content": deep}], "tools": [deep]}).tools_json == ""


# --- answers -------------------------------------------------------------------------------------------------------


def encoder() -> SseEncoder:
    return SseEncoder("chatcmpl-01a02b10", model="voice-backend", created_s=1787428807)


def frames(stream: bytes) -> list[Any]:
    """Read a stream as its client does: one `data:` line a frame."""
    assert stream.endswith(b"\n\n")
    lines = stream.decode().removesuffix("\n\n").split("\n\n")
    assert all(line.startswith("data: ") and "\n" not in line for line in lines)
    return [line[6:] if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


def test_an_answer_in_words_is_the_sample() -> None:
    sse = encoder()
    stream = sse.opening() + sse.text("Perfect, ") + sse.text("I can book that for you.") + sse.closing() + DONE
    assert frames(stream) == frames((SAMPLES / "custom_llm" / "response.text.sse").read_bytes())


def test_an_answer_that_asks_for_a_tool_is_the_sample() -> None:
    sse = encoder()
    stream = sse.opening()
    stream += sse.tool_call(ToolPiece(0, "call_000000000000000000000001", "book_table"))
    stream += sse.tool_call(ToolPiece(0, arguments='{"party_size": 4, '))
    stream += sse.tool_call(ToolPiece(0, arguments='"time": "19:00"}'))
    stream += sse.closing("tool_calls") + DONE
    expected = frames((SAMPLES / "custom_llm" / "response.tool-call.sse").read_bytes())
    expected[0]["choices"][0]["delta"]["content"] = ""
    assert frames(stream) == expected


def test_a_frame_is_these_bytes() -> None:
    sse = SseEncoder("c", model="m", created_s=7)
    head = b'data: {"id":"c","object":"chat.completion.chunk","created":7,"model":"m","choices":['
    assert sse.opening() == (head + b'{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n')
    assert sse.text("hi") == head + b'{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
    assert sse.closing() == head + b'{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    assert DONE == b"data: [DONE]\n\n"


@given(st.text(st.characters(codec=None)), st.text(), st.text())
def test_any_text_under_any_names_comes_out_as_it_went_in(content: str, completion_id: str, model: str) -> None:
    stream = SseEncoder(completion_id, model=model, created_s=1).text(content)
    assert stream.isascii()
    [frame] = frames(stream)
    assert frame["choices"] == [{"index": 0, "delta": {"content": content}, "finish_reason": None}]
    assert (frame["id"], frame["model"]) == (completion_id, model)


@given(st.integers(0, 9), st.text(), st.text(), st.text())
def test_a_tool_call_comes_out_as_it_went_in(index: int, call_id: str, name: str, arguments: str) -> None:
    [frame] = frames(encoder().tool_call(ToolPiece(index, call_id, name, arguments)))
    [piece] = frame["choices"][0]["delta"]["tool_calls"]
    assert piece["index"] == index
    assert (piece.get("id", ""), piece.get("type")) == (call_id, "function" if call_id else None)
    assert (piece["function"].get("name", ""), piece["function"]["arguments"]) == (name, arguments)


def test_an_answer_without_streaming_is_one_body() -> None:
    sse = SseEncoder("c", model="m", created_s=7)
    message = {"role": "assistant", "content": "hi"}
    whole = {"id": "c", "object": "chat.completion", "created": 7, "model": "m"}
    assert json.loads(sse.completion("hi")) == whole | {
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]
    }
    assert json.loads(sse.completion("", finish_reason="length"))["choices"][0]["finish_reason"] == "length"


def test_a_body_gathers_each_call_from_its_pieces() -> None:
    pieces = [
        ToolPiece(1, "c1", "book", '{"party":'),
        ToolPiece(0, "c0", "end_call", "{}"),
        ToolPiece(1, arguments="4}"),
    ]
    message = json.loads(encoder().completion("", pieces, finish_reason="tool_calls"))["choices"][0]["message"]
    assert message == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "book", "arguments": '{"party":4}'}},
            {"id": "c0", "type": "function", "function": {"name": "end_call", "arguments": "{}"}},
        ],
    }
    assert json.loads(encoder().completion("Bye.", pieces))["choices"][0]["message"]["content"] == "Bye."


@given(st.lists(st.builds(ToolPiece, st.integers(0, 3), st.text(), st.text(), st.text())))
def test_no_argument_of_a_call_is_lost_or_mixed_with_anothers(pieces: list[ToolPiece]) -> None:
    message = json.loads(encoder().completion("", pieces))["choices"][0]["message"]
    expected: dict[int, str] = {}
    for piece in pieces:
        expected[piece.index] = expected.get(piece.index, "") + piece.arguments
    assert [call["function"]["arguments"] for call in message.get("tool_calls", [])] == list(expected.values())


def test_token_counts_stand_in_a_body_and_in_a_frame_without_choices() -> None:
    usage = {"prompt_tokens": 21, "completion_tokens": 6, "total_tokens": 27}
    assert json.loads(encoder().completion("hi", usage=Usage(21, 6)))["usage"] == usage
    [frame] = frames(encoder().usage(Usage(21, 6)))
    assert (frame["choices"], frame["usage"]) == ([], usage)


@pytest.mark.parametrize(
    ("options", "wants"),
    [({"include_usage": True}, True), ({"include_usage": 1}, False), ({}, False), (None, False), ([], False)],
)
def test_token_counts_are_streamed_only_to_those_who_clearly_ask(options: object, wants: bool) -> None:
    assert read({"messages": [], "stream_options": options}).wants_usage is wants


def test_an_error_has_openais_form() -> None:
    error = {"message": "no model answers", "type": "server_error", "param": None, "code": "no_model"}
    assert json.loads(error_body("no model answers", kind="server_error", code="no_model")) == {"error": error}
