"""Protobuf ↔ domain: nothing is lost on the way in, into the log and out again."""

from __future__ import annotations

from typing import get_args

import pytest
from fakes.call_events import CALL, asked, assistant, caller, on_wire, system, user
from hypothesis import given, settings
from hypothesis import strategies as st
from session_svc.adapters import wire
from session_svc.domain import commands, events, history
from voicemesh.session.v1 import session_pb2 as pb
from voicemesh.type.v1 import call_pb2

TEXT = st.text(max_size=30)
ID = st.text(min_size=1, max_size=20)
MS = st.integers(0, wire.MOST_MS - 1)
INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
COUNT = st.integers(0, (1 << 31) - 1)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
TOOL_KEY = st.from_regex(r"[!-~]{1,256}", fullmatch=True)
MESSAGES = st.lists(
    st.builds(events.ChatMessage, st.sampled_from(["system", "user", "assistant", "tool"]), TEXT, TEXT, TEXT),
    max_size=8,
).map(tuple)
PARTY = st.sampled_from(events.Party)
PARTY_WORD = PARTY.map(lambda party: party.value)

BODIES = {
    events.CallStatus: st.builds(events.CallStatus, st.sampled_from(events.Phase), TEXT),
    events.Words: st.builds(events.Words, PARTY, st.booleans(), TEXT),
    events.SpeechEdge: st.builds(events.SpeechEdge, PARTY, st.booleans()),
    events.HistoryReported: st.builds(events.HistoryReported, MESSAGES),
    events.CallReported: st.builds(events.CallReported, TEXT, MS, st.none() | st.floats(0, 1e6)),
    events.AnswerRequested: st.builds(events.AnswerRequested, TEXT, TEXT, MESSAGES, INT32),
    events.GenerationStarted: st.builds(events.GenerationStarted, INT32, TEXT),
    events.GenerationEnded: st.builds(
        events.GenerationEnded, INT32, TEXT, st.sampled_from(events.Finish), COUNT, COUNT
    ),
    events.GenerationCut: st.builds(
        events.GenerationCut, INT32, TEXT, st.none() | TEXT, st.sampled_from(events.CutReason), INT64
    ),
    events.AttachmentClosed: st.builds(events.AttachmentClosed, TEXT),
    events.CutRequested: st.builds(events.CutRequested, INT32, INT64, TEXT),
    events.ToolAsked: st.builds(
        events.ToolAsked, TOOL_KEY, TEXT, INT32, INT32, TEXT, TEXT, st.integers(0, wire.MOST_TOOL_MS)
    ),
    events.ToolEnded: st.builds(events.ToolEnded, TOOL_KEY, TEXT, st.sampled_from(events.ToolOutcome), TEXT),
    events.ReportTried: st.builds(
        events.ReportTried, st.integers(1, (1 << 31) - 1), st.sampled_from(events.ReportResult), MS
    ),
    events.CallExpired: st.builds(events.CallExpired, INT64),
    events.Noted: st.builds(events.Noted, st.sampled_from(["interrupted", "agent_silent", "turn_ended"])),
}
AGENTS = st.just("") | st.from_regex(r"[a-z0-9-]{1,63}@[0-9a-f]{8}", fullmatch=True)
EVENTS = st.builds(events.Event, ID, MS, MS, st.booleans(), st.one_of(*BODIES.values()), AGENTS)

ORDERS = {
    commands.StartGeneration: st.builds(commands.StartGeneration, INT32, INT32, TEXT, INT64, MESSAGES, TEXT),
    commands.CutGeneration: st.builds(commands.CutGeneration, INT32, INT64, st.sampled_from(events.CutReason), TEXT),
    commands.MoveOutput: st.builds(commands.MoveOutput, INT32, TEXT),
    commands.ReplayAnswer: st.builds(commands.ReplayAnswer, INT32, TEXT, TEXT, INT64),
    commands.RunTool: st.builds(commands.RunTool, TEXT, TEXT),
    commands.TakeToolResult: st.builds(commands.TakeToolResult, TEXT, st.sampled_from(events.ToolOutcome), TEXT, TEXT),
    commands.ReportCall: st.builds(
        commands.ReportCall,
        COUNT,
        MS,
        *[TEXT] * 3,
        *[MS] * 4,
        st.lists(st.builds(commands.ReportedTurn, PARTY_WORD, MS, TEXT), max_size=3).map(tuple),
        *[COUNT] * 2,
        st.lists(st.builds(commands.ReportedTool, TEXT, INT32, st.sampled_from(events.ToolOutcome)), max_size=3).map(
            tuple
        ),
        *[MS] * 2,
        st.floats(0, 1e6),
        st.booleans(),
    ),
    commands.RefuseAnswer: st.builds(commands.RefuseAnswer, TEXT, st.sampled_from(events.CutReason)),
}


def pb_party(number: call_pb2.Party) -> str:
    return call_pb2.Party.Name(number).removeprefix("PARTY_").lower()


