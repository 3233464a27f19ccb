"""How Vapi is to prove itself to ingress: chosen from what ingress asks for, written as a credential, and imitated."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
from ingress_svc.auth import webhook_credentials
from ingress_svc.config import Config
from ingress_svc.domain.paths import TOKEN_PATH
from ingress_svc.domain.schemes import (
    ANY_PLACEHOLDER,
    BEARER,
    VAPI_DEFAULT,
    X_VAPI_SECRET,
    Credential,
    HmacScheme,
    OAuthScheme,
    Scheme,
    TokenScheme,
    key_of,
)
from svc_runtime.config import ConfigError, is_set, load

from voicemesh_cli.config import SECRET

_WAIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Proof:
    """A way that ingress takes, and the newest of its secrets."""

    scheme: Scheme = VAPI_DEFAULT
    secret: str = field(default="", repr=False)

    @property
    def signs_body(self) -> bool:
        return isinstance(self.scheme, HmacScheme)


class NoProof(Exception):
    """No proof can be had; the message says why."""


def proofs(env: Mapping[str, str], secret_file: str) -> list[Proof]:
    """Return the ways that ingress would take with these settings, the one that it is best asked by first.

    ``secret_file`` holds the webhooks' secret where no setting names one, not even an empty one. A signature says more
    than a token, and what somebody wrote into a file of their own, or a preset besides the usual ones, more than what
    is active unasked.
    Raises ConfigError.
    """
    given = dict(env)
    if secret_file and not is_set(SECRET, env):
        given[f"{SECRET}_FILE"] = secret_file
    return [Proof(one.scheme, one.secrets[0]) for one in ordered(webhook_credentials(load(Config, given)))]


def ordered(credentials: Sequence[Credential]) -> list[Credential]:
    """Return them, the best first."""
    presets = (VAPI_DEFAULT, X_VAPI_SECRET, BEARER)

    def rank(credential: Credential) -> tuple[int, int]:
        scheme = credential.scheme
        if isinstance(scheme, HmacScheme):
            # What stands behind the presets came from a file. The article's own is only there for who has it already.
            return 0, 1 if scheme == VAPI_DEFAULT else 2 if scheme.name == "article" else 0
        if isinstance(scheme, OAuthScheme):
            return 1, 0
        return 2, presets.index(scheme) if scheme in presets else 0

    return sorted(credentials, key=rank)


def chosen(found: Sequence[Proof], name: str) -> Proof:
    """Return the one called ``name``, or the first. Raises ConfigError."""
    named = [proof for proof in found if not name or proof.scheme.name == name]
    if not named:
        known = ", ".join(proof.scheme.name for proof in found)
        raise ConfigError(f"--scheme {name}: ingress takes {known or 'nothing'} with these settings")
    return named[0]


def in_header(found: Iterable[Proof]) -> Proof | None:
    """Return the way that needs no credential at Vapi, only a header of the assistant's server; None for none."""
    return next((proof for proof in found if isinstance(proof.scheme, TokenScheme)), None)


def header_of(proof: Proof) -> tuple[str, str]:
    """Return name and value of the header that such a proof is."""
    assert isinstance(proof.scheme, TokenScheme)
    name = "X-Vapi-Secret" if proof.scheme.header == X_VAPI_SECRET.header else proof.scheme.header
    return name, proof.scheme.prefix + proof.secret


def plan(proof: Proof, url: str) -> dict[str, Any]:
    """Return Vapi's authenticationPlan; ``url`` is where it finds us. Raises NoProof for what Vapi has no field for."""
    scheme = proof.scheme
    if isinstance(scheme, OAuthScheme):
        return {
            "type": "oauth2",
            "url": url + TOKEN_PATH,
            "clientId": scheme.client_id,
            "clientSecret": proof.secret,
        }
    if isinstance(scheme, TokenScheme):
        if scheme.prefix.strip().lower() not in ("", "bearer"):
            raise NoProof(f"a credential of Vapi's writes no prefix {scheme.prefix!r} before its token")
        if scheme == BEARER:
            return {"type": "bearer", "token": proof.secret}
        with_prefix = bool(scheme.prefix.strip())
        name, _ = header_of(proof)
        return {"type": "bearer", "token": proof.secret, "headerName": name, "bearerPrefixEnabled": with_prefix}
    made = {
        "type": "hmac",
        "secretKey": proof.secret,
        "algorithm": scheme.algorithm,
        "signatureHeader": scheme.signature_header,
        "timestampHeader": scheme.timestamp_header,
        "includeTimestamp": scheme.include_timestamp,
        "payloadFormat": scheme.payload_format,
        "signatureEncoding": scheme.encoding,
    }
    # Vapi's default is none of these.
    made |= {"signaturePrefix": scheme.signature_prefix} if scheme.signature_prefix else {}
    made |= {"messageIdHeader": scheme.message_id_header} if scheme.message_id_header else {}
    return made | ({"secretIsBase64": True} if scheme.secret_is_base64 else {})


