"""What a model is offered, what of its tool calls is done here, and how a call is left."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingress_svc.domain.agent_tools import NONE, OwnCall, Round, Tool, offer
from ingress_svc.domain.answers import Destination
from ingress_svc.domain.control import EndCall, ToNumber, ToSip, Transfer
from ingress_svc.domain.partings import (
    BAD_ARGUMENTS,
    END_CALL,
    NOBODY,
    NOT_REACHED,
    TRANSFER_CALL,
    Parting,
    heard_after_ms,
    parting,
)
from ingress_svc.domain.tool_claims import key_of, provider_key


def tool(name: str) -> Tool:
    return Tool(name, json.dumps({"type": "function", "function": {"name": name}}))


OWN = {name: tool(name) for name in ("book", "look")}


def names(tools_json: str) -> list[str]:
    return [each["function"]["name"] for each in json.loads(tools_json)]


def test_the_agents_tools_stand_behind_those_of_the_request() -> None:
    own, tools_json = offer(OWN, f"[{tool('endCall').definition_json}]")
    assert names(tools_json) == ["endCall", "book", "look"]
    assert own == OWN


def test_of_two_tools_with_one_name_the_requests_holds() -> None:
    own, tools_json = offer(OWN, f"[{tool('book').definition_json}]")
    assert names(tools_json) == ["book", "look"]
    assert list(own) == ["look"]


def test_an_agent_without_tools_leaves_the_request_as_it_is() -> None:
    assert offer(NONE, '[{"strange": 1}]') == (NONE, '[{"strange": 1}]')
    assert offer(NONE, "") == (NONE, "")
    assert names(offer(OWN, "").tools_json) == ["book", "look"]


def test_strange_tools_of_a_request_take_no_name() -> None:
    assert list(offer(OWN, '[{"strange":1},{"function":7}]').own) == ["book", "look"]


def test_calls_of_both_kinds_in_pieces_are_told_apart_and_those_that_pass_are_numbered_without_gaps() -> None:
    this = Round(OWN)
    pieces = [
        (0, "a", "book", ""),
        (1, "b", "endCall", "{"),
        (0, "", "", '{"party"'),
        (2, "c", "look", ""),
        (3, "d", "press", "{}"),
        (1, "", "", "}"),
        (0, "", "", ":4}"),
    ]
    assert [this.take(*piece) for piece in pieces] == [None, 0, None, None, 1, 0, None]
    assert this.calls == [OwnCall("a", "book", '{"party":4}'), OwnCall("c", "look", "{}")]
    assert this.passes


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["", "book", "endCall"]), st.text(max_size=4))))
def test_no_piece_of_a_call_is_lost_or_stands_on_both_sides(pieces: list[tuple[int, str, str]]) -> None:
    this = Round(OWN)
    taken = [this.take(index, "", name, text) for index, name, text in pieces]
    ours = {index for (index, _, _), passes in zip(pieces, taken, strict=True) if passes is None}
    passed = {index for (index, _, _), passes in zip(pieces, taken, strict=True) if passes is not None}
    assert not ours & passed
    assert {passes for passes in taken if passes is not None} == set(range(len(passed)))
    order = list(dict.fromkeys(index for index, _, _ in pieces))
    for call in this.calls:
        whole = "".join(text for index, _, text in pieces if call.id == f"call_{order.index(index)}")
        assert call.arguments_json == (whole or "{}")


def test_the_next_round_is_told_what_was_said_asked_and_done() -> None:
    this = Round(OWN, said=["Let me ", "see."])
    this.take(0, "a", "book", '{"party": 4}')
    this.take(1, "", "look", "")
    asked, *told = this.history(["booked", "three are free"])
    assert (asked.role, asked.content) == ("assistant", "Let me see.")
    assert [(call["id"], call["function"]["name"]) for call in json.loads(asked.tool_calls_json)] == [
        ("a", "book"),
        ("call_1", "look"),
    ]
    assert [(each.role, each.tool_call_id, each.content) for each in told] == [
        ("tool", "a", "booked"),
        ("tool", "call_1", "three are free"),
    ]


def test_a_key_is_of_the_work_and_not_of_how_its_arguments_are_written() -> None:
    assert key_of("c", 1, "book", '{"a": 1, "b": 2}') == key_of("c", 1, "book", '{"b":2,"a":1}')
    keys = {key_of("c", turn, name, text) for turn in (1, 2) for name in ("book", "look") for text in ("{}", "[")}
    assert len(keys) == 8


def test_the_providers_id_names_a_run_and_where_it_has_none_the_work_does() -> None:
    assert provider_key("c", "id-1", "book", "{}") == provider_key("c", "id-1", "book", '{"x":1}')
    assert provider_key("c", "id-1", "book", "{}") != provider_key("c", "id-2", "book", "{}")
    assert provider_key("c", "", "book", '{"x": 1}') == provider_key("c", "", "book", '{"x":1}')
    assert provider_key("c", "", "book", "{}") != provider_key("d", "", "book", "{}")


# --- partings ---------------------------------------------------------------------------------------------------------

DESK = Destination({"type": "number", "number": "+15005550199"}, ("accounting",), "I put you through.")
SIP = Destination({"type": "sip", "sipUri": "sip:desk@example.com"}, ("desk",))
OTHER = Destination({"type": "assistant", "assistantName": "night"}, ("night",))
PLACES = (DESK, SIP, OTHER)


def left(name: str, reachable: bool = True, places: tuple[Destination, ...] = PLACES, **arguments: object) -> object:
    return parting(name, json.dumps(arguments), places, reachable=reachable)


def test_a_call_ends_with_the_farewell_that_the_model_wrote_or_with_none() -> None:
    assert left(END_CALL, farewell="Goodbye.") == Parting(EndCall(), "Goodbye.")
    assert left(END_CALL) == left(END_CALL, farewell=None) == Parting(EndCall())


def test_a_transfer_goes_to_a_place_of_the_agents_file_by_its_words() -> None:
    assert left(TRANSFER_CALL, destination="Accounting, please", message="One moment.") == Parting(
        Transfer(ToNumber("+15005550199")), "One moment."
    )
    assert left(TRANSFER_CALL, destination="accounting") == Parting(
        Transfer(ToNumber("+15005550199")), "I put you through."
    )
    assert left(TRANSFER_CALL, destination="the desk") == Parting(Transfer(ToSip("sip:desk@example.com")))


@pytest.mark.parametrize("destination", ["+15005550100", "night", "", "sip:other@example.com"])
def test_what_a_model_writes_is_never_dialled(destination: str) -> None:
    assert left(TRANSFER_CALL, destination=destination) == NOBODY


def test_without_control_of_the_call_the_model_is_told_so() -> None:
    assert left(END_CALL, reachable=False) == NOT_REACHED
    assert left(TRANSFER_CALL, reachable=False, destination="desk") == NOT_REACHED


@pytest.mark.parametrize("sent", ["[", "7", '{"farewell": 7}', '{"destination": ["desk"]}', "[" * 100_000])
def test_arguments_that_are_no_texts_leave_no_call(sent: str) -> None:
    assert parting(END_CALL, sent, PLACES, reachable=True) == BAD_ARGUMENTS


def test_words_are_given_time_to_be_heard_within_bounds() -> None:
    assert heard_after_ms("") < heard_after_ms("Goodbye, and thank you.") < heard_after_ms("x" * 9_999) == 30_000
