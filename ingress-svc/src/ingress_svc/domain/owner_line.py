"""The tool with which a model sends its owner a line: what the owner's system gets, and what the model is told."""

from __future__ import annotations

import json
from typing import Final

from ingress_svc.domain.call_report import VERSION, instant
from ingress_svc.domain.owner_post import Delivery, Failure, Posted, json_bytes
from ingress_svc.domain.tool_claims import ToolAsk, ToolEnd, ToolOutcome

TELL_OWNER: Final = "tell_owner"
TIMEOUT_MS: Final = 8_000
"""For all tries together: a caller waits meanwhile."""
PAUSES_S: Final = (0.5, 2.0)
"""Between the tries."""
MOST_CHARS: Final = 2_000

BAD_LINE: Final = ToolEnd(
    ToolOutcome.FAILED, f'The arguments must be {{"line": "..."}} with a text of at most {MOST_CHARS} characters.'
)


def line_of(arguments_json: str) -> str:
    """Return the line that the model wrote, on one line; "" for none that can be sent."""
    try:
        sent = json.loads(arguments_json or "{}")
    except (ValueError, RecursionError):
        return ""
    line = sent.get("line") if isinstance(sent, dict) else None
    text = " ".join(line.split()) if isinstance(line, str) else ""
    return text if len(text) <= MOST_CHARS else ""


def delivery_of(ask: ToolAsk) -> str:
    """Return what names the line in each delivery of it."""
    return f"line:{ask.key}"


def body(ask: ToolAsk, line: str, *, agent: str, at_ms: int) -> bytes:
    """Return the JSON that is posted."""
    fields = {
        "type": "call.line",
        "version": VERSION,
        "delivery": delivery_of(ask),
        "call_id": ask.call_id,
        "agent": agent,
        "turn": ask.turn,
        "at": instant(at_ms),
        "line": line,
    }
    return json_bytes(fields)


def end_of(delivery: Delivery) -> ToolEnd:
    """Return what the model is told of the last try."""
    if delivery.posted is Posted.DELIVERED:
        return ToolEnd(ToolOutcome.DONE, "sent")
    if delivery.failure in (Failure.LATE, Failure.DEFECT):
        return ToolEnd(ToolOutcome.UNKNOWN, "It is not known whether the owner has got it. Do not simply try it again.")
    return ToolEnd(ToolOutcome.FAILED, "It could not be sent to the owner.")
