"""The client end of a resumable stream, against a real feed over loopback."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from fakes.streams import QUICK, SHAPE, CuttingProxy, FeedServer, Outcomes, command, event, linked, serving, until
from svc_runtime.feed import Feed, Peer
from svc_runtime.link import Link, LinkLimits
from svc_runtime.stream import INTERNAL, PEER_LOST, TAKEN, EventTooLarge, Outcome, Overloaded


def acknowledge(peer: Peer, event: Any) -> None:
    peer.ack(event.seq)


def unopened(limits: LinkLimits) -> Link:
    def never() -> Any:
        raise AssertionError("the link was not to be opened")

    return Link("session", SHAPE, never, client_id="ingress-1", on_item=lambda item: None, limits=limits)


class Batches:
    """A handler that acknowledges, and notes the events of each message."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._events = 0

    def handle(self, peer: Peer, event: Any) -> None:
        self._events += 1
        peer.ack(event.seq)

    def end(self) -> None:
        self.sizes.append(self._events)
        self._events = 0


async def test_an_event_in_quiet_goes_alone_and_at_once() -> None:
    batches = Batches()
    outcomes: list[Outcome] = []
    async with serving(Feed(SHAPE, batches.handle, on_batch_end=batches.end)) as server, linked(server.port) as link:
        for number in range(5):
            link.submit(event(str(number)), outcomes.append)
            await until(lambda: link.backlog == 0)
    assert batches.sizes == [1, 1, 1, 1, 1]


async def test_an_event_that_nobody_waits_for_rides_on_the_next_message() -> None:
    batches = Batches()
    outcomes: list[Outcome] = []
    async with serving(Feed(SHAPE, batches.handle, on_batch_end=batches.end)) as server, linked(server.port) as link:
        await until(lambda: link.connected)
        link.submit(event("rides"), outcomes.append, urgent=False)
        await asyncio.sleep(0)
        link.submit(event("leaves"), outcomes.append)
        await until(lambda: len(outcomes) == 2)
    assert batches.sizes == [2]


async def test_an_event_that_nobody_waits_for_leaves_by_itself_when_nothing_else_does() -> None:
    batches = Batches()
    outcomes: list[Outcome] = []
    # Without a heartbeat there is nothing to ride on.
    limits = LinkLimits(heartbeat_s=60.0)
    feed = Feed(SHAPE, batches.handle, on_batch_end=batches.end)
    async with serving(feed) as server, linked(server.port, limits=limits) as link:
        await until(lambda: link.connected)
        for number in range(3):
            link.submit(event(str(number)), outcomes.append, urgent=False)
        await until(lambda: len(outcomes) == 3)
        assert batches.sizes == [3]
        link.submit(event("later"), outcomes.append, urgent=False)
        await until(lambda: len(outcomes) == 4)


async def test_a_close_takes_along_what_still_waits_for_a_ride() -> None:
    batches = Batches()
    outcomes: list[Outcome] = []
    async with serving(Feed(SHAPE, batches.handle, on_batch_end=batches.end)) as server, linked(server.port) as link:
        await until(lambda: link.connected)
        link.submit(event("last"), outcomes.append, urgent=False)
        await link.close(5.0)
    assert outcomes == [TAKEN]


async def test_under_load_a_message_carries_what_queued_while_the_last_was_written() -> None:
    batches = Batches()
    outcomes: list[Outcome] = []
    async with serving(Feed(SHAPE, batches.handle, on_batch_end=batches.end)) as server, linked(server.port) as link:
        await until(lambda: link.connected)
        for number in range(1_000):
            link.submit(event(str(number)), outcomes.append)
        await until(lambda: len(outcomes) == 1_000)
    assert sum(batches.sizes) == 1_000
    assert max(batches.sizes) == 32
    assert len(batches.sizes) < 60


async def test_a_message_stays_within_its_bytes() -> None:
    batches = Batches()
    outcomes: list[Outcome] = []
    limits = LinkLimits(max_batch_bytes=10_000)
    feed = Feed(SHAPE, batches.handle, on_batch_end=batches.end)
    async with serving(feed) as server, linked(server.port, limits=limits) as link:
        for number in range(20):
            link.submit(event(str(number), "x" * 3_000), outcomes.append)
        link.submit(event("large", "x" * 20_000), outcomes.append)
        await until(lambda: len(outcomes) == 21)
    assert max(batches.sizes) == 3


def test_an_event_over_the_limit_gets_no_seq() -> None:
    link = unopened(LinkLimits(max_event_bytes=1_000))
    large = event("large", "x" * 1_000)
    with pytest.raises(EventTooLarge, match="at most 1000"):
        link.submit(large)
    small = event("small")
    link.submit(small)
    assert (large.seq, small.seq, link.backlog) == (0, 1, 1)


