"""What the doctor finds, and that it stays within its work."""

from __future__ import annotations

import base64
import hmac
import json
import logging
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingress_svc.adapters.refusals import Refusals
from ingress_svc.domain.auth_doctor import Diagnosis, Doctor, Match
from ingress_svc.domain.schemes import PRESETS, VAPI_DEFAULT, Credential, HmacScheme, OAuthScheme, TokenScheme
from ingress_svc.domain.signatures import MismatchReason, SignatureMismatch, Verifier

NOW_S = 1_787_428_812.5
IN_MS, IN_S = "1787428812249", "1787428812"
SECRET = "c2VjcmV0IG9mIHRoZSB3ZWJob29r"
BODY = b'{"message":{"type":"hang","call":{"id":"a"}}}'
URL = "http://127.0.0.1:8080/vapi/webhook"
DOCTOR = Doctor([Credential(VAPI_DEFAULT, ("another", SECRET)), Credential(OAuthScheme(), ("client-secret",))])


def look(headers: dict[str, str], body: bytes = BODY) -> Diagnosis:
    return DOCTOR.look(headers.items(), method="POST", url=URL, body=body, now_s=NOW_S)


def found(headers: dict[str, str], body: bytes = BODY) -> Match:
    match = look(headers, body).match
    assert match is not None
    assert (match.secret_of, match.secret_number) == ("vapi-default", 2)
    return match


def hexed(payload: bytes, algorithm: str = "sha256", key: bytes = SECRET.encode()) -> str:
    return hmac.digest(key, payload, algorithm).hex()


def scheme_of(match: Match) -> HmacScheme:
    assert isinstance(match.scheme, HmacScheme)
    return match.scheme


@pytest.mark.parametrize(
    ("headers", "payload_format"),
    [
        ({"X-Signature": hexed(BODY)}, "{body}"),
        ({"x-signature": hexed(b"." + BODY), "x-timestamp": IN_MS}, ".{body}"),
        ({"x-signature": hexed(b"undefined." + BODY)}, "undefined.{body}"),
        ({"x-vapi-signature": "sha256=" + hexed(BODY)}, "{body}"),
        ({"x-odd": "v1," + hexed(IN_S.encode() + b"." + BODY), "x-when": IN_S}, "{timestamp}.{body}"),
        ({"x-signature": hexed(BODY + IN_S.encode()), "x-when": IN_S}, "{body}{timestamp}"),
        ({"a": hexed(b"m.1787428812." + BODY), "svix-id": "m", "svix-timestamp": IN_S}, "{svix-id}.{timestamp}.{body}"),
        ({"a": hexed(b"POST" + URL.encode() + BODY)}, "{method}{url}{body}"),
    ],
)
def test_a_signature_over_another_format_is_told_by_its_format(headers: dict[str, str], payload_format: str) -> None:
    assert scheme_of(found(headers)).payload_format == payload_format


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("prefix", ["", "sha=", "v1,"])
def test_algorithm_encoding_and_prefix_are_told(algorithm: str, encoding: str, prefix: str) -> None:
    digest = hmac.digest(SECRET.encode(), BODY, algorithm)
    text = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    scheme = scheme_of(found({"x-signature": prefix + text}))
    assert (scheme.algorithm, scheme.encoding, scheme.signature_prefix) == (algorithm, encoding, prefix)


def test_what_is_found_is_a_scheme_that_accepts_the_request() -> None:
    headers = {"x-odd": "v1," + hexed(IN_S.encode() + b":" + BODY), "x-when": IN_S}
    verifier = Verifier([Credential(found(headers).scheme, (SECRET,))])
    verifier.verify(headers, method="POST", url=URL, body=BODY, now_s=NOW_S)


@pytest.mark.parametrize(
    ("sent", "signed", "told_as"),
    [(IN_MS, IN_MS, "sent"), (IN_MS, IN_S, "seconds"), (IN_S, IN_S + "000", "milliseconds")],
)
def test_the_unit_in_which_the_time_was_signed_is_told(sent: str, signed: str, told_as: str) -> None:
    match = found({"x-signature": hexed(signed.encode() + b"." + BODY), "x-timestamp": sent})
    assert match.timestamp_as == told_as
    assert scheme_of(match).timestamp_header == "x-timestamp"


def test_a_right_signature_of_another_day_is_told_by_how_far_it_is_off() -> None:
    assert found({"x-signature": hexed(b"1787342412." + BODY), "x-timestamp": "1787342412"}).off_s == 86_400


def test_a_url_as_it_was_in_front_of_a_proxy_is_told() -> None:
    match = found({"x-signature": hexed(URL.replace("http:", "https:").encode() + BODY)})
    assert (scheme_of(match).payload_format, match.url_as) == ("{url}{body}", "https")


def test_a_secret_that_was_meant_as_base64_is_told() -> None:
    key = base64.b64decode(SECRET)
    assert scheme_of(found({"x-signature": hexed(BODY, key=key)})).secret_is_base64
    assert not scheme_of(found({"x-signature": hexed(BODY)})).secret_is_base64


