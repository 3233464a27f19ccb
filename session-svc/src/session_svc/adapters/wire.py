"""Protobuf ↔ domain, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import DecodeError
from voicemesh.session.v1 import session_pb2 as pb
from voicemesh.type.v1 import call_pb2

from session_svc.domain import commands, events, history

_PARTY = {call_pb2.PARTY_CALLER: events.Party.CALLER, call_pb2.PARTY_AGENT: events.Party.AGENT}
_PHASE = {
    pb.CALL_PHASE_RINGING: events.Phase.RINGING,
    pb.CALL_PHASE_IN_PROGRESS: events.Phase.IN_PROGRESS,
    pb.CALL_PHASE_FORWARDING: events.Phase.FORWARDING,
    pb.CALL_PHASE_ENDED: events.Phase.ENDED,
}
_FINISH = {
    pb.FINISH_REASON_STOP: events.Finish.STOP,
    pb.FINISH_REASON_LENGTH: events.Finish.LENGTH,
    pb.FINISH_REASON_TOOL_CALLS: events.Finish.TOOL_CALLS,
    pb.FINISH_REASON_FAILED: events.Finish.FAILED,
}
_REASON = {
    pb.CUT_REASON_BARGE_IN: events.CutReason.BARGE_IN,
    pb.CUT_REASON_PEER_CLOSED: events.CutReason.PEER_CLOSED,
    pb.CUT_REASON_SUPERSEDED: events.CutReason.SUPERSEDED,
    pb.CUT_REASON_STALE: events.CutReason.STALE,
    pb.CUT_REASON_CALL_ENDED: events.CutReason.CALL_ENDED,
    pb.CUT_REASON_INGRESS_LOST: events.CutReason.INGRESS_LOST,
}
_OUTCOME = {
    pb.TOOL_OUTCOME_DONE: events.ToolOutcome.DONE,
    pb.TOOL_OUTCOME_FAILED: events.ToolOutcome.FAILED,
    pb.TOOL_OUTCOME_UNKNOWN: events.ToolOutcome.UNKNOWN,
    pb.TOOL_OUTCOME_NOT_RUN: events.ToolOutcome.NOT_RUN,
}
_RESULT = {
    pb.REPORT_RESULT_DELIVERED: events.ReportResult.DELIVERED,
    pb.REPORT_RESULT_AGAIN: events.ReportResult.AGAIN,
    pb.REPORT_RESULT_REFUSED: events.ReportResult.REFUSED,
}
_FINAL = {call_pb2.STABILITY_PARTIAL: False, call_pb2.STABILITY_FINAL: True}
_STARTED = {call_pb2.EDGE_STARTED: True, call_pb2.EDGE_STOPPED: False}
_TRACE_ID = re.compile("[0-9a-f]{32}")
_AGENT = re.compile(r"(?=.{3,100}\Z)[a-z0-9-]+@[a-z0-9-]+")
_TOOL_KEY = re.compile("[!-~]{1,256}")
_REASON_PB = {reason: number for number, reason in _REASON.items()}
_PARTY_PB = {party.value: number for number, party in _PARTY.items()}
_OUTCOME_PB = {outcome: number for number, outcome in _OUTCOME.items()}


MOST_MS = 1 << 53
"""No time is later: 285,000 years, and far from the end of what a store and the wire can hold."""


MOST_TOOL_MS = 3_600_000


class Unreadable(ValueError):
    """An event that the contract does not allow; the message says which field and what would be right."""


def event_from(event: pb.CallEvent) -> events.Event:
    """Return the domain's view of ``event``. Raises Unreadable."""
    kind = event.WhichOneof("kind")
    if kind is None:
        raise Unreadable("event has no kind; set one of CallEvent.kind, or update session-svc before ingress")
    if not event.call_id or not event.event_id:
        raise Unreadable("event has an empty call_id or event_id; both are needed to fold it once")
    at_ms, received_at_ms = event.at_ms, event.received_at_ms
    if not (0 <= at_ms < MOST_MS and 0 <= received_at_ms < MOST_MS):
        raise Unreadable(f"at_ms is {at_ms} and received_at_ms {received_at_ms}; both are ms since the epoch")
    reader = _READERS.get(kind)
    body = reader(getattr(event, kind)) if reader else events.Noted(kind)
    agent = event.agent
    if agent and not _AGENT.fullmatch(agent):
        raise Unreadable("agent is not NAME@VERSION, at most 100 lower-case letters, digits and dashes")
    return events.Event(event.event_id, at_ms, received_at_ms, event.has_reporter_time, body, agent)


