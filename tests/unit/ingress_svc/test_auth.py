"""From settings to what proves a request: what starts, what does not, and what it says then."""

from __future__ import annotations

import base64
import hmac
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from ingress_svc.auth import Auth, auth, schemes_of_file
from ingress_svc.config import Config
from ingress_svc.domain.schemes import SVIX, HmacScheme, TokenScheme
from ingress_svc.domain.signatures import SignatureMismatch, Unsigned, Verifier
from svc_runtime.config import ConfigError, load

BODY = b"{}"
NOW_S = 1_787_428_812.5


def configured(**settings: Any) -> Auth:
    return auth(Config(**settings))


def complaint(**settings: Any) -> str:
    with pytest.raises(ConfigError) as raised:
        configured(**settings)
    assert "\n" not in str(raised.value)
    assert "s3cret" not in str(raised.value)
    return str(raised.value)


def accepts(verifier: Verifier | Unsigned, headers: dict[str, str]) -> bool:
    try:
        verifier.verify(headers, method="POST", url="http://x/", body=BODY, now_s=NOW_S)
    except SignatureMismatch:
        return False
    return True


def file_of(tmp_path: Path, text: str) -> str:
    path = tmp_path / "auth.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def hexed(secret: str, payload: bytes = BODY, algorithm: str = "sha256") -> str:
    return hmac.digest(secret.encode(), payload, algorithm).hex()


# --- start-up ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", [{}, {"VOICEMESH_VAPI_SECRET": ""}, {"VOICEMESH_VAPI_SECRET": "  "}])
def test_d8_without_a_secret_nothing_starts_unless_it_is_told_to_on_loopback(env: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"^VOICEMESH_VAPI_SECRET is empty or not set: .*VOICEMESH_INSECURE=on.*$"):
        auth(load(Config, env))
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        made = auth(load(Config, env | {"VOICEMESH_INSECURE": "on", "VOICEMESH_HTTP_HOST": host}))
        assert made.unsigned == ["webhook", "llm"]
        assert accepts(made.webhooks, {})
    for host in ("0.0.0.0", "::", "192.168.1.7", "voice.example.com", "localhost.example.com", ""):
        with pytest.raises(
            ConfigError, match=r"^VOICEMESH_VAPI_SECRET is empty or not set, .* for a loopback address only; .*$"
        ):
            auth(load(Config, env | {"VOICEMESH_INSECURE": "on", "VOICEMESH_HTTP_HOST": host}))


def test_d8_a_secret_that_is_set_is_checked_also_where_none_is_needed() -> None:
    made = configured(insecure=True, vapi_secrets="s3cret")
    assert made.unsigned == []
    assert not accepts(made.webhooks, {})
    assert not accepts(made.llm, {})
    only_llm = configured(insecure=True, llm_keys="s3cret")
    assert only_llm.unsigned == ["webhook"]
    assert not accepts(only_llm.llm, {})
    assert complaint(insecure=True, vapi_secrets="s3cret", vapi_schemes=()).startswith(
        "VOICEMESH_VAPI_SCHEMES names no"
    )


def test_d8_an_empty_one_among_several_stops_the_start() -> None:
    for secrets in ("s3cret,", " , ", ",s3cret", "s3cret,,s3cret2"):
        for settings in (
            {"vapi_secrets": secrets},
            {"vapi_secrets": "x", "llm_keys": secrets},
            {"vapi_secrets": "x", "oauth_client_secrets": secrets},
        ):
            assert " is empty; set it or leave it out" in complaint(**settings, insecure=True)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"vapi_schemes": ("vapi-defualt",)}, "names 'vapi-defualt'; did you mean vapi-default?"),
        ({"vapi_schemes": ("zzz",)}, "names 'zzz'; the presets are vapi-default, article, github-style, svix,"),
        ({"vapi_schemes": ("svix",)}, "VOICEMESH_VAPI_SECRET: svix: secret 1 of 1 is not base64"),
        ({"vapi_secrets": "s3cret é"}, "VOICEMESH_VAPI_SECRET: x-vapi-secret: secret 1 of 1 cannot travel"),
        ({"llm_keys": "s3cret é"}, "VOICEMESH_VAPI_LLM_KEY: bearer: secret 1 of 1 cannot travel"),
        ({"llm_header": "x y"}, "VOICEMESH_VAPI_LLM_HEADER: llm-header: 'x y' is not the name of a header"),
        ({"llm_header": ""}, "VOICEMESH_VAPI_LLM_HEADER: llm-header: header is empty"),
        ({"llm_oauth": True}, "VOICEMESH_VAPI_LLM_OAUTH=on needs VOICEMESH_VAPI_OAUTH_CLIENT_SECRET"),
        ({"oauth_token_s": 0}, "VOICEMESH_VAPI_OAUTH_TOKEN_S=0 is not 1 to 86400 seconds"),
        ({"public_url": "voice.example.com"}, "VOICEMESH_PUBLIC_URL must be a scheme and a host alone"),
        ({"public_url": "https://x.example/vapi"}, "VOICEMESH_PUBLIC_URL must be a scheme and a host alone"),
        ({"vapi_auth_file": "no-such-file.toml"}, "no-such-file.toml: cannot be read"),
    ],
)
def test_a_setting_that_cannot_work_stops_the_start(settings: dict[str, Any], expected: str) -> None:
    assert expected in complaint(**({"vapi_secrets": "s3cret!"} | settings))


