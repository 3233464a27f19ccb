"""Replicas that come and go, over real streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from fakes.streams import QUICK, SHAPE, FeedServer, Outcomes, until
from ingress_svc.adapters.replicas import Replicas
from svc_runtime.feed import Feed, Peer
from svc_runtime.link import Link
from svc_runtime.slots import rendezvous, slot_of
from svc_runtime.stream import MOVED, OK, Outcome, Overloaded
from voicemesh.session.v1 import session_pb2, session_pb2_grpc


class Server:
    """One replica: it acknowledges what it gets, unless it is stuck."""

    def __init__(self) -> None:
        self.took: list[str] = []
        self.stuck = False
        self.feed = Feed(SHAPE, self._handle)
        self._server = FeedServer(self.feed)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    async def up(self) -> None:
        await self._server.start()

    async def die(self) -> None:
        await self._server.kill()

    def _handle(self, peer: Peer, event: Any) -> None:
        self.took.append(event.event_id)
        if not self.stuck:
            peer.ack(event.seq)


def open_link(channel: grpc.aio.Channel, target: str, after_seq: int) -> Link:
    stub = session_pb2_grpc.SessionServiceStub(channel)
    return Link(
        target,
        SHAPE,
        lambda: stub.Converse(wait_for_ready=True),
        client_id="ingress-1",
        on_item=lambda item: None,
        limits=QUICK,
        after_seq=after_seq,
    )


@asynccontextmanager
async def several(count: int, *, forsake_lost: bool = False) -> AsyncIterator[tuple[Replicas, list[Server]]]:
    servers = [Server() for _ in range(count)]
    for server in servers:
        await server.up()
    replicas = Replicas("session-svc", open_link, forsake_lost=forsake_lost)
    try:
        yield replicas, servers
    finally:
        await replicas.close(0.0)
        for server in servers:
            await server.die()


def event(name: str, call_id: str = "vapi:1") -> Any:
    return session_pb2.CallEvent(event_id=name, call_id=call_id, report={"ended_reason": ""})


async def connected(replicas: Replicas) -> None:
    await until(lambda: all(link.connected for link in replicas.all()))


def call_of(server: Server, servers: list[Server]) -> str:
    """Return a call whose slot belongs to ``server``."""
    targets = [one.target for one in servers]
    numbers = (f"vapi:{number}" for number in range(10_000))
    return next(call for call in numbers if rendezvous(slot_of(call), targets) == server.target)


async def test_no_replica_is_a_refusal_and_no_crash() -> None:
    async with several(0) as (replicas, _):
        with pytest.raises(Overloaded, match="no replica of session-svc is known yet"):
            replicas.of("vapi:1")


async def test_a_new_replica_takes_its_slots_and_leaves_the_others_alone() -> None:
    async with several(2) as (replicas, servers):
        replicas.update([servers[0].target])
        calls = [f"vapi:{number}" for number in range(200)]
        assert {replicas.of(call).name for call in calls} == {servers[0].target}
        replicas.update([server.target for server in servers])
        owners = [replicas.of(call).name for call in calls]
        assert owners == [rendezvous(slot_of(call), [server.target for server in servers]) for call in calls]
        assert 60 < owners.count(servers[1].target) < 140


async def test_what_a_lost_replica_left_unanswered_goes_to_the_one_that_has_the_call_now() -> None:
    async with several(2) as (replicas, (old, new)):
        replicas.update([old.target])
        await connected(replicas)
        old.stuck = True
        outcomes = Outcomes()
        for name in ("1", "2", "3"):
            replicas.of("vapi:1").submit(event(name), outcomes.of(name))
        await until(lambda: len(old.took) == 3)
        await old.die()
        await until(lambda: not any(link.connected for link in replicas.all()))
        replicas.update([new.target])
        await until(lambda: len(outcomes) == 3)
        assert new.took == ["1", "2", "3"]
        assert dict(outcomes) == {name: [OK] for name in ("1", "2", "3")}


async def test_a_replica_that_is_only_off_the_list_answers_what_it_has() -> None:
    async with several(2) as (replicas, (old, new)):
        replicas.update([old.target, new.target])
        await connected(replicas)
        outcomes = Outcomes()
        call = call_of(old, [old, new])
        replicas.of(call).submit(event("1", call), outcomes.of("1"))
        replicas.update([new.target])
        await until(lambda: outcomes)
        assert dict(outcomes) == {"1": [OK]}
        assert new.took == []
        await until(lambda: not old.feed.peers)


async def test_an_address_that_comes_back_with_the_same_process_loses_nothing() -> None:
    async with several(2) as (replicas, (first, second)):
        both = [first.target, second.target]
        call = call_of(first, [first, second])
        outcomes = Outcomes()
        for round_ in range(4):
            replicas.update(both)
            await connected(replicas)
            # Stuck, so that the stream is closed with an event on it, and the server remembers its seq.
            first.stuck = True
            replicas.of(call).submit(event(f"stuck-{round_}", call), outcomes.of(f"stuck-{round_}"))
            await until(lambda name=f"stuck-{round_}": name in first.took)
            replicas.update([second.target])
            await until(lambda name=f"stuck-{round_}": name in outcomes)
            first.stuck = False
            replicas.update(both)
            await connected(replicas)
            replicas.of(call).submit(event(f"again-{round_}", call), outcomes.of(f"again-{round_}"))
            await until(lambda name=f"again-{round_}": name in outcomes)
            assert f"again-{round_}" in first.took
        assert set(map(tuple, outcomes.values())) == {(OK,)}


async def test_a_call_leaves_a_replica_that_is_down_where_any_other_will_do() -> None:
    async with several(2, forsake_lost=True) as (replicas, servers):
        replicas.update([server.target for server in servers])
        await connected(replicas)
        call = call_of(servers[0], servers)
        assert replicas.of(call).name == servers[0].target
        await servers[0].die()
        await until(lambda: replicas.of(call).name == servers[1].target)


async def test_a_call_waits_for_the_owner_of_its_slot_where_it_must() -> None:
    async with several(2) as (replicas, servers):
        replicas.update([server.target for server in servers])
        await connected(replicas)
        call = call_of(servers[0], servers)
        await servers[0].die()
        await until(lambda: not all(link.connected for link in replicas.all()))
        assert replicas.of(call).name == servers[0].target


async def test_a_slot_that_moved_to_a_replica_that_left_is_hashed_again() -> None:
    async with several(2) as (replicas, servers):
        replicas.update([server.target for server in servers])
        call = call_of(servers[0], servers)
        replicas.moved(call, Outcome(MOVED, moved_to=servers[1].target, moved_epoch=7))
        assert replicas.of(call).name == servers[1].target
        replicas.update([servers[0].target])
        assert replicas.of(call).name == servers[0].target


async def test_closing_ends_the_streams_to_replicas_that_are_leaving_too() -> None:
    async with several(2) as (replicas, (old, new)):
        replicas.update([old.target, new.target])
        await connected(replicas)
        replicas.update([new.target])
        await replicas.close(0.1)
        await until(lambda: not old.feed.peers and not new.feed.peers)
        assert not [task for task in asyncio.all_tasks() if "Link.run" in repr(task)]
