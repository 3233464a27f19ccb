"""What is remembered of a call, and how little that is."""

from __future__ import annotations

import sys

from bargein_svc.domain.events import (
    CallOver,
    Event,
)
from bargein_svc.domain.playout import MAX_GENERATIONS
from bargein_svc.domain.verdict import NEW, State, step
from fakes.barge_in import (
    POLICY,
    agent_started,
    agent_stopped,
    final,
    last,
    over,
    partial,
    playing,
    preparing,
    run,
)


def test_a_generation_that_is_over_is_not_reopened_by_a_late_report() -> None:
    assert last([over(1, answers=500, at_ms=2_000), playing(1, answers=500), partial(3_000, "stop")]) is None


def test_a_generation_whose_speech_the_provider_has_ended_is_over() -> None:
    """The ingress that holds the output may not be the one that hears of it."""
    spoken: list[Event] = [playing(1, answers=500, at_ms=800), agent_started(1_000), agent_stopped(3_000)]
    assert last([*spoken, partial(4_000, "stop")]) is None


def test_a_call_that_is_over_gets_no_verdict() -> None:
    assert run([playing(1, answers=500), CallOver(), partial(2_000, "stop"), playing(2, answers=900)]) == []


def test_what_is_remembered_of_a_call_is_bounded() -> None:
    state: State = NEW
    texts = ["stop", "eight", "okay", "uh", "I need a table", "no problem"]
    for n in range(2_000):
        events: list[Event] = [
            partial(n * 100 + 1, texts[n % 6]),
            final(n * 100 + 50, texts[(n * 5) % 6]),
            playing(n + 1, answers=n * 100 + (n * 37) % 90),
        ]
        for event in events:
            state, _ = step(state, event, POLICY)
            assert len(state.heard) <= 6
            assert len(state.playout.generations) <= MAX_GENERATIONS
    assert _deep_size(state, set()) < 4_096


def test_an_idle_call_is_remembered_in_little_memory() -> None:
    """One that has had a turn and waits for the next."""
    state: State = NEW
    turn: list[Event] = [
        agent_started(1_000),
        agent_stopped(2_000),
        partial(3_000, "I need"),
        final(3_500, "I need a table for four"),
        preparing(1, answers=3_500),
        playing(1, answers=3_500, said="x" * 200),
        over(1, answers=3_500, at_ms=6_000),
    ]
    for event in turn:
        state, _ = step(state, event, POLICY)
    assert _deep_size(state, set()) < 2_048


def _deep_size(thing: object, seen: set[int]) -> int:
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    parts = thing if isinstance(thing, tuple) else ()
    return sys.getsizeof(thing) + sum(_deep_size(part, seen) for part in parts)
