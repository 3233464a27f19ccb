"""The answer to a slow turn, whatever else happens: said once, whole, beside no request, never after its cut."""

from __future__ import annotations

from fakes.mesh_chaos import Caller
from fakes.mesh_ingress import IngressSim, Link, Request
from fakes.mesh_judge import FILLER
from fakes.mesh_sim import World
from session_svc.domain.call import Status


def to_session(world: World, at: IngressSim) -> None:
    while at.session.up:
        world.arrive(at.session, world.session)
    while world.session.committing:
        world.session.commit()


def hear(at: IngressSim, link: Link) -> None:
    while link.down:
        at.hear(link)


def asking(world: World, caller: Caller, at: IngressSim, phrase: str = "I need a table for") -> Request:
    """A request whose answer has been started."""
    caller.speak(at, phrase)
    caller.finish(at)
    world.advance(50)
    request = caller.post(at)
    to_session(world, at)
    hear(at, at.session)
    return request


def waiting(world: World, caller: Caller, at: IngressSim) -> Request:
    """A request that has ended with a filler, while its model is still silent."""
    request = asking(world, caller, at)
    at.is_slow(at.runs[0])
    at.write(request)
    assert request.over
    assert world.judge.text(request.attachment_id) == FILLER
    return request


def whole(at: IngressSim) -> None:
    """The model says all that it has to say."""
    [run] = [run for run in at.runs if not run.cancelled]
    while run in at.runs:
        at.model_speaks(run)


def cut(world: World, caller: Caller, at: IngressSim) -> None:
    world.advance(300)
    caller.speak(at, "wait")
    while at.bargein.up:
        world.arrive(at.bargein, world.bargein)
    hear(at, at.bargein)


def test_the_answer_is_said_when_it_is_whole_and_recorded_behind_its_filler() -> None:
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    request = waiting(world, caller, ingress)
    whole(ingress)
    [saying] = ingress.sayings
    ingress.say(saying)
    ingress.hear_of(saying)
    world.calm()
    assert world.judge.complete(request.attachment_id)
    [generation] = world.session.call.generations
    assert generation.said_text == f"{FILLER} {world.judge.promises[1].answer}"
    assert generation.status is Status.ENDED


def test_an_answer_that_is_cut_while_it_waits_is_never_said() -> None:
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    waiting(world, caller, ingress)
    whole(ingress)
    cut(world, caller, ingress)
    world.calm()
    assert world.judge.aloud == {}
    [generation] = world.session.call.generations
    assert (generation.status, generation.said_text) == (Status.CUT, FILLER)


def test_the_model_of_an_answer_aside_is_cancelled_by_a_cut() -> None:
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    waiting(world, caller, ingress)
    cut(world, caller, ingress)
    assert [run.cancelled for run in ingress.runs] == [True]
    world.calm()
    assert world.judge.aloud == {}


def test_what_was_on_its_way_at_the_cut_counts_as_said() -> None:
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    waiting(world, caller, ingress)
    whole(ingress)
    [saying] = ingress.sayings
    ingress.say(saying)
    cut(world, caller, ingress)
    ingress.hear_of(saying)
    world.calm()
    [generation] = world.session.call.generations
    assert generation.said_text == f"{FILLER} {world.judge.promises[1].answer}"
    assert generation.status is Status.CUT


def test_more_words_of_the_caller_replace_an_answer_that_waits() -> None:
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    waiting(world, caller, ingress)
    whole(ingress)
    second = asking(world, caller, ingress, "for eight")
    world.calm()
    assert world.judge.aloud == {}
    assert world.judge.complete(second.attachment_id)


def test_no_answer_is_said_into_an_open_request() -> None:
    """The request may replace the answer, and speech from elsewhere breaks its stream."""
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    waiting(world, caller, ingress)
    caller.speak(ingress, "for eight")
    caller.finish(ingress)
    caller.post(ingress)
    whole(ingress)
    assert ingress.sayings == []
    world.calm()
    assert list(world.judge.aloud) == []


def test_an_answer_waits_for_a_request_that_comes_to_nothing() -> None:
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    request = waiting(world, caller, ingress)
    whole(ingress)
    [saying] = ingress.sayings
    other = caller.post(ingress)
    ingress.say(saying)
    assert ingress.sayings == []
    ingress.peer_closes(other)
    [saying] = ingress.sayings
    ingress.say(saying)
    ingress.hear_of(saying)
    assert world.judge.complete(request.attachment_id)


def test_the_same_words_again_before_a_token_end_with_the_filler_too() -> None:
    """An open request with nothing but a filler would keep the filler from being spoken."""
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    waiting(world, caller, ingress)
    again = caller.post(ingress)
    world.calm(models=False)
    assert again.over
    assert world.judge.text(again.attachment_id) == FILLER
    world.calm()
    assert world.judge.complete(again.attachment_id)
    assert list(world.judge.aloud) == [1]


def test_the_same_words_again_take_the_answer_back_from_its_first_byte() -> None:
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    waiting(world, caller, ingress)
    ingress.model_speaks(ingress.runs[0])
    again = caller.post(ingress)
    world.calm()
    assert world.judge.text(again.attachment_id) == f"{FILLER} {world.judge.promises[1].answer}"
    assert world.judge.aloud == {}


def test_the_same_words_again_are_answered_whole_when_all_was_on_its_way_to_be_said() -> None:
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    waiting(world, caller, ingress)
    whole(ingress)
    [saying] = ingress.sayings
    ingress.say(saying)
    again = caller.post(ingress)
    to_session(world, ingress)
    hear(ingress, ingress.session)
    ingress.hear_of(saying, accepted=False)
    world.calm()
    assert world.judge.text(again.attachment_id) == f"{FILLER} {world.judge.promises[1].answer}"
    assert world.session.call.generations[0].status is Status.ENDED


def test_a_refused_answer_is_not_kept_as_said_and_the_same_words_start_anew() -> None:
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    waiting(world, caller, ingress)
    whole(ingress)
    [saying] = ingress.sayings
    ingress.say(saying)
    ingress.hear_of(saying, accepted=False)
    world.calm()
    assert world.session.call.generations[0].said_text == FILLER
    again = caller.post(ingress)
    world.calm()
    assert len(world.session.call.generations) == 2
    assert world.judge.complete(again.attachment_id)


def test_a_frozen_writer_catches_up_before_it_says_anything() -> None:
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    waiting(world, caller, ingress)
    whole(ingress)
    world.advance(300)
    caller.speak(ingress, "wait")
    ingress.freeze()
    while ingress.bargein.up:
        world.arrive(ingress.bargein, world.bargein)
    world.advance(5_000)
    ingress.thaw()
    [saying] = ingress.sayings
    ingress.say(saying)
    world.calm()
    assert world.judge.aloud == {}


def test_a_peer_that_leaves_before_the_filler_wants_no_answer() -> None:
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    request = asking(world, caller, ingress)
    ingress.is_slow(ingress.runs[0])
    ingress.peer_closes(request)
    assert [run.cancelled for run in ingress.runs] == [True]
    world.calm()
    assert world.judge.aloud == {}


def test_a_call_that_ends_is_not_spoken_to() -> None:
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    waiting(world, caller, ingress)
    whole(ingress)
    caller.hang_up(ingress)
    world.calm()
    assert world.judge.aloud == {}
