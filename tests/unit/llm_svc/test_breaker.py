"""A breaker leaves a failing provider alone, asks again after a pause, and is moved by nothing else."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from llm_svc.domain.breaker import Breaker, BreakerLimits, Permit, State

LIMITS = BreakerLimits(failures_in_a_row=3, recent_tries=10, failed_share=0.5, pause_s=10.0, longest_pause_s=40.0)


def entered(breaker: Breaker, now_s: float) -> Permit:
    permit = breaker.enter(now_s)
    assert permit is not None
    return permit


def fail(breaker: Breaker, times: int, now_s: float = 0.0) -> None:
    for _ in range(times):
        breaker.failed(entered(breaker, now_s), now_s)


def opened(now_s: float = 0.0) -> Breaker:
    breaker = Breaker(LIMITS)
    fail(breaker, 3, now_s)
    return breaker


def test_d30_the_third_failure_in_a_row_opens_it_and_not_the_second() -> None:
    breaker = Breaker(LIMITS)
    fail(breaker, 2)
    assert breaker.state(0.0) is State.CLOSED
    assert breaker.failed(entered(breaker, 0.0), 0.0) is True
    assert breaker.state(0.0) is State.OPEN


def test_a_success_between_failures_starts_the_count_again() -> None:
    breaker = Breaker(LIMITS)
    fail(breaker, 2)
    breaker.succeeded(entered(breaker, 0.0))
    fail(breaker, 2)
    assert breaker.state(0.0) is State.CLOSED


def test_every_other_try_failing_opens_it_by_share() -> None:
    breaker = Breaker(LIMITS)
    for _ in range(5):
        assert breaker.state(0.0) is State.CLOSED
        breaker.succeeded(entered(breaker, 0.0))
        breaker.failed(entered(breaker, 0.0), 0.0)
    assert breaker.state(0.0) is State.OPEN


def test_a_fatal_failure_opens_it_at_once() -> None:
    breaker = Breaker(LIMITS)
    assert breaker.failed(entered(breaker, 0.0), 0.0, fatal=True) is True
    assert breaker.enter(0.0) is None


def test_nothing_is_let_through_before_the_pause_is_over() -> None:
    breaker = opened()
    assert breaker.enter(9.99) is None
    assert breaker.enter(10.0) is not None


def test_only_one_probe_at_a_time_is_let_through() -> None:
    breaker = opened()
    entered(breaker, 10.0)
    assert breaker.enter(10.0) is None
    assert breaker.state(10.0) is State.HALF_OPEN


def test_a_probe_that_succeeds_closes_it() -> None:
    breaker = opened()
    breaker.succeeded(entered(breaker, 10.0))
    assert breaker.state(10.0) is State.CLOSED
    fail(breaker, 2, 10.0)
    assert breaker.state(10.0) is State.CLOSED


def test_each_probe_that_fails_doubles_the_pause_up_to_the_longest() -> None:
    breaker = opened()
    now_s = 10.0
    for pause_s in (20.0, 40.0, 40.0):
        breaker.failed(entered(breaker, now_s), now_s)
        assert breaker.enter(now_s + pause_s - 0.01) is None
        now_s += pause_s
        assert breaker.state(now_s) is State.HALF_OPEN


def test_the_pause_is_short_again_after_a_recovery() -> None:
    breaker = opened()
    breaker.failed(entered(breaker, 10.0), 10.0)
    breaker.succeeded(entered(breaker, 30.0))
    fail(breaker, 3, 30.0)
    assert breaker.state(40.0) is State.HALF_OPEN


def test_an_abandoned_probe_lets_the_next_try_probe() -> None:
    breaker = opened()
    breaker.abandoned(entered(breaker, 10.0))
    assert breaker.state(10.0) is State.HALF_OPEN
    assert breaker.enter(10.0) is not None


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_try_from_before_the_opening_decides_nothing_about_the_probe(succeeds: bool) -> None:
    breaker = Breaker(LIMITS)
    old = entered(breaker, 0.0)
    fail(breaker, 3)
    probe = entered(breaker, 10.0)
    if succeeds:
        breaker.succeeded(old)
    else:
        assert breaker.failed(old, 10.0) is False
    assert breaker.state(10.0) is State.HALF_OPEN
    breaker.succeeded(probe)
    assert breaker.state(10.0) is State.CLOSED


class AnyUse(RuleBasedStateMachine):
    """Tries begin and end in any order while time goes on."""

    permits: Bundle[Permit] = Bundle("permits")

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(LIMITS)
        self.now_s = 0.0
        self.probe: Permit | None = None
        self.opened_at_s: float | None = None

    @rule(target=permits)
    def enter_closed(self) -> Permit:
        before = self.breaker.state(self.now_s)
        permit = self.breaker.enter(self.now_s)
        if before is State.OPEN:
            assert permit is None
        elif before is State.CLOSED:
            assert permit is not None
        else:
            assert (permit is None) == (self.probe is not None)
            self.probe = self.probe or permit
        return permit or Permit(-1)

    @rule(permit=consumes(permits))
    def succeed(self, permit: Permit) -> None:
        was, probing = self.breaker.state(self.now_s), permit == self.probe
        self.breaker.succeeded(permit)
        if was is State.HALF_OPEN and probing:
            assert self.breaker.state(self.now_s) is State.CLOSED
            self.probe = None
        else:
            assert self.breaker.state(self.now_s) is was

    @rule(permit=consumes(permits), fatal=st.booleans())
    def fail(self, permit: Permit, fatal: bool) -> None:
        was, probing = self.breaker.state(self.now_s), permit == self.probe
        reported = self.breaker.failed(permit, self.now_s, fatal=fatal)
        assert reported == (self.breaker.state(self.now_s) is State.OPEN and was is not State.OPEN)
        if was is State.HALF_OPEN:
            assert reported is probing
        if reported:
            self.probe = None
            self.opened_at_s = self.now_s

    @rule(permit=consumes(permits))
    def abandon(self, permit: Permit) -> None:
        was = self.breaker.state(self.now_s)
        self.breaker.abandoned(permit)
        assert self.breaker.state(self.now_s) is was
        self.probe = None if permit == self.probe else self.probe

    @rule(seconds=st.floats(0.0, 50.0))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def it_never_stays_open_longer_than_the_longest_pause(self) -> None:
        if self.opened_at_s is not None and self.now_s - self.opened_at_s >= LIMITS.longest_pause_s:
            assert self.breaker.state(self.now_s) is not State.OPEN


TestAnyUse = AnyUse.TestCase
TestAnyUse.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
