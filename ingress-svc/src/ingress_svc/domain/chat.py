"""Chat histories, as Vapi's webhooks and its custom-LLM requests carry them in several dialects."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ingress_svc.domain.fields import MAX_NAME_CHARS, clean

MAX_TEXT_CHARS = 16_384
"""Of one transcript or message of a tail: a quarter of an hour of speech without a pause."""
MAX_TAIL_CHARS = 40_000
"""Of a tail, all messages together: at most 160 kB on the wire."""
MAX_TAIL_MESSAGES = 64

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "bot": "assistant",
    "tool_calls": "assistant",
    "tool": "tool",
    "function": "tool",
    "tool_call_result": "tool",
}
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message. The private parts stay out of repr, so that no traceback prints them."""

    role: str
    """system, user, assistant or tool."""
    content: str = field(repr=False)
    tool_calls_json: str = field(default="", repr=False)
    """JSON array in the OpenAI format (arguments as text); empty for none."""
    tool_call_id: str = ""


def role_of(item: object) -> str:
    """Return the role in OpenAI's words, or "" for what is no message.

    An unknown role is no message: read as the caller's it would number the turns wrongly, read as system it would
    give a stranger's words authority over the model.
    """
    if not isinstance(item, dict):
        return ""
    role = item.get("role")
    return _ROLES.get(role, "") if isinstance(role, str) else ""


def read_message(item: Mapping[str, object], role: str) -> ChatMessage:
    """Read what ``role_of`` named. Wrong types read as absent: a strange message must not silence a live call."""
    content = next((item[name] for name in ("content", "message", "result") if item.get(name) is not None), None)
    calls = item.get("tool_calls") or item.get("toolCalls")
    call_id = item.get("tool_call_id") or item.get("toolCallId")
    if role == "assistant" and not calls and isinstance(legacy := item.get("function_call"), dict):
        # Models refuse a tool message without an id: the function's name pairs the legacy call with its result.
        calls = [{"id": legacy.get("name"), "type": "function", "function": legacy}]
    if role == "tool" and not call_id:
        call_id = item.get("name")
    return ChatMessage(
        role=role,
        content=plain_text(content),
        tool_calls_json=_tool_calls_json(calls) if role == "assistant" and isinstance(calls, list) else "",
        tool_call_id=clean(call_id) if role == "tool" and isinstance(call_id, str) else "",
    )


def plain_text(content: object) -> str:
    """Return the text of a content field: a string, or a list of parts whose texts are joined by a space."""
    if isinstance(content, str):
        return clean(content)
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") if isinstance(part, dict) else part for part in content)
    return clean(" ".join(text for text in texts if isinstance(text, str)))


def json_text(value: object) -> str:
    """Return compact ASCII JSON with the members in their order: the order of a schema steers the model.

    Returns "" for what JSON cannot carry (NaN, nesting beyond the interpreter's stack).
    """
    try:
        return _encode(value)
    except (ValueError, RecursionError):
        return ""


def tail_of(items: Sequence[object]) -> tuple[tuple[ChatMessage, ...], int, int]:
    """Return a history's tail, how many user messages the whole history holds, and how many characters were left out.

    The tail goes from the second-last user message on, from behind the leading prompt while there are fewer. Where it
    is over the caps, its oldest messages are left out first; the count of characters is then a lower bound.
    """
    roles = [role_of(item) for item in items]
    newest_first: list[ChatMessage] = []
    room, dropped = MAX_TAIL_CHARS, 0
    for index in range(len(items) - 1, _tail_start(roles) - 1, -1):
        item, role = items[index], roles[index]
        if not role or not isinstance(item, dict):
            continue
        whole = read_message(item, role)
        message = _capped(whole)
        dropped += _size(whole) - _size(message)
        room -= _size(message)
        if room < 0 or len(newest_first) == MAX_TAIL_MESSAGES:
            dropped += _size(message)
            break
        newest_first.append(message)
    return tuple(reversed(newest_first)), roles.count("user"), dropped


def _tail_start(roles: Sequence[str]) -> int:
    seen = 0
    for index in range(len(roles) - 1, -1, -1):
        seen += roles[index] == "user"
        if seen == 2:
            return index
    return next((index for index, role in enumerate(roles) if role != "system"), len(roles))


def _size(message: ChatMessage) -> int:
    return len(message.content) + len(message.tool_calls_json) + len(message.tool_call_id)


def _capped(message: ChatMessage) -> ChatMessage:
    if _size(message) <= MAX_TEXT_CHARS:
        return message
    calls, call_id = message.tool_calls_json, message.tool_call_id
    return replace(
        message,
        content=message.content[:MAX_TEXT_CHARS],
        # Half of a JSON text or of an id means nothing.
        tool_calls_json=calls if len(calls) <= MAX_TEXT_CHARS else "",
        tool_call_id=call_id if len(call_id) <= MAX_NAME_CHARS else "",
    )


def _tool_calls_json(calls: list[object]) -> str:
    entries = [_openai_call(call) for call in calls if isinstance(call, dict)]
    return json_text(entries) if entries else ""


def _openai_call(call: dict[str, object]) -> dict[str, object]:
    """Vapi sends arguments as an object where OpenAI's format wants text."""
    function = call.get("function")
    if not isinstance(function, dict) or isinstance(function.get("arguments"), str):
        return call
    return {**call, "function": {**function, "arguments": json_text(function.get("arguments") or {})}}


def newest_half(messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
    """Return the system messages and the newer half of the others: what is left of a history that is too long."""
    spoken = [message for message in messages if message.role != "system"]
    if len(spoken) < 2:
        return messages
    kept = spoken[len(spoken) // 2 :]
    return [*(message for message in messages if message.role == "system"), *kept]
