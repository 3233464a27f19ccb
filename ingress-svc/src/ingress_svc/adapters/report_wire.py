"""A call's report: from session-svc's order, and what came of it back; nothing else."""

from __future__ import annotations

from voicemesh.session.v1 import session_pb2
from voicemesh.type.v1 import call_pb2

from ingress_svc.adapters import wire
from ingress_svc.domain import call_report
from ingress_svc.domain.owner_post import Delivery, Posted

_PARTY: dict[int, str] = {call_pb2.PARTY_CALLER: "caller", call_pb2.PARTY_AGENT: "agent"}
_RESULT = {
    Posted.DELIVERED: session_pb2.REPORT_RESULT_DELIVERED,
    Posted.AGAIN: session_pb2.REPORT_RESULT_AGAIN,
    Posted.REFUSED: session_pb2.REPORT_RESULT_REFUSED,
}


def report_from(call_id: str, order: session_pb2.ReportCall) -> call_report.CallReport:
    """Return the report that is ordered."""
    return call_report.CallReport(
        call_id=call_id,
        agent=order.agent,
        outcome=order.outcome,
        ended_reason=order.ended_reason,
        started_at_ms=order.started_at_ms,
        answered_at_ms=order.answered_at_ms,
        ended_at_ms=order.ended_at_ms,
        duration_ms=order.duration_ms,
        turns=tuple(
            {
                "party": _PARTY.get(turn.party, ""),
                "at": call_report.instant(turn.at_ms),
                **({"text": turn.text} if turn.text else {}),
            }
            for turn in order.turns
        ),
        turn_count=order.turn_count,
        cut_count=order.cut_count,
        tools=tuple(
            {"name": tool.name, "turn": tool.turn, "outcome": wire.outcome_from(tool.outcome).value}
            for tool in order.tools
        ),
        prompt_tokens=order.prompt_tokens,
        completion_tokens=order.completion_tokens,
        cost_usd=order.cost_usd if order.HasField("cost_usd") else None,
        provider_reported=order.provider_reported,
    )


def report_tried(
    call_id: str, attempt: int, delivery: Delivery, client_id: str, *, now_ms: int
) -> session_pb2.CallEvent:
    """Return what came of one try to send a call's report: the same event for every time that it is told."""
    event = session_pb2.CallEvent(
        event_id=f"report-tried:{client_id}-{attempt}", call_id=call_id, at_ms=now_ms, received_at_ms=now_ms
    )
    tried = event.report_tried
    tried.attempt = attempt
    tried.result = _RESULT[delivery.posted]
    tried.retry_after_ms = round(delivery.retry_after_s * 1_000)
    tried.status = delivery.status
    return event
