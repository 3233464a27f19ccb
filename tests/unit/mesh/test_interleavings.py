"""Design rules 1, 2 and 4 over any interleaving of words, requests, commands, verdicts, tokens and faults.

`fakes.mesh_sim` puts the three real cores together, `fakes.mesh_judge` judges at the last writer while a schedule runs:
no content of a cut generation, one voice, every cut by something that names it, no number given out twice. What is
asserted here is what must hold once everything has come to rest.
"""

from __future__ import annotations

from random import Random

from fakes.mesh_chaos import Caller, Chaos
from fakes.mesh_ingress import IngressSim, Link, Request
from fakes.mesh_sim import World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingress_svc.domain import vapi
from session_svc.adapters import wire as session_wire
from session_svc.domain.call import Status

UNBOUND = settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
SEEDS = st.integers(0, 2**32 - 1)
"""Of a schedule: bytes that hypothesis draws one by one repeat themselves, and find half as much."""
TURNS = st.integers(1, 5)


def all_at_rest(world: World) -> None:
    """Nothing hangs: no request, no model, no command."""
    world.calm()
    assert [request for request in world.requests if not request.over] == []
    for ingress in world.ingresses:
        assert [run for run in ingress.runs if not run.cancelled] == []
        voice = ingress.output.voice
        assert voice is None or not voice.running
        assert voice is None or world.session.call.generations[voice.generation - 1].status is not Status.CUT
    assert world.session.call.pending == ()


def converse(world: World, caller: Caller, chaos: Chaos, dice: Random, *, noise: bool) -> Request:
    """One turn: words as they grow, a final, a request; between them whatever may happen. Returns the request."""
    home = dice.choice(world.ingresses)
    caller.utterance = []
    for _ in range(dice.randrange(1, 4)):
        world.advance(40)
        caller.speak(home)
        chaos.run(dice.randbytes(dice.randrange(4)), speaking=noise)
    caller.finish(home)
    world.advance(40)
    chaos.run(dice.randbytes(dice.randrange(12)), speaking=False)
    request = caller.post(dice.choice(world.ingresses))
    chaos.run(dice.randbytes(dice.randrange(24)), speaking=noise)
    if dice.random() < 0.4 and caller.said:
        caller.hear()
    return request


def play(
    seed: int, turns: int, *, ingresses: int, faults: bool, noise: bool, slow: bool = False, tools: bool = False
) -> World:
    """A conversation, and at its end words that nobody speaks after: they get their whole answer, whatever went on."""
    dice = Random(seed)
    world = World(ingresses, slow=slow, tools=tools)
    caller = Caller(world)
    chaos = Chaos(world, caller, faults=faults)
    for _ in range(turns):
        converse(world, caller, chaos, dice, noise=noise)
    if noise:
        all_at_rest(world)
    last = converse(world, caller, chaos, dice, noise=False)
    all_at_rest(world)
    assert world.judge.complete(last.attachment_id)
    return world


@settings(UNBOUND, max_examples=500)
@given(SEEDS, TURNS)
def test_d22_any_order_at_one_ingress(seed: int, turns: int) -> None:
    play(seed, turns, ingresses=1, faults=False, noise=False)


@settings(UNBOUND, max_examples=600)
@given(SEEDS, TURNS)
def test_d28_any_order_at_two_ingresses(seed: int, turns: int) -> None:
    play(seed, turns, ingresses=2, faults=False, noise=False)


@settings(UNBOUND, max_examples=500)
@given(SEEDS, TURNS, st.integers(1, 2))
def test_any_order_with_lost_streams_dying_services_and_frozen_writers(seed: int, turns: int, ingresses: int) -> None:
    play(seed, turns, ingresses=ingresses, faults=True, noise=False)


@settings(UNBOUND, max_examples=500)
@given(SEEDS, TURNS, st.integers(1, 2))
def test_any_order_with_a_caller_who_repeats_leaves_and_is_interrupted(seed: int, turns: int, ingresses: int) -> None:
    play(seed, turns, ingresses=ingresses, faults=seed % 2 == 0, noise=True)


