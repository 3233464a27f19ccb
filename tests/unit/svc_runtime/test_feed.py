"""The server end of a resumable stream, against bare calls over loopback."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from fakes.streams import SHAPE, command, event, raw_stream, serving, until
from svc_runtime.channel import open_channel
from svc_runtime.feed import Feed, FeedLimits, Peer
from svc_runtime.stream import INTERNAL, INVALID, TOO_LARGE, Outcome
from voicemesh.session.v1 import session_pb2_grpc
from voicemesh.session.v1.session_pb2 import ConverseRequest


def numbered(seq: int, name: str = "", text: str = "") -> Any:
    numbered_event = event(name or str(seq), text)
    numbered_event.seq = seq
    return numbered_event


class Answers:
    """Reads a bare call and keeps all it has brought."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.acked: list[int] = []
        self.errors: list[tuple[int, int]] = []
        self.items: list[str] = []
        self.heartbeat = 0
        self.draining = False
        self.lines: list[tuple[str, object]] = []

    async def until(self, *, answers: int = 0, items: int = 0, heartbeat: int = 0, draining: bool = False) -> None:
        async with asyncio.timeout(10):
            while (
                len(self.acked) + len(self.errors) < answers
                or len(self.items) < items
                or self.heartbeat < heartbeat
                or self.draining < draining
            ):
                self._note(await self._call.read())

    def _note(self, response: Any) -> None:
        assert response is not grpc.aio.EOF
        self.items += [item.command_id for item in response.items]
        self.acked += response.acked_seqs
        self.errors += [(error.seq, error.code) for error in response.errors]
        self.heartbeat = response.heartbeat or self.heartbeat
        self.draining |= response.draining
        self.lines += [("item", item.command_id) for item in response.items]
        self.lines += [("ack", seq) for seq in response.acked_seqs]
        self.lines += [("heartbeat", response.heartbeat)] if response.heartbeat else []


class Handler:
    """Keeps what it was handed, and acknowledges unless told otherwise."""

    def __init__(self, *, holds: bool = False) -> None:
        self.seen: list[int] = []
        self._holds = holds

    def __call__(self, peer: Peer, event: Any) -> None:
        self.seen.append(event.seq)
        if not self._holds:
            peer.ack(event.seq)


async def test_a_poisonous_event_fails_alone() -> None:
    def handle(peer: Peer, event: Any) -> None:
        if event.event_id == "poison":
            raise ValueError("a defect")
        peer.ack(event.seq)

    feed = Feed(SHAPE, handle)
    async with serving(feed) as server, raw_stream(server.port) as call:
        answers = Answers(call)
        await call.write(ConverseRequest(events=[numbered(1), numbered(2, "poison"), numbered(3)]))
        await answers.until(answers=3)
        await call.write(ConverseRequest(events=[numbered(4)]))
        await answers.until(answers=4)
    assert answers.acked == [1, 3, 4]
    assert answers.errors == [(2, INTERNAL)]


async def test_a_failing_batch_end_fails_what_it_left_unanswered() -> None:
    def handle(peer: Peer, event: Any) -> None:
        if event.seq == 1:
            peer.ack(event.seq)

    def end() -> None:
        raise OSError("the store is gone")

    async with serving(Feed(SHAPE, handle, on_batch_end=end)) as server, raw_stream(server.port) as call:
        answers = Answers(call)
        await call.write(ConverseRequest(events=[numbered(1), numbered(2)]))
        await answers.until(answers=2)
    assert (answers.acked, answers.errors) == ([1], [(2, INTERNAL)])


async def test_an_oversized_event_fails_alone() -> None:
    handler = Handler()
    feed = Feed(SHAPE, handler, limits=FeedLimits(max_event_bytes=1_000))
    async with serving(feed) as server, raw_stream(server.port) as call:
        answers = Answers(call)
        await call.write(ConverseRequest(events=[numbered(1), numbered(2, text="x" * 1_000), numbered(3)]))
        await answers.until(answers=3)
    assert (answers.acked, answers.errors, handler.seen) == ([1, 3], [(2, TOO_LARGE)], [1, 3])


async def test_an_event_without_a_seq_is_refused() -> None:
    handler = Handler()
    async with serving(Feed(SHAPE, handler)) as server, raw_stream(server.port) as call:
        answers = Answers(call)
        await call.write(ConverseRequest(events=[numbered(0, "none")]))
        await answers.until(answers=1)
    assert (answers.errors, handler.seen) == ([(0, INVALID)], [])


async def test_an_event_that_comes_again_gets_its_answer_again_and_has_no_second_effect() -> None:
    seen: list[int] = []

    def handle(peer: Peer, event: Any) -> None:
        seen.append(event.seq)
        if event.seq == 2:
            peer.fail(2, Outcome(INVALID, "no kind"))
        else:
            peer.ack(event.seq)

    events = [numbered(1), numbered(2), numbered(3)]
    async with serving(Feed(SHAPE, handle)) as server:
        for _ in range(2):
            async with raw_stream(server.port) as call:
                answers = Answers(call)
                await call.write(ConverseRequest(events=events, floor_seq=1))
                await answers.until(answers=3)
                assert (sorted(answers.acked), answers.errors) == ([1, 3], [(2, INVALID)])
    assert seen == [1, 2, 3]


