import pytest
from fakes.vapi_samples import message, sample
from ingress_svc.domain.chat import MAX_TAIL_MESSAGES, MAX_TEXT_CHARS, ChatMessage
from ingress_svc.domain.vapi import BadReason, BadWebhook, HistoryReported, Webhook, decode


def read(body: object) -> Webhook:
    return decode(body, received_at_ms=1_787_428_900_000, header_call_id=None, raw=b"raw")


def history(*roles_and_texts: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in roles_and_texts]


def test_a_reported_history_is_cut_to_its_last_two_user_messages() -> None:
    whole = history(
        ("system", "p"), ("user", "1"), ("assistant", "a"), ("user", "2"), ("assistant", "b"), ("user", "3")
    )
    tail = (ChatMessage("user", "2"), ChatMessage("assistant", "b"), ChatMessage("user", "3"))
    assert read(message(type="conversation-update", messagesOpenAIFormatted=whole)).body == HistoryReported(tail, 3)


def test_a_history_without_two_user_messages_leaves_out_the_prompt_only() -> None:
    whole = history(("system", "p"), ("assistant", "greeting"), ("system", "later"))
    tail = (ChatMessage("assistant", "greeting"), ChatMessage("system", "later"))
    assert read(message(type="conversation-update", messagesOpenAIFormatted=whole)).body == HistoryReported(tail, 0)
    prompt = history(("system", "p"))
    assert read(message(type="conversation-update", messagesOpenAIFormatted=prompt)).body == HistoryReported((), 0)
    assert read(message(type="conversation-update", messagesOpenAIFormatted=[])).body == HistoryReported((), 0)


@pytest.mark.parametrize("name", ["messagesOpenAIFormatted", "conversation", "messages"])
def test_the_history_is_read_from_whichever_field_has_it(name: str) -> None:
    spoken = (
        ChatMessage("assistant", "Thank you for calling. I can help you"),
        ChatMessage("user", "I need a table for four tonight at seven."),
    )
    full = sample("server/conversation-update")["message"]
    only = {key: full[key] for key in ("type", "timestamp", "call", name)}
    assert read({"message": only}).body == HistoryReported(spoken, 1)
    empty_first = {"messagesOpenAIFormatted": []} | only if name != "messagesOpenAIFormatted" else only
    assert read({"message": empty_first}).body == HistoryReported(spoken, 1)


@pytest.mark.parametrize("wrong", [None, 5, "x", {}])
def test_d11_a_history_that_is_no_list_is_refused(wrong: object) -> None:
    with pytest.raises(BadWebhook) as caught:
        read(message(type="conversation-update", messagesOpenAIFormatted=wrong))
    assert caught.value.reason is BadReason.BAD_FIELD


def test_d11_what_is_no_message_in_a_history_is_passed_over() -> None:
    items: list[object] = [
        None,
        5,
        "x",
        [],
        {},
        {"role": 5},
        {"role": "wizard", "content": "obey"},
        {"role": "user", "content": 5},
    ]
    report = read(message(type="conversation-update", messagesOpenAIFormatted=items)).body
    assert report == HistoryReported((ChatMessage("user", ""),), 1)


def test_tool_calls_in_vapis_own_words_become_openais() -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "book", "arguments": {"n": 4}}}]
    items = [
        {"role": "user", "message": "four please"},
        {"role": "tool_calls", "toolCalls": calls, "message": ""},
        {"role": "tool_call_result", "toolCallId": "c1", "result": "booked"},
        {"role": "bot", "message": "Done."},
        {"role": "user", "message": "bye"},
    ]
    report = read(message(type="conversation-update", messages=items)).body
    as_text = '[{"id":"c1","type":"function","function":{"name":"book","arguments":"{\\"n\\":4}"}}]'
    assert report == HistoryReported(
        (
            ChatMessage("user", "four please"),
            ChatMessage("assistant", "", as_text),
            ChatMessage("tool", "booked", "", "c1"),
            ChatMessage("assistant", "Done."),
            ChatMessage("user", "bye"),
        ),
        2,
    )


def test_a_tail_over_its_caps_loses_its_oldest_messages_and_counts_them() -> None:
    long = [("user", "1")] + [("assistant", "x" * MAX_TEXT_CHARS)] * 3 + [("user", "2" * (MAX_TEXT_CHARS + 7))]
    webhook = read(message(type="conversation-update", messagesOpenAIFormatted=history(*long)))
    assert isinstance(webhook.body, HistoryReported)
    assert [item.role for item in webhook.body.tail] == ["assistant", "user"]
    assert webhook.body.user_message_count == 2
    assert webhook.dropped_chars == MAX_TEXT_CHARS + 7
    many = read(message(type="conversation-update", messagesOpenAIFormatted=history(*[("assistant", "x")] * 500))).body
    assert isinstance(many, HistoryReported)
    assert len(many.tail) == MAX_TAIL_MESSAGES


def test_a_tool_call_too_long_to_keep_whole_is_not_kept_in_half() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "x" * MAX_TEXT_CHARS}}]
    items = [{"role": "assistant", "content": "one moment", "tool_calls": calls}]
    webhook = read(message(type="conversation-update", messagesOpenAIFormatted=items))
    assert webhook.body == HistoryReported((ChatMessage("assistant", "one moment"),), 0)
    assert webhook.dropped_chars > MAX_TEXT_CHARS
