"""What is sent to a live call, and what may be sent twice."""

from __future__ import annotations

import json

import pytest
from fakes.vapi_samples import SAMPLES, sample
from hypothesis import given
from hypothesis import strategies as st
from ingress_svc.domain.control import (
    ACCEPTED,
    GONE,
    KINDS,
    AddMessage,
    Command,
    EndCall,
    Failure,
    Mute,
    Outcome,
    Result,
    Say,
    SayFirstMessage,
    ToNumber,
    ToSip,
    Transfer,
    Unmute,
    answered,
    body,
    failed,
    kind,
    may_repeat,
)
from ingress_svc.domain.vapi import Party

SPOKEN_BEFORE = "Transferring your call now"
COMMANDS: dict[str, Command] = {
    "say": Say("One moment please.", end_call_after=False),
    "say.replace-current-speech": Say("Sorry, go ahead.", interrupt=True, interruptible=True),
    "add-message.silent": AddMessage("system", "Caller is a VIP.", trigger_response=False),
    "add-message.trigger": AddMessage("user", "(keypad) 1"),
    "control.mute-assistant": Mute(Party.AGENT),
    "control.mute-customer": Mute(Party.CALLER),
    "control.unmute-assistant": Unmute(Party.AGENT),
    "control.unmute-customer": Unmute(Party.CALLER),
    "control.say-first-message": SayFirstMessage(),
    "end-call": EndCall(),
    "transfer.number": Transfer(ToNumber("+15005550199"), SPOKEN_BEFORE),
    "transfer.sip": Transfer(ToSip("sip:agent@example.com"), SPOKEN_BEFORE),
}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_is_the_sample_to_the_byte(name: str) -> None:
    assert body(COMMANDS[name]) == json.dumps(sample(f"control/{name}"), separators=(",", ":")).encode()


def test_every_sample_has_a_command_and_every_kind_a_sample() -> None:
    assert {path.stem for path in (SAMPLES / "control").glob("*.json")} == set(COMMANDS)
    assert {kind(command) for command in COMMANDS.values()} == set(KINDS)


def test_what_is_not_asked_for_is_left_to_vapi() -> None:
    assert json.loads(body(Say("Hi."))) == {"type": "say", "content": "Hi."}
    assert "content" not in json.loads(body(Transfer(ToNumber("+15005550199"))))


@given(st.text(st.characters(codec=None)))
def test_any_text_leaves_as_ascii_that_reads_back(text: str) -> None:
    for command in (Say(text), AddMessage("user", text), Transfer(ToSip(text), text)):
        raw = body(command)
        assert raw.isascii()
        json.loads(raw)
        json.dumps(json.loads(raw), ensure_ascii=False).encode()
    assert json.loads(body(Say(text)))["content"] == text.encode("utf-8", "replace").decode()


def test_what_is_printed_of_a_command_holds_neither_text_nor_number() -> None:
    printed = repr(list(COMMANDS.values()))
    for private in ("moment", "VIP", "keypad", "+1500", "sip:", "Transferring"):
        assert private not in printed


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, ACCEPTED),
        (201, ACCEPTED),
        (302, failed(Failure.REDIRECT)),
        (307, failed(Failure.REDIRECT)),
        (400, GONE),
        (404, GONE),
        (409, GONE),
        (410, GONE),
        (401, failed(Failure.UNAUTHORIZED)),
        (403, failed(Failure.UNAUTHORIZED)),
        (413, failed(Failure.REFUSED)),
        (429, failed(Failure.REFUSED)),
        (500, failed(Failure.SERVER_ERROR)),
        (503, failed(Failure.SERVER_ERROR)),
        (101, failed(Failure.LOST)),
        (777, failed(Failure.LOST)),
    ],
)
def test_a_status_tells_a_call_that_moved_on_from_a_sender_that_is_wrong(status: int, outcome: Outcome) -> None:
    assert answered(status) == outcome


SETS_A_STATE = {"mute-assistant", "mute-customer", "unmute-assistant", "unmute-customer", "end-call"}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_only_what_never_left_or_sets_a_state_is_sent_again(command: Command) -> None:
    never_left = {Failure.NAME, Failure.CONNECT}
    perhaps_done = {Failure.TIMEOUT, Failure.LOST, Failure.SERVER_ERROR}
    allowed = never_left | (perhaps_done if kind(command) in SETS_A_STATE else set())
    assert {failure for failure in Failure if may_repeat(command, failed(failure))} == allowed
    assert not may_repeat(command, ACCEPTED)
    assert not may_repeat(command, Outcome(Result.GONE))