# --- webhooks ---------------------------------------------------------------------------------------------------------


def test_presets_that_are_not_named_prove_nothing() -> None:
    hub = {"x-hub-signature-256": "sha256=" + hexed("s3cret")}
    assert not accepts(configured(vapi_secrets="s3cret").webhooks, hub)
    made = configured(vapi_secrets="s3cret", vapi_schemes=("github-style",))
    assert accepts(made.webhooks, hub)
    assert not accepts(made.webhooks, {"x-vapi-secret": "s3cret"})


def test_a_scheme_of_the_file_has_all_fields_of_vapis_credential(tmp_path: Path) -> None:
    (tmp_path / "billing.secret").write_text("bmV3, b2xk\n", encoding="utf-8")
    path = file_of(
        tmp_path,
        """
        [scheme.billing]
        secret_file = "billing.secret"
        algorithm = "sha512"
        signature_header = "X-Billing-Signature"
        timestamp_header = "X-Billing-Time"
        signature_prefix = "v1="
        include_timestamp = true
        payload_format = "{svix-id}/{method}/{timestamp}/{body}"
        message_id_header = "X-Billing-Id"
        signature_encoding = "base64"
        secret_is_base64 = true
        """,
    )
    [(scheme, secrets)] = schemes_of_file(path)
    assert secrets == "bmV3, b2xk"
    assert isinstance(scheme, HmacScheme)
    defaults = HmacScheme(name="billing")
    same = {field.name for field in fields(scheme) if getattr(scheme, field.name) == getattr(defaults, field.name)}
    assert same == {"name", "include_timestamp"}
    made = configured(vapi_auth_file=path, llm_keys="k")
    for key in (b"new", b"old"):
        digest = hmac.digest(key, b"m/POST/1787428812/{}", "sha512")
        headers = {"x-billing-time": "1787428812", "x-billing-id": "m"}
        headers["x-billing-signature"] = "v1=" + base64.b64encode(digest).decode()
        assert accepts(made.webhooks, headers)
        assert not accepts(made.webhooks, headers | {"x-billing-id": "n"})


