"""Durable events of a call, for tests: each builder is one line of the log."""

from __future__ import annotations

from typing import Any

from voicemesh.session.v1 import session_pb2 as pb
from voicemesh.type.v1 import call_pb2 as t

START_MS = 1_700_000_000_000


def log(*events: pb.CallEvent) -> list[pb.LoggedEvent]:
    """Number events as a store would."""
    return [pb.LoggedEvent(cursor=number, call_seq=number, event=event) for number, event in enumerate(events, 1)]


def event(at_ms: int, **kind: Any) -> pb.CallEvent:
    at = START_MS + at_ms
    return pb.CallEvent(event_id=f"e{at_ms}", call_id="vapi:c", at_ms=at, received_at_ms=at + 3, **kind)


def answered(at_ms: int = 0) -> pb.CallEvent:
    return event(at_ms, call_status=pb.CallStatus(phase=pb.CALL_PHASE_IN_PROGRESS))


def over(at_ms: int, reason: str = "customer-ended-call") -> pb.CallEvent:
    return event(at_ms, call_status=pb.CallStatus(phase=pb.CALL_PHASE_ENDED, ended_reason=reason))


def caller(at_ms: int, text: str) -> pb.CallEvent:
    return event(at_ms, words=t.Words(party=t.PARTY_CALLER, stability=t.STABILITY_FINAL, text=text))


def heard(at_ms: int, text: str) -> pb.CallEvent:
    return event(at_ms, words=t.Words(party=t.PARTY_AGENT, stability=t.STABILITY_FINAL, text=text))


def speaks(at_ms: int, party: t.Party = t.PARTY_AGENT) -> pb.CallEvent:
    return event(at_ms, speech=t.SpeechEdge(party=party, edge=t.EDGE_STARTED))


def asked(at_ms: int, words: str, count: int) -> pb.CallEvent:
    messages = [t.ChatMessage(role="user", content=words)]
    return event(at_ms, answer_requested=pb.AnswerRequested(messages=messages, user_message_count=count))


def started(at_ms: int, generation: int) -> pb.CallEvent:
    return event(at_ms, generation_started=pb.GenerationStarted(generation=generation))


def ended(at_ms: int, generation: int, said: str, *, tokens: tuple[int, int] = (0, 0), model: str = "") -> pb.CallEvent:
    body = pb.GenerationEnded(
        generation=generation, said_text=said, prompt_tokens=tokens[0], completion_tokens=tokens[1], model=model
    )
    return event(at_ms, generation_ended=body)


def cut(at_ms: int, generation: int, said: str, *, spoken_at_ms: int, rule: str) -> pb.CallEvent:
    return event(
        at_ms,
        generation_cut=pb.GenerationCut(
            generation=generation,
            said_text=said,
            reason=pb.CUT_REASON_BARGE_IN,
            spoken_at_ms=START_MS + spoken_at_ms,
            rule=rule,
        ),
    )


def dropped(at_ms: int, generation: int, reason: pb.CutReason, said: str = "") -> pb.CallEvent:
    return event(at_ms, generation_cut=pb.GenerationCut(generation=generation, reason=reason, said_text=said))


def judged(at_ms: int, turn: int, *hops: t.Hop, culprit: str = "") -> pb.CallEvent:
    return event(at_ms, turn_ended=t.TurnEnded(turn=turn, hops=hops, culprit=culprit))
