"""What waits to be written on one stream of a feed, and the limits on it."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

import grpc

from svc_runtime.stream import Outcome, StreamShape
from svc_runtime.wakeup import Wakeup


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """What bounds a feed, for each client."""

    max_event_bytes: int = 1_048_576
    max_unsettled_events: int = 65_536
    """Events without an answer, and errors that the client's floor has not passed; a link holds at most 20,000."""
    max_queued_items: int = 10_000
    max_queued_bytes: int = 16_777_216
    """Items that wait for a client which does not read. Over either its stream is ended."""
    max_queued_answers: int = 65_536
    max_item_bytes: int = 2_097_152
    """Above what an event may hold: an item may carry all that its event brought."""
    max_batch_items: int = 64
    max_batch_bytes: int = 262_144
    """One message carries no more items, unless a single one is larger."""
    max_batch_errors: int = 1_000
    hello_within_s: float = 5.0
    forget_after_s: float = 600.0
    """How long a client without a stream is remembered: after it, what it sends again is handled again."""


class Outbox:
    """What waits to be written on one stream."""

    def __init__(self, shape: StreamShape, limits: FeedLimits) -> None:
        self.items: deque[tuple[Any, int]] = deque()
        self.items_bytes = 0
        self.acks: list[int] = []
        self.errors: deque[tuple[int, Outcome]] = deque()
        self.echo = 0
        self.draining_due = False
        self.draining = False
        self.finishing = False
        """Nothing more is taken in: the writer ends when all is written."""
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the stream is to end at once."""
        self.end_code = grpc.StatusCode.OK
        self.end_details = ""
        self._shape = shape
        self._limits = limits
        self.wakeup = Wakeup()

    @property
    def empty(self) -> bool:
        return not (self.acks or self.items or self.errors or self.echo or self.draining_due)

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """End the stream at once; what is queued is not written."""
        if not self.over.done():
            self.end_code, self.end_details = code, details
            self.over.set_result(None)

    def finish(self, code: grpc.StatusCode, details: str) -> None:
        """End the stream when all that is queued has been written."""
        self.finishing = True
        self.end_code, self.end_details = code, details
        self.wakeup.now()

    def drain(self) -> None:
        self.draining = self.draining_due = True
        self.wakeup.now()

    def put_item(self, item: Any, size: int) -> bool:
        limits = self._limits
        if len(self.items) >= limits.max_queued_items or self.items_bytes + size > limits.max_queued_bytes:
            self.end(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{len(self.items)} items wait for a client that does not read"
            )
            return False
        self.items.append((item, size))
        self.items_bytes += size
        self.wakeup.now()
        return True

    def put_ack(self, seq: int, *, urgent: bool = True) -> None:
        self.acks.append(seq)
        if urgent:
            self.wakeup.now()
        else:
            self.wakeup.soon()
        if len(self.acks) > self._limits.max_queued_answers:
            self.end(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{len(self.acks)} answers wait for a client that does not read"
            )

    def put_error(self, seq: int, outcome: Outcome) -> None:
        self.errors.append((seq, outcome))
        self.wakeup.now()
        if len(self.errors) > self._limits.max_queued_answers:
            self.end(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{len(self.errors)} errors wait for a client that does not read"
            )

    def next_response(self) -> Any:
        """Take what has queued since the last write. Answers and the echo wait until no item is before them."""
        limits, items = self._limits, self.items
        response = self._shape.response(draining=self.draining)
        self.draining_due = False
        batch: list[Any] = []
        batch_bytes = 0
        while items and len(batch) < limits.max_batch_items:
            batch_bytes += items[0][1]
            if batch and batch_bytes > limits.max_batch_bytes:
                break
            item, size = items.popleft()
            self.items_bytes -= size
            batch.append(item)
        if batch:
            response.items.extend(batch)
        if items:
            return response
        if self.acks:
            response.acked_seqs.extend(self.acks)
            self.acks.clear()
        while self.errors and len(response.errors) < limits.max_batch_errors:
            response.errors.append(self._error(*self.errors.popleft()))
        if self.echo and not self.errors:
            response.heartbeat, self.echo = self.echo, 0
        return response

    def _error(self, seq: int, outcome: Outcome) -> Any:
        error = self._shape.error(
            seq=seq, code=outcome.code, message=outcome.message, retry_after_ms=outcome.retry_after_ms
        )
        if outcome.moved_to or outcome.moved_epoch:
            error.moved.address, error.moved.epoch = outcome.moved_to, outcome.moved_epoch
        return error
