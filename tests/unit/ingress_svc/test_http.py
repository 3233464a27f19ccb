"""The public port: what is let in, what is answered, and what that changes."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import os
import random
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakes.ingress import CALL, CALL_ID, ROOT, SECRET, Edge, edge, signed
from fakes.otlp_receiver import OtlpReceiver
from fakes.streams import until
from ingress_svc.adapters.http import QUIET_S, Draining
from ingress_svc.adapters.webhook import DROPPED, UNKNOWN
from ingress_svc.domain.chat import MAX_TEXT_CHARS

HANG = json.dumps({"message": {"type": "hang", "timestamp": 1_787_428_899_945, "call": {"id": "call-1"}}}).encode()
BROKEN = b'{"message": {"type": '
UNTOLD = ("Traceback", "/src/", ".py", "Error(", "exception", SECRET)
"""What no answer may tell."""


@pytest.fixture
async def at() -> AsyncIterator[Edge]:
    async with edge() as running:
        yield running


def tells_nothing(text: str) -> None:
    assert [word for word in UNTOLD if word in text] == []


async def interrupted_by_stop(at: Edge) -> None:
    """A running answer is still cut by a partial "stop"."""
    at.mesh.llm.script.gate = 1
    answer = await at.provider.ask("a table for four")
    await answer.some("Four, ")
    assert (await at.provider.partial("stop"))[0] == 200
    assert (await answer.all()).done
    assert answer.text == "Four, "


# --- size, then signature, then parsing -------------------------------------------------------------------------------


async def test_d6_broken_json_is_unauthorised_unsigned_and_bad_signed(at: Edge) -> None:
    assert (await at.provider.post("/vapi/webhook", BROKEN, {}))[0] == 401
    status, text, _ = await at.provider.post("/vapi/webhook", BROKEN, signed(BROKEN))
    assert (status, json.loads(text)) == (400, {"error": "the body must be JSON in UTF-8"})
    assert (await at.provider.post("/vapi/llm", BROKEN, {}))[0] == 401
    assert (await at.provider.post("/vapi/llm", BROKEN, {"X-Vapi-Secret": SECRET}))[0] == 400


async def test_d3_strange_signatures_are_unauthorised_and_nothing_else(at: Edge) -> None:
    dice = random.Random(3)
    names = ["x-vapi-signature", "x-signature", "x-timestamp", "x-vapi-secret", "Authorization"]
    letters = "abcdef0123456789 =,;:{}\"'\\åß中" + SECRET
    for _ in range(400):
        headers = {
            name: "".join(dice.choices(letters, k=dice.choice([0, 1, 31, 32, 64, 65, 500]))).strip()
            for name in dice.sample(names, dice.randrange(len(names)))
        }
        status, text, _ = await at.provider.post("/vapi/webhook", HANG, headers)
        assert status == 401
        tells_nothing(text)
    assert at.mesh.session.events == []


async def raw_post(at: Edge, *lines: bytes, body: bytes = HANG) -> bytes:
    """Send a request that no client library would."""
    reader, writer = await asyncio.open_connection("127.0.0.1", at.ingress.port)
    head = [b"POST /vapi/webhook HTTP/1.1", *lines, b"Content-Length: %d" % len(body), b"Connection: close", b"", b""]
    writer.write(b"\r\n".join(head) + body)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    "line",
    [
        b"x-vapi-signature: \xff\xfe\x80",
        b"x-vapi-signature: sha256=\xc3\x28",
        b"Authorization: Bearer \xe2\x28\xa1",
        b"x-call-id: \xff",
        b"traceparent: \xff\xfe",
    ],
)
async def test_d3_header_bytes_that_are_no_text_are_unauthorised(at: Edge, line: bytes) -> None:
    answer = await raw_post(at, b"Host: localhost", line)
    assert answer.split(b" ", 2)[1] == b"401"
    tells_nothing(answer.decode("latin-1"))


@pytest.mark.parametrize("host", [b"a b:c", b"[::1", b"x:99999", b"\xff\xfe", b"%%%", b""])
async def test_d3_a_host_that_is_none_does_not_break_the_check(at: Edge, host: bytes) -> None:
    assert (await raw_post(at, b"Host: " + host)).split(b" ", 2)[1] in (b"400", b"401")
    proof = b"x-vapi-secret: " + SECRET.encode()
    assert (await raw_post(at, b"Host: " + host, proof)).split(b" ", 2)[1] in (b"200", b"400")


SAME_BODIES = [
    HANG.replace(b'": ', b'":  '),
    HANG.replace(b", ", b",  "),
    HANG.replace(b'"hang"', b'"\\u0068ang"'),
    HANG.replace(b"945", b"945.0"),
    HANG.replace(b'"call"', b'"n": 12345678901234567890, "call"'),
    HANG.replace(b'{"id"', b'{"b": 1, "1": 2, "id"'),
    HANG.replace(b'"call-1"', b'"call\\/1"'),
    HANG.replace(b'"type": "hang"', b'"type": "hang", "type": "hang"') + b"\n",
]


@pytest.mark.parametrize("body", SAME_BODIES, ids=range(8))
async def test_d4_the_signature_is_over_the_bytes_that_came(at: Edge, body: bytes) -> None:
    assert (await at.provider.post("/vapi/webhook", body, signed(body)))[0] == 200
    for place in range(0, len(body), 7):
        flipped = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        assert (await at.provider.post("/vapi/webhook", flipped, signed(body)))[0] == 401


@pytest.mark.parametrize("setting", [{}, {"VOICEMESH_VAPI_SECRET": ""}, {"VOICEMESH_VAPI_SECRET": " , "}])
async def test_d8_without_a_secret_the_process_does_not_start(setting: dict[str, str]) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VOICEMESH_")}
    budget = {"VOICEMESH_BUDGET_FILE": str(ROOT / "budget.toml"), "VOICEMESH_HTTP_PORT": "0"}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ingress_svc", env=kept | budget | setting, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(60):
            _, stderr = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
    lines = stderr.decode().strip().splitlines()
    assert child.returncode != 0
    assert len(lines) == 1
    assert lines[0].startswith("VOICEMESH_VAPI_SECRET")


async def test_d8_two_secrets_are_active_at_once() -> None:
    async with edge(vapi_secrets="old, new") as at:
        for secret in ("old", "new"):
            assert (await at.provider.post("/vapi/webhook", HANG, signed(HANG, secret)))[0] == 200
        assert (await at.provider.post("/vapi/webhook", HANG, signed(HANG, "old, new")))[0] == 401


async def test_d7_a_body_over_the_limit_is_refused_while_it_is_read() -> None:
    async with edge(max_body_bytes=20_000) as at:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < 100_000_000:
                sent += 10_000
                yield b" " * 10_000
                await asyncio.sleep(0)

        # A server that answers before the end of a body may close under the sender.
        status = 413
        try:
            async with at.provider.http.post(at.url + "/vapi/webhook", data=endless()) as response:
                status = response.status
        except (ConnectionError, OSError):
            pass
        assert status == 413
        assert sent < 50_000_000
        big = b'{"message": "' + b"x" * 20_000 + b'"}'
        assert (await at.provider.post("/vapi/webhook", big, {}))[0] == 413
        fits = json.dumps({"message": json.loads(HANG)["message"] | {"x": "x" * 19_000}}).encode()
        assert (await at.provider.post("/vapi/webhook", fits, signed(fits)))[0] == 200


async def test_d5_a_compressed_body_is_an_unsupported_media_type(at: Edge) -> None:
    assert (await at.provider.post("/vapi/webhook", HANG, signed(HANG) | {"Content-Encoding": "identity"}))[0] == 200
    for body in (gzip.compress(HANG), HANG):
        headers = signed(body) | {"Content-Encoding": "gzip"}
        assert (await at.provider.post("/vapi/webhook", body, headers))[0] == 415
    assert at.mesh.session.kinds(CALL_ID) == ["agent_silent"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/mixed", "x"])
async def test_d10_the_bytes_count_and_not_the_content_type(at: Edge, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    assert (await at.provider.post("/vapi/webhook", HANG, signed(HANG) | headers))[0] == 200
    assert (await at.provider.post("/vapi/webhook", b"", signed(b"") | headers))[0] == 400


async def test_d13_every_route_that_changes_state_refuses_what_is_not_signed(at: Edge) -> None:
    tried = set()
    for path, method in at.ingress.routes:
        if method in ("GET", "HEAD"):
            assert path in ("/healthz", "/readyz", "/metrics")
            continue
        tried.add(path)
        async with at.provider.http.request(method, at.url + path, data=HANG) as response:
            assert response.status == 401
            tells_nothing(await response.text())
    assert tried >= {"/vapi/webhook", "/webhook/vapi", "/vapi/llm", "/vapi/llm/chat/completions"}
    assert at.mesh.session.events == []
    assert at.mesh.llm.generations == []


async def test_what_is_not_served_is_an_error_in_json(at: Edge) -> None:
    async with at.provider.http.get(at.url + "/vapi") as response:
        assert (response.status, (await response.json())["error"]) == (404, "nothing is served here")
    async with at.provider.http.get(at.url + "/vapi/webhook") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert (await response.json())["error"] == "this path takes POST"
    async with at.provider.http.head(at.url + "/healthz") as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_a_client_that_asks_before_it_sends_its_body_is_told_to_go_on(at: Edge) -> None:
    async with at.provider.http.post(
        at.url + "/vapi/webhook", data=HANG, headers=signed(HANG), expect100=True
    ) as response:
        assert response.status == 200
    async with at.provider.http.post(
        at.url + "/vapi/webhook", data=HANG, headers=signed(HANG) | {"Expect": "a-miracle"}
    ) as response:
        assert response.status == 417


# --- what is answered -------------------------------------------------------------------------------------------------


async def test_characters_over_the_cap_are_left_out_and_counted(at: Edge) -> None:
    assert (await at.provider.final("x" * (MAX_TEXT_CHARS + 5)))[0] == 200
    assert (
        at.ingress.counters.value(
            DROPPED,
        )
        == 5
    )
    assert len(at.mesh.session.of("words")[0].text) == MAX_TEXT_CHARS


async def test_d1_an_unknown_type_is_counted_and_has_no_effect(at: Edge) -> None:
    for kind in ("call.deleted", "never-heard-of"):
        status, headers = await at.provider.webhook(type=kind)
        assert status == 200
        assert headers["X-Voicemesh-Event-Id"]
    assert at.ingress.counters.value(UNKNOWN, type="call.deleted") == 1
    assert at.ingress.counters.value(UNKNOWN, type="other") == 1
    assert at.mesh.session.events == []


async def test_d15_a_redelivered_webhook_has_the_same_name_and_one_effect(at: Edge) -> None:
    names = {(await at.provider.post("/vapi/webhook", HANG, signed(HANG)))[2]["X-Voicemesh-Event-Id"] for _ in range(3)}
    assert len(names) == 1
    assert at.mesh.session.kinds(CALL_ID) == ["agent_silent"]


STRANGE: list[dict[str, Any]] = [
    {"type": None},
    {"type": 7},
    {"type": "transcript", "role": "user", "transcriptType": "final", "transcript": 12345},
    {"type": "transcript", "role": ["user"], "transcriptType": "partial", "transcript": "stop"},
    {"type": "speech-update", "role": "assistant", "status": {}},
    {"type": "status-update", "status": False},
    {"type": "conversation-update", "messages": "none"},
    {"type": "status-update", "status": "ended", "call": []},
    {"type": "end-of-call-report", "call": {"id": {"id": 1}}},
]


async def test_d11_wrong_types_are_refused_and_a_stop_after_them_still_interrupts(at: Edge) -> None:
    bodies = [json.dumps({"message": {"call": {"id": "call-1"}} | strange}).encode() for strange in STRANGE]
    bodies += [b'{"message": null}', b"null", b"[]", b"7", b'""', b"[" * 100_000]
    for body in bodies:
        status, text, _ = await at.provider.post("/vapi/webhook", body, signed(body))
        assert status in (200, 400)
        tells_nothing(text)
    assert at.mesh.session.events == []
    await interrupted_by_stop(at)


async def test_d12_an_event_that_names_no_call_is_refused_and_opens_none(at: Edge) -> None:
    for call in ({}, {"call": None}, {"call": {"id": ""}}, {"call": {"id": 0}}):
        message = {"type": "transcript", "transcriptType": "final", "role": "user", "transcript": "hello"} | call
        body = json.dumps({"message": message}).encode()
        assert (await at.provider.post("/vapi/webhook", body, signed(body)))[0] == 400
    assert len(at.ingress.calls) == 0
    assert at.mesh.session.events == []


async def test_a_w3c_context_from_outside_is_carried_on_where_we_trace() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = signed(HANG) | {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    async with OtlpReceiver() as receiver, edge(otlp_endpoint=receiver.endpoint) as at:
        assert (await at.provider.post("/vapi/webhook", HANG, headers))[0] == 200
        assert at.mesh.session.events[0].trace.traceparent.split("-")[1] == trace


# --- when a service is missing ----------------------------------------------------------------------------------------


async def test_session_down_holds_a_final_for_a_moment_and_takes_partials_all_the_same() -> None:
    async with edge(hold_s=0.3) as at:
        await at.mesh.session_server.down()
        began_s = time.monotonic()
        status, headers = await at.provider.final("a table for four")
        assert (status, headers["Retry-After"]) == (503, "1")
        assert time.monotonic() - began_s >= 0.3
        assert (await at.provider.partial("a table"))[0] == 200


async def test_a_store_that_hangs_holds_nothing_but_what_needs_it() -> None:
    async with edge(hold_s=0.3) as at:
        at.mesh.session.stuck = True
        assert (await at.provider.final("a table for four"))[0] == 503
        assert (await at.provider.partial("a table"))[0] == 200


async def test_a_final_that_was_held_is_taken_when_session_svc_is_back() -> None:
    async with edge(hold_s=20.0) as at:
        await at.mesh.session_server.down()
        held = asyncio.create_task(at.provider.final("yes"))
        await until(lambda: "session-svc" in at.ingress.missing)
        await at.mesh.session_server.up()
        assert (await held)[0] == 200
        assert at.mesh.session.kinds(CALL_ID) == ["words"]


async def test_bargein_down_costs_no_acknowledgement(at: Edge) -> None:
    await at.mesh.bargein_server.down()
    assert (await at.provider.partial("yes"))[0] == 200
    assert (await at.provider.final("yes"))[0] == 200
    assert at.mesh.session.kinds(CALL_ID) == ["words", "words"]


async def test_a_peer_that_leaves_before_its_answer_loses_no_event() -> None:
    async with edge(hold_s=20.0) as at:
        await at.mesh.session_server.down()
        posting = asyncio.create_task(at.provider.final("yes"))
        await until(lambda: at.mesh.bargein.events)
        posting.cancel()
        await at.mesh.session_server.up()
        await until(lambda: at.mesh.session.kinds(CALL_ID) == ["words"])


# --- health -----------------------------------------------------------------------------------------------------------


async def ready(at: Edge) -> tuple[int, list[str]]:
    async with at.provider.http.get(at.url + "/readyz") as response:
        return response.status, (await response.json())["waits_for"]


async def test_d32_readyz_names_what_is_missing_and_healthz_asks_nobody(at: Edge) -> None:
    assert await ready(at) == (200, [])
    for server, name in zip(at.mesh.servers, ("session-svc", "bargein-svc", "llm-svc"), strict=True):
        await server.down()
        await until(lambda name=name: at.ingress.missing == [name])  # type: ignore[misc]
        assert await ready(at) == (503, [name])
        await server.up()
        await until(lambda: not at.ingress.missing)
    for server in at.mesh.servers:
        await server.down()
    async with at.provider.http.get(at.url + "/healthz") as response:
        assert (response.status, await response.text()) == (200, "ok\n")


async def test_d32_an_ingress_that_drains_is_not_ready_and_says_so_in_its_log_too(
    at: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "voicemesh")
    await at.mesh.llm_server.down()
    await until(lambda: at.ingress.missing == ["llm-svc"])
    at.ingress._draining.begun = True
    assert await ready(at) == (503, ["llm-svc", "drain"])
    told = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "health.changed"]
    assert told == [{"condition": "llm-svc", "ok": False}, {"condition": "drain", "ok": False}]


async def test_d32_healthz_costs_the_same_with_many_calls(at: Edge) -> None:
    for number in range(10_000):
        at.ingress.calls.get(f"vapi:{number}")
    async with at.provider.http.get(at.url + "/healthz") as response:
        assert await response.text() == "ok\n"
    async with at.provider.http.get(at.url + "/metrics") as response:
        assert "voicemesh_call_active 10000" in await response.text()


async def test_d29_an_ingress_that_drains_is_not_ready_and_lets_its_answer_end() -> None:
    async with edge(drain_s=20.0) as at:
        at.mesh.llm.script.gate = 1
        answer = await at.provider.ask("a table for four")
        await answer.some("Four, ")
        draining = asyncio.create_task(at.ingress.drain(asyncio.Event()))
        await until(lambda: at.ingress.draining)
        assert not draining.done()
        at.mesh.llm.generations[0].opened.set()
        assert (await answer.all()).text == "Four, then. For when?"
        await draining


@pytest.mark.parametrize("finishes", [True, False])
async def test_d29_a_drain_is_logged_with_whether_it_finished(caplog: pytest.LogCaptureFixture, finishes: bool) -> None:
    async with edge(drain_s=20.0 if finishes else 0.05) as at:
        at.mesh.llm.script.gate = 1
        answer = await at.provider.ask("a table for four")
        await answer.some("Four, ")
        with caplog.at_level(logging.INFO, "voicemesh"):
            draining = asyncio.create_task(at.ingress.drain(asyncio.Event()))
            if finishes:
                at.mesh.llm.generations[0].opened.set()
            await draining
        await answer.all()
    told = {record.getMessage(): record.__dict__["fields"] for record in caplog.records}
    assert [name for name in told if name.startswith("drain.")] == ["drain.began", "drain.answers", "drain.ended"]
    assert told["drain.ended"] == {"finished": finishes}


async def test_a_tick_that_fails_ends_readiness_and_is_logged(at: Edge, caplog: pytest.LogCaptureFixture) -> None:
    at.ingress.calls.get("vapi:poison").touched_s = None  # type: ignore[assignment]
    await until(lambda: at.ingress.missing == ["background"])
    failed = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "background.failed"]
    assert [(fields["task"], fields["error_type"]) for fields in failed] == [("tick", "TypeError")]


async def test_d29_a_request_on_a_connection_that_was_open_before_the_drain_is_answered() -> None:
    async with edge(drain_s=20.0) as at:
        reader, writer = await asyncio.open_connection(at.ingress.host, at.ingress.port)
        body = json.dumps({"message": {"type": "hang", "call": {"id": CALL}}}).encode()
        head = "".join(f"{name}: {value}\r\n" for name, value in signed(body).items())
        request = f"POST /vapi/webhook HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        for draining in (False, True):
            ending = asyncio.create_task(at.ingress.drain(asyncio.Event())) if draining else None
            await until(lambda draining=draining: at.ingress.draining is draining)
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200")
            assert (b"connection: close" in answer.lower()) is draining
            if ending is not None:
                await ending
            else:
                await reader.readexactly(int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.close()


async def test_d29_a_drain_waits_for_no_connection_when_somebody_is_in_a_hurry_or_there_is_none() -> None:
    draining = Draining()
    hurry = asyncio.Event()
    async with asyncio.timeout(QUIET_S / 2):
        await draining.quiet(lambda: False, 10.0, hurry)
        hurry.set()
        await draining.quiet(lambda: True, 10.0, hurry)
