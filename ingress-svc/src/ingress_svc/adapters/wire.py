"""Domain → protobuf, and commands and verdicts back; nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from voicemesh.bargein.v1 import bargein_pb2
from voicemesh.session.v1 import session_pb2
from voicemesh.type.v1 import call_pb2

from ingress_svc.domain import effects, tool_claims, vapi
from ingress_svc.domain.chat import ChatMessage

_PARTY = {vapi.Party.CALLER: call_pb2.PARTY_CALLER, vapi.Party.AGENT: call_pb2.PARTY_AGENT}
_PHASE = {
    vapi.Phase.RINGING: session_pb2.CALL_PHASE_RINGING,
    vapi.Phase.IN_PROGRESS: session_pb2.CALL_PHASE_IN_PROGRESS,
    vapi.Phase.FORWARDING: session_pb2.CALL_PHASE_FORWARDING,
    vapi.Phase.ENDED: session_pb2.CALL_PHASE_ENDED,
}
_FINISH = {
    effects.Finish.STOP: session_pb2.FINISH_REASON_STOP,
    effects.Finish.LENGTH: session_pb2.FINISH_REASON_LENGTH,
    effects.Finish.TOOL_CALLS: session_pb2.FINISH_REASON_TOOL_CALLS,
    effects.Finish.FAILED: session_pb2.FINISH_REASON_FAILED,
}
_REASON = {
    effects.CutReason.BARGE_IN: session_pb2.CUT_REASON_BARGE_IN,
    effects.CutReason.PEER_CLOSED: session_pb2.CUT_REASON_PEER_CLOSED,
    effects.CutReason.SUPERSEDED: session_pb2.CUT_REASON_SUPERSEDED,
    effects.CutReason.STALE: session_pb2.CUT_REASON_STALE,
    effects.CutReason.CALL_ENDED: session_pb2.CUT_REASON_CALL_ENDED,
    effects.CutReason.INGRESS_LOST: session_pb2.CUT_REASON_INGRESS_LOST,
}
_REASON_FROM: dict[int, effects.CutReason] = {number: reason for reason, number in _REASON.items()}
_OUTCOME = {
    tool_claims.ToolOutcome.DONE: session_pb2.TOOL_OUTCOME_DONE,
    tool_claims.ToolOutcome.FAILED: session_pb2.TOOL_OUTCOME_FAILED,
    tool_claims.ToolOutcome.UNKNOWN: session_pb2.TOOL_OUTCOME_UNKNOWN,
    tool_claims.ToolOutcome.NOT_RUN: session_pb2.TOOL_OUTCOME_NOT_RUN,
}
_OUTCOME_FROM: dict[int, tool_claims.ToolOutcome] = {number: outcome for outcome, number in _OUTCOME.items()}
_STATE = {
    effects.PlayoutState.PREPARING: bargein_pb2.PLAYOUT_STATE_PREPARING,
    effects.PlayoutState.PLAYING: bargein_pb2.PLAYOUT_STATE_PLAYING,
    effects.PlayoutState.OVER: bargein_pb2.PLAYOUT_STATE_OVER,
}

Report = effects.Started | effects.Ended | effects.Cut | effects.AttachmentClosed | effects.RequestCut


def call_event(
    webhook: vapi.Webhook, *, received_at_ms: int, traceparent: str, agent: str = "", control_url: str = ""
) -> session_pb2.CallEvent:
    """Return what session-svc is told of a webhook that is not `Unknown`. ``agent``, ``control_url``: see the
    contract."""
    event = session_pb2.CallEvent(
        event_id=webhook.event_id,
        call_id=webhook.call_id,
        at_ms=webhook.at_ms,
        received_at_ms=received_at_ms,
        has_reporter_time=webhook.has_time,
    )
    if traceparent:
        event.trace.traceparent = traceparent
    if agent:
        event.agent = agent
    if control_url:
        event.control_url = control_url
    _fill(event, webhook.body)
    return event


def watch_event(
    webhook: vapi.Webhook,
    *,
    received_at_ms: int,
    traceparent: str,
    playing: bargein_pb2.PlayoutChanged | None = None,
    agent: str = "",
    agent_settled: bool = False,
) -> bargein_pb2.WatchEvent | None:
    """Return what bargein-svc is told of a webhook; None when it has no bearing. ``playing``, ``agent``: see the
    contract."""
    body = webhook.body
    event = bargein_pb2.WatchEvent(
        event_id=webhook.event_id,
        call_id=webhook.call_id,
        at_ms=webhook.at_ms,
        received_at_ms=received_at_ms,
        agent=agent,
        agent_settled=agent_settled,
    )
    if traceparent:
        event.trace.traceparent = traceparent
    if isinstance(body, vapi.Words):
        _fill_words(event.words, body)
        if playing is not None and body.party is vapi.Party.CALLER:
            event.playing.CopyFrom(playing)
    elif isinstance(body, vapi.SpeechEdge):
        _fill_speech(event.speech, body)
    elif isinstance(body, vapi.ProviderInterrupted):
        event.interrupted.provider_turn = body.provider_turn
        event.interrupted.SetInParent()
    elif vapi.ends_call(body):
        event.call_over.SetInParent()
    else:
        return None
    return event


def playout_event(
    call_id: str,
    change: effects.PlayoutChanged,
    *,
    now_ms: int,
    traceparent: str,
    agent: str = "",
    agent_settled: bool = False,
) -> bargein_pb2.WatchEvent:
    event = bargein_pb2.WatchEvent(
        event_id=f"playout:{change.generation}:{change.state.value}:{len(change.said_tail)}",
        call_id=call_id,
        at_ms=now_ms,
        received_at_ms=now_ms,
        agent=agent,
        agent_settled=agent_settled,
    )
    if traceparent:
        event.trace.traceparent = traceparent
    event.playout.generation = change.generation
    event.playout.state = _STATE[change.state]
    event.playout.answers_until_ms = change.answers_until_ms
    event.playout.said_tail = change.said_tail
    event.playout.answered_tail = change.answered_tail
    return event


def still_playing(
    told: bargein_pb2.WatchEvent, before: bargein_pb2.PlayoutChanged | None
) -> bargein_pb2.PlayoutChanged | None:
    """Return what words carry along as `playing` once bargein-svc was ``told`` of a change."""
    if told.playout.state != bargein_pb2.PLAYOUT_STATE_OVER:
        goes_on = before is not None and (before.generation, before.state) == (
            told.playout.generation,
            told.playout.state,
        )
        # The end of the model is told as well, and playout began before it.
        since_ms = before.changed_at_ms if before is not None and goes_on else told.at_ms
        playing = bargein_pb2.PlayoutChanged(changed_at_ms=since_ms)
        playing.MergeFrom(told.playout)
        return playing
    return before if before is not None and before.generation != told.playout.generation else None


def answer_requested(
    call_id: str,
    attachment_id: str,
    messages: Sequence[ChatMessage],
    *,
    user_message_count: int,
    ingress_id: str,
    attempt: int,
    received_at_ms: int,
    traceparent: str,
    agent: str = "",
    control_url: str = "",
) -> session_pb2.CallEvent:
    event = session_pb2.CallEvent(
        event_id=f"ask:{attachment_id}:{attempt}",
        call_id=call_id,
        at_ms=received_at_ms,
        received_at_ms=received_at_ms,
        agent=agent,
        control_url=control_url,
    )
    if traceparent:
        event.trace.traceparent = traceparent
    asked = event.answer_requested
    asked.attachment_id = attachment_id
    asked.ingress_id = ingress_id
    asked.user_message_count = user_message_count
    asked.messages.extend(message_to(message) for message in messages)
    return event


def report_event(
    call_id: str, report: Report, *, report_id: str, now_ms: int, traceparent: str
) -> session_pb2.CallEvent:
    """Return what session-svc is told of our own output.

    ``report_id`` is new for each report, also for one that repeats another: it settles a command that was given again.
    Taken for a delivery of the first, it would only bring the same command once more, and that another, without end.
    """
    event = session_pb2.CallEvent(event_id=report_id, call_id=call_id, at_ms=now_ms, received_at_ms=now_ms)
    if traceparent:
        event.trace.traceparent = traceparent
    if isinstance(report, effects.Started):
        event.generation_started.generation = report.generation
        event.generation_started.attachment_id = report.attachment_id
    elif isinstance(report, effects.Ended):
        event.generation_ended.generation = report.generation
        event.generation_ended.said_text = report.said_text
        event.generation_ended.finish = _FINISH[report.finish]
        event.generation_ended.model = report.model
        if report.usage is not None:
            event.generation_ended.prompt_tokens = report.usage.prompt
            event.generation_ended.completion_tokens = report.usage.completion
    elif isinstance(report, effects.Cut):
        event.generation_cut.generation = report.generation
        event.generation_cut.said_text = report.said_text
        event.generation_cut.reason = _REASON[report.reason]
        event.generation_cut.spoken_at_ms = report.spoken_at_ms
        event.generation_cut.rule = report.rule
    elif isinstance(report, effects.AttachmentClosed):
        event.attachment_closed.attachment_id = report.attachment_id
    else:
        event.cut_requested.through_generation = report.through_generation
        event.cut_requested.spoken_at_ms = report.spoken_at_ms
        event.cut_requested.rule = report.rule
    return event


def tool_asked(
    wanted: tool_claims.AskForTool, *, ingress_id: str, now_ms: int, traceparent: str, agent: str = ""
) -> session_pb2.CallEvent:
    ask = wanted.ask
    event = session_pb2.CallEvent(
        event_id=wanted.ask_id, call_id=ask.call_id, at_ms=now_ms, received_at_ms=now_ms, agent=agent
    )
    if traceparent:
        event.trace.traceparent = traceparent
    asked = event.tool_asked
    asked.key = ask.key
    asked.ingress_id = ingress_id
    asked.turn = ask.turn
    asked.generation = ask.generation
    asked.name = ask.name
    asked.arguments_json = ask.arguments_json
    asked.timeout_ms = ask.timeout_ms
    return event


def tool_ended(
    record: tool_claims.RecordTool, *, report_id: str, now_ms: int, traceparent: str
) -> session_pb2.CallEvent:
    """Return the record of a run. ``report_id``: as in `report_event`."""
    event = session_pb2.CallEvent(event_id=report_id, call_id=record.call_id, at_ms=now_ms, received_at_ms=now_ms)
    if traceparent:
        event.trace.traceparent = traceparent
    ended = event.tool_ended
    ended.key = record.key
    ended.ask_id = record.ask_id
    ended.outcome = _OUTCOME[record.end.outcome]
    ended.text = record.end.text
    ended.duration_ms = record.end.duration_ms
    return event


def outcome_from(number: int) -> tool_claims.ToolOutcome:
    """Return what became of a tool; what this ingress does not know yet is unknown."""
    return _OUTCOME_FROM.get(number, tool_claims.ToolOutcome.UNKNOWN)


def reason_from(number: int) -> effects.CutReason:
    """Return a cut's reason; one that this ingress does not know yet reads as superseded."""
    return _REASON_FROM.get(number, effects.CutReason.SUPERSEDED)


