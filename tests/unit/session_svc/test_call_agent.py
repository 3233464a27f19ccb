"""A call keeps the agent that it was first given, whoever chooses otherwise, restarts or takes over."""

from __future__ import annotations

from fakes.call_events import BEGAN_MS, asked, caller, named, on_wire, status
from fakes.desk import IDLE_MS, Desk, taken_over
from session_svc.adapters import wire
from session_svc.domain.call import Policy
from session_svc.domain.events import Phase
from voicemesh.session.v1 import session_pb2 as pb

ONE, OTHER = "sales@00000001", "sales@00000002"


async def test_the_prompt_is_that_of_the_agent_which_has_the_call(desk: Desk) -> None:
    desk.policies = {ONE: Policy(prompt="You sell.", idle_ms=IDLE_MS), OTHER: Policy(prompt="No.", idle_ms=IDLE_MS)}
    await desk.take(named(status(Phase.IN_PROGRESS, 0), ONE), named(asked("Hello.", 100), OTHER))
    start = desk.ingress.commands[-2].start_generation
    assert (start.agent, start.messages[0].content) == (ONE, "You sell.")


async def test_a_request_that_comes_first_gets_the_prompt_of_the_agent_that_it_names(desk: Desk) -> None:
    desk.policies = {ONE: Policy(prompt="You sell.", idle_ms=IDLE_MS)}
    await desk.take(named(asked("Hello.", 100), ONE))
    assert desk.ingress.commands[0].start_generation.messages[0].content == "You sell."


async def test_who_names_another_agent_is_told_which_it_is_before_the_answer(desk: Desk) -> None:
    assert await desk.take(named(caller("Hello.", 100), ONE)) == ["ack 1"]
    assert await desk.take(named(caller("Hi.", 200), ONE), caller("Are you there?", 300)) == ["ack 2", "ack 3"]
    desk.put(named(caller("Well.", 400), OTHER), sender=desk.other)
    await desk.settle()
    assert desk.other.told == [f"agent:{ONE}", "ack 4"]
    assert desk.other.commands[0].name_agent.agent == ONE


async def test_an_ingress_whose_stream_broke_is_told_once_more(desk: Desk) -> None:
    """The feed would repeat its answer alone."""
    await desk.take(named(caller("Hello.", 100), ONE))
    desk.put(named(caller("Well.", 200), OTHER), sender=desk.other)
    await desk.settle()
    desk.table.connected(desk.other.client_id)
    assert desk.other.told == [f"agent:{ONE}", "ack 2", f"agent:{ONE}"]


async def test_a_second_delivery_is_told_too(desk: Desk) -> None:
    happened = caller("Hello.", 100)
    await desk.take(named(happened, ONE))
    desk.put(named(happened, OTHER), sender=desk.other)
    assert desk.other.told == [f"agent:{ONE}", "ack 2"]


async def test_the_agent_outlives_the_replica_that_recorded_it(desk: Desk) -> None:
    await desk.take(named(caller("Hello.", 100), ONE))
    after = await taken_over(desk)
    await after.take(named(asked("Hello.", 200), OTHER))
    assert after.ingress.commands[0].start_generation.agent == ONE


async def test_what_is_no_reference_is_refused_and_recorded_nowhere(desk: Desk) -> None:
    for agent in ("sales", "Sales@1", "a@b@c", "@1", "sales@", "sales@1\n", f"{'a' * 99}@1", "+15005550006@1"):
        told = await desk.take(named(caller("Hello.", 100), agent))
        assert told[0].startswith("fail"), agent
    assert await desk.log() == []


def test_the_command_names_call_agent_and_trace() -> None:
    assert wire.name_agent("vapi:1", ONE, "00-1") == pb.Command(
        command_id=f"agent:{ONE}",
        call_id="vapi:1",
        trace={"traceparent": "00-1"},  # type: ignore[arg-type]
        name_agent=pb.NameAgent(agent=ONE),
    )


def test_an_event_carries_the_agent_into_the_log_and_out_of_it() -> None:
    happened = named(asked("Hello.", 100), ONE)
    assert wire.from_log(wire.for_log(on_wire(happened))).agent == ONE
    assert happened.received_at_ms > BEGAN_MS
