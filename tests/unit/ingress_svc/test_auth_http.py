"""Proofs over HTTP: replays, tokens, the doctor, and an ingress that asks for none."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Mapping

import pytest
from fakes.ingress import CALL_ID, SECRET, Edge, edge
from fakes.vapi_samples import SAMPLES, sample
from ingress_svc.adapters.guard import REFUSED
from ingress_svc.adapters.tokens import TOKENS

HANG = json.dumps({"message": {"type": "hang", "timestamp": 1_787_428_899_945, "call": {"id": "call-1"}}}).encode()
GRANT = {"grant_type": "client_credentials"}
FORM = GRANT | {"client_id": "vapi", "client_secret": "client-secret"}


def signed_at(at_s: float, body: bytes = HANG, *, unit: int = 1000) -> dict[str, str]:
    """The headers of Vapi's default credential."""
    stamp = str(int(at_s * unit))
    digest = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"x-signature": digest, "x-timestamp": stamp}


async def status(at: Edge, headers: Mapping[str, str], body: bytes = HANG, path: str = "/vapi/webhook") -> int:
    return (await at.provider.post(path, body, headers))[0]


# --- replays ----------------------------------------------------------------------------------------------------------


async def test_d9_the_very_same_request_again_is_taken_and_has_no_second_effect() -> None:
    async with edge() as at:
        for unit in (1, 1000):
            headers = signed_at(time.time(), unit=unit)
            answers = [await at.provider.post("/vapi/webhook", HANG, headers) for _ in range(3)]
            assert [answer[0] for answer in answers] == [200, 200, 200]
            assert len({answer[2]["X-Voicemesh-Event-Id"] for answer in answers}) == 1
        assert at.mesh.session.kinds(CALL_ID) == ["agent_silent"]


async def test_d9_a_retry_of_what_was_not_taken_is_taken_though_its_signature_was_seen() -> None:
    async with edge(hold_s=0.2) as at:
        headers = signed_at(time.time())
        at.mesh.session.stuck = True
        assert await status(at, headers) == 503
        at.mesh.session.stuck = False
        assert await status(at, headers) == 200
        assert at.mesh.session.kinds(CALL_ID) == ["agent_silent"]


@pytest.mark.parametrize("unit", [1, 1000])
async def test_d9_a_proof_of_another_time_is_unauthorised(unit: int) -> None:
    async with edge() as at:
        for off_s in (-310, 310, -86_400):
            assert await status(at, signed_at(time.time() + off_s, unit=unit)) == 401
        assert at.mesh.session.events == []
        assert at.ingress.counters.value(REFUSED, reason="stale") == 3


# --- OAuth2 -----------------------------------------------------------------------------------------------------------


async def ask(
    at: Edge, form: Mapping[str, str], headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, str], dict[str, object]]:
    async with at.provider.http.post(at.url + "/oauth/token", data=dict(form), headers=dict(headers or {})) as answer:
        return answer.status, answer.headers, await answer.json()


async def test_the_token_of_one_ingress_opens_another_and_lasts_over_restarts() -> None:
    settings = {"oauth_client_secrets": "client-secret", "llm_oauth": True}
    async with edge(**settings) as at:
        code, headers, answer = await ask(at, FORM | {"scope": "vapi.webhook"})
        assert (code, headers["Cache-Control"]) == (200, "no-store")
        assert set(answer) == set(sample("auth/oauth2.token-response"))
        assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
        assert at.ingress.counters.value(TOKENS, answer="issued") == 1
    proof = {"Authorization": f"Bearer {answer['access_token']}"}
    async with edge(**settings) as at:
        assert await status(at, proof) == 200
        assert await status(at, proof, b"{}", "/vapi/llm") == 400
    async with edge(oauth_client_secrets="another") as at:
        assert await status(at, proof) == 401
        assert await status(at, proof, b"{}", "/vapi/llm") == 401


async def test_the_request_that_vapi_is_said_to_send_gets_a_token() -> None:
    _, _, body = (SAMPLES / "auth" / "oauth2.token-request.txt").read_bytes().partition(b"\n\n")
    async with edge(oauth_client_secrets="OAUTH_SECRET") as at:
        code, text, _ = await at.provider.post("/oauth/token", body.strip(), {})
        assert (code, json.loads(text)["token_type"]) == (200, "Bearer")


async def test_a_client_may_show_its_secret_by_http_basic() -> None:
    async with edge(oauth_client_secrets="client-secret") as at:
        basic = {"Authorization": "Basic " + base64.b64encode(b"vapi:client-secret").decode()}
        assert (await ask(at, GRANT, basic))[0] == 200
        assert (await ask(at, FORM, basic))[2]["error"] == "invalid_request"


async def test_who_is_no_client_is_told_so_as_the_rfc_has_it() -> None:
    async with edge(oauth_client_secrets="client-secret") as at:
        for form, headers in ((GRANT, {"Authorization": "Basic eDp5"}), (FORM | {"client_secret": "x"}, {}), ({}, {})):
            code, answered, answer = await ask(at, form, headers)
            assert (code, answer["error"]) == (401, "invalid_client")
            assert answered["WWW-Authenticate"].startswith("Basic ")
            assert answered["Cache-Control"] == "no-store"
            assert "client-secret" not in str(answer)
        code, _, answer = await ask(at, FORM | {"grant_type": "password"})
        assert (code, answer["error"]) == (400, "unsupported_grant_type")
        assert at.ingress.counters.value(TOKENS, answer="invalid_client") == 3


async def test_a_form_is_read_only_so_far() -> None:
    async with edge(oauth_client_secrets="client-secret") as at:
        code, _, answer = await ask(at, FORM | {"x": "x" * 20_000})
        assert (code, answer["error"]) == (400, "invalid_request")


async def test_without_a_client_secret_there_is_no_token_endpoint() -> None:
    async with edge() as at:
        assert await status(at, {}, b"grant_type=client_credentials", "/oauth/token") == 404


# --- no proof at all --------------------------------------------------------------------------------------------------


async def test_an_ingress_without_a_secret_says_so_when_it_starts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "voicemesh"):
        async with edge(vapi_secrets="", insecure=True) as at:
            assert await status(at, {}) == 200
            assert await status(at, {}, b"{}", "/vapi/llm") == 400
    warned = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "auth.unsigned"]
    assert warned == [{"endpoints": ["webhook", "llm"]}]


# --- the doctor -------------------------------------------------------------------------------------------------------


async def test_the_doctor_tells_the_log_what_would_match_and_the_sender_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    signature = hmac.digest(SECRET.encode(), b"." + HANG, "sha256").hex()
    async with edge(auth_doctor=True) as at, edge() as off:
        answers = [
            await ingress.provider.post("/vapi/webhook", HANG, {"x-signature": signature}) for ingress in (at, off)
        ]
        assert [answer[:2] for answer in answers] == [(401, '{"error":"the request is not signed as configured"}')] * 2
        assert await status(at, {"api-key": SECRET}, b"{}", "/vapi/llm") == 401
    told = [record for record in caplog.records if record.getMessage().startswith("auth.")]
    assert [record.getMessage() for record in told] == ["auth.format_found", "auth.format_found"]
    webhook, llm = (record.__dict__["fields"] for record in told)
    assert (webhook["endpoint"], webhook["payload_format"], webhook["reason"]) == (
        "webhook",
        ".{body}",
        "bad_timestamp",
    )
    assert (llm["endpoint"], llm["header"]) == ("llm", "api-key")
    assert not any(private in str([webhook, llm]) for private in (SECRET, signature, "hang"))
