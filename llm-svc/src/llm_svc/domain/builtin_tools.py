"""The tools that ingress carries out by itself: here only their names and what the model is told of them."""

from __future__ import annotations

from typing import Any, Final

from llm_svc.domain.tools import definition


def _text(description: str) -> dict[str, str]:
    return {"type": "string", "description": description}


def _object(required: list[str], **properties: dict[str, str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


BUILTIN: Final = {
    "end_call": definition(
        "end_call",
        "End the phone call. Use it when the caller has said goodbye or has nothing more to ask.",
        _object([], farewell=_text("The last words to the caller, one short sentence; leave it out to say nothing.")),
    ),
    "transfer_call": definition(
        "transfer_call",
        "Hand the caller over to a person. The call with you ends.",
        _object(
            ["destination"],
            # A name and not a number: a number that a model makes up would be dialled.
            destination=_text("Whom to hand over to, by the name that your instructions give; never a phone number."),
            message=_text("What to say to the caller before, one short sentence; leave it out to say nothing."),
        ),
    ),
    "tell_owner": definition(
        "tell_owner",
        "Send one line to the owner of this number, for what somebody must see to later. The caller does not hear it.",
        _object(["line"], line=_text("What the owner is to know, in one line.")),
    ),
}