@pytest.mark.parametrize("limits", [LinkLimits(max_queued_events=3), LinkLimits(max_queued_bytes=3_300)])
def test_a_full_link_refuses_before_it_gives_a_seq(limits: LinkLimits) -> None:
    link = unopened(limits)
    for number in range(3):
        link.submit(event(str(number), "x" * 1_000))
    shed = event("shed", "x" * 1_000)
    with pytest.raises(Overloaded, match="3 unanswered"):
        link.submit(shed)
    assert (shed.seq, link.backlog) == (0, 3)


async def test_what_was_sent_and_not_answered_counts_as_queued() -> None:
    held: list[Any] = []
    feed = Feed(SHAPE, lambda peer, event: held.append((peer, event.seq)))
    limits = LinkLimits(max_queued_events=2)
    async with serving(feed) as server, linked(server.port, limits=limits) as link:
        link.submit(event("1"))
        link.submit(event("2"))
        await until(lambda: len(held) == 2)
        with pytest.raises(Overloaded):
            link.submit(event("3"))
        held[0][0].ack(held[0][1])
        await until(lambda: link.backlog == 1)
        link.submit(event("3"))


def test_only_events_of_the_stream_are_taken() -> None:
    link = unopened(LinkLimits())
    with pytest.raises(TypeError, match="carries CallEvent, not Command"):
        link.submit(command("1"))
    assert link.backlog == 0


async def test_each_event_gets_its_own_outcome() -> None:
    moved = Outcome(3, "slot 7 lives elsewhere", "127.0.0.1:9", 4, 250)

    def handle(peer: Peer, event: Any) -> None:
        if event.event_id == "moved":
            peer.fail(event.seq, moved)
        else:
            peer.ack(event.seq)

    outcomes: list[Outcome] = []
    async with serving(Feed(SHAPE, handle)) as server, linked(server.port) as link:
        for name in ("a", "moved", "b"):
            link.submit(event(name), outcomes.append)
            await until(lambda: link.backlog == 0)
    assert outcomes == [TAKEN, moved, TAKEN]


async def test_what_a_callback_raises_does_not_stop_the_stream() -> None:
    def handle(peer: Peer, event: Any) -> None:
        peer.send(command(event.event_id))
        peer.ack(event.seq)

    outcomes: list[Outcome] = []

    def fails(_: object) -> None:
        raise RuntimeError("a defect")

    async with serving(Feed(SHAPE, handle)) as server, linked(server.port, fails) as link:
        link.submit(event("1"), fails)
        link.submit(event("2"), outcomes.append)
        await until(lambda: outcomes)
        assert (link.callback_failures, link.streams_opened) == (3, 1)


async def test_a_barrier_returns_when_every_item_sent_before_was_handled() -> None:
    seen: list[str] = []
    feed = Feed(SHAPE, acknowledge)
    async with serving(feed) as server, linked(server.port, lambda item: seen.append(item.command_id)) as link:
        await until(lambda: feed.peers)
        for number in range(500):
            feed.peers["ingress-1"].send(command(str(number)))
        await link.barrier(10.0)
        assert len(seen) == 500


async def test_a_barrier_outlives_a_lost_stream() -> None:
    feed = Feed(SHAPE, acknowledge)
    async with serving(feed) as server:
        proxy = CuttingProxy(server.port)
        async with linked(await proxy.start()) as link:
            await until(lambda: link.connected)
            proxy.cut()
            await link.barrier(10.0)
            assert link.streams_opened >= 2
        await proxy.close()


async def test_a_barrier_without_an_echo_times_out() -> None:
    async with serving(Feed(SHAPE, acknowledge)) as server, linked(server.port) as link:
        await until(lambda: link.connected)
        await server.kill()
        with pytest.raises(TimeoutError):
            await link.barrier(0.05)


async def test_close_waits_for_the_answers_and_says_bye() -> None:
    closed: list[bool] = []
    loop = asyncio.get_running_loop()

    def answer_later(peer: Peer, event: Any) -> None:
        loop.call_later(0.05, peer.ack, event.seq)

    feed = Feed(SHAPE, answer_later, on_close=lambda peer, said_bye: closed.append(said_bye))
    outcomes: list[Outcome] = []
    async with serving(feed) as server, linked(server.port) as link:
        for number in range(100):
            link.submit(event(str(number)), outcomes.append)
        await link.close(10.0)
        assert outcomes == [TAKEN] * 100
        assert closed == [True]
        with pytest.raises(Overloaded, match="closed"):
            link.submit(event("late"))


async def test_close_tells_the_unanswered_that_the_peer_is_lost() -> None:
    outcomes: list[Outcome] = []
    async with serving(Feed(SHAPE, lambda peer, event: None)) as server, linked(server.port) as link:
        link.submit(event("1"), outcomes.append)
        await link.close(0.05)
    assert [outcome.code for outcome in outcomes] == [PEER_LOST]
    assert link.backlog == 0