@settings(UNBOUND, max_examples=500)
@given(SEEDS, TURNS, st.integers(1, 2))
def test_any_order_where_every_answer_is_slow_and_said_aloud(seed: int, turns: int, ingresses: int) -> None:
    world = play(seed, turns, ingresses=ingresses, faults=seed % 2 == 0, noise=seed % 3 == 0, slow=True)
    assert world.judge.aloud


@settings(UNBOUND, max_examples=300)
@given(SEEDS, TURNS, st.integers(1, 2))
def test_any_order_in_which_models_call_tools_before_they_answer(seed: int, turns: int, ingresses: int) -> None:
    world = play(seed, turns, ingresses=ingresses, faults=seed % 2 == 0, noise=seed % 3 > 0, tools=True)
    generations = world.session.call.generations
    for _, generation in world.judge.refused_tools:
        assert generation < len(generations) or generations[generation - 1].status is Status.CUT


@settings(UNBOUND, max_examples=150)
@given(SEEDS, TURNS, st.integers(1, 2))
def test_a_call_that_ends_at_any_moment_leaves_nothing_open(seed: int, turns: int, ingresses: int) -> None:
    dice = Random(seed)
    world = World(ingresses)
    caller = Caller(world)
    chaos = Chaos(world, caller, hang_up=True)
    for _ in range(turns):
        converse(world, caller, chaos, dice, noise=True)
    caller.hang_up(world.ingresses[0])
    all_at_rest(world)
    assert world.session.call.ended


@settings(UNBOUND, max_examples=300)
@given(SEEDS, st.integers(1, 2))
def test_d17_three_corrections_give_exactly_one_answer_to_the_last(seed: int, ingresses: int) -> None:
    dice = Random(seed)
    world = World(ingresses)
    caller = Caller(world)
    chaos = Chaos(world, caller, faults=False)
    for phrase in ("Actually", "no wait", "make that 8pm"):
        caller.speak(world.ingresses[0], phrase)
        caller.finish(world.ingresses[0])
        world.advance(100)
        caller.post(dice.choice(world.ingresses))
        chaos.run(dice.randbytes(25), speaking=False, models=False)
        world.advance(100)
    # 600 ms have passed, and no model has a first token before.
    world.calm(models=False)
    chaos.run(dice.randbytes(30), speaking=False)
    all_at_rest(world)
    assert [request.attachment_id for request in world.requests if said_on(world, request)] == ["request-2"]
    assert world.judge.complete("request-2")


@settings(UNBOUND, max_examples=500)
@given(SEEDS, TURNS, st.integers(1, 2))
def test_a_call_keeps_its_agent_while_files_change_and_ingresses_forget(seed: int, turns: int, ingresses: int) -> None:
    """Every answer is the models' of the version that session-svc recorded first, and so is the policy in the end."""
    dice = Random(seed)
    world = World(ingresses)
    caller = Caller(world)
    chaos = Chaos(world, caller, edits=True)
    for _ in range(turns):
        converse(world, caller, chaos, dice, noise=seed % 2 == 0)
    all_at_rest(world)
    agent = world.session.call.agent
    first = next(event.agent for row in world.session.log if (event := session_wire.from_log(row)).agent)
    assert agent == first
    assert {ran for _, ran in world.judge.ran} <= {agent}
    for ingress in world.ingresses:
        ingress.forget_agent()
        world.edit()
        caller.utterance = []
        caller.speak(ingress)
        caller.finish(ingress)
        all_at_rest(world)
        caller.speak(ingress)
        all_at_rest(world)
        assert ingress.agent == agent
        assert world.bargein.agent is not None
        assert world.bargein.agent.reference == agent


# --- the scenarios by name --------------------------------------------------------------------------------------------


def asking(world: World, caller: Caller, at: IngressSim, phrase: str = "") -> Request:
    """The caller says something, and the provider asks for an answer; nothing of it has arrived anywhere."""
    caller.speak(at, phrase)
    caller.finish(at)
    world.advance(50)
    return caller.post(at)


def to_session(world: World, at: IngressSim) -> None:
    while at.session.up:
        world.arrive(at.session, world.session)
    while world.session.committing:
        world.session.commit()


def to_bargein(world: World, at: IngressSim) -> None:
    while at.bargein.up:
        world.arrive(at.bargein, world.bargein)


