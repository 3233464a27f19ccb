"""Protobuf to domain and back."""

from __future__ import annotations

from typing import Any

import pytest
from bargein_svc.adapters.wire import Unreadable, event_of, verdict_message
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
from fakes.barge_in_wire import message_of, verdict_of
from hypothesis import given, settings
from hypothesis import strategies as st
from voicemesh.bargein.v1 import bargein_pb2 as pb
from voicemesh.type.v1 import call_pb2

TIMES = st.integers(min_value=1, max_value=2**62)
COUNTS = st.integers(min_value=0, max_value=2**31 - 1)
NAMES = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)

events = st.one_of(
    st.builds(CallerWords, event_id=NAMES, at_ms=TIMES, final=st.booleans(), text=NAMES),
    st.builds(AgentWords, at_ms=TIMES, text=NAMES),
    st.builds(AgentSpeech, at_ms=TIMES, started=st.booleans()),
    st.builds(CallerSpeech, at_ms=TIMES, started=st.booleans()),
    st.builds(ProviderInterrupted, event_id=NAMES, at_ms=TIMES),
    st.builds(
        PlayoutChanged,
        at_ms=TIMES,
        generation=st.integers(min_value=1, max_value=2**31 - 1),
        phase=st.sampled_from(Phase),
        answers_until_ms=st.integers(min_value=0, max_value=2**62),
        said_tail=NAMES,
    ),
    st.builds(CallOver),
)
verdicts = st.builds(
    Verdict,
    event_id=NAMES,
    decision=st.sampled_from(Decision),
    rule=st.sampled_from(Rule),
    matched=NAMES,
    word_count=COUNTS,
    language=NAMES,
    through_generation=COUNTS,
    spoken_at_ms=TIMES,
    playout_known=st.booleans(),
    into_playout_ms=COUNTS,
)


@settings(deadline=None)
@given(events)
def test_an_event_survives_the_wire(event: Event) -> None:
    sent = message_of(event, call_id="vapi:1").SerializeToString()
    assert event_of(pb.WatchEvent.FromString(sent)) == event


@settings(deadline=None)
@given(verdicts)
def test_a_verdict_survives_the_wire(verdict: Verdict) -> None:
    sent = verdict_message(verdict, call_id="vapi:1").SerializeToString()
    assert verdict_of(pb.Verdict.FromString(sent)) == verdict


def test_d24_speech_of_the_caller_is_read_as_the_callers() -> None:
    edge = call_pb2.SpeechEdge(party=call_pb2.PARTY_CALLER, edge=call_pb2.EDGE_STARTED, provider_turn="turn:1")
    assert event_of(pb.WatchEvent(call_id="c", at_ms=5, speech=edge)) == CallerSpeech(at_ms=5, started=True)


GOOD_WORDS = {"party": call_pb2.PARTY_CALLER, "stability": call_pb2.STABILITY_FINAL, "text": "my secret words"}


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"words": GOOD_WORDS, "call_id": ""}, "call_id is empty"),
        ({"words": GOOD_WORDS, "at_ms": 0}, "at_ms is 0"),
        ({"words": GOOD_WORDS, "at_ms": -4}, "at_ms is -4"),
        ({"words": {**GOOD_WORDS, "party": 0}}, "words.party"),
        ({"words": {**GOOD_WORDS, "party": 9}}, "words.party"),
        ({"words": {**GOOD_WORDS, "stability": 0}}, "words.stability"),
        ({"speech": {"party": call_pb2.PARTY_AGENT}}, "speech.edge"),
        ({"speech": {"edge": call_pb2.EDGE_STARTED}}, "speech.party"),
        ({"playout": {"generation": 1}}, "playout.state"),
        ({"playout": {"state": pb.PLAYOUT_STATE_OVER}}, "playout.generation is 0"),
        ({"playout": {"state": pb.PLAYOUT_STATE_OVER, "generation": -1}}, "playout.generation is -1"),
        ({}, "kind is not set"),
    ],
)
def test_what_breaks_the_contract_is_named_and_nothing_private_is_quoted(fields: dict[str, Any], names: str) -> None:
    message = pb.WatchEvent(**{"call_id": "vapi:1", "at_ms": 5, **fields})
    with pytest.raises(Unreadable, match=names) as error:
        event_of(message)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("fields", [{"rule": "stop_phrase"}, {"decision": pb.DECISION_CUT, "rule": "whim"}])
def test_a_verdict_of_another_contract_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        verdict_of(pb.Verdict(**fields))
