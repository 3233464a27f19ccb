"""A call table over a store in memory, two ingress processes before it, and a clock in the test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fakes.call_events import (
    BEGAN_MS,
    CALL,
    INGRESS,
    OTHER_INGRESS,
    on_wire,
)
from opentelemetry.sdk.trace import ReadableSpan
from session_svc.adapters.call_table import CallTable
from session_svc.adapters.memory_store import MemoryStore
from session_svc.adapters.store import CommitError, Done, LogRow, StoreUnavailable, Write
from session_svc.domain.call import Policy
from session_svc.domain.events import Event
from svc_runtime import stream
from svc_runtime.metrics import Counters
from svc_runtime.telemetry import recorder
from voicemesh.session.v1 import session_pb2 as pb

IDLE_MS = 300_000
SPACE = 5_000
"""How late, in milliseconds, a sweep may do what is due."""


class Store(MemoryStore):
    """A memory store whose commits and reads can be made to fail, or to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.error_for: Callable[[Sequence[Write]], CommitError | None] = lambda writes: None
        self.unreadable = False
        self.held: list[tuple[Sequence[Write], Done]] | None = None
        """While it is a list, commits wait in it."""

    def commit(self, writes: Sequence[Write], done: Done) -> None:
        if self.held is not None:
            self.held.append((writes, done))
        elif (error := self.error_for(writes)) is not None:
            asyncio.get_running_loop().call_soon(done, error)
        else:
            super().commit(writes, done)

    def let_through(self) -> None:
        held, self.held = self.held or [], None
        for writes, done in held:
            self.commit(writes, done)

    async def load_call(self, call_id: str) -> list[LogRow]:
        if self.unreadable:
            raise StoreUnavailable("the disk is gone")
        return await super().load_call(call_id)


@dataclass
class Clock:
    ms: int = BEGAN_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic_s(self) -> float:
        return self.ms / 1000


@dataclass
class Sender:
    """An ingress process: what it was told, in order."""

    client_id: str = INGRESS
    told: list[str] = field(default_factory=list)
    """`ack 1`, `fail 2`, or the id of a command."""
    commands: list[pb.Command] = field(default_factory=list)
    refusals: dict[int, stream.Outcome] = field(default_factory=dict)

    def ack(self, seq: int, *, urgent: bool = True) -> None:
        self.told.append(f"ack {seq}")

    def fail(self, seq: int, outcome: stream.Outcome) -> None:
        self.told.append(f"fail {seq}")
        self.refusals[seq] = outcome


class Desk:
    """A table, its store, and two ingress processes."""

    def __init__(self, store: Store | None = None, *, address: str = "here:1", most_calls: int = 10_000) -> None:
        self.store = store or Store()
        self.clock = Clock()
        self.counters = Counters()
        self.spans: list[ReadableSpan] = []
        self.recorder = recorder("session-svc", "", sink=self.spans.extend, clock=self.clock)
        self.ingress = Sender()
        self.other = Sender(OTHER_INGRESS)
        self.seq = 0
        self.connected = [INGRESS]
        """The ingress processes whose stream stands."""
        self.policies: dict[str, Policy] = {}
        """By agent; the others have the default one."""
        self.table = CallTable(
            self.store,
            lambda agent: self.policies.get(agent, Policy(idle_ms=IDLE_MS)),
            clock=self.clock,
            recorder=self.recorder,
            counters=self.counters,
            send=self._send,
            address=address,
            most_calls=most_calls,
            ingresses=lambda: self.connected,
        )

    def _send(self, ingress_id: str, command: pb.Command) -> None:
        sender = {INGRESS: self.ingress, OTHER_INGRESS: self.other}[ingress_id]
        sender.told.append(command.command_id)
        sender.commands.append(command)

    def put(self, happened: Event | pb.CallEvent, *, call_id: str = CALL, sender: Sender | None = None) -> int:
        """Hand an event in, as one message of its own, and return its seq."""
        self.seq += 1
        message = on_wire(happened, call_id=call_id) if isinstance(happened, Event) else happened
        message.seq = self.seq
        self.table.handle(sender or self.ingress, message)
        self.table.end_of_batch()
        return self.seq

    async def settle(self) -> None:
        async with asyncio.timeout(10):
            await self.table.settle()

    async def take(self, *happened: Event, call_id: str = CALL) -> list[str]:
        """Hand events in, wait for all answers, and return what the first ingress was told meanwhile."""
        before = len(self.ingress.told)
        for each in happened:
            self.put(each, call_id=call_id)
        await self.settle()
        return self.ingress.told[before:]

    async def pass_time(self, ms: int, *, every_ms: int = 1_000) -> None:
        """Let time go by, with the sweeps that fall into it."""
        for _ in range(ms // every_ms):
            self.clock.ms += every_ms
            self.table.sweep()
            await self.settle()

    async def log(self, call_id: str = CALL) -> list[str]:
        return [row.event_id for row in await MemoryStore.load_call(self.store, call_id)]

    async def commands_in_store(self) -> list[str]:
        return [add.command_id for add in await self.store.outbox()]


async def taken_over(desk: Desk) -> Desk:
    """Return another replica that has taken every slot of the first one."""
    other = Desk(desk.store, address="there:2")
    await other.table.start()
    return other
