"""A call's words are judged by the policy of its agent, and of no other whatever is named later."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from bargein_svc.adapters.calls import Calls
from bargein_svc.adapters.servicer import Judge
from bargein_svc.domain.events import CallerWords, Phase, PlayoutChanged
from bargein_svc.domain.verdict import Policy
from fakes.barge_in_wire import message_of
from svc_runtime.clock import SystemClock
from svc_runtime.metrics import Counters
from svc_runtime.telemetry import recorder
from voicemesh.bargein.v1 import bargein_pb2 as pb

CALM, QUICK = "calm@00000001", "quick@00000001"
POLICIES = {"": Policy(min_words=10), CALM: Policy(min_words=10), QUICK: Policy(min_words=0)}
PLAYING = PlayoutChanged(at_ms=1_500, generation=3, phase=Phase.PLAYING, answers_until_ms=1_000)


class Peer:
    client_id = "ingress-1"

    def __init__(self) -> None:
        self.verdicts: list[pb.Verdict] = []

    def send(self, item: pb.Verdict) -> bool:
        self.verdicts.append(item)
        return True

    def ack(self, seq: int, *, urgent: bool = True) -> None: ...


def judged(*named: tuple[str, bool]) -> list[str]:
    """Return the rule of each verdict on words that no rule of language decides; ``named``: agent, and if settled."""
    counters, peer = Counters(), Peer()
    judge = Judge(
        POLICIES.__getitem__,
        Calls(most=10, idle_s=60.0),
        clock=SystemClock(),
        recorder=recorder("bargein-svc", ""),
        counters=counters,
    )
    events: Sequence[CallerWords | PlayoutChanged] = [
        PLAYING,
        *(
            CallerWords(event_id=f"w{n}", at_ms=2_000 + n, final=True, text=f"blue {n} please")
            for n, _ in enumerate(named)
        ),
    ]
    for event, (agent, settled) in zip(events, [named[0], *named], strict=True):
        message = message_of(event, call_id="vapi:1")
        message.agent, message.agent_settled = agent, settled
        judge.handle(peer, message)  # type: ignore[arg-type]
    return [verdict.rule for verdict in peer.verdicts]


@pytest.mark.parametrize(("agent", "rule"), [(CALM, "too_few_words"), (QUICK, "word_count"), ("", "too_few_words")])
def test_the_agent_that_is_named_says_how_many_words_cut(agent: str, rule: str) -> None:
    assert judged((agent, False)) == [rule]


def test_another_agent_that_an_ingress_has_chosen_meanwhile_changes_nothing() -> None:
    assert judged((CALM, False), (QUICK, False), ("", False)) == ["too_few_words"] * 3


def test_the_agent_that_session_svc_has_recorded_holds_against_the_first() -> None:
    assert judged((CALM, False), (QUICK, True), (CALM, False)) == ["too_few_words", "word_count", "already_cut"]


def test_a_call_of_which_no_agent_was_told_goes_over_to_the_first_that_is() -> None:
    assert judged(("", False), (QUICK, False)) == ["too_few_words", "word_count"]