def hear(at: IngressSim, link: Link) -> None:
    while link.down:
        at.hear(link)


def speaking(world: World, caller: Caller, at: IngressSim) -> Request:
    """A request whose answer has begun to leave."""
    request = asking(world, caller, at, "I need a table for")
    to_session(world, at)
    hear(at, at.session)
    at.model_speaks(at.runs[0])
    at.write(request)
    assert world.judge.text(request.attachment_id)
    to_bargein(world, at)
    hear(at, at.bargein)
    world.advance(300)
    return request


def said_on(world: World, request: Request) -> str:
    return world.judge.text(request.attachment_id)


def test_a_cut_before_the_start() -> None:
    """The verdict comes back before session-svc's command does."""
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    first = asking(world, caller, ingress)
    to_session(world, ingress)
    world.advance(200)
    second = asking(world, caller, ingress, "wait")
    to_bargein(world, ingress)
    hear(ingress, ingress.bargein)
    assert ingress.output.cut_spoken_at_ms
    all_at_rest(world)
    assert said_on(world, first) == ""
    assert world.judge.complete(second.attachment_id)


def test_a_cut_between_two_generations() -> None:
    """The words that cut the first are those that the second answers."""
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    first = speaking(world, caller, ingress)
    before = said_on(world, first)
    caller.speak(ingress, "wait")
    to_bargein(world, ingress)
    hear(ingress, ingress.bargein)
    assert ingress.output.voice is None
    caller.finish(ingress)
    world.advance(50)
    second = caller.post(ingress)
    all_at_rest(world)
    assert said_on(world, first) == before
    assert world.judge.complete(second.attachment_id)


def test_a_late_start_after_a_cut() -> None:
    """The start was decided before the words, and comes after their verdict, when nothing else is left to cut."""
    world = World(2)
    caller, (holder, other) = Caller(world), world.ingresses
    request = asking(world, caller, holder)
    to_session(world, holder)
    world.advance(200)
    caller.speak(other, "no make that")
    caller.speak(other)
    to_bargein(world, other)
    hear(other, other.bargein)
    to_session(world, other)
    hear(holder, holder.session)
    assert not holder.output.may_write(1)
    all_at_rest(world)
    assert said_on(world, request) == ""


def test_an_agent_that_is_changed_in_mid_call_is_the_next_calls() -> None:
    """The file changes while the answer runs; the ingress that holds it is lost, another goes on."""
    world = World(2)
    caller, (holder, other) = Caller(world), world.ingresses
    first = speaking(world, caller, holder)
    world.edit()
    caller.hear()
    second = asking(world, caller, other)
    assert other.agent != holder.agent
    all_at_rest(world)
    assert world.judge.complete(second.attachment_id)
    assert not world.judge.complete(first.attachment_id)
    assert [agent for _, agent in world.judge.ran] == ["sales@0", "sales@0"]
    assert other.agent == holder.agent == "sales@0"


def test_a_double_cut() -> None:
    """By partial and by final, by verdict and by command: one silence, and the next answer lives."""
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    first = speaking(world, caller, ingress)
    before = said_on(world, first)
    caller.speak(ingress, "wait")
    caller.finish(ingress)
    caller.send(ingress, vapi.ProviderInterrupted())
    to_bargein(world, ingress)
    verdict = next(item for kind, item in ingress.bargein.down if kind == "item")
    ingress.bargein.down.appendleft(("item", verdict))
    hear(ingress, ingress.bargein)
    second = caller.post(ingress)
    all_at_rest(world)
    assert said_on(world, first) == before
    assert world.judge.complete(second.attachment_id)


def test_d28_words_at_one_ingress_cut_output_at_the_other() -> None:
    world = World(2)
    caller, (holder, other) = Caller(world), world.ingresses
    request = speaking(world, caller, holder)
    before = said_on(world, request)
    caller.speak(other, "wait")
    to_bargein(world, other)
    hear(other, other.bargein)
    to_session(world, other)
    hear(holder, holder.session)
    assert holder.output.voice is None
    all_at_rest(world)
    assert said_on(world, request) == before