def by_hand(proof: Proof, url: str) -> str:
    """Return what to enter in Vapi's dashboard, without the secret."""
    try:
        fields = plan(proof, url)
    except NoProof as error:
        return f"{error}; set it as a static header of the server in Vapi's dashboard"
    listed = ", ".join(f"{name} {_word(value)}" for name, value in _open(fields).items())
    return f"make a custom credential in Vapi's dashboard ({listed}) and name it with --credential-id"


def _word(value: object) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def mark_of(proof: Proof, url: str) -> bytes:
    """Return what tells credentials of one secret apart; empty for Vapi's default."""
    if proof.scheme == VAPI_DEFAULT:
        return b""
    return orjson.dumps(_open(plan(proof, url)), option=orjson.OPT_SORT_KEYS)


def _open(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan without its secret."""
    return {name: value for name, value in fields.items() if name not in ("secretKey", "token", "clientSecret")}


async def headers(http: aiohttp.ClientSession, proof: Proof, base: str, url: str, body: bytes) -> dict[str, str]:
    """Return what Vapi would send with ``body`` to ``url``; ``base`` is where it finds us. Raises NoProof."""
    kind = {"Content-Type": "application/json"}
    scheme = proof.scheme
    if isinstance(scheme, OAuthScheme):
        return kind | {"Authorization": f"Bearer {await token(http, proof, base)}"}
    if isinstance(scheme, TokenScheme):
        return kind | dict([header_of(proof)])
    return kind | signed(scheme, proof.secret, url, body)


def signed(scheme: HmacScheme, secret: str, url: str, body: bytes, *, at_ms: int | None = None) -> dict[str, str]:
    """Return the headers of a signature."""
    stamp = str(time.time_ns() // 1_000_000 if at_ms is None else at_ms)
    message_id = f"msg_{secrets.token_hex(8)}"
    parts = {"body": body, "timestamp": stamp.encode(), "method": b"POST", "url": url.encode()}
    parts["svix-id"] = message_id.encode()
    # Odd places are placeholders, even ones the literal text between them.
    pieces = ANY_PLACEHOLDER.split(scheme.payload_format)
    payload = b"".join(parts[piece] if place % 2 else piece.encode() for place, piece in enumerate(pieces))
    digest = hmac.digest(key_of(secret, is_base64=scheme.secret_is_base64), payload, getattr(hashlib, scheme.algorithm))
    text = digest.hex() if scheme.encoding == "hex" else base64.b64encode(digest).decode()
    found = {scheme.signature_header: scheme.signature_prefix + text}
    found |= {scheme.timestamp_header: stamp} if scheme.include_timestamp else {}
    return found | ({scheme.message_id_header: message_id} if scheme.message_id_header else {})


async def token(http: aiohttp.ClientSession, proof: Proof, base: str) -> str:
    """Ask for a token as Vapi does. Raises NoProof."""
    assert isinstance(proof.scheme, OAuthScheme)
    form = {"grant_type": "client_credentials", "client_id": proof.scheme.client_id, "client_secret": proof.secret}
    url = base + TOKEN_PATH
    try:
        timeout = aiohttp.ClientTimeout(total=_WAIT_S)
        async with http.post(url, data=form, timeout=timeout, allow_redirects=False) as response:
            raw = await response.content.read(1 << 16)
            if response.status != 200:
                raise NoProof(f"{url} answers {response.status}, not a token")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NoProof(f"{urlsplit(url).netloc} gives no token ({type(error).__name__})") from error
    try:
        return str(orjson.loads(raw)["access_token"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise NoProof(f"{url} answers 200 without a token") from error
