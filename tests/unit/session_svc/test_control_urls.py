"""Every ingress of a call can act on it, whichever of them saw the control URL; and nothing keeps the URL."""

from __future__ import annotations

import json

import pytest
from fakes.call_events import CALL, asked, caller, on_wire, partial, status
from fakes.desk import Desk, Sender, taken_over
from session_svc.adapters.control_urls import MOST_INGRESSES, ControlUrls
from session_svc.adapters.memory_store import MemoryStore
from session_svc.domain.events import Event, Phase
from voicemesh.session.v1 import session_pb2 as pb
from voicemesh_cli.redact import redacted

URL = "https://phone-call-websocket.vapi.ai/8f3c-secret/control"
NEWER = "https://phone-call-websocket.vapi.ai/moved-secret/control"


def with_url(happened: Event, url: str = URL) -> pb.CallEvent:
    event = on_wire(happened)
    event.control_url = url
    return event


def urls(sender: Sender) -> list[str]:
    return [one.take_control.control_url for one in sender.commands if one.HasField("take_control")]


async def test_an_ingress_that_never_saw_the_url_has_it_before_the_command_that_needs_it(desk: Desk) -> None:
    desk.put(with_url(status(Phase.IN_PROGRESS, 0)))
    desk.put(asked("Hello.", 100), sender=desk.other)
    await desk.settle()
    assert desk.other.told[0] == "control"
    assert urls(desk.other) == [URL]
    assert urls(desk.ingress) == []


async def test_it_is_told_once_and_again_when_its_stream_broke_or_another_url_counts(desk: Desk) -> None:
    desk.put(with_url(status(Phase.IN_PROGRESS, 0)))
    for at_ms in (100, 200, 300):
        desk.put(caller("Hi.", at_ms), sender=desk.other)
    await desk.settle()
    assert urls(desk.other) == [URL]
    desk.table.connected(desk.other.client_id)
    assert urls(desk.other) == [URL, URL]
    desk.put(with_url(caller("Well.", 400), NEWER))
    await desk.settle()
    assert urls(desk.other) == [URL, URL, NEWER]
    assert urls(desk.ingress) == []


async def test_an_ingress_that_came_first_is_told_when_another_learns_it_also_from_partial_words(desk: Desk) -> None:
    desk.put(partial("hel", 100), sender=desk.other)
    desk.put(with_url(caller("Hello.", 200)))
    await desk.settle()
    assert urls(desk.other) == [URL]


async def test_who_names_it_itself_is_not_told(desk: Desk) -> None:
    desk.put(with_url(caller("Hello.", 100)))
    desk.put(with_url(caller("Hi.", 200)), sender=desk.other)
    await desk.settle()
    assert urls(desk.ingress) == urls(desk.other) == []


async def test_no_store_log_or_listing_has_the_url(desk: Desk) -> None:
    desk.put(with_url(status(Phase.IN_PROGRESS, 0)))
    desk.put(with_url(asked("Hello.", 100)))
    desk.put(caller("Hi.", 200), sender=desk.other)
    await desk.settle()
    rows = await MemoryStore.load_call(desk.store, CALL)
    assert len(rows) == 3
    kept = [row.payload for row in rows] + [add.payload for add in await desk.store.outbox()]
    assert not [payload for payload in kept if b"secret" in payload]
    event = with_url(caller("Hello.", 100))
    assert "secret" not in json.dumps(redacted(pb.LoggedEvent(event=event)))
    assert not [command.command_id for command in desk.other.commands if "secret" in command.command_id]


async def test_a_call_that_is_over_has_no_url_any_more(desk: Desk) -> None:
    desk.put(with_url(status(Phase.IN_PROGRESS, 0)))
    desk.put(caller("Bye.", 50), sender=desk.other)
    desk.put(status(Phase.ENDED, 100))
    await desk.settle()
    assert urls(desk.other) == [URL]
    desk.put(caller("late", 200), sender=desk.other)
    await desk.settle()
    desk.table.connected(desk.other.client_id)
    assert urls(desk.other) == [URL]


async def test_a_replica_that_starts_again_learns_it_with_the_next_event(desk: Desk) -> None:
    desk.put(with_url(status(Phase.IN_PROGRESS, 0)))
    await desk.settle()
    after = await taken_over(desk)
    after.put(asked("Hello.", 100), sender=after.other)
    after.put(with_url(caller("Hi.", 200)))
    await after.settle()
    assert urls(after.other) == [URL]


@pytest.mark.parametrize("url", ["https://x.vapi.ai/" + "a" * 2_000, ""])
async def test_what_is_no_url_of_a_bearable_length_is_not_passed_on(desk: Desk, url: str) -> None:
    desk.put(with_url(status(Phase.IN_PROGRESS, 0), url))
    desk.put(caller("Hi.", 100), sender=desk.other)
    await desk.settle()
    assert urls(desk.other) == []


def test_calls_and_ingresses_are_bounded() -> None:
    told: list[tuple[str, str]] = []
    known = ControlUrls(lambda ingress_id, command: told.append((ingress_id, command.call_id)), most_calls=3)
    for number in range(10):
        known.heard(f"call-{number}", "a", URL)
    for number in (0, 9):
        known.heard(f"call-{number}", "b", "")
    assert told == [("b", "call-9")]
    for number in range(MOST_INGRESSES * 2):
        known.heard("call-9", f"ingress-{number}", "")
    told.clear()
    known.heard("call-9", "a", NEWER)
    assert len(told) <= MOST_INGRESSES