def for_log(event: pb.CallEvent) -> bytes:
    """Return the bytes to keep: the event, a request's history cut to the tail that the fold reads."""
    if not event.HasField("answer_requested"):
        return event.SerializeToString()
    kept = pb.CallEvent()
    kept.CopyFrom(event)
    tail = history.tail(event.answer_requested.messages)
    del kept.answer_requested.messages[:]
    kept.answer_requested.messages.extend(tail)
    return kept.SerializeToString()


def from_log(payload: bytes) -> events.Event:
    """Return the event that was kept. Raises Unreadable: a newer version may have written it."""
    try:
        return event_from(pb.CallEvent.FromString(payload))
    except DecodeError as error:
        raise Unreadable(f"the log holds {len(payload)} bytes that are no event") from error


def command_to(call_id: str, command: commands.Command, traceparent: str) -> pb.Command:
    order = command.order
    message = pb.Command(command_id=order.command_id, call_id=call_id)
    message.trace.traceparent = traceparent
    if isinstance(order, commands.StartGeneration):
        start = message.start_generation
        start.turn = order.turn
        start.generation = order.generation
        start.attachment_id = order.attachment_id
        start.answers_until_ms = order.answers_until_ms
        start.agent = order.agent
        start.messages.extend(
            [
                call_pb2.ChatMessage(
                    role=role, content=content, tool_calls_json=tool_calls_json, tool_call_id=tool_call_id
                )
                for role, content, tool_calls_json, tool_call_id in order.messages
            ]
        )
    elif isinstance(order, commands.CutGeneration):
        message.cut_generation.through_generation = order.through_generation
        message.cut_generation.spoken_at_ms = order.spoken_at_ms
        message.cut_generation.reason = _REASON_PB[order.reason]
        message.cut_generation.rule = order.rule
    elif isinstance(order, commands.MoveOutput):
        message.move_output.generation = order.generation
        message.move_output.attachment_id = order.attachment_id
    elif isinstance(order, commands.ReplayAnswer):
        message.replay_answer.generation = order.generation
        message.replay_answer.attachment_id = order.attachment_id
        message.replay_answer.said_text = order.said_text
        message.replay_answer.answers_until_ms = order.answers_until_ms
    elif isinstance(order, commands.RunTool):
        message.run_tool.key = order.key
        message.run_tool.ask_id = order.ask_id
    elif isinstance(order, commands.TakeToolResult):
        message.take_tool_result.key = order.key
        message.take_tool_result.outcome = _OUTCOME_PB[order.outcome]
        message.take_tool_result.text = order.text
        message.take_tool_result.ask_id = order.ask_id
    elif isinstance(order, commands.ReportCall):
        _fill_report(message.report_call, order)
    else:
        message.refuse_answer.attachment_id = order.attachment_id
        message.refuse_answer.reason = _REASON_PB[order.reason]
    return message


def _fill_report(report: pb.ReportCall, order: commands.ReportCall) -> None:
    report.attempt = order.attempt
    report.not_before_ms = order.not_before_ms
    report.agent = order.agent
    report.outcome = order.outcome
    report.ended_reason = order.ended_reason
    report.started_at_ms = order.started_at_ms
    report.answered_at_ms = order.answered_at_ms
    report.ended_at_ms = order.ended_at_ms
    report.duration_ms = order.duration_ms
    for turn in order.turns:
        report.turns.add(party=_PARTY_PB[turn.party], at_ms=turn.at_ms, text=turn.text)
    report.turn_count = order.turn_count
    report.cut_count = order.cut_count
    for tool in order.tools:
        # What has no result by now may have done its work all the same.
        outcome = _OUTCOME_PB[tool.outcome or events.ToolOutcome.UNKNOWN]
        report.tools.add(name=tool.name, turn=tool.turn, outcome=outcome)
    report.prompt_tokens = order.prompt_tokens
    report.completion_tokens = order.completion_tokens
    if order.cost_usd is not None:
        report.cost_usd = order.cost_usd
    report.provider_reported = order.provider_reported


def name_agent(call_id: str, agent: str, traceparent: str) -> pb.Command:
    """Return what an ingress is told that has chosen another agent than the call has."""
    message = pb.Command(command_id=f"agent:{agent}", call_id=call_id)
    message.trace.traceparent = traceparent
    message.name_agent.agent = agent
    return message


def take_control(call_id: str, control_url: str) -> pb.Command:
    """Return what an ingress is told that has not seen where the call is controlled."""
    # No part of the URL may be in the id: ids are logged.
    message = pb.Command(command_id="control", call_id=call_id)
    message.take_control.control_url = control_url
    return message