async def test_draining_is_seen_and_the_stream_goes_on() -> None:
    states: list[tuple[bool, bool]] = []
    outcomes: list[Outcome] = []
    feed = Feed(SHAPE, acknowledge)

    def note() -> None:
        states.append((link.connected, link.draining))

    async with serving(feed) as server, linked(server.port, on_state=note) as link:
        await until(lambda: link.connected)
        feed.start_draining()
        await until(lambda: link.draining)
        link.submit(event("1"), outcomes.append)
        await until(lambda: outcomes)
        assert states == [(True, False), (True, True)]


async def test_a_restarted_server_is_found_and_named() -> None:
    first = FeedServer(Feed(SHAPE, acknowledge, server_id="first"))
    port = await first.start()
    async with linked(port) as link:
        await until(lambda: link.server_id == "first")
        first.servicer.feed.start_draining()
        await until(lambda: link.draining)
        await first.kill()
        await until(lambda: not link.connected)
        second = FeedServer(Feed(SHAPE, acknowledge, server_id="second"))
        await second.start(port)
        await until(lambda: link.connected)
        assert (link.server_id, link.draining) == ("second", False)
        await second.kill()


async def test_a_silent_server_is_given_up_and_found_again() -> None:
    silent = asyncio.Event()

    class Silent(Feed):
        async def serve(self, context: Any) -> None:
            if silent.is_set():
                await super().serve(context)
                return
            silent.set()
            request = await context.read()
            assert request.hello.client_id == "ingress-1"
            await context.write(SHAPE.response(welcome=SHAPE.welcome(server_id="silent")))
            await asyncio.sleep(60)

    async with serving(Silent(SHAPE, acknowledge, server_id="awake")) as server, linked(server.port) as link:
        await until(lambda: link.server_id == "silent")
        await until(lambda: link.server_id == "awake")


@pytest.mark.parametrize("seed", range(6))
async def test_streams_cut_at_random_lose_double_and_reorder_nothing(seed: int) -> None:
    chance = random.Random(seed)
    loop = asyncio.get_running_loop()
    handled: list[str] = []
    bad: set[str] = set()

    def handle(peer: Peer, event: Any) -> None:
        handled.append(event.event_id)
        if chance.random() < 0.05:
            bad.add(event.event_id)
            raise ValueError("poison")
        if chance.random() < 0.5:
            peer.ack(event.seq)
        else:
            loop.call_later(chance.random() * 0.03, peer.ack, event.seq)

    outcomes = Outcomes()
    order = [str(number) for number in range(2_000)]
    async with serving(Feed(SHAPE, handle)) as server:
        proxy = CuttingProxy(server.port)
        async with linked(await proxy.start(), limits=QUICK) as link:
            for name in order:
                link.submit(event(name), outcomes.of(name))
                if chance.random() < 0.02:
                    await asyncio.sleep(chance.random() * 0.02)
                if chance.random() < 0.008:
                    proxy.cut()
            await until(lambda: link.backlog == 0, within_s=30)
            assert link.streams_opened > 3
        await proxy.close()
    assert handled == order
    assert outcomes == {name: [INTERNAL if name in bad else 0] for name in order}


async def test_answers_that_overtake_what_is_sent_again_are_taken_once() -> None:
    seqs: list[int] = []

    def answer_all(peer: Peer) -> None:
        for seq in seqs:
            peer.ack(seq)

    feed = Feed(SHAPE, lambda peer, event: seqs.append(event.seq), on_open=answer_all)
    outcomes = Outcomes()
    names = [str(number) for number in range(5_000)]
    async with serving(feed) as server:
        proxy = CuttingProxy(server.port)
        async with linked(await proxy.start()) as link:
            for name in names:
                link.submit(event(name), outcomes.of(name))
            await until(lambda: len(seqs) == len(names))
            proxy.cut()
            await until(lambda: link.backlog == 0)
            await link.barrier(10.0)
            assert link.streams_opened == 2
        await proxy.close()
    assert outcomes == {name: [0] for name in names}
    assert len(seqs) == len(names)


async def test_a_restarted_server_gets_all_that_is_unanswered_in_order() -> None:
    chance = random.Random(1)
    stored: dict[str, None] = {}

    def handle(peer: Peer, event: Any) -> None:
        stored.setdefault(event.event_id)
        # Stored, and killed before the answer: the next process gets it again.
        if chance.random() < 0.9:
            peer.ack(event.seq)

    order = [str(number) for number in range(600)]
    outcomes = Outcomes()
    server = FeedServer(Feed(SHAPE, handle))
    port = await server.start()
    async with linked(port) as link:
        for name in order:
            link.submit(event(name), outcomes.of(name))
            if int(name) % 100 == 99:
                await asyncio.sleep(0.01)
                await server.kill()
                server = FeedServer(Feed(SHAPE, handle))
                await server.start(port)
        await until(lambda: link.connected)
        await server.kill()
        server = FeedServer(Feed(SHAPE, acknowledge))
        await server.start(port)
        await until(lambda: link.backlog == 0)
    await server.kill()
    assert list(stored) == order[: len(stored)]
    assert outcomes == {name: [0] for name in order}
