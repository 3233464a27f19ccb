"""OAuth2 client credentials: who gets a token, and which tokens hold."""

from __future__ import annotations

import base64
import hmac
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingress_svc.domain.oauth import ErrorCode, Refused, Token, TokenEndpoint, judge, keys_of
from ingress_svc.domain.schemes import PRESETS, Credential, OAuthScheme
from ingress_svc.domain.signatures import MismatchReason, SignatureMismatch, Verifier

NOW_S = 1_787_428_812.5
SECRET = "client-secret"
FORM = {"grant_type": "client_credentials", "client_id": "vapi", "client_secret": SECRET}
GRANT = {"grant_type": "client_credentials"}


def ask(form: dict[str, str] | bytes = FORM, authorization: str = "", *, secrets: tuple[str, ...] = (SECRET,)) -> str:
    """Return the token that one ingress gives."""
    raw = form if isinstance(form, bytes) else urllib.parse.urlencode(form).encode()
    return TokenEndpoint("vapi", secrets).issue(authorization, raw, NOW_S).access_token


def refusal(form: dict[str, str] | bytes = FORM, authorization: str = "") -> ErrorCode:
    with pytest.raises(Refused) as caught:
        ask(form, authorization)
    assert SECRET not in str(caught.value)
    return caught.value.code


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def judged(token: str, *, secrets: tuple[str, ...] = (SECRET,), client_id: str = "vapi", now_s: float = NOW_S) -> Token:
    """Judge a token at another ingress, which shares nothing with the first but its settings."""
    return judge(keys_of(client_id, secrets), token, now_s)


# --- who gets a token -------------------------------------------------------------------------------------------------


def test_a_client_may_prove_itself_in_the_form_or_by_http_basic() -> None:
    assert judged(ask()) is Token.VALID
    assert judged(ask(GRANT, basic("vapi", SECRET))) is Token.VALID
    assert judged(ask(GRANT | {"client_id": "vapi"}, basic("vapi", SECRET))) is Token.VALID


@given(st.text(min_size=1).filter(str.strip))
def test_a_secret_of_any_characters_holds_in_either_way_and_in_either_spelling_of_basic(secret: str) -> None:
    quoted = urllib.parse.quote_plus(secret)
    for form, authorization in (
        (FORM | {"client_secret": secret}, ""),
        (GRANT, basic("vapi", secret)),
        (GRANT, basic("vapi", quoted)),
    ):
        assert judged(ask(form, authorization, secrets=(secret,)), secrets=(secret,)) is Token.VALID


def test_a_scope_is_granted_as_it_was_asked_for_and_a_broken_one_refused() -> None:
    assert judged(ask(FORM | {"scope": "vapi.webhook other:thing"})) is Token.VALID
    assert judged(ask(FORM | {"scope": ""})) is Token.VALID
    for scope in (" ", "a  b", 'a"b', "a\\b", "é"):
        assert refusal(FORM | {"scope": scope}) is ErrorCode.INVALID_SCOPE


@pytest.mark.parametrize(
    ("form", "authorization"),
    [
        ({}, ""),
        (GRANT, ""),
        (FORM | {"client_secret": "wrong"}, ""),
        (FORM | {"client_id": "wrong"}, ""),
        (FORM | {"client_id": "é"}, ""),
        (FORM | {"client_secret": ""}, ""),
        (GRANT, basic("vapi", "wrong")),
        (GRANT, basic("wrong", SECRET)),
        (GRANT, "Basic"),
        (GRANT, "Basic !!!"),
        (GRANT, "Basic " + base64.b64encode(b"vapi").decode()),
        (GRANT, "Basic " + base64.b64encode(b"\xff:\xff").decode()),
        (GRANT, f"Bearer {SECRET}"),
        (GRANT, "\udce9"),
    ],
)
def test_a_client_that_is_not_known_is_an_invalid_client(form: dict[str, str], authorization: str) -> None:
    assert refusal(form, authorization) is ErrorCode.INVALID_CLIENT


def test_what_else_is_wrong_has_its_code() -> None:
    del (without := dict(FORM))["grant_type"]
    assert refusal(without) is ErrorCode.INVALID_REQUEST
    assert refusal(FORM | {"grant_type": "password"}) is ErrorCode.UNSUPPORTED_GRANT_TYPE
    assert refusal(FORM, basic("vapi", SECRET)) is ErrorCode.INVALID_REQUEST
    twice = urllib.parse.urlencode(FORM).encode() + b"&grant_type=client_credentials"
    assert refusal(twice) is ErrorCode.INVALID_REQUEST
    assert refusal(b"a=1&" * 50 + twice) is ErrorCode.INVALID_REQUEST


