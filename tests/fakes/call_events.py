"""Builders of call events, as the domain folds them and as the wire brings them, and the fold of a whole list.

Times are milliseconds of the call: 0 is when it began, on the reporter's clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from session_svc.domain import events
from session_svc.domain.call import Call, Policy
from session_svc.domain.commands import Command
from session_svc.domain.events import ChatMessage, CutReason, Event, Finish, Party, Phase, ReportResult, ToolOutcome
from session_svc.domain.fold import step
from voicemesh.session.v1 import session_pb2 as pb
from voicemesh.type.v1 import call_pb2

BEGAN_MS = 1_790_000_000_000
DELAY_MS = 55
"""From the reporter's stamp to our receipt, as measured on live calls."""
CALL = "vapi:5a2f"
INGRESS = "ingress-1"
OTHER_INGRESS = "ingress-2"
POLICY = Policy()

_numbers = count(1)


def event(body: events.Body, at_ms: int, *, event_id: str = "", delay_ms: int = DELAY_MS) -> Event:
    """An event that the provider reported with its own time."""
    return Event(event_id or f"e{next(_numbers)}", BEGAN_MS + at_ms, BEGAN_MS + at_ms + delay_ms, True, body)


def ours(body: events.Body, at_ms: int, *, event_id: str = "") -> Event:
    """An event without reporter's time, received ``DELAY_MS`` after ``at_ms`` of the call."""
    received_ms = BEGAN_MS + at_ms + DELAY_MS
    return Event(event_id or f"e{next(_numbers)}", received_ms, received_ms, False, body)


def named(happened: Event, agent: str) -> Event:
    """The same, with the agent that ingress has chosen."""
    return happened._replace(agent=agent)


def caller(text: str, at_ms: int, *, event_id: str = "") -> Event:
    return event(events.Words(Party.CALLER, final=True, text=text), at_ms, event_id=event_id)


def partial(text: str, at_ms: int, *, event_id: str = "") -> Event:
    return event(events.Words(Party.CALLER, final=False, text=text), at_ms, event_id=event_id)


def agent(text: str, at_ms: int, *, event_id: str = "") -> Event:
    return event(events.Words(Party.AGENT, final=True, text=text), at_ms, event_id=event_id)


def speech(party: Party, at_ms: int, *, started: bool) -> Event:
    return event(events.SpeechEdge(party, started), at_ms)


def status(phase: Phase, at_ms: int, reason: str = "") -> Event:
    return event(events.CallStatus(phase, reason), at_ms)


def report(reason: str, at_ms: int) -> Event:
    return event(events.CallReported(reason), at_ms)


def expired(at_ms: int) -> Event:
    return ours(events.CallExpired(300_000), at_ms)


def history(at_ms: int, *messages: ChatMessage) -> Event:
    return event(events.HistoryReported(messages), at_ms)


def user(text: str) -> ChatMessage:
    return ChatMessage("user", text)


def assistant(text: str) -> ChatMessage:
    return ChatMessage("assistant", text)


def system(text: str) -> ChatMessage:
    return ChatMessage("system", text)


def asked(
    said: str | Iterable[ChatMessage], at_ms: int, *, attachment: str = "", ingress: str = INGRESS, event_id: str = ""
) -> Event:
    """The provider asks for an answer to ``said``: the caller's words, or a whole history."""
    messages = (user(said),) if isinstance(said, str) else tuple(said)
    name = attachment or f"att{next(_numbers)}"
    users = sum(message.role == "user" for message in messages)
    return ours(events.AnswerRequested(name, ingress, messages, users), at_ms, event_id=event_id)


def started(generation: int, at_ms: int, attachment: str = "a") -> Event:
    return ours(events.GenerationStarted(generation, attachment), at_ms)


def finished(generation: int, said: str, at_ms: int, finish: Finish = Finish.STOP) -> Event:
    return ours(events.GenerationEnded(generation, said, finish), at_ms)


def cut(
    generation: int,
    at_ms: int,
    *,
    spoken_ms: int | None = None,
    said: str = "",
    reason: CutReason = CutReason.BARGE_IN,
) -> Event:
    """Ingress reports a cut; ``spoken_ms``: when the words that caused it were spoken, None for no words."""
    spoken_at_ms = 0 if spoken_ms is None else BEGAN_MS + spoken_ms
    return ours(events.GenerationCut(generation, said, None, reason, spoken_at_ms), at_ms)


def cut_requested(through: int, at_ms: int, *, spoken_ms: int) -> Event:
    return ours(events.CutRequested(through, BEGAN_MS + spoken_ms, "interruption_phrase"), at_ms)


def tool_asked(
    key: str, at_ms: int, *, generation: int = 1, turn: int = 1, ingress: str = INGRESS, event_id: str = ""
) -> Event:
    """An ingress wants to run ``free_tables``, which takes two seconds at most."""
    body = events.ToolAsked(key, ingress, turn, generation, "free_tables", '{"day":"friday"}', 2_000)
    return ours(body, at_ms, event_id=event_id)


def tool_ended(
    key: str, at_ms: int, text: str = "two", *, outcome: ToolOutcome = ToolOutcome.DONE, ask_id: str = ""
) -> Event:
    return ours(events.ToolEnded(key, ask_id, outcome, text), at_ms)


def report_tried(attempt: int, at_ms: int, result: ReportResult, *, retry_after_ms: int = 0) -> Event:
    return ours(events.ReportTried(attempt, result, retry_after_ms), at_ms)


def closed(attachment: str, at_ms: int) -> Event:
    return ours(events.AttachmentClosed(attachment), at_ms)


