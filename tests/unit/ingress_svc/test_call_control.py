"""One command on its way to Vapi: where it may go, how long it may take, and what its outcome is called."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fakes.streams import until
from fakes.vapi_control import CALL, FakeControl, Mode, control_server
from ingress_svc.adapters.control import COMMANDS, FAILURES, REPEATS, CallControl
from ingress_svc.domain.control import (
    ACCEPTED,
    GONE,
    MAX_BODY_BYTES,
    WITHHELD,
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
    Transfer,
    failed,
)
from ingress_svc.domain.control_url import ControlUrl, allowed_hosts
from ingress_svc.domain.vapi import Party
from svc_runtime.metrics import Counters

ALLOWED = allowed_hosts([".vapi.ai", "127.0.0.1", "localhost"])
TEXT = "One moment please."
NUMBER = "+15005550199"
SOON_S = 0.6
"""Half of it must do for a connection on a busy machine."""
LONG_S = 20.0


@pytest.fixture
async def vapi() -> AsyncIterator[FakeControl]:
    async with control_server() as fake:
        yield fake


Make = Callable[..., CallControl]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[CallControl] = []

    def of(**settings: Any) -> CallControl:
        defaults: dict[str, Any] = {"counters": Counters(), "timeout_s": LONG_S}
        made.append(CallControl(**(defaults | settings)))
        return made[-1]

    yield of
    for control in made:
        await control.close()


def allowed(url: str) -> ControlUrl:
    read = ControlUrl.read(url, ALLOWED)
    assert isinstance(read, ControlUrl)
    return read


class Names:
    """A resolver: what it finds in turn, the last thing for ever."""

    def __init__(self, *found: str | list[str] | OSError) -> None:
        self.found = list(found)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        found = self.found.pop(0) if len(self.found) > 1 else self.found[0]
        if isinstance(found, OSError):
            raise found
        addresses = [found] if isinstance(found, str) else found
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (address, port),
            )
            for address in addresses
        ]


# --- what is taken back ---------------------------------------------------------------------------------------------


async def test_a_command_that_is_taken_back_while_its_connection_is_made_never_leaves(
    vapi: FakeControl, make: Make
) -> None:
    counters = Counters()
    may_leave = True

    async def lookup(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        nonlocal may_leave
        may_leave = False
        return await Names("127.0.0.1")(host, port)

    async def let_go() -> bool:
        return may_leave

    control = make(counters=counters, lookup=lookup)
    assert await control.send(allowed(vapi.url(host="localhost")), Say(TEXT), let_go) == WITHHELD
    assert (vapi.heads, vapi.asked) == ([], [])
    assert counters.value(COMMANDS, command="say", result="withheld") == 1
    assert await control.send(allowed(vapi.url()), Say("After it.")) == ACCEPTED


async def test_a_command_that_may_leave_is_the_same_as_any_other(vapi: FakeControl, make: Make) -> None:
    async def let_go() -> bool:
        return True

    assert await make().send(allowed(vapi.url()), Say(TEXT), let_go) == ACCEPTED
    assert vapi.taken == [{"type": "say", "content": TEXT}]


# --- what Vapi sees -------------------------------------------------------------------------------------------------


async def test_vapi_gets_the_command_and_nothing_else(vapi: FakeControl, make: Make) -> None:
    assert await make().send(allowed(vapi.url()), Say(TEXT, end_call_after=False)) == ACCEPTED
    assert vapi.taken == [{"type": "say", "content": TEXT, "endCallAfterSpoken": False}]
    line, *headers = vapi.heads[0].strip().split("\r\n")
    assert line == f"POST /{CALL}/control HTTP/1.1"
    names = {header.split(":")[0].lower() for header in headers}
    assert names == {"host", "content-type", "user-agent", "accept", "accept-encoding", "content-length", "connection"}
    assert "User-Agent: voicemesh" in headers
    assert "Connection: close" in headers


async def test_each_command_has_a_connection_of_its_own(vapi: FakeControl, make: Make) -> None:
    control = make()
    for command in (Mute(Party.AGENT), SayFirstMessage(), EndCall()):
        assert await control.send(allowed(vapi.url()), command) == ACCEPTED
    assert [body["type"] for body in vapi.taken] == ["control", "control", "end-call"]


async def test_a_call_that_has_moved_on_is_gone(vapi: FakeControl, make: Make) -> None:
    control = make()
    assert await control.send(allowed(vapi.url()), Transfer(ToNumber(NUMBER), TEXT)) == ACCEPTED
    assert await control.send(allowed(vapi.url()), Say(TEXT)) == GONE
    assert await control.send(allowed(vapi.url(call="another")), EndCall()) == GONE


@pytest.mark.parametrize("mode", [Mode.HALF, Mode.ENDLESS])
async def test_what_follows_the_status_is_not_waited_for(vapi: FakeControl, make: Make, mode: Mode) -> None:
    vapi.script = [mode]
    assert await make().send(allowed(vapi.url()), Say(TEXT)) == ACCEPTED
    await asyncio.wait_for(vapi.left.wait(), 10)


# --- once, or once more ---------------------------------------------------------------------------------------------

ONCE: list[Command] = [Say(TEXT), AddMessage("user", TEXT), SayFirstMessage(), Transfer(ToNumber(NUMBER))]
AGAIN: list[Command] = [Mute(Party.AGENT), Mute(Party.CALLER), EndCall()]
PERHAPS_DONE = [
    (500, Failure.SERVER_ERROR),
    (503, Failure.SERVER_ERROR),
    (Mode.DROP, Failure.LOST),
    (Mode.TORN, Failure.LOST),
]


@pytest.mark.parametrize(("answer", "failure"), PERHAPS_DONE)
@pytest.mark.parametrize("command", ONCE, ids=lambda command: type(command).__name__)
async def test_what_may_have_been_done_is_not_said_or_dialled_twice(
    vapi: FakeControl, make: Make, command: Command, answer: Mode | int, failure: Failure
) -> None:
    vapi.script = [answer]
    assert await make().send(allowed(vapi.url()), command) == failed(failure)
    assert len(vapi.asked) == 1


@pytest.mark.parametrize(("answer", "failure"), PERHAPS_DONE)
@pytest.mark.parametrize("command", AGAIN, ids=lambda command: type(command).__name__)
async def test_what_sets_a_state_is_sent_once_more_and_no_oftener(
    vapi: FakeControl, make: Make, command: Command, answer: Mode | int, failure: Failure
) -> None:
    vapi.script = [answer]
    assert await make().send(allowed(vapi.url()), command) == Outcome(Result.ACCEPTED, tries=2)
    vapi.calls.add(CALL)
    vapi.script = [answer, answer]
    assert await make().send(allowed(vapi.url()), command) == failed(failure, tries=2)
    assert len(vapi.asked) == 4


@pytest.mark.parametrize("answer", [302, 401, 429, 404])
async def test_an_answer_that_will_stay_the_same_is_not_asked_for_again(
    vapi: FakeControl, make: Make, answer: int
) -> None:
    vapi.script = [answer]
    outcome = await make().send(allowed(vapi.url()), EndCall())
    assert (outcome.result is Result.ACCEPTED, outcome.tries, len(vapi.asked)) == (False, 1, 1)


async def test_no_answer_in_time_is_a_timeout(vapi: FakeControl, make: Make) -> None:
    vapi.script = [Mode.SLOW]
    assert await make(timeout_s=SOON_S).send(allowed(vapi.url()), Say(TEXT)) == failed(Failure.TIMEOUT)
    await asyncio.wait_for(vapi.left.wait(), 10)
    vapi.script = [Mode.SLOW]
    outcome = await make(timeout_s=SOON_S).send(allowed(vapi.url()), EndCall())
    assert outcome == Outcome(Result.ACCEPTED, tries=2)


async def test_what_never_left_is_sent_again_whatever_it_is(vapi: FakeControl, make: Make) -> None:
    names = Names(socket.gaierror("try again"), "127.0.0.1")
    outcome = await make(lookup=names).send(allowed(vapi.url(host="localhost")), Say(TEXT))
    assert outcome == Outcome(Result.ACCEPTED, tries=2)
    assert len(vapi.taken) == 1


async def test_a_host_that_cannot_be_reached_is_tried_twice(make: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = allowed(f"http://127.0.0.1:{taken.getsockname()[1]}/{CALL}/control")
        assert await make().send(url, Say(TEXT)) == failed(Failure.CONNECT, tries=2)
    names = Names(socket.gaierror("no such name"))
    url = allowed(f"https://a.vapi.ai/{CALL}/control")
    assert await make(lookup=names).send(url, Say(TEXT)) == failed(Failure.NAME, tries=2)
    assert len(names.asked) == 2


async def test_a_name_that_is_looked_up_for_ever_is_no_connection(make: Make) -> None:
    async def hang(*_: object, **__: object) -> list[tuple[Any, ...]]:
        await asyncio.Event().wait()
        raise AssertionError

    url = allowed(f"https://a.vapi.ai/{CALL}/control")
    assert await make(timeout_s=SOON_S, lookup=hang).send(url, Say(TEXT)) == failed(Failure.CONNECT, tries=2)


# --- where it may go ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "found",
    ["10.0.0.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "::1", "::ffff:1.1.1.1", ["1.1.1.1", "10.0.0.1"]],
)
async def test_a_name_that_leads_into_a_private_network_is_not_followed(make: Make, found: str | list[str]) -> None:
    names = Names(found)
    url = allowed(f"https://a.vapi.ai/{CALL}/control")
    assert await make(lookup=names).send(url, EndCall()) == failed(Failure.ADDRESS)
    assert names.asked == ["a.vapi.ai"]


async def test_the_connection_goes_to_the_address_that_was_checked(vapi: FakeControl, make: Make) -> None:
    names = Names("127.0.0.1", "10.0.0.1")
    assert await make(lookup=names).send(allowed(vapi.url(host="localhost")), Say(TEXT)) == ACCEPTED
    assert names.asked == ["localhost"]
    assert f"Host: localhost:{vapi.port}" in vapi.heads[0]


async def test_every_command_has_its_addresses_checked_anew(vapi: FakeControl, make: Make) -> None:
    names = Names("127.0.0.1", "10.0.0.1")
    control = make(lookup=names)
    assert await control.send(allowed(vapi.url(host="localhost")), Say(TEXT)) == ACCEPTED
    assert await control.send(allowed(vapi.url(host="localhost")), Say(TEXT)) == failed(Failure.ADDRESS)


async def test_no_redirect_is_followed(vapi: FakeControl, make: Make) -> None:
    vapi.script = [302]
    assert await make().send(allowed(vapi.url()), EndCall()) == failed(Failure.REDIRECT)


async def test_no_proxy_of_the_environment_is_used(
    vapi: FakeControl, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await make().send(allowed(vapi.url()), Say(TEXT)) == ACCEPTED


async def test_https_without_tls_at_the_other_end_sends_nothing(make: Make) -> None:
    heard: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1024))
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        url = allowed(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/{CALL}/control")
        assert await make().send(url, EndCall()) == failed(Failure.TLS)
    assert [b"end-call" in hello or CALL.encode() in hello for hello in heard] == [False]


# --- limits ---------------------------------------------------------------------------------------------------------


async def test_so_many_at_once_and_no_more(vapi: FakeControl, make: Make) -> None:
    vapi.script = [Mode.SLOW] * 5
    control = make(most_at_once=2)
    sends = [asyncio.ensure_future(control.send(allowed(vapi.url()), Say(TEXT))) for _ in range(5)]
    await until(lambda: vapi.at_once == 2)
    vapi.go_on.set()
    assert await asyncio.gather(*sends) == [ACCEPTED] * 5
    assert vapi.most_at_once == 2


async def test_a_connection_is_not_waited_for_longer_than_the_timeout(vapi: FakeControl, make: Make) -> None:
    vapi.script = [Mode.SLOW] * 2
    control = make(most_at_once=1, timeout_s=SOON_S)
    first = asyncio.ensure_future(control.send(allowed(vapi.url()), EndCall()))
    await vapi.arrived.wait()
    assert await control.send(allowed(vapi.url()), Say(TEXT)) == failed(Failure.BUSY, tries=0)
    assert await first == failed(Failure.TIMEOUT, tries=2)


async def test_a_body_beyond_all_measure_is_not_sent(vapi: FakeControl, make: Make) -> None:
    assert await make().send(allowed(vapi.url()), Say("x" * MAX_BODY_BYTES)) == failed(Failure.TOO_LARGE, tries=0)
    assert vapi.asked == []


# --- what is told ---------------------------------------------------------------------------------------------------


async def test_outcomes_are_counted_by_kind_and_reason(vapi: FakeControl, make: Make) -> None:
    counters = Counters()
    control = make(counters=counters)
    vapi.script = [500, 500, 401]
    for command in (EndCall(), Say(TEXT), Say(TEXT)):
        await control.send(allowed(vapi.url()), command)
    await control.send(allowed(vapi.url(call="another")), Say(TEXT))
    assert counters.value(COMMANDS, command="end-call", result="failed") == 1
    assert counters.value(COMMANDS, command="say", result="failed") == 1
    assert counters.value(COMMANDS, command="say", result="accepted") == 1
    assert counters.value(COMMANDS, command="say", result="gone") == 1
    assert counters.value(FAILURES, reason="server_error") == 1
    assert counters.value(FAILURES, reason="unauthorized") == 1
    assert counters.value(REPEATS) == 1


async def test_nothing_private_is_logged(vapi: FakeControl, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    control = make(timeout_s=SOON_S, lookup=Names("10.0.0.1"))
    vapi.script = [500, Mode.TORN, Mode.SLOW, 302, 404]
    for _ in range(6):
        await control.send(allowed(vapi.url()), Transfer(ToNumber(NUMBER), TEXT))
    await control.send(allowed(f"https://a.vapi.ai/{CALL}/control"), Say(TEXT))
    events = [record for record in caplog.records if record.name == "voicemesh"]
    assert [record.getMessage() for record in events].count("control.failed") == 5
    told = "\n".join(f"{record.getMessage()} {record.__dict__['fields']}" for record in events)
    for private in (CALL, "vapi.ai", "127.0.0.1", "10.0.0.1", NUMBER, TEXT, "/control"):
        assert private not in told
