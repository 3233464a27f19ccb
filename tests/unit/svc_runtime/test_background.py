"""Work that runs as long as its process: its death is told, ends readiness, and is made good."""

from __future__ import annotations

import asyncio
import logging

import pytest
from fakes.streams import until
from svc_runtime.background import Background

FOR_EVER_S = 3_600.0


class _Work:
    """Dies as often as it is told to, then runs on."""

    def __init__(self, *, deaths: int = 0, returns: bool = False) -> None:
        self.starts = 0
        self.cancelled = False
        self._deaths = deaths
        self._returns = returns

    async def run(self) -> None:
        self.starts += 1
        if self.starts <= self._deaths:
            raise ValueError("a secret")
        if self._returns and self.starts == 1:
            return
        try:
            await asyncio.sleep(FOR_EVER_S)
        finally:
            self.cancelled = True


async def test_work_that_runs_is_ready_and_ends_with_the_process() -> None:
    background, work = Background(), _Work()
    background.keep("sweep", work.run)
    await until(lambda: work.starts == 1)
    assert background.ok
    await background.close()
    assert work.cancelled
    assert work.starts == 1


async def test_work_that_dies_is_logged_without_its_text_and_starts_again(caplog: pytest.LogCaptureFixture) -> None:
    background, work = Background(pause_s=0.001), _Work(deaths=2)
    with caplog.at_level(logging.ERROR, "voicemesh"):
        background.keep("sweep", work.run)
        await until(lambda: work.starts == 3)
    assert [record.getMessage() for record in caplog.records] == ["background.failed"] * 2
    fields = caplog.records[0].__dict__["fields"]
    assert (fields["task"], fields["error_type"]) == ("sweep", "ValueError")
    assert "a secret" not in str(fields)
    await background.close()


async def test_work_that_dies_ends_readiness_though_other_work_runs_on() -> None:
    background, sick, well = Background(pause_s=0.001, sound_s=FOR_EVER_S), _Work(deaths=1), _Work()
    background.keep("sick", sick.run)
    background.keep("well", well.run)
    await until(lambda: sick.starts == 2)
    assert not background.ok
    assert well.starts == 1
    await background.close()


async def test_work_that_has_run_for_a_while_again_is_ready_again() -> None:
    background, sick = Background(pause_s=0.001, sound_s=0.01), _Work(deaths=2)
    background.keep("sick", sick.run)
    await until(lambda: sick.starts == 3)
    await until(lambda: background.ok)
    await background.close()


async def test_work_that_returns_has_died_too(caplog: pytest.LogCaptureFixture) -> None:
    background, work = Background(pause_s=0.001, sound_s=FOR_EVER_S), _Work(returns=True)
    with caplog.at_level(logging.ERROR, "voicemesh"):
        background.keep("sweep", work.run)
        await until(lambda: work.starts == 2)
    assert [record.getMessage() for record in caplog.records] == ["background.ended"]
    assert not background.ok
    await background.close()


async def test_work_that_awaits_what_somebody_else_has_cancelled_starts_again() -> None:
    starts = 0

    async def run() -> None:
        nonlocal starts
        starts += 1
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if starts == 1:
            lost.cancel()
        await lost

    background = Background(pause_s=0.001, sound_s=FOR_EVER_S)
    background.keep("sweep", run)
    await until(lambda: starts == 2)
    assert not background.ok
    await background.close()
