"""What Vapi asks: the messages whose answer is the reply, and the one that is an order (`PhoneControl`).

They are read leniently, and never refused: whatever is wrong with one, a caller waits for the answer, so what cannot be
used reads as absent. Phone numbers are read only where an answer turns on them. They are not printed, and neither is
what was said.
"""

import enum
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from ingress_svc.domain.chat import MAX_TEXT_CHARS, ChatMessage, json_text, tail_of
from ingress_svc.domain.fields import clean, visible

MAX_ID_CHARS = 1_000
"""Of a tool call: a longer one is none that Vapi made."""
DEFAULT_SAMPLE_RATE = 24_000


class Kind(enum.StrEnum):
    """The types that are answered, in Vapi's names: closed, fit for a counter."""

    ASSISTANT = "assistant-request"
    TOOLS = "tool-calls"
    FUNCTION = "function-call"
    TRANSFER = "transfer-destination-request"
    HANDOFF = "handoff-destination-request"
    KNOWLEDGE = "knowledge-base-request"
    ENDPOINTING = "call.endpointing.request"
    PREDIAL = "campaign.predial"
    VOICE = "voice-request"


PHONE_CONTROL = "phone-call-control"


@dataclass(frozen=True, slots=True)
class AssistantRequest:
    """An inbound call, for which no assistant is set."""

    caller: str = field(default="", repr=False)
    """Its number, or a SIP address; empty where it is hidden."""
    called: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    arguments: Mapping[str, object] | str = field(default="", repr=False)
    """The text as sent where it is no JSON object."""