@given(st.binary(max_size=200), st.text(max_size=60))
def test_whatever_is_sent_is_a_refusal_and_nothing_else(raw: bytes, authorization: str) -> None:
    for text in (authorization, f"Basic {authorization}"):
        with pytest.raises(Refused):
            ask(raw, text)


# --- which tokens hold ------------------------------------------------------------------------------------------------


def test_a_token_holds_at_every_ingress_until_its_time_is_over() -> None:
    token = ask()
    assert judged(token, now_s=NOW_S + 3598) is Token.VALID
    assert judged(token, now_s=NOW_S + 3600) is Token.EXPIRED
    short = TokenEndpoint("vapi", [SECRET], lifetime_s=60).issue("", urllib.parse.urlencode(FORM).encode(), NOW_S)
    assert judged(short.access_token, now_s=NOW_S + 60) is Token.EXPIRED


def test_a_token_lives_as_long_as_the_secret_that_was_shown_for_it() -> None:
    old, new = (ask(FORM | {"client_secret": secret}, secrets=("old", "new")) for secret in ("old", "new"))
    for token in (old, new):
        assert judged(token, secrets=("old", "new")) is Token.VALID
    assert judged(old, secrets=("new",)) is Token.OF_ANOTHER
    assert judged(new, secrets=("new",)) is Token.VALID


def test_a_token_of_another_secret_or_client_or_with_another_time_is_refused() -> None:
    token = ask()
    assert judged(token, secrets=("other",)) is Token.OF_ANOTHER
    assert judged(token, client_id="other") is Token.OF_ANOTHER
    mark, expires_at, mac = token.split(".")
    assert judged(f"{mark}.{int(expires_at) + 1}.{mac}") is Token.OF_ANOTHER
    assert judged(f"{mark}.0{expires_at}.{mac}") is Token.OF_ANOTHER
    for text in ("", SECRET, token[:-1], token + "0", token.upper(), f"{mark}.{expires_at}.{mac[:-1]}é", "１" * 80):
        assert judged(text) is Token.NONE


@given(st.text(max_size=100))
def test_no_text_is_a_token_by_chance(text: str) -> None:
    assert judged(text) is not Token.VALID


# --- as a bearer ------------------------------------------------------------------------------------------------------


def bearer(authorization: str, now_s: float = NOW_S) -> MismatchReason | None:
    verifier = Verifier([Credential(OAuthScheme(), (SECRET,))])
    try:
        verifier.verify({"authorization": authorization}, method="POST", url="", body=b"{}", now_s=now_s)
    except SignatureMismatch as mismatch:
        return mismatch.reason
    return None


def test_a_token_is_a_bearer_and_the_client_secret_is_none() -> None:
    token = ask()
    assert bearer(f"Bearer {token}") is bearer(f"bearer  {token}") is bearer(token) is None
    assert bearer("") is MismatchReason.MISSING
    assert bearer(f"Bearer {SECRET}") is MismatchReason.MALFORMED
    assert bearer(f"Bearer {token}", NOW_S + 3600) is MismatchReason.EXPIRED
    assert bearer(f"Bearer {ask(FORM | {'client_secret': 'x'}, secrets=('x',))}") is MismatchReason.WRONG


def test_a_webhook_signed_with_the_same_secret_is_no_token() -> None:
    """The key of tokens is derived, so what is signed for one purpose proves nothing for the other."""
    expires_at = str(int(NOW_S) + 3600)
    signature = hmac.digest(SECRET.encode(), expires_at.encode(), "sha256").hex()
    assert judged(f"vm1.{expires_at}.{signature}") is Token.OF_ANOTHER


def test_an_expired_token_is_told_apart_from_one_that_nobody_knows() -> None:
    verifier = Verifier(
        [Credential(PRESETS["bearer"], ("other",)), Credential(OAuthScheme(client_id="voicemesh"), ("client-secret",))]
    )
    issued = TokenEndpoint("voicemesh", ["client-secret"], lifetime_s=60).issue(
        "", b"grant_type=client_credentials&client_id=voicemesh&client_secret=client-secret", 1_000.0
    )
    headers = {"authorization": f"Bearer {issued.access_token}"}
    with pytest.raises(SignatureMismatch) as caught:
        verifier.verify(headers, method="POST", url="http://x/", body=b"", now_s=2_000.0)
    assert caught.value.reason is MismatchReason.EXPIRED
