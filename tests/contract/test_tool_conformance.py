"""What every kind of tool must keep, for a callable in a thread, one on the loop, and an endpoint; then each alone."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import pytest
from fakes.tool_endpoint import Mode, Says, ToolEndpoint, tool_endpoint
from ingress_svc.domain.schemes import VAPI_DEFAULT, Credential
from ingress_svc.domain.signatures import SignatureMismatch, Verifier
from llm_svc.adapters.http_tool import HttpTool, HttpTools
from llm_svc.adapters.python_tool import PythonTool
from llm_svc.adapters.tool import Tool
from llm_svc.adapters.tool_threads import Threads
from llm_svc.domain.tools import DONE, MOST_RESULT_CHARS, Ask, HttpSpec, Outcome, Parameter, PythonSpec, Reason
from voicemesh_tools import ToolContext, ToolError

LIVENESS_S = 5.0
SECRET = "open-sesame"
PRIVATE = "my number is 555 0101"
KINDS = ["thread", "loop", "http"]


def ask(**fields: Any) -> Ask:
    return replace(
        Ask(call_id="vapi:1", turn=2, generation=3, name="echo", arguments_json="", idempotency_key="k-1"), **fields
    )


class World:
    """One tool of a kind, and what the far end of it does next: return a value, fail, or hang."""

    def __init__(self, kind: str, endpoint: ToolEndpoint, http: HttpTools) -> None:
        self.kind = kind
        self.endpoint = endpoint
        self.http = http
        self.threads = Threads(2)
        self.release = threading.Event()
        self.began = threading.Event()
        self.cancelled = asyncio.Event()
        self.value: Any = None
        self.hangs = False

    def tool(self, timeout_s: float = LIVENESS_S) -> Tool:
        if self.kind == "http":
            spec = http_spec(self.endpoint, timeout_s=timeout_s)
            return HttpTool(spec, self.http, secret=SECRET)
        function = self._in_thread if self.kind == "thread" else self._on_loop
        return python_tool(function, self.threads, timeout_s=timeout_s)

    def returns(self, value: Any) -> None:
        self.value = value
        self.endpoint.script.append(Says(json.dumps(value)))

    def hang(self) -> None:
        self.hangs = True
        self.endpoint.script.append(Mode.SLOW)

    async def until_begun(self) -> None:
        async with asyncio.timeout(LIVENESS_S):
            if self.kind == "http":
                await self.endpoint.arrived.wait()
            while self.kind != "http" and not self.began.is_set():  # noqa: ASYNC110 - set in a thread
                await asyncio.sleep(0.005)

    def _in_thread(self, text: str = "") -> Any:
        """Echo."""
        self.began.set()
        if self.hangs:
            self.release.wait(LIVENESS_S)
        return self.value

    async def _on_loop(self, text: str = "") -> Any:
        """Echo."""
        self.began.set()
        if self.hangs:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        return self.value


def http_spec(endpoint: ToolEndpoint, **fields: Any) -> HttpSpec:
    spec = HttpSpec(
        name="echo",
        url=endpoint.url,
        loopback=True,
        description="Echo.",
        parameters=(Parameter("text", "string", required=False), Parameter("n", "number", required=False)),
        timeout_s=LIVENESS_S,
        retries=2,
    )
    return replace(spec, **fields)


def python_tool(function: Callable[..., Any], threads: Threads, *, timeout_s: float = LIVENESS_S) -> PythonTool:
    module = ModuleType("owners_module")
    module.echo = function  # type: ignore[attr-defined]
    sys.modules["owners_module"] = module
    return PythonTool(PythonSpec(name="echo", target="owners_module:echo", timeout_s=timeout_s), threads)


@asynccontextmanager
async def world(kind: str) -> AsyncIterator[World]:
    async with tool_endpoint() as endpoint:
        http = HttpTools()
        made = World(kind, endpoint, http)
        try:
            yield made
        finally:
            made.release.set()
            await http.close()


# --- every kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("Yes.", "Yes."),
        (" two\n\tlines\x00 ", "two lines"),
        ({"free": [1, 2], "a  b": "c\nd"}, '{"free":[1,2],"a  b":"c\\nd"}'),
        (None, DONE),
        ("", DONE),
        (False, "false"),
        ([], "[]"),
        ("é \U0001f600", "é \U0001f600"),
    ],
)
async def test_a_result_is_one_line_and_never_empty(kind: str, value: Any, line: str) -> None:
    async with world(kind) as far:
        far.returns(value)
        outcome = await far.tool().run({}, ask())
    assert outcome == Outcome(line)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_result_that_is_too_long_is_told_as_such(kind: str) -> None:
    async with world(kind) as far:
        far.returns("x" * (MOST_RESULT_CHARS + 1))
        outcome = await far.tool().run({}, ask())
    assert outcome.failure is not None
    assert outcome.failure.reason is Reason.TOO_LARGE
    assert not outcome.failure.effect_unknown, "it has done its work"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_tool_that_takes_too_long_is_given_up_and_what_it_did_is_unknown(kind: str) -> None:
    async with world(kind) as far:
        far.hang()
        outcome = await far.tool(timeout_s=0.1).run({}, ask())
        if kind == "http":
            async with asyncio.timeout(LIVENESS_S):
                await far.endpoint.left.wait()
    assert outcome.failure is not None
    assert (outcome.failure.reason, outcome.failure.effect_unknown) == (Reason.TIMEOUT, True)
    assert outcome.failure.message == "The tool took too long. It is not known whether it was done."


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelling_gives_the_work_up_at_once(kind: str) -> None:
    async with world(kind) as far:
        far.hang()
        running = asyncio.create_task(far.tool().run({}, ask()))
        await far.until_begun()
        running.cancel()
        async with asyncio.timeout(LIVENESS_S):
            with pytest.raises(asyncio.CancelledError):
                await running
            if kind == "http":
                await far.endpoint.left.wait()
            if kind == "loop":
                await far.cancelled.wait()


@pytest.mark.parametrize("kind", KINDS)
async def test_many_runs_at_once_do_not_mix(kind: str) -> None:
    async with world(kind) as far:

        def echo(text: str, context: ToolContext) -> str:
            """Echo."""
            return f"{text} for {context.call_id}"

        async def echo_on_loop(text: str, context: ToolContext) -> str:
            """Echo."""
            await asyncio.sleep(0)
            return f"{text} for {context.call_id}"

        if kind == "http":
            tool: Tool = far.tool()
        else:
            tool = python_tool(echo if kind == "thread" else echo_on_loop, far.threads)
        outcomes = await asyncio.gather(
            *(tool.run({"text": str(number)}, ask(call_id=f"vapi:{number}")) for number in range(20))
        )
    expected = [f'{{"text":"{n}"}}' if kind == "http" else f"{n} for vapi:{n}" for n in range(20)]
    assert [outcome.result for outcome in outcomes] == expected


# --- callables


def failure_of(outcome: Outcome) -> tuple[Reason, str, bool]:
    assert outcome.failure is not None
    return outcome.failure.reason, outcome.failure.message, outcome.failure.effect_unknown


def variants(body: Callable[[], Any]) -> list[Callable[..., Any]]:
    """Return ``body`` as a plain function, an async one, and an async one behind a wrapper that looks plain."""

    def plain() -> Any:
        """Do."""
        return body()

    async def on_loop() -> Any:
        """Do."""
        return body()

    @functools.wraps(on_loop)
    def wrapped() -> Any:
        return on_loop()

    return [plain, on_loop, wrapped]


def raising(error: BaseException) -> Callable[[], Any]:
    def body() -> Any:
        raise error

    return body


async def test_a_tool_error_is_told_to_the_model_in_the_owners_words() -> None:
    for function in variants(raising(ToolError("We are full.\nTry  Tuesday."))):
        outcome = await python_tool(function, Threads(1)).run({}, ask())
        assert failure_of(outcome) == (Reason.REFUSED, "We are full. Try Tuesday.", False)


@pytest.mark.parametrize(
    "error",
    [ValueError(PRIVATE), SystemExit(PRIVATE), KeyboardInterrupt(PRIVATE), StopIteration(PRIVATE),
     asyncio.CancelledError(PRIVATE), RecursionError(PRIVATE), TimeoutError(PRIVATE)],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
async def test_of_any_other_exception_only_its_type_is_told(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    for function in variants(raising(error)):
        reason, message, unknown = failure_of(await python_tool(function, Threads(1)).run({}, ask()))
        assert (reason, unknown) == (Reason.DEFECT, True)
        # Python itself makes a RuntimeError of a StopIteration that leaves a coroutine.
        assert type(error).__name__ in message or "RuntimeError" in message
        assert PRIVATE not in message
    events = [record for record in caplog.records if record.getMessage() == "tool.defect"]
    assert len(events) == 3
    assert all(PRIVATE not in json.dumps(getattr(record, "fields", {})) for record in events)


async def test_what_does_not_go_into_json_is_a_defect_that_names_its_type() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for value in (object(), {1, object()}, loop, {"x": "\ud800"}):
        outcome = await python_tool(giving(value), Threads(1)).run({}, ask())
        assert failure_of(outcome)[0] is Reason.DEFECT
        assert type(value).__name__ in failure_of(outcome)[1]


def giving(value: Any) -> Callable[[], Any]:
    def give() -> Any:
        """Give."""
        return value

    return give


async def test_text_that_utf_8_cannot_hold_is_mended() -> None:
    outcome = await python_tool(giving("a\ud800b"), Threads(1)).run({}, ask())
    assert outcome.result == "a?b"


async def test_dataclasses_and_enums_go_into_json() -> None:
    @dataclass
    class Slot:
        day: str
        free: bool

    outcome = await python_tool(giving([Slot("mo", True)]), Threads(1)).run({}, ask())
    assert outcome.result == '[{"day":"mo","free":true}]'


async def test_a_callable_that_asks_for_the_context_gets_it() -> None:
    def tell(context: ToolContext) -> str:
        """Tell."""
        return repr(context)

    outcome = await python_tool(tell, Threads(1)).run({}, ask(agent="salon"))
    assert outcome.result == repr(ToolContext("vapi:1", 2, 3, "k-1", "salon"))


async def test_a_coroutine_that_swallows_its_cancellation_is_not_waited_for() -> None:
    go_on = asyncio.Event()

    async def stubborn() -> str:
        """Stay."""
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    begin_s = time.monotonic()
    outcome = await python_tool(stubborn, Threads(1), timeout_s=0.1).run({}, ask())
    assert failure_of(outcome)[0] is Reason.TIMEOUT
    assert time.monotonic() - begin_s < LIVENESS_S
    go_on.set()


async def test_functions_that_hang_keep_their_threads_and_the_next_is_told_that_it_was_not_begun() -> None:
    release = threading.Event()
    threads = Threads(1)

    def hang() -> str:
        """Hang."""
        release.wait(LIVENESS_S)
        return "late"

    tool = python_tool(hang, threads, timeout_s=0.1)
    assert failure_of(await tool.run({}, ask()))[2], "it began"
    assert threads.busy == 1
    assert failure_of(await tool.run({}, ask())) == (
        Reason.TIMEOUT,
        "The tool could not be started: too much else is running.",
        False,
    )
    release.set()
    async with asyncio.timeout(LIVENESS_S):
        while threads.busy:  # noqa: ASYNC110 - ends in a thread
            await asyncio.sleep(0.005)
    assert (await tool.run({}, ask())).result == "late"


# --- endpoints


def tool_at(endpoint: ToolEndpoint, http: HttpTools, *, secret: str = SECRET, **fields: Any) -> HttpTool:
    return HttpTool(http_spec(endpoint, **fields), http, secret=secret)


@asynccontextmanager
async def at_endpoint(*script: Mode | Says, **fields: Any) -> AsyncIterator[tuple[HttpTool, ToolEndpoint]]:
    async with world("http") as far:
        far.endpoint.script.extend(script)
        yield tool_at(far.endpoint, far.http, **fields), far.endpoint


async def test_an_endpoint_gets_one_signed_post_that_vapis_verifier_accepts() -> None:
    async with at_endpoint() as (tool, endpoint):
        await tool.run({"text": "é", "n": 4.0}, ask(traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01"))
    (asked,) = endpoint.asked
    assert asked.body == {
        "tool": "echo",
        "arguments": {"text": "é", "n": 4.0},
        "call_id": "vapi:1",
        "idempotency_key": "k-1",
    }
    assert asked.headers["idempotency-key"] == "k-1"
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["traceparent"].startswith("00-aaa")
    verifier = Verifier([Credential(VAPI_DEFAULT, (SECRET,))])
    verifier.verify(asked.headers, method="POST", url="", body=asked.raw, now_s=time.time())
    with pytest.raises(SignatureMismatch):
        verifier.verify(asked.headers, method="POST", url="", body=asked.raw + b" ", now_s=time.time())


async def test_without_a_secret_nothing_is_signed() -> None:
    async with at_endpoint(secret="") as (tool, endpoint):
        await tool.run({}, ask())
    assert "x-signature" not in endpoint.asked[0].headers


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_an_endpoint_that_is_busy_is_asked_again_under_the_same_key(status: int) -> None:
    async with at_endpoint(Says(status=status), Says('"Yes."')) as (tool, endpoint):
        outcome = await tool.run({}, ask())
    assert outcome == Outcome("Yes.", tries=2)
    assert [asked.headers["idempotency-key"] for asked in endpoint.asked] == ["k-1", "k-1"]


async def test_it_is_not_asked_more_often_than_the_owner_allows() -> None:
    async with at_endpoint(*[Says(status=503)] * 5, retries=1) as (tool, endpoint):
        outcome = await tool.run({}, ask())
    assert failure_of(outcome) == (Reason.REFUSED, "The tool refused (HTTP 503).", False)
    assert (len(endpoint.asked), outcome.tries) == (2, 2)


async def test_it_is_not_asked_again_after_its_time_or_before_the_time_that_it_names() -> None:
    busy = Says(status=429, headers=("Retry-After: 30",))
    async with at_endpoint(busy, timeout_s=1.0) as (tool, endpoint):
        begin_s = time.monotonic()
        outcome = await tool.run({}, ask())
    assert failure_of(outcome)[0] is Reason.REFUSED
    assert len(endpoint.asked) == 1
    assert time.monotonic() - begin_s < 0.9, "nobody waits for what cannot come"


@pytest.mark.parametrize(
    ("status", "unknown"), [(400, False), (401, False), (404, False), (409, False), (422, False), (500, True)]
)
async def test_a_refusal_is_final_and_told_with_its_status(status: int, unknown: bool) -> None:
    async with at_endpoint(Says(PRIVATE, status=status)) as (tool, endpoint):
        outcome = await tool.run({}, ask())
    assert outcome.failure is not None
    assert (outcome.failure.reason, outcome.failure.http_status) == (Reason.REFUSED, status)
    assert outcome.failure.effect_unknown is unknown
    assert outcome.failure.message.startswith(f"The tool refused (HTTP {status}).")
    assert PRIVATE not in outcome.failure.message
    assert len(endpoint.asked) == 1


async def test_after_an_answer_that_may_hide_a_deed_a_refusal_does_not_deny_it() -> None:
    async with at_endpoint(Says(status=502), Says(status=401)) as (tool, _):
        outcome = await tool.run({}, ask())
    assert outcome.failure is not None
    assert (outcome.failure.http_status, outcome.failure.effect_unknown) == (401, True)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with tool_endpoint() as elsewhere:
        moved = Says(status=status, headers=(f"Location: {elsewhere.url}",))
        async with at_endpoint(moved) as (tool, endpoint):
            outcome = await tool.run({}, ask())
        assert elsewhere.asked == []
    assert outcome.failure is not None
    assert (outcome.failure.reason, outcome.failure.http_status) == (Reason.REFUSED, status)
    assert len(endpoint.asked) == 1


async def test_where_nobody_listens_it_is_unreachable_after_every_try_and_nothing_was_done() -> None:
    async with tool_endpoint() as endpoint:
        pass
    async with world("http") as far:
        nowhere = HttpTool(http_spec(endpoint), far.http, secret=SECRET)
        outcome = await nowhere.run({}, ask())
    assert failure_of(outcome) == (Reason.UNREACHABLE, "The tool could not be reached.", False)
    assert outcome.tries == 3


@pytest.mark.parametrize("mode", [Mode.DROP, Mode.CUT, Mode.GARBAGE])
async def test_an_answer_that_breaks_off_is_not_asked_for_again_and_what_was_done_is_unknown(mode: Mode) -> None:
    async with at_endpoint(mode) as (tool, endpoint):
        outcome = await tool.run({}, ask())
    reason, message, unknown = failure_of(outcome)
    assert (reason, unknown) == (Reason.UNREACHABLE, True)
    assert message == "The tool broke off its answer. It is not known whether it was done."
    assert len(endpoint.asked) == 1


async def test_a_body_without_an_end_is_not_read_to_it() -> None:
    async with at_endpoint(Mode.ENDLESS) as (tool, _):
        outcome = await tool.run({}, ask())
    assert failure_of(outcome)[0] is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (Says("<html>", kind="text/html"), Reason.DEFECT),
        (Says('{"half":', kind="application/json"), Reason.DEFECT),
        (Says('{"a": NaN}', kind="application/json"), Reason.DEFECT),
        (Says("[" * 100_000, kind="application/json"), Reason.DEFECT),
        (Says("x", kind="application/octet-stream"), Reason.DEFECT),
        (Says("x", kind=""), Reason.DEFECT),
    ],
)
async def test_what_is_neither_json_nor_plain_text_is_a_defect(says: Says, reason: Reason) -> None:
    async with at_endpoint(says) as (tool, _):
        outcome = await tool.run({}, ask())
    assert failure_of(outcome)[0] is reason
    assert not failure_of(outcome)[2], "a 2xx says that it was done"


@pytest.mark.parametrize(
    ("says", "line"),
    [
        (Says("Yes,\nat eight.", kind="text/plain; charset=utf-8"), "Yes, at eight."),
        (Says('{"at": 8}', kind="application/problem+json"), '{"at":8}'),
        (Says("", status=204, kind=""), DONE),
        (Says("  ", status=202), DONE),
        (Says("null"), DONE),
    ],
)
async def test_plain_text_json_and_nothing_are_answers(says: Says, line: str) -> None:
    async with at_endpoint(says) as (tool, _):
        assert await tool.run({}, ask()) == Outcome(line)


async def test_a_number_that_json_cannot_hold_is_not_sent() -> None:
    async with at_endpoint() as (tool, endpoint):
        outcome = await tool.run({"n": float("nan")}, ask())
    assert failure_of(outcome)[0] is Reason.BAD_ARGUMENTS
    assert endpoint.asked == []


async def test_nothing_of_an_endpoint_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with at_endpoint(Says(status=401), Mode.CUT) as (tool, endpoint):
        for _ in range(2):
            await tool.run({"text": PRIVATE}, ask())
    for text in (PRIVATE, SECRET, endpoint.url):
        assert text not in caplog.text
