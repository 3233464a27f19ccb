from dataclasses import replace
from typing import Any

import pytest
from fakes.vapi_samples import NAMES, message, sample
from hypothesis import given
from hypothesis import strategies as st
from ingress_svc.domain.asks import Ask, PhoneControl
from ingress_svc.domain.vapi import BadWebhook, HistoryReported, Unknown, Webhook, Words, decode


def read(body: object) -> Webhook:
    return decode(body, received_at_ms=1_787_428_900_000, header_call_id="from-header", raw=b"raw")


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["type", "call", "role", "status", "transcript", "transcriptType", "isFinal", "turn", "turnId", "timestamp"]
) | st.sampled_from(
    ["messages", "messagesOpenAIFormatted", "conversation", "endedReason", "durationMs", "startedAt", "endedAt"]
)


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [path] + [spot for key in keys for spot in spots(value[key], (*path, key))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    inner = put(value[path[0]], path[1:], new)
    if isinstance(value, dict):
        return value | {path[0]: inner}
    return [inner if index == path[0] else item for index, item in enumerate(value)]


def survives(body: object) -> None:
    """It reads or is refused; what was read can be sent on, and reads the same again."""
    try:
        webhook = read(body)
    except BadWebhook:
        return
    assert webhook == read(body)
    assert len(webhook.call_id) <= 200
    assert isinstance(webhook.body, Unknown | Ask | PhoneControl) or webhook.call_id.startswith("vapi:")
    sent_on = [webhook.call_id, webhook.event_id]
    if isinstance(webhook.body, Words):
        sent_on.append(webhook.body.text)
    if isinstance(webhook.body, HistoryReported):
        sent_on += [
            text for item in webhook.body.tail for text in (item.content, item.tool_calls_json, item.tool_call_id)
        ]
    assert len("".join(sent_on).encode()) < 200_000


@given(st.sampled_from(NAMES), st.data())
def test_d11_a_mutated_sample_is_read_or_refused(name: str, data: st.DataObject) -> None:
    body = sample(name)
    for _ in range(data.draw(st.integers(1, 3))):
        body = put(body, data.draw(st.sampled_from(spots(body))), data.draw(JSON))
    survives(body)


@given(st.sampled_from(NAMES), st.dictionaries(FIELDS, JSON, max_size=4))
def test_d11_a_sample_with_strange_fields_is_read_or_refused(name: str, strange: dict[str, Any]) -> None:
    body = sample(name)
    body["message"] |= strange
    survives(body)


@given(JSON)
def test_d11_any_json_at_all_is_read_or_refused(body: object) -> None:
    survives(body)


def test_d11_nesting_deeper_than_the_stack_is_no_error() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": deep}}]
    items = [{"role": "assistant", "content": deep, "tool_calls": calls}]
    survives_as = read(message(type="conversation-update", messagesOpenAIFormatted=items)).body
    assert isinstance(survives_as, HistoryReported)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_credentials_and_numbers_is_carried_and_the_control_url_is_not_printed(name: str) -> None:
    body = sample(name)
    body["message"]["phoneNumber"] = {"number": "SECRET", "twilioAuthToken": "SECRET", "twilioAccountSid": "SECRET"}
    body["message"]["customer"] = {"number": "SECRET"}
    call = body["message"].setdefault("call", {})
    call |= {"monitor": {"controlUrl": "CONTROL", "listenUrl": "SECRET"}, "customer": {"number": "SECRET"}}
    call["transport"] = {"callToken": "SECRET", "accountSid": "SECRET"}
    webhook = read(body)
    assert "SECRET" not in everything(webhook)
    assert webhook.control_url == "CONTROL"
    assert "CONTROL" not in repr(webhook) + everything(replace(webhook, control_url=""))


def test_what_was_said_is_not_in_what_is_printed() -> None:
    for name in ("server/transcript.final.user", "server/conversation-update"):
        webhook = read(sample(name))
        assert "table" in everything(webhook)
        assert "table" not in repr(webhook)


def everything(value: object) -> str:
    """All that a dataclass holds, private fields included."""
    if hasattr(value, "__slots__") and not isinstance(value, str):
        return " ".join(everything(getattr(value, name)) for name in value.__slots__)
    if isinstance(value, tuple):
        return " ".join(map(everything, value))
    return str(value)


def test_a_refusal_names_the_field_and_never_what_it_held() -> None:
    bodies = [
        message(type="transcript", role="SECRET", transcript="hi"),
        message(type="transcript", transcript=["SECRET"]),
        message(type="speech-update", status="SECRET"),
        message(type="conversation-update", messages="SECRET"),
        message(type=["SECRET"]),
    ]
    for body in bodies:
        with pytest.raises(BadWebhook, match=r"message\.\S+ must be") as caught:
            read(body)
        assert "SECRET" not in str(caught.value)
