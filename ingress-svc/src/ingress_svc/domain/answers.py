"""The bodies of the answers that Vapi waits for, and what an agent answers by its configuration alone.

Bodies are bare JSON. What a tool gave back is text on one line; anything else is lost on Vapi's side.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ingress_svc.domain.asks import (
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
    said_last,
)
from ingress_svc.domain.chat import json_text
from ingress_svc.domain.endpointing import EndpointingRules, timeout_s
from ingress_svc.domain.knowledge import Found, KnowledgeBase, words_of

Answer: TypeAlias = Mapping[str, object]

CAPS_S: Final[Mapping[Kind, float]] = {
    # Vapi gives up after 7.5 s, which no setting changes.
    Kind.ASSISTANT: 6.0,
    # Vapi waits 20 s for the others unless told otherwise. The caller hears nothing meanwhile.
    Kind.TOOLS: 15.0,
    Kind.FUNCTION: 15.0,
    Kind.TRANSFER: 6.0,
    Kind.HANDOFF: 6.0,
    Kind.PREDIAL: 6.0,
    Kind.VOICE: 6.0,
    # These two stand in the way of every answer of the agent.
    Kind.KNOWLEDGE: 2.0,
    Kind.ENDPOINTING: 0.5,
}
"""Seconds until the answer must have left, whatever it is."""

NOT_SET_UP: Final = "Sorry, nobody can take your call at the moment. Please try again later."
NO_TRANSFER: Final = "There is nobody to transfer this call to."
NO_HANDOFF: Final = "There is no other assistant to hand this call to."
NO_TOOL: Final = "no tool of this name is configured"
TOOL_FAILED: Final = "the tool failed"
TOOL_LATE: Final = "the tool did not answer in time; it may have done its work all the same"
TOO_MANY_TOOLS: Final = "too many tool calls at once"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a call may go, and the caller's words that choose it."""

    target: Answer = field(repr=False)
    """As Vapi reads it."""
    words: tuple[str, ...] = ()
    """Any of them chooses it; without any it is for whoever is left."""
    say: str = ""
    """To the caller, in a transfer; to the model, in a handoff."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one agent answers by itself. The default is what is safe where nothing is configured."""

    assistant: Answer = field(default_factory=lambda: {"error": NOT_SET_UP})
    transfer: tuple[Destination, ...] = ()
    handoff: tuple[Destination, ...] = ()
    endpointing: EndpointingRules = field(default_factory=EndpointingRules)
    may_dial: bool = False
    """Without an answer Vapi places no call either, so silence is "no"."""
    blocked: frozenset[str] = field(default=frozenset(), repr=False)
    """Digits of the numbers that are never called."""
    knowledge: KnowledgeBase | None = None
    urls: Mapping[Kind, str] = field(default_factory=dict)
    """Where the owner's own server decides instead."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back."""

    text: str = field(repr=False)
    failed: bool = False
    message: Answer | None = field(default=None, repr=False)
    """What Vapi is to say, as it reads it."""


def planned(ask: Ask, plan: Plan) -> Answer | None:
    """Return the answer that needs nobody else; None for speech, which is none of JSON."""
    if isinstance(ask, AssistantRequest):
        return plan.assistant
    if isinstance(ask, ToolCalls):
        return tool_results(ask.calls, {})
    if isinstance(ask, FunctionCall):
        return function_result(ToolResult(NO_TOOL, failed=True))
    if isinstance(ask, TransferRequest):
        return _transfer(chosen(plan.transfer, said_last(ask.history)))
    if isinstance(ask, HandoffRequest):
        # The model's own parameters say more than the caller's words.
        return _handoff(chosen(plan.handoff, _texts(ask.parameters)) or chosen(plan.handoff, said_last(ask.history)))
    if isinstance(ask, KnowledgeRequest):
        question = said_last(ask.history)
        return documents(plan.knowledge.search(question) if plan.knowledge and question else ())
    if isinstance(ask, EndpointingRequest):
        return endpointing(timeout_s(said_last(ask.history), plan.endpointing))
    if isinstance(ask, PredialRequest):
        return {"eligible": plan.may_dial and _may_call(ask.number, plan.blocked)}
    return None


# --- bodies -----------------------------------------------------------------------------------------------------------


def tool_results(calls: Iterable[ToolCall], results: Mapping[int, ToolResult]) -> Answer:
    """Answer every call in its order; ``results`` are by its place, and those of no tool are missing."""
    missing = ToolResult(NO_TOOL, failed=True)
    return {"results": [_tool_result(call, results.get(place, missing)) for place, call in enumerate(calls)]}


def _tool_result(call: ToolCall, result: ToolResult) -> Answer:
    body: dict[str, object] = {"toolCallId": call.id}
    if call.name:
        body["name"] = call.name
    body["error" if result.failed else "result"] = one_line(result.text)
    if result.message is not None:
        body["message"] = result.message
    return body


def function_result(result: ToolResult) -> Answer:
    """The older form knows no error: the model is told in words."""
    return {"result": one_line(f"Error: {result.text}" if result.failed else result.text)}


def documents(found: Iterable[Found]) -> Answer:
    return {
        "documents": [
            {"content": each.passage.text, "similarity": each.similarity, "uuid": each.passage.name} for each in found
        ]
    }


def endpointing(wait_s: float) -> Answer:
    return {"timeoutSeconds": wait_s}


def _transfer(destination: Destination | None) -> Answer:
    if destination is None:
        return {"error": NO_TRANSFER}
    body: dict[str, object] = {"destination": destination.target}
    if destination.say:
        body["message"] = {"type": "request-start", "content": destination.say}
    return body


def _handoff(destination: Destination | None) -> Answer:
    if destination is None:
        return {"error": NO_HANDOFF}
    body: dict[str, object] = {"destination": destination.target}
    if destination.say:
        body["result"] = one_line(destination.say)
    return body


def one_line(text: str) -> str:
    return " ".join(text.splitlines())


# --- choices ----------------------------------------------------------------------------------------------------------


def chosen(destinations: Iterable[Destination], said: str) -> Destination | None:
    """Return the first whose words were said, else the first that asks for none.

    Whole words count, without case and accents: "bill" is not in "billing".
    """
    text = f" {' '.join(words_of(said))} "
    rest = None
    for destination in destinations:
        if not destination.words:
            rest = rest or destination
        elif any(f" {' '.join(words_of(phrase))} " in text for phrase in destination.words):
            return destination
    return rest


def _texts(parameters: Mapping[str, object]) -> str:
    return " ".join(value if isinstance(value, str) else json_text(value) for value in parameters.values())


def digits(number: str) -> str:
    return "".join(char for char in number if char in "0123456789")


def _may_call(number: str, blocked: frozenset[str]) -> bool:
    """A number that cannot be read cannot be held against the list."""
    return not blocked or (bool(number) and digits(number) not in blocked)
