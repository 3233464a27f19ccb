from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from compose.stack import Stack, stack
from fakes import phone


@pytest.fixture(scope="session")
def built() -> None:
    with stack("vmbuild") as made:
        made.compose("build", within_s=1_200.0)


@pytest.fixture(scope="module")
def house(built: None) -> Iterator[Stack]:
    """The stack as `docker compose up` starts it. Tests of a module share it, and leave it whole."""
    with stack("vm", TRACE_ONE_IN="1") as made:
        made.up()
        yield made


@pytest_asyncio.fixture
async def line(house: Stack) -> AsyncIterator[phone.Line]:
    async with phone.line(house.url, house.secret()) as opened:
        yield opened


@pytest.fixture
def with_jaeger(house: Stack) -> None:
    if not house.has_jaeger:
        pytest.skip("NOT RUN: Jaeger's image is not on this machine; see tests/compose/stand_ins.sh")
