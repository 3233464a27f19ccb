"""The thread that watches the event loop."""

from __future__ import annotations

import asyncio
import time

from fakes.streams import until
from svc_runtime.loop_watch import LoopWatch


async def test_a_blocked_loop_is_told_and_so_is_its_return() -> None:
    told: list[bool] = []
    watch = LoopWatch(told.append, limit_s=0.2, give_up=lambda: told.append(False))
    watch.start()
    await asyncio.sleep(0.1)
    time.sleep(0.5)  # noqa: ASYNC251 - the defect that is watched for
    assert told == [False]
    await until(lambda: told == [False, True])
    watch.stop()


async def test_a_loop_blocked_four_times_its_limit_is_given_up() -> None:
    given_up: list[float] = []
    began_s = time.monotonic()
    watch = LoopWatch(lambda ok: None, limit_s=0.1, give_up=lambda: given_up.append(time.monotonic()))
    watch.start()
    time.sleep(1.0)  # noqa: ASYNC251 - the defect that is watched for
    assert len(given_up) == 1
    assert given_up[0] - began_s > 0.4
    watch.stop()


async def test_a_loop_that_runs_is_left_alone_and_its_lag_is_known() -> None:
    told: list[bool] = []
    watch = LoopWatch(told.append, limit_s=0.5)
    watch.start()
    await asyncio.sleep(0.1)
    time.sleep(0.2)  # noqa: ASYNC251 - a stall below the limit
    await until(lambda: watch.lag_ms > 100)
    assert told == []
    watch.stop()