@dataclass(frozen=True, slots=True)
class ToolCalls:
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """One tool call in the older form; its answer names none, so it may have no id."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class TransferRequest:
    """The model wants to transfer the call and did not say where to."""

    history: tuple[ChatMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class HandoffRequest:
    """The same for another assistant; the parameters are what the model filled in."""

    parameters: Mapping[str, object] = field(default_factory=dict, repr=False)
    history: tuple[ChatMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class KnowledgeRequest:
    history: tuple[ChatMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointingRequest:
    """How long to wait before the caller's turn counts as over. Asked anew with each transcript."""

    history: tuple[ChatMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class PredialRequest:
    """Whether a call of a campaign may be placed. It is about no call yet."""

    campaign_id: str = ""
    contact_id: str = ""
    number: str = field(default="", repr=False)
    name: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class VoiceRequest:
    """Text to be made speech: 16-bit mono PCM at this rate."""

    text: str = field(default="", repr=False)
    sample_rate: int = DEFAULT_SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class PhoneControl:
    """Vapi hands the end or the forwarding of a call to us, and does neither itself."""

    request: str
    """hang-up, forward, or "" for what we do not know."""
    number: str = field(default="", repr=False)
    sip_uri: str = field(default="", repr=False)
    message: str = field(default="", repr=False)


Ask: TypeAlias = (
    AssistantRequest
    | ToolCalls
    | FunctionCall
    | TransferRequest
    | HandoffRequest
    | KnowledgeRequest
    | EndpointingRequest
    | PredialRequest
    | VoiceRequest
)
KIND: dict[type, Kind] = {
    AssistantRequest: Kind.ASSISTANT,
    ToolCalls: Kind.TOOLS,
    FunctionCall: Kind.FUNCTION,
    TransferRequest: Kind.TRANSFER,
    HandoffRequest: Kind.HANDOFF,
    KnowledgeRequest: Kind.KNOWLEDGE,
    EndpointingRequest: Kind.ENDPOINTING,
    PredialRequest: Kind.PREDIAL,
    VoiceRequest: Kind.VOICE,
}


class Read(NamedTuple):
    ask: Ask | PhoneControl
    identity: str = ""
    """What tells this ask from another of its type, call and millisecond."""


def said_last(history: tuple[ChatMessage, ...]) -> str:
    """Return the caller's last words in a history."""
    return next((message.content for message in reversed(history) if message.role == "user"), "")


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _history(fields: Mapping[str, object]) -> tuple[ChatMessage, ...]:
    """Most types carry it in the artifact only."""
    for place in (fields, _table(fields.get("artifact"))):
        for name in ("messagesOpenAIFormatted", "messages"):
            found = place.get(name)
            if isinstance(found, list) and (tail := tail_of(found)[0]):
                return tail
    return ()


_NUMBER = re.compile(r"\+?[0-9]{2,20}|sips?:[!-~]{1,190}")


def _number(*places: object) -> str:
    for place in places:
        number = _table(place).get("number")
        if isinstance(number, str) and _NUMBER.fullmatch(number):
            return number
    return ""


def _text(value: object) -> str:
    return clean(value[:MAX_TEXT_CHARS]) if isinstance(value, str) else ""


def _assistant(fields: Mapping[str, object], call: Mapping[str, object]) -> Read:
    caller = _number(fields.get("customer"), call.get("customer"))
    return Read(AssistantRequest(caller, _number(fields.get("phoneNumber"), call.get("phoneNumber"))))


def _tools(fields: Mapping[str, object], _: Mapping[str, object]) -> Read:
    """The same calls may stand in three lists; the first that has any counts."""
    for name in ("toolCallList", "toolCalls", "toolWithToolCallList"):
        found = fields.get(name)
        items = found if isinstance(found, list) else []
        calls = tuple(call for item in items if (call := _tool_call(item)) is not None)
        if calls:
            return Read(ToolCalls(calls), "\n".join(call.id for call in calls))
    return Read(ToolCalls(()))


def _tool_call(item: object) -> ToolCall | None:
    """Without an id there is no answering it."""
    entry = _table(item)
    entry = _table(entry["toolCall"]) if "toolCall" in entry else entry
    call_id = entry.get("id")
    if not isinstance(call_id, str) or not 0 < len(call_id) <= MAX_ID_CHARS:
        return None
    return _named_call(call_id, entry, _table(entry.get("function")))


def _named_call(call_id: str, entry: Mapping[str, object], function: Mapping[str, object]) -> ToolCall:
    name = function.get("name", entry.get("name"))
    places = ((function, "arguments"), (function, "parameters"), (entry, "arguments"), (entry, "parameters"))
    sent = next((place[key] for place, key in places if place.get(key) is not None), "")
    return ToolCall(call_id, visible(name), _arguments(sent))


def _arguments(sent: object) -> Mapping[str, object] | str:
    """Return an object that JSON can carry on, else the text."""
    if isinstance(sent, str):
        try:
            decoded = json.loads(sent)
        except (ValueError, RecursionError):
            return clean(sent)
        return decoded if isinstance(decoded, dict) and json_text(decoded) else clean(sent)
    text = json_text(sent)
    return sent if isinstance(sent, dict) and text else text


def _function(fields: Mapping[str, object], _: Mapping[str, object]) -> Read:
    entry = _table(fields.get("functionCall"))
    sent_id = entry.get("toolCallId", entry.get("id"))
    call_id = sent_id if isinstance(sent_id, str) and len(sent_id) <= MAX_ID_CHARS else ""
    call = _named_call(call_id, entry, {})
    arguments = call.arguments if isinstance(call.arguments, str) else json_text(call.arguments)
    return Read(FunctionCall(call), f"{call_id}\n{call.name}\n{arguments}")


def _transfer(fields: Mapping[str, object], _: Mapping[str, object]) -> Read:
    history = _history(fields)
    return Read(TransferRequest(history), said_last(history))


def _handoff(fields: Mapping[str, object], _: Mapping[str, object]) -> Read:
    parameters, history = _table(fields.get("parameters")), _history(fields)
    text = json_text(parameters)
    return Read(HandoffRequest(parameters if text else {}, history), f"{said_last(history)}\n{text}")


def _knowledge(fields: Mapping[str, object], _: Mapping[str, object]) -> Read:
    history = _history(fields)
    return Read(KnowledgeRequest(history), said_last(history))


def _endpointing(fields: Mapping[str, object], _: Mapping[str, object]) -> Read:
    history = _history(fields)
    return Read(EndpointingRequest(history), said_last(history))


def _predial(fields: Mapping[str, object], _: Mapping[str, object]) -> Read:
    contact = _table(fields.get("contact"))
    campaign = visible(fields.get("campaignId")) or visible(contact.get("campaignId"))
    ask = PredialRequest(campaign, visible(contact.get("id")), _number(contact), _text(contact.get("name")))
    return Read(ask, f"{ask.campaign_id}\n{ask.contact_id}\n{ask.number}")


def _voice(fields: Mapping[str, object], _: Mapping[str, object]) -> Read:
    text, rate = _text(fields.get("text")), fields.get("sampleRate")
    if not isinstance(rate, int) or not 8_000 <= rate <= 48_000:
        rate = DEFAULT_SAMPLE_RATE
    return Read(VoiceRequest(text, rate), text)


def _phone_control(fields: Mapping[str, object], _: Mapping[str, object]) -> Read:
    sent, destination = fields.get("request"), _table(fields.get("destination"))
    request = sent if isinstance(sent, str) and sent in ("hang-up", "forward") else ""
    number, sip = _number(destination), destination.get("sipUri")
    sip_uri = visible(sip) if isinstance(sip, str) and sip.startswith(("sip:", "sips:")) else ""
    control = PhoneControl(request, number, "" if number else sip_uri, _text(destination.get("message")))
    return Read(control, f"{request}\n{number}\n{sip_uri}")


READERS: dict[str, Callable[[Mapping[str, object], Mapping[str, object]], Read]] = {
    Kind.ASSISTANT: _assistant,
    Kind.TOOLS: _tools,
    Kind.FUNCTION: _function,
    Kind.TRANSFER: _transfer,
    Kind.HANDOFF: _handoff,
    Kind.KNOWLEDGE: _knowledge,
    Kind.ENDPOINTING: _endpointing,
    Kind.PREDIAL: _predial,
    Kind.VOICE: _voice,
    PHONE_CONTROL: _phone_control,
}
"""By type: what reads the fields of a message and its call."""