async def test_a_pending_event_that_comes_again_is_answered_once_on_the_new_stream() -> None:
    handler = Handler(holds=True)
    feed = Feed(SHAPE, handler)
    async with serving(feed) as server:
        async with raw_stream(server.port) as call:
            await call.write(ConverseRequest(events=[numbered(1)]))
            await until(lambda: handler.seen)
        await until(lambda: not feed.peers["raw"].connected)
        async with raw_stream(server.port) as call:
            answers = Answers(call)
            await call.write(ConverseRequest(events=[numbered(1)], heartbeat=1))
            await answers.until(heartbeat=1)
            assert answers.acked == []
            feed.peers["raw"].ack(1)
            feed.peers["raw"].ack(1)
            await call.write(ConverseRequest(heartbeat=2))
            await answers.until(heartbeat=2)
    assert (answers.acked, handler.seen) == ([1], [1])


async def test_an_event_answered_while_nobody_was_connected_is_answered_when_it_comes_again() -> None:
    handler = Handler(holds=True)
    feed = Feed(SHAPE, handler)
    async with serving(feed) as server:
        async with raw_stream(server.port) as call:
            await call.write(ConverseRequest(events=[numbered(1)]))
            await until(lambda: handler.seen)
        peer = feed.peers["raw"]
        await until(lambda: not peer.connected)
        peer.ack(1)
        async with raw_stream(server.port) as call:
            answers = Answers(call)
            await call.write(ConverseRequest(events=[numbered(1)]))
            await answers.until(answers=1)
    assert (answers.acked, handler.seen) == ([1], [1])


async def test_a_client_that_numbers_anew_is_a_new_client() -> None:
    handler = Handler()
    async with serving(Feed(SHAPE, handler)) as server:
        async with raw_stream(server.port) as call:
            await call.write(ConverseRequest(events=[numbered(1), numbered(2)]))
            await Answers(call).until(answers=2)
            await call.write(ConverseRequest(floor_seq=3, heartbeat=1))
            await Answers(call).until(heartbeat=1)
        async with raw_stream(server.port, floor_seq=1) as call:
            await call.write(ConverseRequest(events=[numbered(1, "another")]))
            await Answers(call).until(answers=1)
    assert handler.seen == [1, 2, 1]


async def test_items_are_written_no_later_than_the_answer_to_what_caused_them() -> None:
    def handle(peer: Peer, event: Any) -> None:
        peer.ack(event.seq)
        for number in range(200):
            peer.send(command(f"{event.seq}.{number}"))

    async with serving(Feed(SHAPE, handle)) as server, raw_stream(server.port) as call:
        answers = Answers(call)
        await call.write(ConverseRequest(events=[numbered(1)], heartbeat=7))
        await answers.until(answers=1, heartbeat=7)
    assert answers.lines == [*[("item", f"1.{number}") for number in range(200)], ("ack", 1), ("heartbeat", 7)]


async def test_an_answer_that_nobody_waits_for_rides_on_the_next_message() -> None:
    def handle(peer: Peer, taken: Any) -> None:
        peer.ack(taken.seq, urgent=taken.seq != 1)

    async with serving(Feed(SHAPE, handle)) as server, raw_stream(server.port) as call:
        answers = Answers(call)
        await call.write(ConverseRequest(events=[numbered(1)]))
        await call.write(ConverseRequest(events=[numbered(2)]))
        await answers.until(answers=2)
        assert answers.acked == [1, 2]


async def test_an_answer_that_nobody_waits_for_comes_by_itself_when_nothing_else_does() -> None:
    async with (
        serving(Feed(SHAPE, lambda peer, taken: peer.ack(taken.seq, urgent=False))) as server,
        raw_stream(server.port) as call,
    ):
        answers = Answers(call)
        await call.write(ConverseRequest(events=[numbered(1)]))
        await answers.until(answers=1)
        assert answers.acked == [1]


async def test_a_second_stream_of_a_client_takes_the_place_of_the_first() -> None:
    closed: list[bool] = []
    opened: list[str] = []
    feed = Feed(
        SHAPE,
        Handler(),
        on_open=lambda peer: opened.append(peer.client_id),
        on_close=lambda peer, said_bye: closed.append(said_bye),
    )
    async with serving(feed) as server, raw_stream(server.port) as first, raw_stream(server.port) as second:
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await first.read()
        assert ended.value.code() is grpc.StatusCode.ABORTED
        await second.write(ConverseRequest(events=[numbered(1)]))
        await Answers(second).until(answers=1)
        assert feed.peers["raw"].connected
        assert (opened, closed) == (["raw", "raw"], [])


async def test_items_sent_at_the_opening_arrive_behind_the_welcome() -> None:
    def greet(peer: Peer) -> None:
        peer.send(command("a"))
        peer.send(command("b"))

    feed = Feed(SHAPE, Handler(), on_open=greet)
    async with serving(feed) as server, raw_stream(server.port) as call:
        answers = Answers(call)
        await answers.until(items=2)
    assert answers.items == ["a", "b"]


