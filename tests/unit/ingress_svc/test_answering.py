"""What Vapi asks over HTTP: answered in time, by whoever should, and whatever fails."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.ingress import CALL, CALL_ID, Edge, edge, signed
from fakes.owner_server import FakeOwner, owner_server
from fakes.streams import until
from fakes.vapi_samples import SAMPLES, sample
from ingress_svc.adapters import answering
from ingress_svc.adapters.answering import ASKS, FAILURES
from ingress_svc.domain import vapi
from ingress_svc.domain.answers import (
    NO_TOOL,
    NO_TRANSFER,
    NOT_SET_UP,
    TOO_MANY_TOOLS,
    TOOL_FAILED,
    TOOL_LATE,
    Plan,
    ToolResult,
)
from ingress_svc.domain.asks import AssistantRequest, Kind, ToolCall
from ingress_svc.domain.owner import MAX_ANSWER_BYTES, NOT_ANSWERED

SECRET = "owner-secret"
TABLES = ("assistant_request", "tool_calls", "transfer", "handoff", "knowledge_base", "endpointing", "predial", "voice")
ASSISTANT = {"assistantId": "9c2f7a10-5b1e-4c3d-8a77-1f0e2d3c4b5a"}


@pytest.fixture
async def owner() -> AsyncIterator[FakeOwner]:
    async with owner_server() as fake:
        yield fake


@asynccontextmanager
async def asking(tmp_path: Path, owner: FakeOwner, more: str = "", **settings: Any) -> AsyncIterator[Edge]:
    """An ingress whose agent leaves every answer to the owner's server."""
    tables = "\n".join(f'[vapi.{name}]\nurl = "{owner.url}"' for name in TABLES)
    (tmp_path / "agent.toml").write_text(f"{tables}\n{more}", encoding="utf-8")
    async with edge(agent_file=str(tmp_path / "agent.toml"), owner_secret=SECRET, **settings) as at:
        yield at


@pytest.fixture
async def at(tmp_path: Path, owner: FakeOwner) -> AsyncIterator[Edge]:
    async with asking(tmp_path, owner) as running:
        yield running


def hasten(at: Edge, cap_s: float = 0.2) -> None:
    at.ingress.answering._caps_s = dict.fromkeys(Kind, cap_s)


async def post(at: Edge, body: bytes, path: str = "/vapi/webhook") -> tuple[int, Any, Mapping[str, str]]:
    status, text, headers = await at.provider.post(path, body, signed(body))
    return status, json.loads(text), headers


async def ask(at: Edge, **fields: object) -> Any:
    """Ask about a call, and return what came back of a 200."""
    at.provider.at_ms = max(at.provider.at_ms + 1, time.time_ns() // 1_000_000)
    message = {"call": {"id": CALL}, "timestamp": at.provider.at_ms} | fields
    status, answer, headers = await post(at, json.dumps({"message": message}).encode())
    assert status == 200
    assert headers["X-Voicemesh-Event-Id"]
    return answer


def tools(*names: str) -> dict[str, object]:
    return {"type": "tool-calls", "toolCallList": [{"id": f"id-{name}", "name": name} for name in names]}


def fell_back(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    told = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "ask.fell_back"]
    return [(fields["type"], fields["reason"]) for fields in told]


# --- nothing is configured --------------------------------------------------------------------------------------------


async def test_d14_the_types_that_are_asked_get_an_answer_and_not_a_receipt() -> None:
    async with edge() as at:
        for name, answer in (
            ("server/assistant-request", {"error": NOT_SET_UP}),
            (
                "server/tool-calls.wire-object-args",
                {
                    "results": [
                        {"toolCallId": "call_000000000000000000000001", "name": "book_table", "error": NO_TOOL},
                    ]
                },
            ),
            ("server/transfer-destination-request", {"error": NO_TRANSFER}),
            ("server/knowledge-base-request", {"documents": []}),
        ):
            body = json.dumps(sample(name)).encode()
            for path in ("/vapi/webhook", "/webhook/vapi"):
                assert (await post(at, body, path))[:2] == (200, answer)
        assert at.ingress.counters.value(ASKS, type="assistant-request", answer="plan") == 2
        assert at.mesh.session.events == []
        assert len(at.ingress.calls) == 0


async def test_without_a_voice_the_provider_is_told_so_and_nothing_is_spoken() -> None:
    async with edge() as at:
        body = json.dumps(sample("server/voice-request")).encode()
        status, answer, headers = await post(at, body)
        assert (status, answer) == (404, {"error": "no voice is configured here"})
        assert headers["Content-Type"] == "application/json"


# --- the owner's server -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "response"),
    [
        ("server/assistant-request", "assistant-request.assistant"),
        ("server/assistant-request", "assistant-request.destination"),
        ("server/tool-calls.wire-object-args", "tool-calls.with-message"),
        ("server/transfer-destination-request", "transfer-destination-request"),
        ("server_made/handoff-destination-request", "handoff-destination-request"),
        ("server/knowledge-base-request", "knowledge-base-request"),
        ("server_made/call.endpointing.request", "call.endpointing.request"),
        ("server_made/campaign.predial", "campaign.predial"),
    ],
)
async def test_d14_the_owners_answer_is_what_vapi_gets(at: Edge, owner: FakeOwner, name: str, response: str) -> None:
    owner.answer = json.loads((SAMPLES / "responses" / f"{response}.json").read_bytes())
    body = json.dumps(sample(name)).encode()
    assert (await post(at, body))[:2] == (200, owner.answer)
    assert at.mesh.session.events == []
    assert len(at.ingress.calls) == 0


