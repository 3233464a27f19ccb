"""Protobuf to domain and back."""

from __future__ import annotations

from voicemesh.bargein.v1 import bargein_pb2 as pb
from voicemesh.type.v1 import call_pb2

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
    Verdict,
)

_PHASES = {
    pb.PLAYOUT_STATE_PREPARING: Phase.PREPARING,
    pb.PLAYOUT_STATE_PLAYING: Phase.PLAYING,
    pb.PLAYOUT_STATE_OVER: Phase.OVER,
}
_DECISIONS = {Decision.KEEP: pb.DECISION_KEEP, Decision.CUT: pb.DECISION_CUT}


class Unreadable(ValueError):
    """The event breaks the contract. Its text names the field and what would be right, and quotes nothing private."""


def events_of(message: pb.WatchEvent) -> list[Event]:
    """Return what ``message`` tells, in the order in which it is to be judged. Raises Unreadable."""
    event = event_of(message)
    if not message.HasField("playing"):
        return [event]
    return [_playout_of(message.playing, message.playing.changed_at_ms), event]


def event_of(message: pb.WatchEvent) -> Event:
    """Return the happening in ``message``. Raises Unreadable; `turn_ended` is not a happening of the call."""
    kind = message.WhichOneof("kind")
    if not message.call_id:
        raise Unreadable("call_id is empty; it names the call")
    if kind == "call_over":
        return CallOver()
    if message.at_ms <= 0:
        raise Unreadable(f"at_ms is {message.at_ms}; it must be milliseconds since the epoch")
    match kind:
        case "words":
            return _words_of(message)
        case "speech":
            return _speech_of(message)
        case "interrupted":
            return ProviderInterrupted(event_id=message.event_id, at_ms=message.at_ms)
        case "playout":
            return _playout_of(message.playout, message.at_ms)
    raise Unreadable("kind is not set, or newer than this process; it must be one that bargein.proto lists")


def verdict_message(verdict: Verdict, *, call_id: str) -> pb.Verdict:
    """Return ``verdict`` on the wire, without its work, receive time and trace."""
    return pb.Verdict(
        event_id=verdict.event_id,
        call_id=call_id,
        decision=_DECISIONS[verdict.decision],
        rule=verdict.rule.value,
        matched=verdict.matched,
        word_count=verdict.word_count,
        language=verdict.language,
        through_generation=verdict.through_generation,
        spoken_at_ms=verdict.spoken_at_ms,
        playout_known=verdict.playout_known,
        into_playout_ms=verdict.into_playout_ms,
    )


def _words_of(message: pb.WatchEvent) -> CallerWords | AgentWords:
    words = message.words
    if words.party == call_pb2.PARTY_AGENT:
        return AgentWords(at_ms=message.at_ms, text=words.text)
    if words.party != call_pb2.PARTY_CALLER:
        raise Unreadable("words.party is not set; it must be caller or agent")
    if words.stability not in (call_pb2.STABILITY_PARTIAL, call_pb2.STABILITY_FINAL):
        raise Unreadable("words.stability is not set; it must be partial or final")
    final = words.stability == call_pb2.STABILITY_FINAL
    return CallerWords(event_id=message.event_id, at_ms=message.at_ms, final=final, text=words.text)


def _speech_of(message: pb.WatchEvent) -> AgentSpeech | CallerSpeech:
    speech = message.speech
    if speech.edge not in (call_pb2.EDGE_STARTED, call_pb2.EDGE_STOPPED):
        raise Unreadable("speech.edge is not set; it must be started or stopped")
    started = speech.edge == call_pb2.EDGE_STARTED
    if speech.party == call_pb2.PARTY_AGENT:
        return AgentSpeech(at_ms=message.at_ms, started=started)
    if speech.party == call_pb2.PARTY_CALLER:
        return CallerSpeech(at_ms=message.at_ms, started=started)
    raise Unreadable("speech.party is not set; it must be caller or agent")


def _playout_of(playout: pb.PlayoutChanged, at_ms: int) -> PlayoutChanged:
    phase = _PHASES.get(playout.state)
    if phase is None:
        raise Unreadable("playout.state is not set; it must be preparing, playing or over")
    if playout.generation < 1:
        raise Unreadable(f"playout.generation is {playout.generation}; our generations count from 1")
    return PlayoutChanged(
        at_ms=at_ms,
        generation=playout.generation,
        phase=phase,
        answers_until_ms=playout.answers_until_ms,
        said_tail=playout.said_tail,
        answered_tail=playout.answered_tail,
    )
