"""SessionService on the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
from svc_runtime import stream
from svc_runtime.feed import Feed
from voicemesh.session.v1 import session_pb2 as pb
from voicemesh.session.v1.session_pb2_grpc import SessionServiceServicer

from session_svc.adapters.store import Store, StoreUnavailable

SHAPE = stream.StreamShape.of(pb.ConverseRequest, pb.ConverseResponse)
MOST_PER_PAGE = 1_000
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Servicer(SessionServiceServicer):
    """Hands streams to the feed, and reads the log for whoever asks."""

    def __init__(self, feed: Feed, store: Store) -> None:
        self._feed = feed
        self._store = store

    async def Converse(self, request_iterator: AsyncIterator[pb.ConverseRequest], context: Context) -> None:
        await self._feed.serve(context)

    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        if request.since_cursor < 0 or request.page_size < 0:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "since_cursor and page_size must not be negative")
        limit = min(request.page_size or 500, MOST_PER_PAGE)
        try:
            rows = await self._store.events_after(request.since_cursor, limit, request.call_id)
        except StoreUnavailable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        events = [
            pb.LoggedEvent(cursor=cursor, call_seq=row.call_seq, event=pb.CallEvent.FromString(row.payload))
            for cursor, row in rows
        ]
        return pb.ListEventsResponse(events=events, next_cursor=rows[-1][0] if rows else request.since_cursor)

    async def ListCalls(self, request: pb.ListCallsRequest, context: Context) -> pb.ListCallsResponse:
        if request.page_size < 0:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "page_size must not be negative")
        try:
            rows = await self._store.list_calls(min(request.page_size or 50, MOST_PER_PAGE), request.call_id)
        except StoreUnavailable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return pb.ListCallsResponse(
            calls=[
                pb.CallSummary(
                    call_id=row.call_id,
                    started_at_ms=row.started_at_ms,
                    ended_at_ms=row.ended_at_ms,
                    outcome=row.outcome,
                    event_count=row.event_count,
                )
                for row in rows
            ]
        )
