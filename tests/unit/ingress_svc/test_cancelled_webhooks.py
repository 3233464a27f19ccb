"""A provider that goes away as soon as its request has been read: the handler is cancelled at its first wait."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from unittest.mock import Mock

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader
from aiohttp.test_utils import make_mocked_request
from fakes.ingress import CALL, CALL_ID, Edge, edge, signed
from fakes.streams import until

AT_MS = 1_787_428_899_945


@pytest.fixture
async def at() -> AsyncIterator[Edge]:
    async with edge() as running:
        yield running


def read_whole(body: bytes) -> StreamReader:
    payload = StreamReader(Mock(spec=BaseProtocol), 2**16, loop=asyncio.get_running_loop())
    payload.feed_data(body)
    payload.feed_eof()
    return payload


async def test_what_was_read_is_on_its_way_before_the_handler_first_waits(at: Edge) -> None:
    words = {"type": "transcript", "transcriptType": "final", "role": "user", "transcript": "A table for four."}
    body = json.dumps({"message": {"call": {"id": CALL}, "timestamp": AT_MS} | words}).encode()
    request = make_mocked_request("POST", "/vapi/webhook", headers=signed(body), payload=read_whole(body))
    handling = at.ingress.routes.handle(request)
    handling.send(None)
    with pytest.raises(asyncio.CancelledError):
        handling.throw(asyncio.CancelledError)
    await until(lambda: at.mesh.session.kinds(CALL_ID) == ["words"])
    await until(lambda: len(at.mesh.bargein.events) == 1)