@pytest.mark.parametrize(
    ("value", "prefix"), [(SECRET, ""), (f"Bearer {SECRET}", "Bearer "), (f"Token {SECRET}", "Token ")]
)
def test_the_secret_itself_in_another_header_is_told_by_that_header(value: str, prefix: str) -> None:
    assert found({"X-Api-Key": value}).scheme == TokenScheme(name="found", header="x-api-key", prefix=prefix)


def test_what_is_signed_with_an_unknown_secret_is_not_found() -> None:
    for headers in ({"x-signature": hexed(BODY, key=b"foreign"), "x-timestamp": IN_MS}, {}, {"x-signature": "abc"}):
        assert look(headers).match is None
        assert look(headers).finished
    assert look({"authorization": "Bearer client-secret"}).match is None


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=70), max_size=12), st.binary(max_size=50))
def test_whatever_the_headers_hold_it_finds_nothing_and_does_not_fail(headers: dict[str, str], body: bytes) -> None:
    assert look(headers, body).match is None


def test_its_work_has_an_end_whatever_is_sent() -> None:
    headers = {f"x-{number}": hexed(b"%d" % number) for number in range(200)}
    headers |= {f"t-{number}": str(1_787_000_000 + number) for number in range(200)}
    headers |= {"svix-id": "m", "webhook-id": "n"}
    small = look(headers)
    assert (small.match, small.tries, small.finished) == (None, 2_000, False)
    large = look(headers, b"x" * 5_000_000)
    assert (large.match, large.tries, large.finished) == (None, 3, False)
    assert look(headers, b"x" * 20_000_000).tries == 0


# --- what is told -----------------------------------------------------------------------------------------------------


def fields_of(caplog: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, object]]]:
    return [(record.getMessage(), record.__dict__["fields"]) for record in caplog.records]


def test_it_tells_names_and_formats_and_neither_secret_nor_signature_nor_body(caplog: pytest.LogCaptureFixture) -> None:
    now_s = [0.0]
    refusals = Refusals(DOCTOR, endpoint="webhook", monotonic_s=lambda: now_s[0])
    error = SignatureMismatch(MismatchReason.MISSING, "the request has no x-signature header")
    signature = hexed(b"." + BODY)
    for headers in (
        {"x-vapi-signature": signature},
        {"x-vapi-signature": signature[::-1], "authorization": SECRET[1:]},
    ):
        refusals.look(error, headers, BODY, url=URL, now_s=time.time())
        now_s[0] += 1.0
    told, untold = fields_of(caplog)
    assert told == (
        "auth.format_found",
        {
            "endpoint": "webhook",
            "reason": "missing",
            "detail": "the request has no x-signature header",
            "present": ["x-vapi-signature"],
            "secret_of": "vapi-default",
            "secret_number": 2,
            "signature_header": "x-vapi-signature",
            "signature_prefix": "",
            "algorithm": "sha256",
            "signature_encoding": "hex",
            "payload_format": ".{body}",
            "include_timestamp": False,
            "secret_is_base64": False,
        },
    )
    assert untold[0] == "auth.format_unknown"
    assert untold[1]["present"] == ["authorization", "x-vapi-signature"]
    text = json.dumps([told, untold])
    assert not any(private in text for private in (SECRET, SECRET[1:], signature, signature[::-1], "hang"))


def test_it_looks_once_a_second_however_much_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    now_s = [0.0]
    refusals = Refusals(DOCTOR, endpoint="llm", monotonic_s=lambda: now_s[0])
    error = SignatureMismatch(MismatchReason.WRONG, "wrong")
    with caplog.at_level(logging.WARNING, "voicemesh"):
        for _ in range(300):
            refusals.look(error, {"authorization": "Bearer x"}, BODY, url=URL, now_s=NOW_S)
            now_s[0] += 0.01
    assert len(fields_of(caplog)) == 3


def test_every_preset_is_something_that_it_would_find() -> None:
    for scheme in PRESETS.values():
        if isinstance(scheme, TokenScheme):
            continue
        payload = scheme.payload_format.encode().replace(b"{timestamp}", IN_S.encode()).replace(b"{svix-id}", b"m")
        key = base64.b64decode(SECRET) if scheme.secret_is_base64 else SECRET.encode()
        digest = hmac.digest(key, payload.replace(b"{body}", BODY), scheme.algorithm)
        text = digest.hex() if scheme.encoding == "hex" else base64.b64encode(digest).decode()
        headers = {scheme.signature_header: scheme.signature_prefix + text}
        if scheme.include_timestamp:
            headers[scheme.timestamp_header] = IN_S
        if scheme.message_id_header:
            headers[scheme.message_id_header] = "m"
        match = scheme_of(found(headers))
        assert match.payload_format == scheme.payload_format
        assert match.secret_is_base64 == scheme.secret_is_base64