def _known(table: dict[Any, Any], number: int, field: str) -> Any:
    try:
        return table[number]
    except KeyError:
        raise Unreadable(f"{field} is {number}; the contract knows {sorted(table)}") from None


def _messages(entries: Sequence[call_pb2.ChatMessage]) -> tuple[events.ChatMessage, ...]:
    return tuple(
        events.ChatMessage(entry.role, entry.content, entry.tool_calls_json, entry.tool_call_id) for entry in entries
    )


def _words(body: call_pb2.Words) -> events.Words:
    return events.Words(
        _known(_PARTY, body.party, "words.party"),
        _known(_FINAL, body.stability, "words.stability"),
        body.text,
    )


def _speech(body: call_pb2.SpeechEdge) -> events.SpeechEdge:
    return events.SpeechEdge(_known(_PARTY, body.party, "speech.party"), _known(_STARTED, body.edge, "speech.edge"))


def _turn_ended(body: call_pb2.TurnEnded) -> events.Noted:
    if body.trace_id and not _TRACE_ID.fullmatch(body.trace_id):
        raise Unreadable("turn_ended.trace_id is not 32 lower-case hex digits")
    return events.Noted("turn_ended")


def _asked(body: pb.AnswerRequested) -> events.AnswerRequested:
    return events.AnswerRequested(
        body.attachment_id, body.ingress_id, _messages(body.messages), body.user_message_count
    )


def _tool_asked(body: pb.ToolAsked) -> events.ToolAsked:
    if not 0 <= body.timeout_ms <= MOST_TOOL_MS:
        raise Unreadable(f"tool_asked.timeout_ms is {body.timeout_ms}; it must be from 0 to {MOST_TOOL_MS}")
    return events.ToolAsked(
        _key(body.key, "tool_asked.key"),
        body.ingress_id,
        body.turn,
        body.generation,
        body.name,
        body.arguments_json,
        body.timeout_ms,
    )


def _tool_ended(body: pb.ToolEnded) -> events.ToolEnded:
    outcome = _known(_OUTCOME, body.outcome, "tool_ended.outcome")
    return events.ToolEnded(_key(body.key, "tool_ended.key"), body.ask_id, outcome, body.text)


def _key(key: str, field: str) -> str:
    if not _TOOL_KEY.fullmatch(key):
        raise Unreadable(f"{field} must be 1 to 256 printable ASCII characters without spaces")
    return key


def _reported(body: pb.CallReported) -> events.CallReported:
    cost = body.cost_usd if body.HasField("cost_usd") and 0 <= body.cost_usd < MOST_MS else None
    return events.CallReported(body.ended_reason, max(0, body.duration_ms), cost)


def _report_tried(body: pb.ReportTried) -> events.ReportTried:
    if body.attempt < 1 or body.retry_after_ms < 0:
        raise Unreadable("report_tried.attempt starts at 1, and retry_after_ms at 0")
    return events.ReportTried(body.attempt, _known(_RESULT, body.result, "report_tried.result"), body.retry_after_ms)


def _ended(body: pb.GenerationEnded) -> events.GenerationEnded:
    return events.GenerationEnded(
        body.generation,
        body.said_text,
        _known(_FINISH, body.finish, "generation_ended.finish"),
        max(0, body.prompt_tokens),
        max(0, body.completion_tokens),
    )


def _cut(body: pb.GenerationCut) -> events.GenerationCut:
    return events.GenerationCut(
        generation=body.generation,
        said_text=body.said_text,
        heard_text=body.heard_text if body.HasField("heard_text") else None,
        reason=_known(_REASON, body.reason, "generation_cut.reason"),
        spoken_at_ms=body.spoken_at_ms,
    )


_READERS: dict[str, Callable[[Any], events.Body]] = {
    "call_status": lambda b: events.CallStatus(_known(_PHASE, b.phase, "call_status.phase"), b.ended_reason),
    "words": _words,
    "speech": _speech,
    "history": lambda b: events.HistoryReported(_messages(b.tail)),
    "report": _reported,
    "report_tried": _report_tried,
    "answer_requested": _asked,
    "generation_started": lambda b: events.GenerationStarted(b.generation, b.attachment_id),
    "generation_ended": _ended,
    "generation_cut": _cut,
    "attachment_closed": lambda b: events.AttachmentClosed(b.attachment_id),
    "cut_requested": lambda b: events.CutRequested(b.through_generation, b.spoken_at_ms, b.rule),
    "tool_asked": _tool_asked,
    "tool_ended": _tool_ended,
    "turn_ended": _turn_ended,
    "expired": lambda b: events.CallExpired(b.idle_ms),
}
