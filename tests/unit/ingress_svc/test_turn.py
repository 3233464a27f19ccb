from __future__ import annotations

import pytest
from ingress_svc.domain.turn import TurnLog, keep_reason


def test_a_hop_keeps_its_slowest_occurrence_and_how_many_there_were() -> None:
    log = TurnLog(started_ns=0)
    for duration_us in (300, 900, 100):
        log.note("bargein.verdict", duration_us)
    log.note("ingress.ack", 50)
    assert log.hops == {"bargein.verdict": (900, 3), "ingress.ack": (50, 1)}


@pytest.mark.parametrize(
    ("failed", "cut", "over_budget", "sampled", "reason"),
    [
        (True, True, True, True, "failed"),
        (False, True, True, True, "cut"),
        (False, False, True, True, "over_budget"),
        (False, False, False, True, "sampled"),
        (False, False, False, False, ""),
    ],
)
def test_a_turn_is_kept_for_the_most_telling_reason(
    *, failed: bool, cut: bool, over_budget: bool, sampled: bool, reason: str
) -> None:
    log = TurnLog(started_ns=0, failed=failed, cut=cut)
    assert keep_reason(log, over_budget=over_budget, sampled=sampled) == reason
