from __future__ import annotations

from ingress_svc.domain.lateness import LATE_S, TICK_S, Lateness


def test_ticks_in_time_are_no_sleep() -> None:
    lateness = Lateness(0.0)
    for tick in range(1, 100):
        lateness.tick(tick * TICK_S)
    assert lateness.slept == 0


def test_a_gap_of_more_than_200_ms_is_a_sleep() -> None:
    lateness = Lateness(10.0)
    lateness.tick(10.201)
    assert lateness.slept == 1


def test_a_gap_of_200_ms_is_none_yet() -> None:
    lateness = Lateness(0.0)
    lateness.tick(LATE_S)
    assert lateness.slept == 0


def test_a_writer_that_looks_first_sees_the_gap_before_the_timer_does_and_it_counts_once() -> None:
    lateness = Lateness(0.0)
    lateness.tick(5.0)  # the writer
    lateness.tick(5.001)  # the timer
    assert lateness.slept == 1


def test_each_sleep_is_counted_so_that_one_during_the_catching_up_is_not_missed() -> None:
    lateness = Lateness(0.0)
    for now_s in (1.0, 1.05, 2.0):
        lateness.tick(now_s)
    assert lateness.slept == 2
