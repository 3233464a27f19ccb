"""What the owner's server is asked, and its answer: the body that Vapi would get, checked before Vapi gets it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ingress_svc.domain.answers import Answer, ToolResult, function_result, tool_results
from ingress_svc.domain.asks import (
    Ask,
    AssistantRequest,
    FunctionCall,
    HandoffRequest,
    Kind,
    PredialRequest,
    ToolCall,
    ToolCalls,
    VoiceRequest,
)
from ingress_svc.domain.chat import ChatMessage, json_text
from ingress_svc.domain.endpointing import MOST_S

MAX_ANSWER_BYTES: Final = 256 * 1024
MAX_SPEECH_BYTES: Final = 8 * 1024 * 1024
"""Of speech: a minute and a half at the highest rate."""
NOT_ANSWERED: Final = "the tool did not answer"


class BadAnswer(Exception):
    """The answer is not what Vapi reads. The text says what would be right, never what it held."""


def question(ask: Ask, kind: Kind, *, event_id: str, call_id: str, at_ms: int) -> bytes:
    """Return the body of the request, in ASCII."""
    fields = {"type": kind.value, "event_id": event_id, "call_id": call_id, "at_ms": at_ms, **_fields(ask)}
    return json_text(fields).encode("ascii")


def _fields(ask: Ask) -> dict[str, object]:
    if isinstance(ask, AssistantRequest):
        return {"caller": ask.caller, "called": ask.called}
    if isinstance(ask, ToolCalls):
        return {"tool_calls": [_call(call) for call in ask.calls]}
    if isinstance(ask, FunctionCall):
        return {"function_call": _call(ask.call)}
    if isinstance(ask, HandoffRequest):
        return {"parameters": ask.parameters, "messages": _messages(ask.history)}
    if isinstance(ask, PredialRequest):
        contact = {"id": ask.contact_id, "number": ask.number, "name": ask.name}
        return {"campaign_id": ask.campaign_id, "contact": contact}
    if isinstance(ask, VoiceRequest):
        return {"text": ask.text, "sample_rate": ask.sample_rate}
    return {"messages": _messages(ask.history)}


def _call(call: ToolCall) -> dict[str, object]:
    return {"id": call.id, "name": call.name, "arguments": call.arguments}


def _messages(history: Iterable[ChatMessage]) -> list[dict[str, object]]:
    return [{"role": message.role, "content": message.content} for message in history]


def checked(ask: Ask, kind: Kind, sent: object) -> Answer:
    """Return the fields of an answer that Vapi reads. Raises BadAnswer."""
    if not isinstance(sent, dict):
        raise BadAnswer("the answer must be a JSON object")
    if isinstance(ask, ToolCalls):
        return _tools(ask.calls, sent)
    if isinstance(ask, FunctionCall):
        return function_result(_result(sent))
    answer: Answer = _CHECKS[kind](sent)
    if not json_text(answer):
        raise BadAnswer("the answer is nested too deeply")
    return answer


def speech(raw: bytes) -> bytes:
    """Check speech: samples of two bytes. Raises BadAnswer."""
    if not raw or len(raw) % 2:
        raise BadAnswer("speech must be 16-bit samples, and at least one")
    return raw


def _tools(calls: tuple[ToolCall, ...], sent: Mapping[str, object]) -> Answer:
    entries = sent.get("results")
    if not isinstance(entries, list):
        raise BadAnswer("results must be a list")
    by_id = {entry.get("toolCallId"): entry for entry in entries if isinstance(entry, dict) and _named(entry)}
    missing = ToolResult(NOT_ANSWERED, failed=True)
    results = {place: _result(by_id[call.id]) if call.id in by_id else missing for place, call in enumerate(calls)}
    return tool_results(calls, results)


def _named(entry: Mapping[str, object]) -> bool:
    return isinstance(entry.get("toolCallId"), str)


def _result(entry: Mapping[str, object]) -> ToolResult:
    """An object as result made an agent say that it had no data: everything becomes text."""
    sent = entry.get("message")
    message = sent if isinstance(sent, dict) and json_text(sent) else None
    for name, failed in (("error", True), ("result", False)):
        value = entry.get(name)
        if value is not None and not (failed and value == ""):
            return ToolResult(value if isinstance(value, str) else json_text(value), failed, message)
    return ToolResult(NOT_ANSWERED, failed=True, message=message)


def _assistant(sent: Mapping[str, object]) -> Answer:
    answer = {
        **_of(sent, str, "assistantId", "squadId", "error"),
        **_of(sent, dict, "assistant", "squad", "assistantOverrides", "squadOverrides"),
    }
    if "destination" in sent:
        answer |= _destination(sent, ("number", "sip"), {})
    if not answer.keys() - {"assistantOverrides", "squadOverrides"}:
        raise BadAnswer("one of assistantId, assistant, squadId, squad, destination and error must be there")
    return answer


def _transfer(sent: Mapping[str, object]) -> Answer:
    return _destination(sent, ("number", "sip", "assistant"), _of(sent, dict, "message"))


def _handoff(sent: Mapping[str, object]) -> Answer:
    return _destination(sent, ("assistant", "squad"), _of(sent, str, "result"))


def _destination(sent: Mapping[str, object], types: tuple[str, ...], beside: dict[str, object]) -> Answer:
    destination = sent.get("destination")
    if isinstance(destination, dict) and destination.get("type") in types:
        return {"destination": destination, **beside}
    if refused := _of(sent, str, "error"):
        return refused
    raise BadAnswer(f"destination.type must be one of {', '.join(types)}, or error a text")


def _documents(sent: Mapping[str, object]) -> Answer:
    found = sent.get("documents")
    if isinstance(found, list):
        return {"documents": [_document(item) for item in found]}
    if message := _of(sent, dict, "message"):
        return message
    raise BadAnswer("documents must be a list, or message an object")


def _document(item: object) -> Answer:
    fields = item if isinstance(item, dict) else {}
    similarity = fields.get("similarity")
    if not isinstance(fields.get("content"), str) or not _is_number(similarity, 0, 1):
        raise BadAnswer("each document needs content, a text, and similarity from 0 to 1")
    return {"content": fields["content"], "similarity": similarity, **_of(fields, str, "uuid")}


def _endpointing(sent: Mapping[str, object]) -> Answer:
    wait_s = sent.get("timeoutSeconds")
    if not _is_number(wait_s, 0, MOST_S):
        raise BadAnswer(f"timeoutSeconds must be a number from 0 to {MOST_S:g}")
    return {"timeoutSeconds": wait_s}


def _predial(sent: Mapping[str, object]) -> Answer:
    eligible = sent.get("eligible")
    if not isinstance(eligible, bool):
        raise BadAnswer("eligible must be true or false")
    return {"eligible": eligible}


def _of(sent: Mapping[str, object], wanted: type, *names: str) -> dict[str, object]:
    return {name: sent[name] for name in names if isinstance(sent.get(name), wanted) and sent[name]}


def _is_number(value: object, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


_CHECKS: dict[Kind, Callable[[Mapping[str, object]], Answer]] = {
    Kind.ASSISTANT: _assistant,
    Kind.TRANSFER: _transfer,
    Kind.HANDOFF: _handoff,
    Kind.KNOWLEDGE: _documents,
    Kind.ENDPOINTING: _endpointing,
    Kind.PREDIAL: _predial,
}
