"""What the caller's words bring along to bargein-svc: the output that they may cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from fakes.ingress import CALL_ID, Edge, edge
from fakes.streams import until
from ingress_svc.adapters.wire import still_playing
from svc_runtime.stream import Overloaded
from voicemesh.bargein.v1 import bargein_pb2 as pb


@pytest.fixture
async def at() -> AsyncIterator[Edge]:
    async with edge() as running:
        yield running


async def test_words_bring_along_what_plays_as_it_was_last_told(at: Edge) -> None:
    at.mesh.llm.script.gate = 1
    assert (await at.provider.partial("uh"))[0] == 200
    answer = await at.provider.ask("a table for four")
    await answer.some("Four, ")
    assert (await at.provider.partial("mhm"))[0] == 200
    assert (await at.provider.partial("stop"))[0] == 200
    await answer.all()
    assert (await at.provider.partial("and"))[0] == 200
    await until(lambda: [event.words.text for event in _words(at)] == ["uh", "mhm", "stop", "and"])
    silent, over_it, stop, after = _words(at)
    assert not silent.HasField("playing")
    for event in (over_it, stop):
        assert (event.playing.generation, event.playing.state) == (1, pb.PLAYOUT_STATE_PLAYING)
        assert event.playing.answered_tail == "a table for four"
        assert event.playing.changed_at_ms == _told(at, pb.PLAYOUT_STATE_PLAYING).at_ms
    # It was cut, which is told as over.
    assert not after.HasField("playing")


def _words(at: Edge) -> list[pb.WatchEvent]:
    return [event for event in at.mesh.bargein.events if event.HasField("words")]


def _told(at: Edge, state: pb.PlayoutState) -> pb.WatchEvent:
    return next(event for event in at.mesh.bargein.events if event.playout.state == state)


async def test_words_that_bargein_svc_has_no_room_for_are_not_waited_for(
    at: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise Overloaded("full")

    monkeypatch.setattr(at.ingress._mesh.bargeins, "of", lambda call_id: SimpleNamespace(submit=full))
    for word in ("I", "need", "a"):
        assert (await at.provider.partial(word))[0] == 200
    assert at.ingress.calls.get(CALL_ID).unjudged == {}


def test_playout_that_goes_on_is_told_from_its_start() -> None:
    def told(state: pb.PlayoutState, at_ms: int, generation: int = 1) -> pb.WatchEvent:
        return pb.WatchEvent(at_ms=at_ms, playout={"generation": generation, "state": state})

    preparing = still_playing(told(pb.PLAYOUT_STATE_PREPARING, 100), None)
    playing = still_playing(told(pb.PLAYOUT_STATE_PLAYING, 200), preparing)
    goes_on = still_playing(told(pb.PLAYOUT_STATE_PLAYING, 900), playing)
    assert [one and one.changed_at_ms for one in (preparing, playing, goes_on)] == [100, 200, 200]
    assert still_playing(told(pb.PLAYOUT_STATE_OVER, 950, generation=0), goes_on) is goes_on
    assert still_playing(told(pb.PLAYOUT_STATE_OVER, 950), goes_on) is None
