from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from fakes.call_log import START_MS, answered, caller, log
from session_svc.adapters.sqlite_store import SqliteStore
from session_svc.adapters.store import CallOpened, LogRow, Write
from voicemesh.session.v1 import session_pb2 as pb
from voicemesh.session.v1 import session_pb2_grpc
from voicemesh_cli.log_source import LogSource, LogUnavailable, full_call_id

NOBODY = "127.0.0.1:9"
KEPT = log(answered(), caller(900, "Hello."), caller(1900, "Goodbye."))


class _Session(session_pb2_grpc.SessionServiceServicer):
    """The two reading calls of session-svc, two events a page."""

    async def ListEvents(self, request: pb.ListEventsRequest, context: object) -> pb.ListEventsResponse:
        after = [logged for logged in KEPT if logged.cursor > request.since_cursor]
        return pb.ListEventsResponse(events=after[:2])

    async def ListCalls(self, request: pb.ListCallsRequest, context: object) -> pb.ListCallsResponse:
        return pb.ListCallsResponse(calls=[pb.CallSummary(call_id="vapi:c", event_count=len(KEPT))])


@pytest.fixture
async def session() -> AsyncIterator[str]:
    server = grpc.aio.server()
    session_pb2_grpc.add_SessionServiceServicer_to_server(_Session(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def file(tmp_path: Path) -> str:
    """A store's file as session-svc leaves it."""
    store = await SqliteStore.open(tmp_path / "voicemesh.sqlite")
    epochs = await store.take_slots([7], "127.0.0.1:1")
    rows = tuple(
        LogRow("vapi:c", one.call_seq, one.event.event_id, "kind", 0, 0, one.event.SerializeToString()) for one in KEPT
    )
    landed: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    store.commit([Write(7, epochs[7], rows, opened=CallOpened("vapi:c", START_MS))], landed.set_result)
    assert await landed is None
    await store.close()
    return str(tmp_path / "voicemesh.sqlite")


async def test_the_log_is_read_page_by_page_from_session_svc(session: str) -> None:
    source = LogSource(target=session, store="/nowhere")
    pages = [list(page) async for page in source.pages()]
    assert [logged.cursor for page in pages for logged in page] == [1, 2, 3]
    assert [call.event_count for call in await source.calls()] == [3]
    await source.close()


async def test_without_session_svc_the_same_log_is_read_from_its_file(file: str) -> None:
    for target in ("", NOBODY):
        source = LogSource(target=target, store=file)
        assert [logged async for page in source.pages() for logged in page] == KEPT
        [call] = await source.calls()
        assert (call.call_id, call.started_at_ms, call.event_count) == ("vapi:c", START_MS, 3)
        await source.close()


async def test_reading_begins_above_the_cursor_and_keeps_to_one_call(file: str) -> None:
    source = LogSource(target="", store=file)
    assert [logged.cursor for logged in await source.events(1, call_id="vapi:c")] == [2, 3]
    assert await source.events(0, call_id="vapi:other") == []


async def test_following_goes_on_when_more_is_kept(session: str) -> None:
    source = LogSource(target=session, store="/nowhere")
    later = KEPT.pop()
    seen = []
    async for page in source.pages(follow=True):
        seen += [logged.cursor for logged in page]
        if len(seen) == 2:
            KEPT.append(later)
        if len(seen) == 3:
            break
    assert seen == [1, 2, 3]
    await source.close()


async def test_with_neither_service_nor_file_the_error_names_both() -> None:
    source = LogSource(target=NOBODY, store="/nowhere/voicemesh.sqlite")
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:9 does not answer.*/nowhere/voicemesh\.sqlite"):
        await source.events()
    await source.close()


@pytest.mark.parametrize(("typed", "meant"), [("abc", "vapi:abc"), ("vapi:abc", "vapi:abc"), ("twilio:x", "twilio:x")])
def test_a_call_may_be_named_without_its_provider(typed: str, meant: str) -> None:
    assert full_call_id(typed) == meant
