import base64
import hashlib
import hmac
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from fakes.vapi_samples import sample
from hypothesis import given
from hypothesis import strategies as st
from ingress_svc.domain.schemes import (
    ARTICLE,
    BEARER,
    GITHUB_STYLE,
    PRESETS,
    SVIX,
    UNASKED,
    VAPI_DEFAULT,
    X_VAPI_SECRET,
    Credential,
    HmacScheme,
    TokenScheme,
)
from ingress_svc.domain.signatures import MismatchReason, SignatureMismatch, Verifier

VECTORS = sample("auth/vectors")
NOW_S = 1787428812.5
BODY = b'{"message":{"type":"hang","call":{"id":"a"}}}'
SECRET = "test-secret"
BASE64_SECRET = base64.b64encode(SECRET.encode()).decode()
URL = "https://voice.example.com/vapi/webhook"
CONFIG_NAMES = {
    "algorithm": "algorithm",
    "signatureHeader": "signature_header",
    "signaturePrefix": "signature_prefix",
    "payloadFormat": "payload_format",
    "includeTimestamp": "include_timestamp",
}


Scheme = HmacScheme | TokenScheme


class Headers(dict[str, str]):
    """Header names in any case, as HTTP has them."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})

    def get(self, key: str, default: Any = None, /) -> Any:
        return super().get(key.lower(), default)


def verifier_of(schemes: Iterable[Scheme], *secrets: str) -> Verifier:
    return Verifier([Credential(scheme, tuple(map(secret_for(scheme), secrets or (SECRET,)))) for scheme in schemes])


def secret_for(scheme: Scheme) -> Callable[[str], str]:
    """A secret as the scheme wants it: what is signed with is the same for all."""
    is_base64 = isinstance(scheme, HmacScheme) and scheme.secret_is_base64
    return lambda secret: base64.b64encode(secret.encode()).decode() if is_base64 else secret


def verify(
    scheme: Scheme,
    headers: Mapping[str, str],
    body: bytes = BODY,
    *,
    secrets: tuple[str, ...] = (SECRET,),
    now_s: float = NOW_S,
    url: str = URL,
) -> None:
    verifier_of([scheme], *secrets).verify(Headers(headers), method="POST", url=url, body=body, now_s=now_s)


def refusal(
    scheme: Scheme, headers: Mapping[str, str], body: bytes = BODY, *, now_s: float = NOW_S, url: str = URL
) -> MismatchReason:
    with pytest.raises(SignatureMismatch) as caught:
        verify(scheme, headers, body, now_s=now_s, url=url)
    return caught.value.reason


def sign(scheme: Scheme, body: bytes = BODY, *, secret: str = SECRET, timestamp: str = "1787428812") -> dict[str, str]:
    """Sign as Vapi documents it, by plain concatenation."""
    if isinstance(scheme, TokenScheme):
        return {scheme.header: scheme.prefix + secret}
    payload = scheme.payload_format.encode()
    named = {b"{timestamp}": timestamp.encode(), b"{method}": b"POST", b"{url}": URL.encode(), b"{svix-id}": b"msg_1"}
    for name, value in named.items():
        payload = payload.replace(name, value)
    payload = payload.replace(b"{body}", body)
    digest = hmac.digest(secret.encode(), payload, scheme.algorithm)
    text = digest.hex() if scheme.encoding == "hex" else base64.b64encode(digest).decode()
    headers = {scheme.signature_header: scheme.signature_prefix + text}
    if scheme.message_id_header:
        headers[scheme.message_id_header] = "msg_1"
    return headers | ({scheme.timestamp_header: timestamp} if scheme.include_timestamp else {})


SCHEMES: list[Scheme] = [
    *PRESETS.values(),
    *(
        HmacScheme(
            name=f"{algorithm} {encoding} {prefix}{payload_format}",
            algorithm=algorithm,
            encoding=encoding,
            signature_prefix=prefix,
            payload_format=payload_format,
            message_id_header="svix-id" if "svix" in payload_format else "",
        )
        for algorithm in ("sha1", "sha256", "sha512")
        for encoding in ("hex", "base64")
        for prefix in ("", "v1=")
        for payload_format in ("{body}", "{timestamp}:{body}", "{method} {url}\n{svix-id}.{timestamp}.{body}!")
    ),
]


# --- what is accepted ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["name"])
def test_the_shared_vectors_verify(vector: dict[str, Any]) -> None:
    config = dict(vector["config"])
    secret, preset = config.pop("secret"), config.pop("scheme", None)
    options = {CONFIG_NAMES[name]: value for name, value in config.items()}
    scheme = PRESETS[preset] if preset else HmacScheme(**options)
    body = VECTORS["body_utf8"].encode()
    headers = Headers(vector["headers"])
    verifier_of([scheme], secret).verify(headers, method=VECTORS["method"], url=VECTORS["url"], body=body, now_s=NOW_S)
    with pytest.raises(SignatureMismatch):
        verifier_of([scheme], "another").verify(
            headers, method=VECTORS["method"], url=VECTORS["url"], body=body, now_s=NOW_S
        )


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_d2_each_scheme_accepts_its_own_proof_and_no_others(scheme: Scheme) -> None:
    verify(scheme, sign(scheme))
    for other in SCHEMES:
        if not proves_alike(scheme, other):
            refusal(scheme, sign(scheme) | {header_of(scheme): sign(other)[header_of(other)]})


def header_of(scheme: Scheme) -> str:
    return scheme.header if isinstance(scheme, TokenScheme) else scheme.signature_header


def proves_alike(scheme: Scheme, other: Scheme) -> bool:
    if isinstance(scheme, HmacScheme) and isinstance(other, HmacScheme):
        same = ("algorithm", "encoding", "signature_prefix", "payload_format")
        return all(getattr(scheme, name) == getattr(other, name) for name in same)
    # A token may come with its prefix or without, but the prefix of another scheme is part of the token.
    return other is scheme or (scheme is BEARER and other is X_VAPI_SECRET)


def test_d2_any_active_scheme_may_prove_the_request() -> None:
    verifier = verifier_of(PRESETS.values())
    for scheme in PRESETS.values():
        verifier.verify(Headers(sign(scheme)), method="POST", url=URL, body=BODY, now_s=NOW_S)


def test_a_wrong_proof_under_one_scheme_does_not_hide_a_right_one_under_another() -> None:
    headers = sign(X_VAPI_SECRET) | sign(VAPI_DEFAULT, secret="wrong") | sign(BEARER, secret="wrong")
    verifier_of(PRESETS.values()).verify(Headers(headers), method="POST", url=URL, body=BODY, now_s=NOW_S)


def test_d8_two_secrets_may_be_active_at_once() -> None:
    for scheme in SCHEMES:
        for secret in ("old", "new"):
            verify(scheme, sign(scheme, secret=secret), secrets=("old", "new"))


@pytest.mark.parametrize(
    "authorization", ["Bearer test-secret", "bearer test-secret", "BEARER  test-secret", "test-secret"]
)
def test_a_bearer_token_may_come_bare(authorization: str) -> None:
    verify(BEARER, {"Authorization": authorization})


def test_hex_may_be_upper_case() -> None:
    headers = sign(ARTICLE)
    verify(ARTICLE, {name: value.upper() for name, value in headers.items()})


def test_bytes_that_are_no_text_verify_as_they_came() -> None:
    body = bytes(range(256)) * 4
    verify(VAPI_DEFAULT, sign(VAPI_DEFAULT, body), body)


def test_d4_the_signature_is_over_the_bytes_as_received() -> None:
    variants = [
        b'{"a": "b", "c": 1}',
        b'{"a":"\\u00e9"}',
        '{"a":"é"}'.encode(),
        b'{"a":1.0}',
        b'{"a":12345678901234567890}',
        b'{"b":1,"1":2}',
        b'{"a":"\\/"}',
        b'{"a":1,"a":2}',
        b'{"a":1}\n',
    ]
    for scheme in (VAPI_DEFAULT, ARTICLE):
        for body in variants:
            verify(scheme, sign(scheme, body), body)


@pytest.mark.parametrize("scheme", [VAPI_DEFAULT, ARTICLE], ids=lambda scheme: scheme.name)
def test_d4_one_flipped_byte_anywhere_is_a_mismatch(scheme: HmacScheme) -> None:
    headers = sign(scheme)
    for index in range(len(BODY)):
        for bit in range(8):
            flipped = bytearray(BODY)
            flipped[index] ^= 1 << bit
            assert refusal(scheme, headers, bytes(flipped)) is MismatchReason.WRONG
    for body in (BODY[:-1], BODY + b" ", b""):
        assert refusal(scheme, headers, body) is MismatchReason.WRONG


def test_githubs_own_example_verifies() -> None:
    digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"X-Hub-Signature-256": f"sha256={digest}"}
    verify(GITHUB_STYLE, headers, b"Hello, World!", secrets=("It's a Secret to Everybody",))


def test_svixs_own_example_verifies() -> None:
    headers = {
        "svix-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "svix-timestamp": "1614265330",
        "svix-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    verifier = Verifier([Credential(SVIX, ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",))])
    body = b'{"test": 2432232314}'
    verifier.verify(Headers(headers), method="POST", url=URL, body=body, now_s=1614265330.0)


def test_a_url_is_signed_as_vapi_knows_it_and_not_as_a_proxy_hands_it_on() -> None:
    scheme = HmacScheme(payload_format="{url}{body}")
    verifier = Verifier([Credential(scheme, (SECRET,))], public_url="https://voice.example.com/")
    for inner in ("http://127.0.0.1:8080/vapi/webhook", "https://ingress/vapi/webhook"):
        verifier.verify(Headers(sign(scheme)), method="POST", url=inner, body=BODY, now_s=NOW_S)


@given(st.binary(max_size=300), st.text(min_size=1).filter(str.strip), st.sampled_from(SCHEMES[len(PRESETS) :]))
def test_whatever_is_signed_verifies(body: bytes, secret: str, scheme: HmacScheme) -> None:
    verify(scheme, sign(scheme, body, secret=secret), body, secrets=(secret,))


# --- what is refused -----------------------------------------------------------------------------------------------


def strange_header(dice: random.Random) -> str:
    right = sign(VAPI_DEFAULT)["x-signature"]
    kinds = (
        lambda: "",
        lambda: "abc",
        lambda: f"sha256={right}",
        lambda: right[:-1],
        lambda: right + "0",
        lambda: " " + right,
        lambda: right.translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"}),
        lambda: "".join(dice.choices("0123456789abcdef", k=64)),
        lambda: "".join(dice.choices("0123456789abcdefABCDEF", k=dice.randrange(200))),
        lambda: "".join(map(chr, dice.choices(range(0xD7FF), k=dice.randrange(80)))),
        lambda: "".join(map(chr, dice.choices(range(0xD800, 0xE000), k=64))),
        lambda: base64.b64encode(dice.randbytes(dice.randrange(70))).decode(),
        lambda: "\x00" * dice.randrange(100),
        lambda: "f" * 100_000 if dice.random() < 0.02 else "é" * 64,
    )
    return dice.choice(kinds)()


def test_d3_ten_thousand_strange_signatures_are_mismatches_and_nothing_else() -> None:
    dice = random.Random(3)
    verifier = verifier_of(PRESETS.values(), SECRET, "second")
    names = [
        *("x-signature", "x-timestamp", "x-vapi-signature", "x-vapi-secret", "authorization"),
        *("x-hub-signature-256", "svix-signature", "svix-timestamp", "svix-id"),
    ]
    seen = set()
    for _ in range(10_000):
        headers = {name: strange_header(dice) for name in names if dice.random() < 0.6}
        if dice.random() < 0.5:
            headers["x-timestamp"] = dice.choice(["1787428812", "1787428812000", "1787428800", "0"])
        with pytest.raises(SignatureMismatch) as caught:
            verifier.verify(Headers(headers), method="POST", url=URL, body=BODY, now_s=NOW_S)
        seen.add(caught.value.reason)
    assert seen == set(MismatchReason) - {MismatchReason.EXPIRED}, "that takes a token of ours"


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_d3_no_header_and_an_empty_one_are_the_same(scheme: Scheme) -> None:
    names = sign(scheme)
    assert refusal(scheme, {}) is MismatchReason.MISSING
    assert refusal(scheme, dict.fromkeys(names, "")) is MismatchReason.MISSING


@pytest.mark.parametrize("scheme", [X_VAPI_SECRET, BEARER], ids=lambda scheme: scheme.name)
@pytest.mark.parametrize(
    "token", ["Test-secret", "test-secre", "test-secret2", "test secret", "tést-secret", "\udce9" * 11]
)
def test_a_wrong_token_is_a_mismatch(scheme: TokenScheme, token: str) -> None:
    assert refusal(scheme, {scheme.header: token}) in (MismatchReason.WRONG, MismatchReason.MALFORMED)


def test_a_bearer_without_its_token_is_a_mismatch() -> None:
    assert refusal(BEARER, {"authorization": "Bearer "}) is MismatchReason.WRONG
    assert refusal(BEARER, {"authorization": "Basic dGVzdC1zZWNyZXQ="}) is MismatchReason.WRONG


@pytest.mark.parametrize(("off_s", "accepted"), [(0, True), (-299, True), (299, True), (-301, False), (301, False)])
@pytest.mark.parametrize("unit", [1, 1000])
def test_d9_a_signed_time_is_held_against_the_window(off_s: int, accepted: bool, unit: int) -> None:
    timestamp = str(1787428812 * unit)
    headers = sign(VAPI_DEFAULT, timestamp=timestamp)
    now_s = 1787428812.0 + off_s
    if accepted:
        verify(VAPI_DEFAULT, headers, now_s=now_s)
    else:
        assert refusal(VAPI_DEFAULT, headers, now_s=now_s) is MismatchReason.STALE


def test_d9_the_same_proof_may_come_again_within_the_window() -> None:
    verifier = verifier_of([VAPI_DEFAULT])
    headers = sign(VAPI_DEFAULT, timestamp="1787428812")
    for now_s in (1787428812.0, 1787428812.0, 1787428812.0 + 299):
        verifier.verify(Headers(headers), method="POST", url=URL, body=BODY, now_s=now_s)


def test_d9_the_time_itself_is_signed() -> None:
    headers = sign(VAPI_DEFAULT, timestamp="1787428812") | {"x-timestamp": "1787428813"}
    assert refusal(VAPI_DEFAULT, headers) is MismatchReason.WRONG


@pytest.mark.parametrize(
    "timestamp", ["", "soon", "-1", "1e9", "1787428812.5", "１７８７４２８８１２", "9" * 17, " 1787428812"]
)
def test_a_signed_time_that_is_no_number_is_a_mismatch(timestamp: str) -> None:
    headers = sign(VAPI_DEFAULT) | {"x-timestamp": timestamp}
    assert refusal(VAPI_DEFAULT, headers) is MismatchReason.BAD_TIMESTAMP


def test_a_time_that_is_not_signed_is_not_looked_at() -> None:
    scheme = HmacScheme(payload_format="{body}")
    verify(scheme, sign(scheme) | {"x-timestamp": "0"})
    headers = sign(scheme)
    del headers["x-timestamp"]
    verify(scheme, headers)


def test_method_url_and_message_id_are_part_of_what_is_signed() -> None:
    scheme = HmacScheme(payload_format="{svix-id}{method}{url}{body}", message_id_header="Svix-Id")
    verify(scheme, sign(scheme))
    assert refusal(scheme, sign(scheme), url=URL + "/") is MismatchReason.WRONG
    assert refusal(scheme, sign(scheme), url="\udce9") is MismatchReason.WRONG
    assert refusal(scheme, sign(scheme) | {"Svix-Id": "msg_2"}) is MismatchReason.WRONG
    assert refusal(scheme, sign(scheme) | {"Svix-Id": ""}) is MismatchReason.MALFORMED
    assert refusal(scheme, sign(scheme) | {"Svix-Id": "é"}) is MismatchReason.MALFORMED


def test_a_placeholder_in_what_is_signed_stays_what_it_is() -> None:
    body = b"{timestamp}{url}"
    digest = hmac.new(SECRET.encode(), b"1787428812." + body, hashlib.sha256).hexdigest()
    verify(VAPI_DEFAULT, {"x-signature": digest, "x-timestamp": "1787428812"}, body)


def test_text_around_the_placeholders_is_signed_as_it_stands() -> None:
    scheme = HmacScheme(payload_format="timestamp={timestamp}body{body}body")
    verify(scheme, sign(scheme))
    for payload_format in ("body{body}", "%s{body}%d%%{timestamp}", "{body}{timestamp}{body}%b"):
        plain = HmacScheme(payload_format=payload_format)
        verify(plain, sign(plain))


@pytest.mark.parametrize("prefix", ["", "sha512=", "SHA256=", "sha256", "sha256==", " sha256="])
def test_a_signature_behind_another_prefix_is_a_mismatch(prefix: str) -> None:
    scheme = HmacScheme(signature_prefix="sha256=")
    text = sign(scheme)["x-signature"].removeprefix("sha256=")
    assert refusal(scheme, sign(scheme) | {"x-signature": prefix + text}) is MismatchReason.MALFORMED


def test_the_scheme_that_came_furthest_names_the_reason() -> None:
    verifier = verifier_of(PRESETS.values())
    headers = sign(VAPI_DEFAULT, timestamp="1787420000") | {"x-vapi-signature": "abc"}
    with pytest.raises(SignatureMismatch, match=r"^x-timestamp is 8,812 s from now; at most 300 s are right$"):
        verifier.verify(Headers(headers), method="POST", url=URL, body=BODY, now_s=NOW_S)
    with pytest.raises(SignatureMismatch, match=r"^the request has no x-signature or x-vapi-signature or .* header$"):
        verifier.verify(Headers({}), method="POST", url=URL, body=BODY, now_s=NOW_S)


def test_a_mismatch_tells_neither_secret_nor_signature() -> None:
    for scheme in PRESETS.values():
        headers = sign(scheme, secret="wrong-secret")
        with pytest.raises(SignatureMismatch) as caught:
            verify(scheme, headers)
        assert not any(value in str(caught.value) for value in [SECRET, "wrong-secret", *headers.values()])


# --- construction --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secrets", [(), ("",), ("  ",), ("\n",), ("good", ""), ("good", "\t")])
@pytest.mark.parametrize("scheme", PRESETS.values(), ids=lambda scheme: scheme.name)
def test_d8_an_empty_secret_stops_the_start(scheme: Scheme, secrets: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=rf"^{scheme.name}: (no secret is set|secret \d of \d is empty)"):
        Credential(scheme, secrets)


def test_d8_no_scheme_stops_the_start() -> None:
    with pytest.raises(ValueError, match="no way to prove a request"):
        Verifier([])


def test_what_is_active_unasked_holds_with_any_secret() -> None:
    verifier_of(PRESETS[name] for name in UNASKED)


@pytest.mark.parametrize("secret", ["é", "a\x00b", " padded", "padded\n"])
def test_a_token_that_no_header_can_carry_stops_the_start(secret: str) -> None:
    for scheme in (X_VAPI_SECRET, BEARER):
        with pytest.raises(ValueError, match="cannot travel in a header") as caught:
            Verifier([Credential(scheme, (SECRET, secret))])
        assert secret not in str(caught.value)


@pytest.mark.parametrize("secret", ["not base64!", "abc", "===="])
def test_a_secret_that_should_be_base64_and_is_not_stops_the_start(secret: str) -> None:
    with pytest.raises(ValueError, match="is not base64") as caught:
        Verifier([Credential(HmacScheme(secret_is_base64=True), (secret,))])
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"algorithm": "md5"}, "algorithm 'md5' is none of"),
        ({"encoding": "binary"}, "neither hex nor base64"),
        ({"signature_header": ""}, "signature_header is empty"),
        ({"signature_header": "x signature"}, "'x signature' is not the name of a header"),
        ({"timestamp_header": "zeit:"}, "'zeit:' is not the name of a header"),
        ({"message_id_header": "é"}, "'é' is not the name of a header"),
        ({"payload_format": "{timestamp}"}, r"does not sign \{body\}"),
        ({"payload_format": "{body}{secret}"}, r"has \{secret\}"),
        ({"include_timestamp": False}, "include_timestamp must be true"),
        ({"timestamp_header": ""}, "timestamp_header must name"),
        ({"payload_format": "{svix-id}{body}"}, "message_id_header must name"),
    ],
)
def test_a_scheme_that_could_not_work_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        HmacScheme(**options)
