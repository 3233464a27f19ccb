from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fakes.desk import Desk


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    await desk.table.start()
    yield desk
    await desk.settle()
