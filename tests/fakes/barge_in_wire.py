"""The other direction of bargein-svc's wire: what its clients send and read."""

from __future__ import annotations

from bargein_svc.adapters.wire import Unreadable
from bargein_svc.domain.events import (
    AgentSpeech,
    AgentWords,
    CallerSpeech,
    CallerWords,
    CallOver,
    Decision,
    Event,
    Phase,
    PlayoutChanged,
    ProviderInterrupted,
    Rule,
    Verdict,
)
from voicemesh.bargein.v1 import bargein_pb2 as pb
from voicemesh.type.v1 import call_pb2

_STATES = {
    Phase.PREPARING: pb.PLAYOUT_STATE_PREPARING,
    Phase.PLAYING: pb.PLAYOUT_STATE_PLAYING,
    Phase.OVER: pb.PLAYOUT_STATE_OVER,
}
_DECISIONS_BACK = {pb.DECISION_KEEP: Decision.KEEP, pb.DECISION_CUT: Decision.CUT}


def message_of(event: Event, *, call_id: str) -> pb.WatchEvent:
    """Return ``event`` on the wire, without seq, receive time and trace."""
    message = pb.WatchEvent(call_id=call_id)
    if isinstance(event, CallOver):
        message.call_over.SetInParent()
        return message
    message.at_ms = event.at_ms
    match event:
        case CallerWords():
            message.event_id = event.event_id
            stability = call_pb2.STABILITY_FINAL if event.final else call_pb2.STABILITY_PARTIAL
            message.words.MergeFrom(_words(call_pb2.PARTY_CALLER, stability, event.text))
        case AgentWords():
            message.words.MergeFrom(_words(call_pb2.PARTY_AGENT, call_pb2.STABILITY_PARTIAL, event.text))
        case AgentSpeech():
            message.speech.MergeFrom(_edge(call_pb2.PARTY_AGENT, started=event.started))
        case CallerSpeech():
            message.speech.MergeFrom(_edge(call_pb2.PARTY_CALLER, started=event.started))
        case ProviderInterrupted():
            message.event_id = event.event_id
            message.interrupted.SetInParent()
        case PlayoutChanged():
            message.playout.generation = event.generation
            message.playout.state = _STATES[event.phase]
            message.playout.answers_until_ms = event.answers_until_ms
            message.playout.said_tail = event.said_tail
            message.playout.answered_tail = event.answered_tail
    return message


def verdict_of(message: pb.Verdict) -> Verdict:
    """Return the verdict in ``message``. Raises Unreadable for a decision or rule that is not ours."""
    decision = _DECISIONS_BACK.get(message.decision)
    if decision is None:
        raise Unreadable(f"decision is {message.decision}; it must be keep or cut")
    try:
        rule = Rule(message.rule)
    except ValueError:
        raise Unreadable(f"rule is {message.rule!r}; it must be one of {', '.join(Rule)}") from None
    return Verdict(
        event_id=message.event_id,
        decision=decision,
        rule=rule,
        matched=message.matched,
        word_count=message.word_count,
        language=message.language,
        through_generation=message.through_generation,
        spoken_at_ms=message.spoken_at_ms,
        playout_known=message.playout_known,
        into_playout_ms=message.into_playout_ms,
    )


def _words(party: call_pb2.Party, stability: call_pb2.Stability, text: str) -> call_pb2.Words:
    return call_pb2.Words(party=party, stability=stability, text=text)


def _edge(party: call_pb2.Party, *, started: bool) -> call_pb2.SpeechEdge:
    return call_pb2.SpeechEdge(party=party, edge=call_pb2.EDGE_STARTED if started else call_pb2.EDGE_STOPPED)