def test_a_frozen_writer_catches_up_before_it_writes() -> None:
    """Its token and the cut wait side by side; the token is picked up first."""
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    request = speaking(world, caller, ingress)
    before = said_on(world, request)
    caller.speak(ingress, "wait")
    ingress.freeze()
    to_bargein(world, ingress)
    world.advance(5_000)
    ingress.thaw()
    ingress.model_speaks(ingress.runs[0])
    ingress.write(request)
    assert said_on(world, request) == before
    all_at_rest(world)
    assert said_on(world, request) == before


def test_a_writer_that_was_frozen_for_nothing_goes_on_where_it_was() -> None:
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    request = speaking(world, caller, ingress)
    ingress.freeze()
    world.advance(5_000)
    ingress.thaw()
    all_at_rest(world)
    assert world.judge.complete(request.attachment_id)


def test_d28_a_duplicate_final_after_its_owner_died_before_sending_its_command() -> None:
    """The cut was committed; who would have sent it is dead. A redelivered webhook at another ingress brings it."""
    world = World(2)
    caller, (holder, other) = Caller(world), world.ingresses
    request = speaking(world, caller, holder)
    before = said_on(world, request)
    caller.speak(other, "wait")
    caller.finish(other)
    to_bargein(world, other)
    hear(other, other.bargein)
    while other.session.up:
        world.arrive(other.session, world.session)
    while len(world.session.committing) > 1:
        world.session.commit()
    world.session.commit(then_die=True)
    world.session.recover()
    holder.session.down.clear()  # what the reopened stream brought is lost once more
    caller.again(other)
    to_session(world, other)
    hear(holder, holder.session)
    assert holder.output.voice is None
    all_at_rest(world)
    assert said_on(world, request) == before


def test_d28_a_session_that_dies_between_commit_and_start_still_starts_it_once() -> None:
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    request = asking(world, caller, ingress)
    while ingress.session.up:
        world.arrive(ingress.session, world.session)
    while len(world.session.committing) > 1:
        world.session.commit()
    world.session.commit(then_die=True)
    all_at_rest(world)
    assert world.judge.complete(request.attachment_id)
    assert list(world.judge.promises) == [1]


def test_the_same_words_again_take_the_answer_over_from_its_first_byte() -> None:
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    first = speaking(world, caller, ingress)
    again = caller.post(ingress)
    all_at_rest(world)
    assert first.over
    assert world.judge.complete(again.attachment_id)
    assert list(world.judge.promises) == [1]


def test_a_request_that_is_left_while_its_move_is_on_the_way_does_not_send_the_mesh_round_in_circles() -> None:
    """A report that repeats another must settle its command, or each would bring the other without end."""
    world = World()
    caller, ingress = Caller(world), world.ingresses[0]
    first = speaking(world, caller, ingress)
    ingress.peer_closes(caller.post(ingress))
    all_at_rest(world)
    assert world.judge.complete(first.attachment_id)


def test_a_cut_that_is_commanded_after_it_was_made_is_settled() -> None:
    """Both ingresses learn of the same words; the second report must not pass for the first one again."""
    world = World(2)
    caller, (holder, other) = Caller(world), world.ingresses
    speaking(world, caller, holder)
    caller.speak(holder, "wait")
    spoken_at_ms = caller.sent[-1].at_ms
    to_bargein(world, holder)
    hear(holder, holder.bargein)
    to_session(world, holder)
    other.carry_out(other.output.cut(1, spoken_at_ms, "stop_phrase"))
    all_at_rest(world)


def test_a_cut_outlives_a_start_elsewhere_when_its_holder_cannot_be_reached() -> None:
    """Otherwise the holder would come back with a second voice."""
    world = World(2)
    caller, (holder, other) = Caller(world), world.ingresses
    first = speaking(world, caller, holder)
    before = said_on(world, first)
    holder.session.lose()
    caller.speak(other, "wait")
    to_bargein(world, other)
    hear(other, other.bargein)
    to_session(world, other)
    caller.finish(other)
    world.advance(50)
    second = caller.post(other)
    to_session(world, other)
    world.session.reopen(holder.session)
    hear(holder, holder.session)
    assert holder.output.voice is None
    all_at_rest(world)
    assert said_on(world, first) == before
    assert world.judge.complete(second.attachment_id)