async def test_bye_ends_the_stream_and_the_client_is_forgotten() -> None:
    closed: list[bool] = []
    feed = Feed(SHAPE, Handler(), on_close=lambda peer, said_bye: closed.append(said_bye))
    async with serving(feed) as server, raw_stream(server.port) as call:
        await call.write(ConverseRequest(events=[numbered(1)], bye=True))
        await Answers(call).until(answers=1)
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
    assert (closed, dict(feed.peers)) == ([True], {})


async def test_a_client_without_a_stream_is_forgotten_after_its_time() -> None:
    feed = Feed(SHAPE, Handler(), limits=FeedLimits(forget_after_s=0.02))
    async with serving(feed) as server:
        async with raw_stream(server.port):
            await asyncio.sleep(0.05)
            assert feed.peers["raw"].connected
        await until(lambda: not feed.peers)


@pytest.mark.parametrize(
    ("first", "details"),
    [
        (ConverseRequest(heartbeat=1), "the first message must be hello with a client_id"),
        (ConverseRequest(hello={"client_id": "raw", "stream_version": 2}), "stream_version 2 is not served; 1 is"),
    ],
)
async def test_a_stream_must_begin_with_a_hello_of_our_version(first: Any, details: str) -> None:
    async with serving(Feed(SHAPE, Handler())) as server, open_channel(f"127.0.0.1:{server.port}") as channel:
        call = session_pb2_grpc.SessionServiceStub(channel).Converse()
        await call.write(first)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert refused.value.details() == details


async def test_a_client_that_does_not_read_is_ended_and_what_it_missed_is_counted() -> None:
    feed = Feed(SHAPE, Handler(), limits=FeedLimits(max_queued_bytes=1_000_000))
    async with serving(feed) as server, raw_stream(server.port):
        peer = feed.peers["raw"]
        sent = 0
        async with asyncio.timeout(10):
            while peer.send(command(str(sent), "x" * 100_000)):
                sent += 1
                # Slower than the writer: only a write that is held can fill the queue.
                await asyncio.sleep(0.002)
        await until(lambda: not peer.connected)
        await until(lambda: server.servicer.cleaned_up == 1)
        assert peer.dropped_items >= 1
        assert not peer.send(command("later"))


async def test_an_item_over_the_limit_is_dropped_and_the_stream_goes_on() -> None:
    feed = Feed(SHAPE, Handler(), limits=FeedLimits(max_item_bytes=1_000))
    async with serving(feed) as server, raw_stream(server.port) as call:
        peer = feed.peers["raw"]
        assert not peer.send(command("large", "x" * 1_000))
        assert peer.send(command("small"))
        answers = Answers(call)
        await answers.until(items=1)
    assert (answers.items, peer.dropped_items) == (["small"], 1)


async def test_only_items_of_the_stream_are_taken() -> None:
    feed = Feed(SHAPE, Handler())
    async with serving(feed) as server, raw_stream(server.port):
        with pytest.raises(TypeError, match="carries Command, not CallEvent"):
            feed.peers["raw"].send(event("1"))


async def test_too_many_unanswered_events_end_the_stream() -> None:
    feed = Feed(SHAPE, Handler(holds=True), limits=FeedLimits(max_unsettled_events=10))
    async with serving(feed) as server, raw_stream(server.port) as call:
        await call.write(ConverseRequest(events=[numbered(seq) for seq in range(1, 12)]))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
    assert ended.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_draining_is_announced_to_open_streams_and_to_new_ones() -> None:
    feed = Feed(SHAPE, Handler())
    async with serving(feed) as server, raw_stream(server.port, "a") as call:
        feed.start_draining()
        answers = Answers(call)
        await answers.until(draining=True)
        await call.write(ConverseRequest(events=[numbered(1)]))
        await answers.until(answers=1)
        async with raw_stream(server.port, "b") as late:
            await late.write(ConverseRequest(heartbeat=1))
            later = Answers(late)
            await later.until(heartbeat=1)
            assert later.draining


async def test_a_drain_answers_what_was_taken_in_before_it_ends_the_streams() -> None:
    handler = Handler(holds=True)
    feed = Feed(SHAPE, handler)
    async with serving(feed) as server, raw_stream(server.port) as call:
        await call.write(ConverseRequest(events=[numbered(1)]))
        await until(lambda: handler.seen)
        peer = feed.peers["raw"]
        asyncio.get_running_loop().call_later(0.1, peer.ack, 1)
        await feed.drain(0.01, settle_within_s=10)
        answers = Answers(call)
        await answers.until(answers=1)
        assert answers.acked == [1]
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_drain_ends_when_every_client_has_left() -> None:
    feed = Feed(SHAPE, Handler())
    async with serving(feed) as server, raw_stream(server.port) as call:
        draining = asyncio.ensure_future(feed.drain(60))
        await Answers(call).until(draining=True)
        await call.write(ConverseRequest(bye=True))
        await asyncio.wait_for(draining, 10)
