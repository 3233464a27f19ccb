"""Reads the durable log: over gRPC while session-svc answers, else from its file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from session_svc.adapters import log_reader
from session_svc.adapters.store import StoreFileError
from svc_runtime.channel import open_channel
from voicemesh.session.v1 import session_pb2, session_pb2_grpc

PAGE = 500
_TIMEOUT_S = 2.0
_POLL_S = 0.25


class LogUnavailable(Exception):
    """Neither session-svc nor its file can be read; the message names both."""


class LogSource:
    """The durable log of one mesh."""

    def __init__(self, *, target: str, store: str) -> None:
        """``target`` is session-svc's host:port, empty for none known; ``store`` the path of its SQLite file."""
        self._target = target
        self._store = store
        self._channel = open_channel(target) if target else None
        self._stub: Any = session_pb2_grpc.SessionServiceStub(self._channel) if self._channel else None

    async def close(self) -> None:
        if self._channel:
            await self._channel.close()

    async def events(self, since: int = 0, *, call_id: str = "") -> list[session_pb2.LoggedEvent]:
        """Return one page of events above the cursor ``since``, oldest first; an empty one when there are none."""
        request = session_pb2.ListEventsRequest(since_cursor=since, page_size=PAGE, call_id=call_id)
        if (answer := await self._asked("ListEvents", request)) is not None:
            return list(answer.events)
        rows = await self._read(log_reader.read_log, since, PAGE, call_id)
        return [
            session_pb2.LoggedEvent(
                cursor=cursor, call_seq=row.call_seq, event=session_pb2.CallEvent.FromString(row.payload)
            )
            for cursor, row in rows
        ]

    async def calls(self, limit: int = 50, *, call_id: str = "") -> list[session_pb2.CallSummary]:
        """Return calls, newest first."""
        request = session_pb2.ListCallsRequest(page_size=limit, call_id=call_id)
        if (answer := await self._asked("ListCalls", request)) is not None:
            return list(answer.calls)
        rows = await self._read(log_reader.read_calls, limit, call_id)
        return [session_pb2.CallSummary(**row._asdict()) for row in rows]

    async def pages(
        self, since: int = 0, *, call_id: str = "", follow: bool = False
    ) -> AsyncIterator[Sequence[session_pb2.LoggedEvent]]:
        """Yield the log page by page, to its end or, with ``follow``, for ever."""
        while True:
            page = await self.events(since, call_id=call_id)
            if page:
                yield page
                since = page[-1].cursor
            elif follow:
                await asyncio.sleep(_POLL_S)
            else:
                return

    async def _asked(self, method: str, request: Any) -> Any | None:
        """Return session-svc's answer; None when it cannot be reached."""
        if self._stub is None:
            return None
        try:
            return await getattr(self._stub, method)(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return None
            raise LogUnavailable(f"session-svc at {self._target} refuses: {error.details()}") from error

    async def _read(self, read: Any, *arguments: object) -> Any:
        try:
            return await asyncio.to_thread(read, self._store, *arguments)
        except StoreFileError as error:
            asked = f"session-svc at {self._target} does not answer" if self._target else "no mesh runs here"
            raise LogUnavailable(f"{asked}, and its file cannot be read: {error}") from error


def full_call_id(given: str) -> str:
    """Return the call's identity for what a person types: ``vapi:`` may be left out."""
    return given if ":" in given else f"vapi:{given}"