def test_schemes_of_the_file_stand_beside_the_presets_each_with_its_secret(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("own-secret", encoding="utf-8")
    path = file_of(
        tmp_path,
        """
        [scheme.guide]
        preset = "article"
        signature_prefix = "sha256="
        [scheme.proxy]
        header = "X-Proxy-Key"
        secret_file = "own"
        """,
    )
    made = configured(vapi_secrets="s3cret", vapi_auth_file=path)
    assert accepts(made.webhooks, {"x-vapi-signature": "sha256=" + hexed("s3cret")})
    assert accepts(made.webhooks, {"x-vapi-signature": hexed("s3cret")})
    assert accepts(made.webhooks, {"x-proxy-key": "own-secret"})
    assert not accepts(made.webhooks, {"x-proxy-key": "s3cret"})
    assert not accepts(made.webhooks, {"x-vapi-secret": "own-secret"})
    assert "names no secret_file for guide" in complaint(vapi_auth_file=path)


def test_a_scheme_of_the_file_may_be_any_preset_under_another_name(tmp_path: Path) -> None:
    path = file_of(tmp_path, '[scheme.a]\npreset = "svix"\n[scheme.b]\npreset = "bearer"\nheader = "x-b"\n')
    (svix, _), (bearer, _) = schemes_of_file(path)
    assert svix == HmacScheme(**({f.name: getattr(SVIX, f.name) for f in fields(SVIX)} | {"name": "a"}))
    assert bearer == TokenScheme(name="b", header="x-b", prefix="Bearer ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no scheme; write [scheme.some-name]"),
        ("schema.a = 1", "[schema] is not known; did you mean scheme?"),
        ("scheme = 1", "scheme = 1 is not a table; write [scheme]"),
        (
            "[scheme.a]\nsignatureHeader = 'x'",
            "[scheme.a] signatureHeader is not known; did you mean signature_header?",
        ),
        ("[scheme.a]\nalgorithm = 'md5'", "[scheme.a] algorithm 'md5' is none of sha256, sha512, sha1"),
        ("[scheme.a]\npayload_format = '{ts}'", "[scheme.a] payload_format has {ts}; it may have body, method,"),
        ("[scheme.a]\ninclude_timestamp = 'no'", '[scheme.a] include_timestamp = "no" is not true or false'),
        ("[scheme.a]\npreset = 'seed'", '[scheme.a] preset = "seed" is not one of "vapi-default", "article",'),
        ("[scheme.a]\nheader = 'x y'", "[scheme.a] 'x y' is not the name of a header"),
        ("[scheme.a]\nheader = 'x'\nalgorithm = 'sha1'", "[scheme.a] algorithm is not known"),
        ("[scheme.a]\nsecret = 's3cret'", "[scheme.a] secret is not known; did you mean secret_file?"),
        ("[scheme.a]\nsecret_file = 'none'", "[scheme.a] secret_file cannot be read from"),
        ("[scheme.a]\nsecret_file = 'auth.toml'", "secret_file: a: secret 2 of 3 is empty"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_file_and_key(tmp_path: Path, text: str, problem: str) -> None:
    path = file_of(tmp_path, text + "\n#,,")
    told = complaint(vapi_secrets="x", vapi_auth_file=path)
    assert told.startswith(path)
    assert problem in told


# --- the custom LLM ---------------------------------------------------------------------------------------------------


def test_a_key_of_the_custom_llm_may_come_as_a_bearer_bare_or_in_a_header_of_your_own() -> None:
    made = configured(vapi_secrets="s3cret", llm_keys="k1, k2", llm_header="X-Agent-Key")
    for key in ("k1", "k2"):
        for headers in ({"authorization": f"Bearer {key}"}, {"authorization": key}, {"x-agent-key": key}):
            assert accepts(made.llm, headers)
    for headers in ({"authorization": "Bearer s3cret"}, {"x-vapi-secret": "k1"}, {"x-agent-key": "k3"}, {}):
        assert not accepts(made.llm, headers)


def test_without_a_key_of_its_own_the_custom_llm_takes_the_webhook_secrets() -> None:
    made = configured(vapi_secrets="s3cret")
    for headers in ({"authorization": "Bearer s3cret"}, {"authorization": "s3cret"}, {"x-vapi-secret": "s3cret"}):
        assert accepts(made.llm, headers)


# --- OAuth2 -----------------------------------------------------------------------------------------------------------


def test_tokens_prove_webhooks_and_the_custom_llm_only_where_it_says_so() -> None:
    form = b"grant_type=client_credentials&client_id=vapi&client_secret=s3cret"
    for llm_oauth in (False, True):
        made = configured(oauth_client_secrets="s3cret", llm_keys="k", llm_oauth=llm_oauth)
        assert made.tokens is not None
        token = {"authorization": "Bearer " + made.tokens.issue("", form, NOW_S).access_token}
        assert accepts(made.webhooks, token)
        assert accepts(made.llm, token) is llm_oauth
        assert accepts(made.llm, {"authorization": "k"})
        assert not accepts(made.webhooks, {"authorization": "Bearer s3cret"})


def test_oauth_alone_is_enough_where_both_endpoints_take_its_tokens() -> None:
    assert configured(oauth_client_secrets="s3cret", llm_oauth=True).unsigned == []
    assert complaint(oauth_client_secrets="s3cret").startswith("VOICEMESH_VAPI_LLM_KEY is empty or not set")
    assert configured(vapi_secrets="s3cret").tokens is None