def fold(*happened: Event, call: Call | None = None, policy: Policy = POLICY) -> tuple[Call, list[Command]]:
    """Return the call after the events, and every command on the way."""
    folded = call or Call(CALL)
    commands: list[Command] = []
    for each in happened:
        result = step(folded, each, policy)
        folded = result.call
        commands += result.commands
    return folded, commands


_PARTY = {Party.CALLER: call_pb2.PARTY_CALLER, Party.AGENT: call_pb2.PARTY_AGENT}
_PHASE = {
    Phase.RINGING: pb.CALL_PHASE_RINGING,
    Phase.IN_PROGRESS: pb.CALL_PHASE_IN_PROGRESS,
    Phase.FORWARDING: pb.CALL_PHASE_FORWARDING,
    Phase.ENDED: pb.CALL_PHASE_ENDED,
}
_FINISH = {
    Finish.STOP: pb.FINISH_REASON_STOP,
    Finish.LENGTH: pb.FINISH_REASON_LENGTH,
    Finish.TOOL_CALLS: pb.FINISH_REASON_TOOL_CALLS,
    Finish.FAILED: pb.FINISH_REASON_FAILED,
}
_REASON = {reason: getattr(pb, f"CUT_REASON_{reason.name}") for reason in CutReason}
_NOTED = {"interrupted", "agent_silent", "turn_ended"}


def on_wire(happened: Event, *, call_id: str = CALL, seq: int = 0) -> pb.CallEvent:
    """Return the message that ingress would send for ``happened``."""
    message = pb.CallEvent(
        seq=seq,
        event_id=happened.event_id,
        call_id=call_id,
        at_ms=happened.at_ms,
        received_at_ms=happened.received_at_ms,
        has_reporter_time=happened.has_reporter_time,
        agent=happened.agent,
    )
    _put(message, happened.body)
    return message


def _put(message: pb.CallEvent, body: events.Body) -> None:
    match body:
        case events.CallStatus(phase, reason):
            message.call_status.phase = _PHASE[phase]
            message.call_status.ended_reason = reason
        case events.Words(party, final, text):
            message.words.party = _PARTY[party]
            message.words.stability = call_pb2.STABILITY_FINAL if final else call_pb2.STABILITY_PARTIAL
            message.words.text = text
        case events.SpeechEdge(party, began):
            message.speech.party = _PARTY[party]
            message.speech.edge = call_pb2.EDGE_STARTED if began else call_pb2.EDGE_STOPPED
        case events.HistoryReported(tail):
            message.history.tail.extend(_chat(entry) for entry in tail)
            message.history.SetInParent()
        case events.CallReported(reason, duration_ms, cost_usd):
            message.report.ended_reason, message.report.duration_ms = reason, duration_ms
            if cost_usd is not None:
                message.report.cost_usd = cost_usd
            message.report.SetInParent()
        case events.CallExpired(idle_ms):
            message.expired.idle_ms = idle_ms
        case events.Noted(kind):
            assert kind in _NOTED, kind
            getattr(message, kind).SetInParent()
        case _:
            _put_output(message, body)


def _put_output(message: pb.CallEvent, body: events.Body) -> None:
    match body:
        case events.AnswerRequested(attachment_id, ingress_id, messages, users):
            request = message.answer_requested
            request.attachment_id, request.ingress_id, request.user_message_count = attachment_id, ingress_id, users
            request.messages.extend(_chat(entry) for entry in messages)
        case events.GenerationStarted(number, attachment_id):
            message.generation_started.generation = number
            message.generation_started.attachment_id = attachment_id
        case events.GenerationEnded(number, said, finish, prompt_tokens, completion_tokens):
            over = message.generation_ended
            over.generation, over.said_text, over.finish = number, said, _FINISH[finish]
            over.prompt_tokens, over.completion_tokens = prompt_tokens, completion_tokens
        case events.GenerationCut(number, said, heard, reason, spoken_at_ms):
            gone = message.generation_cut
            gone.generation, gone.said_text, gone.reason, gone.spoken_at_ms = (
                number,
                said,
                _REASON[reason],
                spoken_at_ms,
            )
            if heard is not None:
                gone.heard_text = heard
        case events.AttachmentClosed(attachment_id):
            message.attachment_closed.attachment_id = attachment_id
            message.attachment_closed.SetInParent()
        case events.CutRequested(through, spoken_at_ms, rule):
            message.cut_requested.through_generation = through
            message.cut_requested.spoken_at_ms = spoken_at_ms
            message.cut_requested.rule = rule
            message.cut_requested.SetInParent()
        case events.ToolAsked(key, ingress_id, turn, generation, name, arguments_json, timeout_ms):
            wanted = message.tool_asked
            wanted.key, wanted.ingress_id, wanted.turn, wanted.generation = key, ingress_id, turn, generation
            wanted.name, wanted.arguments_json, wanted.timeout_ms = name, arguments_json, timeout_ms
        case events.ToolEnded(key, ask_id, outcome, text):
            ended = message.tool_ended
            ended.key, ended.ask_id, ended.text = key, ask_id, text
            ended.outcome = getattr(pb, f"TOOL_OUTCOME_{outcome.name}")
        case events.ReportTried(attempt, result, retry_after_ms):
            tried = message.report_tried
            tried.attempt, tried.retry_after_ms = attempt, retry_after_ms
            tried.result = getattr(pb, f"REPORT_RESULT_{result.name}")
        case _:
            raise TypeError(f"no wire form for {type(body).__name__}")


def _chat(message: ChatMessage) -> call_pb2.ChatMessage:
    return call_pb2.ChatMessage(
        role=message.role,
        content=message.content,
        tool_calls_json=message.tool_calls_json,
        tool_call_id=message.tool_call_id,
    )
