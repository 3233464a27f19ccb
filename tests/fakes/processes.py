"""Service processes of a test: started, asked for their port, and surely ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_TESTS = Path(__file__).parent.parent


class FeedProcess:
    """``fakes.feed_process`` as a child of this process."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child
        self.port = 0

    def signal(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    async def ended(self) -> tuple[int, str]:
        """Return the exit code and the standard error."""
        async with asyncio.timeout(30):
            _, stderr = await self._child.communicate()
        return self._child.returncode or 0, stderr.decode()

    async def read_port(self) -> int:
        assert self._child.stdout is not None
        async with asyncio.timeout(30):
            self.port = int(await self._child.stdout.readline())
        return self.port


@asynccontextmanager
async def feed_process(*arguments: str, ready: bool = True) -> AsyncIterator[FeedProcess]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "fakes.feed_process",
        *arguments,
        cwd=_TESTS,
        env={**os.environ, "PYTHONPATH": str(_TESTS)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    process = FeedProcess(child)
    try:
        if ready:
            await process.read_port()
        yield process
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