def test_every_body_and_every_order_is_tried_here() -> None:
    assert set(BODIES) == set(get_args(events.Body))
    assert set(ORDERS) == set(get_args(commands.Order))


@settings(max_examples=500, deadline=None)
@given(EVENTS)
def test_an_event_reads_as_it_was_sent(sent: events.Event) -> None:
    received = pb.CallEvent.FromString(on_wire(sent).SerializeToString())
    assert wire.event_from(received) == sent


@settings(max_examples=500, deadline=None)
@given(EVENTS)
def test_the_log_gives_an_event_back_with_its_history_cut_to_what_the_fold_reads(sent: events.Event) -> None:
    kept = wire.from_log(wire.for_log(on_wire(sent)))
    if isinstance(sent.body, events.AnswerRequested):
        body = sent.body
        expected = events.AnswerRequested(
            body.attachment_id, body.ingress_id, history.tail(body.messages), body.user_message_count
        )
        sent = sent._replace(body=expected)
    assert kept == sent


@settings(deadline=None)
@given(EVENTS)
def test_what_the_log_keeps_is_the_same_when_it_is_kept_again(sent: events.Event) -> None:
    once = wire.for_log(on_wire(sent))
    assert wire.for_log(pb.CallEvent.FromString(once)) == once


def test_keeping_an_event_leaves_the_event_as_it_is() -> None:
    message = on_wire(asked([system("p"), user("a"), assistant("b"), user("c")], 100))
    before = message.SerializeToString()
    wire.for_log(message)
    assert message.SerializeToString() == before


@settings(max_examples=300, deadline=None)
@given(st.one_of(*ORDERS.values()), TEXT)
def test_a_command_says_on_the_wire_what_the_order_says(order: commands.Order, traceparent: str) -> None:
    command = wire.command_to(CALL, commands.Command("ingress-1", order), traceparent)
    assert (command.command_id, command.call_id, command.trace.traceparent) == (order.command_id, CALL, traceparent)
    kind = command.WhichOneof("kind")
    assert kind is not None
    assert kind.replace("_", "") == type(order).__name__.lower()
    body = getattr(command, kind)
    for name in order.__slots__:
        told, meant = getattr(body, name), getattr(order, name)
        if name == "messages":
            told = tuple(events.ChatMessage(m.role, m.content, m.tool_calls_json, m.tool_call_id) for m in told)
        if name == "turns":
            told = tuple((pb_party(turn.party), turn.at_ms, turn.text) for turn in told)
        if name == "tools":
            told = tuple((tool.name, tool.turn, pb.ToolOutcome.Name(tool.outcome)) for tool in told)
            meant = tuple((tool.name, tool.turn, f"TOOL_OUTCOME_{tool.outcome.name}") for tool in meant)
        if isinstance(meant, events.CutReason):
            told, meant = pb.CutReason.Name(told), f"CUT_REASON_{meant.name}"
        if isinstance(meant, events.ToolOutcome):
            told, meant = pb.ToolOutcome.Name(told), f"TOOL_OUTCOME_{meant.name}"
        assert told == meant


@settings(deadline=None)
@given(st.lists(st.one_of(*ORDERS.values()), min_size=2, max_size=2))
def test_commands_of_different_kinds_never_share_an_id(orders: list[commands.Order]) -> None:
    one, other = orders
    if type(one) is not type(other):
        assert one.command_id != other.command_id


@pytest.mark.parametrize(
    ("message", "names"),
    [
        (pb.CallEvent(call_id=CALL, event_id="e"), "kind"),
        (pb.CallEvent(call_id=CALL, expired=pb.CallExpired()), "event_id"),
        (pb.CallEvent(call_id=CALL, event_id="e", call_status=pb.CallStatus(phase=9)), "call_status.phase is 9"),  # type: ignore[arg-type]
        (pb.CallEvent(call_id=CALL, event_id="e", at_ms=-5, expired=pb.CallExpired()), "at_ms is -5"),
    ],
)
def test_an_unreadable_event_is_told_by_field_and_value(message: pb.CallEvent, names: str) -> None:
    with pytest.raises(wire.Unreadable, match=names):
        wire.event_from(message)


def test_what_is_said_of_an_unreadable_event_holds_nothing_private() -> None:
    message = on_wire(caller("my number is 555 1234", 100))
    message.words.party = 9  # type: ignore[assignment]
    with pytest.raises(wire.Unreadable) as refused:
        wire.event_from(message)
    assert "555" not in str(refused.value)


@pytest.mark.parametrize("payload", [b"\xff\xff\xff", b""])
def test_bytes_that_are_no_event_are_unreadable(payload: bytes) -> None:
    with pytest.raises(wire.Unreadable):
        wire.from_log(payload)


@settings(deadline=None)
@given(EVENTS)
def test_only_partials_are_not_durable(sent: events.Event) -> None:
    assert sent.durable is not (isinstance(sent.body, events.Words) and not sent.body.final)
