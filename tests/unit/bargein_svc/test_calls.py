"""The table of live calls."""

from __future__ import annotations

from bargein_svc.adapters.calls import Agent, Calls
from bargein_svc.domain.verdict import NEW, Policy, State

KNOWN = State(cut_through=7)
AGENT = Agent("sales@00000001", Policy())


def test_an_unknown_call_is_new() -> None:
    assert Calls(most=10, idle_s=60.0).get("vapi:1") == (NEW, None, 0.0)


def test_the_longest_untouched_call_is_crowded_out() -> None:
    calls = Calls(most=2, idle_s=60.0)
    for second, call_id in enumerate(["a", "b", "a", "c"]):
        calls.put(call_id, KNOWN, AGENT, float(second))
    assert [calls.get(call_id).state for call_id in "abc"] == [KNOWN, NEW, KNOWN]
    assert calls.get("a").agent is AGENT
    assert calls.crowded_out == 1


def test_a_call_is_forgotten_when_it_has_been_idle_not_when_it_is_old() -> None:
    calls = Calls(most=10, idle_s=60.0)
    calls.put("silent", KNOWN, AGENT, 0.0)
    for minute in range(60):
        calls.put("talking", KNOWN, AGENT, minute * 30.0)
    assert calls.get("talking").state == KNOWN
    assert calls.get("silent").state == NEW
    assert (len(calls), calls.crowded_out) == (1, 0)
