"""The replicas of one service: a stream to each, which of them a call belongs to, and one channel over all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from svc_runtime import logs, stream
from svc_runtime.channel import HEALTHY_ROUND_ROBIN, open_channel
from svc_runtime.link import Link, OnLeft, OnOutcome
from svc_runtime.replicas import changes, grpc_target
from svc_runtime.slots import rendezvous, slot_of

LEAVE_WITHIN_S = 0.5
"""What a replica that was taken off the list, but is still connected, gets to answer what it has."""

OpenLink = Callable[[grpc.aio.Channel, str, int], Link]
"""Makes a link over a channel to an address, which goes on after a seq."""


@dataclass(slots=True)
class _Override:
    address: str
    epoch: int


@dataclass(slots=True)
class _Replica:
    link: Link
    channel: grpc.aio.Channel
    task: asyncio.Task[None]


class Replicas:
    """The links to all replicas of one service. The slot map is a hint; `moved` answers correct it.

    With ``forsake_lost`` a call leaves a replica whose stream is down for one whose stream stands; without, it waits
    for the owner of its slot.
    """

    def __init__(self, name: str, open_link: OpenLink, *, forsake_lost: bool = False) -> None:
        self._name = name
        self._open_link = open_link
        self._forsake_lost = forsake_lost
        self._targets: tuple[str, ...] = ()
        self._replicas: dict[str, _Replica] = {}
        self._last_seqs: dict[str, int] = {}
        self._overrides: dict[int, _Override] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def update(self, targets: Sequence[str]) -> None:
        """Take ``targets`` for all the replicas there are: connect to new ones, part from those that are gone."""
        appeared, left = changes(self._targets, targets)
        self._targets = tuple(targets)
        for target in appeared:
            self._reach(target)
        for target in left:
            self._part(target)

    def all(self) -> Iterable[Link]:
        return [replica.link for replica in self._replicas.values()]

    def of(self, call_id: str) -> Link:
        """Return the link to the replica that is expected to hold the call's slot.

        Raises Overloaded while no replica is known.
        """
        replicas = self._replicas
        if len(replicas) == 1 and not self._overrides:
            return next(iter(replicas.values())).link
        slot = slot_of(call_id)
        override = self._overrides.get(slot)
        if override is not None:
            return self._reach(override.address).link
        return replicas[rendezvous(slot, self._candidates())].link

    def moved(self, call_id: str, outcome: stream.Outcome) -> None:
        """Follow a `moved` answer, unless a newer one was followed before."""
        slot = slot_of(call_id)
        known = self._overrides.get(slot)
        if outcome.moved_to and (known is None or known.epoch < outcome.moved_epoch):
            self._overrides[slot] = _Override(outcome.moved_to, outcome.moved_epoch)
            logs.get().info("mesh.slot_moved", of=self._name, slot=slot, address=outcome.moved_to)

    async def close(self, grace_s: float) -> None:
        replicas = list(self._replicas.values())
        await asyncio.gather(*(_end(replica, grace_s) for replica in replicas), *self._leaving)

    def _candidates(self) -> Sequence[str]:
        if not self._targets:
            raise stream.Overloaded(f"no replica of {self._name} is known yet")
        links = [(target, self._replicas[target].link) for target in self._targets]
        # A replica that drains asks to be left; a lone one is better than none.
        staying = [one for one in links if not one[1].draining] or links
        if self._forsake_lost:
            staying = [one for one in staying if one[1].connected] or staying
        return [target for target, _ in staying]

    def _reach(self, target: str) -> _Replica:
        replica = self._replicas.get(target)
        if replica is None:
            channel = open_channel(target)
            link = self._open_link(channel, target, self._last_seqs.get(target, 0))
            task = asyncio.get_running_loop().create_task(link.run())
            replica = self._replicas[target] = _Replica(link, channel, task)
        return replica

    def _part(self, target: str) -> None:
        replica = self._replicas.pop(target)
        self._overrides = {slot: one for slot, one in self._overrides.items() if one.address != target}
        # Should the address come back with the same process behind it, that one knows these.
        self._last_seqs[target] = replica.link.last_seq
        # Nobody answers on a stream that is down: what waits there goes to another replica at once.
        grace_s = LEAVE_WITHIN_S if replica.link.connected else 0.0
        parting = asyncio.get_running_loop().create_task(_end(replica, grace_s, self._move))
        self._leaving.add(parting)
        parting.add_done_callback(self._leaving.discard)

    def _move(self, event: Any, on_outcome: OnOutcome | None) -> None:
        """Give an event that a replica left unanswered to the one that has its call now."""
        if not hasattr(event, "call_id"):
            return  # a note to every replica; the others have it
        try:
            self.of(event.call_id).submit(event, on_outcome)
        except stream.Overloaded as error:
            if on_outcome is not None:
                on_outcome(stream.Outcome(stream.OVERLOADED, str(error)))


async def _end(replica: _Replica, grace_s: float, on_left: OnLeft | None = None) -> None:
    await replica.link.close(grace_s, on_left)
    replica.task.cancel()
    await asyncio.gather(replica.task, return_exceptions=True)
    await replica.channel.close()


class Spread:
    """One channel over all replicas of a service, for work of one call each; made anew when the replicas change.

    gRPC's own look at DNS would find a new replica a minute later, with the next connection that grows too old. What
    runs on the old channel runs on: it is closed after ``longest_s``, when nothing can be left on it.
    """

    def __init__(self, first: str, longest_s: float) -> None:
        """``first`` is the target until any replicas are known."""
        self._longest_s = longest_s
        self.channel = open_channel(f"dns:///{first}", service_config=HEALTHY_ROUND_ROBIN)
        self._closing: set[asyncio.Task[None]] = set()

    def update(self, targets: Sequence[str]) -> None:
        closing = asyncio.get_running_loop().create_task(self._close_later(self.channel))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self.channel = open_channel(grpc_target(targets), service_config=HEALTHY_ROUND_ROBIN)

    async def close(self) -> None:
        for closing in list(self._closing):
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self.channel.close()

    async def _close_later(self, channel: grpc.aio.Channel) -> None:
        try:
            await asyncio.sleep(self._longest_s)
        finally:
            await channel.close()