async def test_the_owners_server_can_tell_who_asks_and_that_it_was_asked_before(at: Edge, owner: FakeOwner) -> None:
    owner.answer = ASSISTANT
    body = json.dumps(sample("server/assistant-request")).encode()
    _, _, headers = await post(at, body)
    sent, raw = owner.headers[0], owner.raw[0]
    proof = hmac.digest(SECRET.encode(), sent["x-timestamp"].encode() + b"." + raw, hashlib.sha256).hex()
    assert sent["x-signature"] == proof
    assert sent["Idempotency-Key"] == headers["X-Voicemesh-Event-Id"] == owner.asked[0]["event_id"]
    assert owner.asked[0]["caller"] == "+15005550101"
    assert b"REDACTED" not in raw
    assert b"controlUrl" not in raw


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    """A body without a length, which the other server reads."""
    yield body


@pytest.mark.parametrize("pieces", [bytes, in_pieces])
async def test_the_owners_server_may_be_the_voice(at: Edge, owner: FakeOwner, pieces: Any) -> None:
    owner.answer = b"\x00\x01" * 2_400
    body = json.dumps(sample("server/voice-request")).encode()
    async with at.provider.http.post(at.url + "/vapi/webhook", data=pieces(body), headers=signed(body)) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert await response.read() == owner.answer
    assert (owner.asked[0]["text"], owner.asked[0]["sample_rate"]) == ("Perfect, I can book that for you.", 24_000)


async def test_an_ask_that_comes_again_gets_the_same_answer_and_is_asked_once(at: Edge, owner: FakeOwner) -> None:
    owner.answer = ASSISTANT
    owner.go_on.clear()
    body = json.dumps(sample("server/assistant-request")).encode()
    asked = [asyncio.create_task(post(at, body)) for _ in range(3)]
    await until(lambda: at.ingress.counters.value(ASKS, type="assistant-request", answer="again") == 2)
    owner.go_on.set()
    answers = [(await each)[:2] for each in asked]
    owner.answer = {"error": "changed its mind"}
    answers.append((await post(at, body))[:2])
    assert answers == [(200, ASSISTANT)] * 4
    assert len(owner.asked) == 1


# --- when it fails ----------------------------------------------------------------------------------------------------