def message_to(message: ChatMessage) -> call_pb2.ChatMessage:
    return call_pb2.ChatMessage(
        role=message.role,
        content=message.content,
        tool_calls_json=message.tool_calls_json,
        tool_call_id=message.tool_call_id,
    )


def message_from(message: call_pb2.ChatMessage) -> ChatMessage:
    return ChatMessage(message.role, message.content, message.tool_calls_json, message.tool_call_id)


def _fill_words(target: call_pb2.Words, body: vapi.Words) -> None:
    target.party = _PARTY[body.party]
    target.stability = call_pb2.STABILITY_FINAL if body.final else call_pb2.STABILITY_PARTIAL
    target.text = body.text


def _fill_speech(target: call_pb2.SpeechEdge, body: vapi.SpeechEdge) -> None:
    target.party = _PARTY[body.party]
    target.edge = call_pb2.EDGE_STARTED if body.started else call_pb2.EDGE_STOPPED
    target.provider_turn = body.provider_turn


def _fill(event: session_pb2.CallEvent, body: vapi.Body) -> None:
    if isinstance(body, vapi.Words):
        _fill_words(event.words, body)
    elif isinstance(body, vapi.SpeechEdge):
        _fill_speech(event.speech, body)
    elif isinstance(body, vapi.HistoryReported):
        event.history.user_message_count = body.user_message_count
        event.history.tail.extend(message_to(message) for message in body.tail)
        event.history.SetInParent()
    elif isinstance(body, vapi.ProviderInterrupted):
        event.interrupted.provider_turn = body.provider_turn
        event.interrupted.SetInParent()
    elif isinstance(body, vapi.CallStatus):
        event.call_status.phase = _PHASE[body.phase]
        event.call_status.ended_reason = body.ended_reason
        event.call_status.provider_call_sid = body.provider_call_sid
    elif isinstance(body, vapi.CallReported):
        event.report.ended_reason = body.ended_reason
        event.report.duration_ms = body.duration_ms
        if body.cost_usd is not None:
            event.report.cost_usd = body.cost_usd
        event.report.SetInParent()
    elif isinstance(body, vapi.AgentSilent):
        event.agent_silent.SetInParent()
