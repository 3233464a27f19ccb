"""The report of a call as the owner's system gets it: docs/call-report.md describes each member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from ingress_svc.domain.owner_post import MOST_BODY_BYTES, json_bytes

VERSION: Final = 1
"""Rises when a member goes or changes its meaning; new ones may come without."""


@dataclass(frozen=True, slots=True)
class CallReport:
    call_id: str
    agent: str
    outcome: str
    ended_reason: str
    started_at_ms: int
    answered_at_ms: int
    ended_at_ms: int
    duration_ms: int
    turns: tuple[Mapping[str, object], ...] = field(repr=False)
    turn_count: int
    cut_count: int
    tools: tuple[Mapping[str, object], ...]
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    provider_reported: bool


def delivery_of(call_id: str) -> str:
    """Return what names the report in each delivery of it."""
    return f"call-report:{call_id}"


def body(report: CallReport) -> bytes:
    """Return the JSON that is posted: of the turns the last, as many as fit."""
    turns = list(report.turns)
    raw = _body(report, turns)
    if len(raw) > MOST_BODY_BYTES:
        # With a comma each, and room for one digit more in the number of those left out.
        sizes = [len(json_bytes(turn)) + 1 for turn in turns]
        room = MOST_BODY_BYTES - (len(raw) - sum(sizes)) - len(str(len(turns)))
        kept = len(turns)
        for size in reversed(sizes):
            room -= size
            if room < 0:
                break
            kept -= 1
        raw = _body(report, turns[kept:])
    return raw


def _body(report: CallReport, turns: Sequence[Mapping[str, object]]) -> bytes:
    fields = {
        "type": "call.ended",
        "version": VERSION,
        "delivery": delivery_of(report.call_id),
        "call_id": report.call_id,
        "agent": report.agent,
        "outcome": report.outcome,
        "ended_reason": report.ended_reason,
        "started_at": instant(report.started_at_ms),
        "answered_at": instant(report.answered_at_ms),
        "ended_at": instant(report.ended_at_ms),
        # Where the provider does not say, it is what we have seen of the call.
        "duration_ms": report.duration_ms or _between(report),
        "turn_count": report.turn_count,
        "cut_count": report.cut_count,
        "turns": turns,
        "turns_left_out": report.turn_count - len(turns),
        "tools": list(report.tools),
        "tokens": {"prompt": report.prompt_tokens, "completion": report.completion_tokens},
        "cost_usd": report.cost_usd,
        "provider_reported": report.provider_reported,
    }
    return json_bytes(fields)


def instant(at_ms: int) -> str | None:
    """Return an ISO 8601 time in UTC with milliseconds; None for 0 and for what no calendar has."""
    if not at_ms:
        return None
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None


def _between(report: CallReport) -> int:
    began_ms = report.answered_at_ms or report.started_at_ms
    return max(0, report.ended_at_ms - began_ms) if began_ms else 0