async def test_d14_an_owner_who_is_late_is_not_waited_for(
    at: Edge, owner: FakeOwner, caplog: pytest.LogCaptureFixture
) -> None:
    hasten(at)
    owner.go_on.clear()
    began_s = time.monotonic()
    assert await ask(at, type="assistant-request") == {"error": NOT_SET_UP}
    assert time.monotonic() - began_s < 5
    assert await ask(at, **tools("book")) == {
        "results": [{"toolCallId": "id-book", "name": "book", "error": TOOL_LATE}],
    }
    assert (await ask(at, type="function-call", functionCall={"name": "book"}))["result"] == f"Error: {TOOL_LATE}"
    await until(lambda: owner.left == 3)
    assert at.ingress.counters.value(FAILURES, reason="late") == 3
    assert fell_back(caplog)[0] == ("assistant-request", "late")


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (500, ASSISTANT, "status"),
        (302, b"", "status"),
        (204, b"", "status"),
        (200, b"", "bad_answer"),
        (200, b"not json", "bad_answer"),
        (200, b"[" * 50_000, "bad_answer"),
        (200, [], "bad_answer"),
        (200, {"received": True}, "bad_answer"),
        (200, b" " * (MAX_ANSWER_BYTES + 1), "too_large"),
    ],
)
async def test_an_answer_that_cannot_be_used_is_the_settings_answer(
    at: Edge, owner: FakeOwner, status: int, answer: object, reason: str
) -> None:
    owner.status, owner.answer = status, answer
    assert await ask(at, type="assistant-request") == {"error": NOT_SET_UP}
    assert at.ingress.counters.value(FAILURES, reason=reason) == 1
    assert at.ingress.counters.value(ASKS, type="assistant-request", answer="fallback") == 1
    assert len(owner.asked) == 1


