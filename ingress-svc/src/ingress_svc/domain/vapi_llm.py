"""Vapi's custom-LLM requests, and their answer as OpenAI chat completions over server-sent events."""

import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ingress_svc.domain.chat import ChatMessage, json_text, read_message, role_of
from ingress_svc.domain.control_url import sent_control_url
from ingress_svc.domain.effects import Usage
from ingress_svc.domain.fields import line, visible

DONE = b"data: [DONE]\n\n"
"""Ends every stream, also a cut one, behind its closing frame."""


class BadReason(enum.StrEnum):
    """Closed set, fit for a counter."""

    NOT_AN_OBJECT = "not_an_object"
    NO_MESSAGES = "no_messages"


class BadRequest(Exception):
    """The request cannot be answered. The text names the field and what would be right, never what it held."""

    def __init__(self, reason: BadReason, param: str | None, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.param = param

    def body(self) -> bytes:
        """Return the JSON body for HTTP 400."""
        return error_body(str(self), kind="invalid_request_error", code=self.reason.value, param=self.param)


@dataclass(frozen=True, slots=True)
class LlmRequest:
    call_id: str | None
    """`vapi:<id>`; None where neither body nor header name the call."""
    messages: tuple[ChatMessage, ...]
    user_message_count: int
    """Numbers the turn."""
    stream: bool
    model: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    tools_json: str = field(default="", repr=False)
    """JSON array as sent, compact; empty for none."""
    wants_usage: bool = False
    """Whether a stream is to end with the token counts; a whole completion has them anyway."""
    dropped_messages: int = 0
    """Messages with an unknown role, which were left out."""
    control_url: str = field(default="", repr=False)
    """Private, and as sent: see `vapi.Webhook`."""


def decode(body: object, *, header_call_id: str | None) -> LlmRequest:
    """Read one request. Everything but the list of messages is optional: a strange field must not silence a live call.

    Credentials, phone numbers and assistant metadata in the body are never read; the control URL is, and never printed.
    Raises BadRequest only.
    """
    if not isinstance(body, dict):
        raise BadRequest(BadReason.NOT_AN_OBJECT, None, "the body must be a JSON object")
    items = body.get("messages")
    if not isinstance(items, list):
        raise BadRequest(BadReason.NO_MESSAGES, "messages", "messages must be a list of chat messages")
    messages = tuple(read_message(item, role) for item in items if isinstance(item, dict) and (role := role_of(item)))
    return LlmRequest(
        call_id=_call_id(body, header_call_id),
        messages=messages,
        user_message_count=sum(message.role == "user" for message in messages),
        stream=body.get("stream") not in (None, False),
        model=line(body.get("model")),
        temperature=_number(body.get("temperature"), most=2),
        max_tokens=_max_tokens(body),
        tools_json=_tools_json(body.get("tools")),
        wants_usage=isinstance(options := body.get("stream_options"), dict) and options.get("include_usage") is True,
        dropped_messages=len(items) - len(messages),
        control_url=sent_control_url(call) if isinstance(call := body.get("call"), dict) else "",
    )


def _call_id(body: Mapping[str, object], header: str | None) -> str | None:
    call = body.get("call")
    usable = visible(call.get("id")) if isinstance(call, dict) else ""
    usable = usable or visible(header)
    return f"vapi:{usable}" if usable else None


def _number(value: object, *, most: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= most else None


def _max_tokens(body: Mapping[str, object]) -> int | None:
    limits = (_number(body.get(name), most=1_000_000) for name in ("max_tokens", "max_completion_tokens"))
    return next((int(limit) for limit in limits if limit is not None and limit >= 1), None)


def _tools_json(tools: object) -> str:
    if not isinstance(tools, list):
        return ""
    usable = [tool for tool in tools if isinstance(tool, dict)]
    return json_text(usable) if usable else ""


def error_body(message: str, *, kind: str, code: str | None = None, param: str | None = None) -> bytes:
    """Return OpenAI's error object as JSON. ``kind`` is its `type`, such as invalid_request_error."""
    return _json({"error": {"message": message, "type": kind, "param": param, "code": code}})


@dataclass(frozen=True, slots=True)
class ToolPiece:
    """A piece of tool call ``index``: the first names call and function, the others add to the arguments."""

    index: int
    call_id: str = ""
    name: str = ""
    arguments: str = field(default="", repr=False)


class SseEncoder:
    """Writes one completion as frames of `chat.completion.chunk`.

    ``opening``, any number of ``text`` and ``tool_call``, ``closing``, ``usage`` where it was asked for, then ``DONE``.
    Every frame is pure ASCII.
    """

    def __init__(self, completion_id: str, *, model: str, created_s: int) -> None:
        self._head: dict[str, object] = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": created_s,
            "model": model,
        }
        # The last one: an empty model name stands before it.
        before, after = self._frame(_choice({"content": ""})).rsplit(b'""', 1)
        self._text_before, self._text_after = before, after

    def opening(self) -> bytes:
        return self._frame(_choice({"role": "assistant", "content": ""}))

    def text(self, content: str) -> bytes:
        """The hot path: once per token, so only the text itself is encoded."""
        return b"%b%b%b" % (self._text_before, _json(content), self._text_after)

    def tool_call(self, piece: ToolPiece) -> bytes:
        delta: dict[str, object] = {"index": piece.index}
        if piece.call_id:
            delta |= {"id": piece.call_id, "type": "function"}
        delta["function"] = ({"name": piece.name} if piece.name else {}) | {"arguments": piece.arguments}
        return self._frame(_choice({"tool_calls": [delta]}))

    def closing(self, finish_reason: str = "stop") -> bytes:
        """``finish_reason`` is stop, length or tool_calls; a cut generation closes with stop."""
        return self._frame(_choice({}, finish_reason))

    def usage(self, usage: Usage) -> bytes:
        """Its list of choices is empty, so it is only for those who ask for it."""
        return b"data: %b\n\n" % _json(self._head | {"choices": [], "usage": _counts(usage)})

    def completion(
        self, content: str, pieces: Sequence[ToolPiece] = (), *, finish_reason: str = "stop", usage: Usage | None = None
    ) -> bytes:
        """Return the whole answer as the one JSON body of a request with `stream: false`."""
        message: dict[str, object] = {"role": "assistant", "content": content}
        if pieces:
            message |= {"content": content or None, "tool_calls": _calls(pieces)}
        choice = {"index": 0, "message": message, "finish_reason": finish_reason}
        body = self._head | {"object": "chat.completion", "choices": [choice]}
        return _json(body | {"usage": _counts(usage)} if usage else body)

    def _frame(self, choices: list[dict[str, object]]) -> bytes:
        return b"data: %b\n\n" % _json(self._head | {"choices": choices})


_encode = json.JSONEncoder(separators=(",", ":")).encode


def _json(value: object) -> bytes:
    return _encode(value).encode("ascii")


def _choice(delta: dict[str, object], finish_reason: str | None = None) -> list[dict[str, object]]:
    return [{"index": 0, "delta": delta, "finish_reason": finish_reason}]


def _counts(usage: Usage) -> dict[str, object]:
    total = usage.prompt + usage.completion
    return {"prompt_tokens": usage.prompt, "completion_tokens": usage.completion, "total_tokens": total}


def _calls(pieces: Sequence[ToolPiece]) -> list[dict[str, object]]:
    """Return the calls that the pieces make up, in the order in which they began."""
    by_index: dict[int, list[ToolPiece]] = {}
    for piece in pieces:
        by_index.setdefault(piece.index, []).append(piece)
    return [
        {
            "id": next((piece.call_id for piece in call if piece.call_id), ""),
            "type": "function",
            "function": {
                "name": next((piece.name for piece in call if piece.name), ""),
                "arguments": "".join(piece.arguments for piece in call),
            },
        }
        for call in by_index.values()
    ]