async def test_an_owner_who_is_away_costs_no_time(tmp_path: Path, owner: FakeOwner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        owner.port = taken.getsockname()[1]
    more = '[[vapi.transfer.destinations]]\nto = "+15005550199"'
    async with asking(tmp_path, owner, more) as at:
        answer = await ask(at, type="transfer-destination-request")
        assert answer == {"destination": {"type": "number", "number": "+15005550199"}}
        assert at.ingress.counters.value(FAILURES, reason="not_reached") == 1


async def test_asks_that_wait_hold_up_nobody_else_and_are_bounded(at: Edge, owner: FakeOwner) -> None:
    at.ingress.answering._most_at_once = 3
    owner.go_on.clear()
    owner.answer = ASSISTANT
    waiting = [asyncio.create_task(ask(at, type="assistant-request", call={"id": str(n)})) for n in range(3)]
    await until(lambda: len(owner.asked) == 3)
    assert await ask(at, type="assistant-request", call={"id": "one more"}) == {"error": NOT_SET_UP}
    assert at.ingress.counters.value(ASKS, type="assistant-request", answer="busy") == 1
    assert (await at.provider.partial("uh"))[0] == 200
    assert (await at.provider.final("a table for four"))[0] == 200
    owner.go_on.set()
    assert [await each for each in waiting] == [ASSISTANT] * 3


async def test_d29_a_drain_waits_for_answers_and_then_gives_them_itself(tmp_path: Path, owner: FakeOwner) -> None:
    for drain_s, answer in ((20.0, ASSISTANT), (0.05, {"error": NOT_SET_UP})):
        async with asking(tmp_path, owner, drain_s=drain_s) as at:
            owner.go_on.clear()
            owner.answer = ASSISTANT
            known = len(owner.asked)
            asked = asyncio.create_task(ask(at, type="assistant-request"))
            await until(lambda known=known: len(owner.asked) > known)  # type: ignore[misc]
            draining = asyncio.create_task(at.ingress.drain(asyncio.Event()))
            await until(lambda at=at: at.ingress.draining)  # type: ignore[misc]
            if drain_s > 1:
                owner.go_on.set()
            assert await asked == answer
            await draining


async def test_a_task_that_never_ran_still_answers(at: Edge) -> None:
    body = json.dumps(sample("server/assistant-request")).encode()
    replies: list[Any] = []
    webhook = vapi.decode(json.loads(body), received_at_ms=0, header_call_id=None, raw=body)
    assert isinstance(webhook.body, AssistantRequest)
    at.ingress.answering.answer(
        webhook, webhook.body, Plan(urls={Kind.ASSISTANT: "https://example.com/"}), replies.append, agent="default@1"
    )
    await at.ingress.answering.close()
    assert [json.loads(reply.body) for reply in replies] == [{"error": NOT_SET_UP}]


async def test_a_peer_that_leaves_leaves_the_ask_to_be_answered_for_the_next(at: Edge, owner: FakeOwner) -> None:
    owner.answer = ASSISTANT
    owner.go_on.clear()
    body = json.dumps(sample("server/assistant-request")).encode()
    gone = asyncio.create_task(post(at, body))
    await until(lambda: owner.asked)
    gone.cancel()
    owner.go_on.set()
    assert (await post(at, body))[:2] == (200, ASSISTANT)
    assert len(owner.asked) == 1


# --- tools ------------------------------------------------------------------------------------------------------------


class Toolbox:
    """Tools by name."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, object, str, str]] = []
        self.go_on = asyncio.Event()

    def may_have(self, agent: str, name: str) -> bool:
        return name in ("book", "fail", "wait")

    async def has(self, agent: str, name: str) -> bool:
        return self.may_have(agent, name)

    async def run(self, agent: str, call: ToolCall, *, call_id: str, event_id: str) -> ToolResult:
        self.ran.append((call.name, call.arguments, call_id, event_id))
        if call.name == "fail":
            raise ValueError("secret")
        if call.name == "wait":
            await self.go_on.wait()
        return ToolResult("Booked:\n8841.")


@pytest.fixture
async def box(at: Edge) -> Toolbox:
    toolbox = Toolbox()
    at.ingress.answering.tools = toolbox
    return toolbox


def results(answer: Any) -> list[str]:
    return [entry.get("result") or entry["error"] for entry in answer["results"]]


async def test_a_tool_runs_and_its_result_is_on_one_line(at: Edge, box: Toolbox) -> None:
    call = {"id": "x", "type": "function", "function": {"name": "book", "arguments": '{"party": 4}'}}
    answer = await ask(at, type="tool-calls", toolCallList=[call])
    assert answer == {"results": [{"toolCallId": "x", "name": "book", "result": "Booked: 8841."}]}
    [(name, arguments, call_id, event_id)] = box.ran
    assert (name, arguments, call_id) == ("book", {"party": 4}, CALL_ID)
    assert event_id
    legacy = await ask(at, type="function-call", functionCall={"name": "book", "parameters": {"party": 4}})
    assert legacy == {"result": "Booked: 8841."}


async def test_tools_of_both_kinds_answer_one_ask_in_its_order(at: Edge, owner: FakeOwner, box: Toolbox) -> None:
    owner.answer = {"results": [{"toolCallId": "id-theirs", "result": "ok"}]}
    answer = await ask(at, **tools("unknown", "book", "theirs", "fail", "book"))
    assert [entry["toolCallId"] for entry in answer["results"]] == [
        "id-unknown",
        "id-book",
        "id-theirs",
        "id-fail",
        "id-book",
    ]
    assert results(answer) == [NOT_ANSWERED, "Booked: 8841.", "ok", TOOL_FAILED, "Booked: 8841."]
    assert [call["name"] for call in owner.asked[0]["tool_calls"]] == ["unknown", "theirs"]


async def test_a_late_tool_spoils_no_other(at: Edge, owner: FakeOwner, box: Toolbox) -> None:
    hasten(at)
    owner.go_on.clear()
    answer = await ask(at, **tools("wait", "book", "theirs"))
    assert results(answer) == [TOOL_LATE, "Booked: 8841.", TOOL_LATE]


async def test_more_tools_than_may_run_at_once_are_told_so(at: Edge, box: Toolbox) -> None:
    answer = await ask(at, **tools(*["book"] * (answering.MOST_TOOLS + 2)))
    assert results(answer) == ["Booked: 8841."] * answering.MOST_TOOLS + [TOO_MANY_TOOLS] * 2


async def test_a_tool_that_fails_is_logged_without_what_it_said(
    at: Edge, box: Toolbox, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "voicemesh"):
        assert results(await ask(at, **tools("fail"))) == [TOOL_FAILED]
    [fields] = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "ask.tool_failed"]
    assert fields["error_type"] == "ValueError"
    assert "secret" not in str(fields)


# --- a call that is going on ------------------------------------------------------------------------------------------


async def test_an_ask_on_a_live_call_is_measured_in_its_turn_and_may_tell_where_to_control_it() -> None:
    async with edge() as at:
        assert (await at.provider.webhook(type="hang"))[0] == 200
        call = at.ingress.calls.known(CALL_ID)
        assert call is not None
        assert call.turn is not None
        url = "https://a.vapi.ai/call-1/control"
        await ask(at, **tools("book"), call={"id": CALL, "monitor": {"controlUrl": url}})
        assert "ingress.answer" in call.turn.log.hops
        assert call.control.url is not None
        assert call.control.url.value == url
        assert at.mesh.session.kinds(CALL_ID) == ["agent_silent"]
