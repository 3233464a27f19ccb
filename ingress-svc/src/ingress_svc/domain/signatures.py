"""Whether a webhook really comes from Vapi: every way in which Vapi can be told to prove it.

Everything is checked over the bytes as received, before anything is parsed. A header may hold anything: what does not
look like a signature is a mismatch, never an exception.
"""

import base64
import binascii
import enum
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

WINDOW_S = 300
"""How far a signed timestamp may be from now, to either side."""
_PLACEHOLDERS = frozenset({"body", "timestamp", "method", "url", "svix-id"})
_ANY_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class MismatchReason(enum.StrEnum):
    """Closed set, fit for a counter. Where several schemes are active, the one that came furthest speaks."""

    MISSING = "missing"
    MALFORMED = "malformed"
    BAD_TIMESTAMP = "bad_timestamp"
    STALE = "stale"
    WRONG = "wrong"


class SignatureMismatch(Exception):
    """The request is not proven to come from Vapi. The text holds neither secret nor signature."""

    def __init__(self, reason: MismatchReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Headers(Protocol):
    """Any mapping whose ``get`` ignores case. Names are asked for in lower case."""

    def get(self, key: str, /) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HmacScheme:
    """A signature over the body: the fields of Vapi's HMAC credential, with its defaults. Raises ValueError.

    ``payload_format`` is the text that is signed; its placeholders are {body} (the raw bytes), {timestamp}, {method},
    {url} and {svix-id} (the value of ``message_id_header``). The timestamp may be in seconds or milliseconds, and is
    held against the window where it is signed.
    """

    name: str = "vapi-default"
    algorithm: str = "sha256"
    signature_header: str = "x-signature"
    timestamp_header: str = "x-timestamp"
    signature_prefix: str = ""
    include_timestamp: bool = True
    payload_format: str = "{timestamp}.{body}"
    message_id_header: str = ""
    encoding: str = "hex"
    secret_is_base64: bool = False

    def __post_init__(self) -> None:
        if self.algorithm not in ("sha256", "sha512", "sha1"):
            raise ValueError(f"{self.name}: algorithm {self.algorithm!r} is none of sha256, sha512, sha1")
        if self.encoding not in ("hex", "base64"):
            raise ValueError(f"{self.name}: encoding {self.encoding!r} is neither hex nor base64")
        if not self.signature_header:
            raise ValueError(f"{self.name}: signature_header is empty; Vapi's default is x-signature")
        placeholders = set(_ANY_PLACEHOLDER.findall(self.payload_format))
        if strange := placeholders - _PLACEHOLDERS:
            raise ValueError(
                f"{self.name}: payload_format has {{{min(strange)}}}; it may have {', '.join(sorted(_PLACEHOLDERS))}"
            )
        if "body" not in placeholders:
            raise ValueError(f"{self.name}: payload_format {self.payload_format!r} does not sign {{body}}")
        if "timestamp" in placeholders and not (self.include_timestamp and self.timestamp_header):
            raise ValueError(
                f"{self.name}: payload_format {self.payload_format!r} signs {{timestamp}}, so include_timestamp must "
                "be true and timestamp_header must name its header"
            )
        if "svix-id" in placeholders and not self.message_id_header:
            raise ValueError(
                f"{self.name}: payload_format signs {{svix-id}}, so message_id_header must name its header"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScheme:
    """The secret itself in a header. ``prefix`` is optional on the wire and compared without case."""

    name: str
    header: str
    prefix: str = ""


Scheme: TypeAlias = HmacScheme | TokenScheme

VAPI_DEFAULT = HmacScheme()
ARTICLE = HmacScheme(
    name="article", signature_header="x-vapi-signature", include_timestamp=False, payload_format="{body}"
)
X_VAPI_SECRET = TokenScheme(name="x-vapi-secret", header="x-vapi-secret")
BEARER = TokenScheme(name="bearer", header="authorization", prefix="Bearer ")
PRESETS: Mapping[str, Scheme] = {scheme.name: scheme for scheme in (VAPI_DEFAULT, ARTICLE, X_VAPI_SECRET, BEARER)}


class Verifier:
    """Accepts what any of the schemes accepts with any of the secrets; several secrets allow for rotation.

    Raises ValueError when there is nothing to check against: an empty secret would accept forgeries.
    """

    def __init__(self, schemes: Sequence[Scheme], secrets: Sequence[str], *, window_s: float = WINDOW_S) -> None:
        if not schemes:
            raise ValueError(f"no signature scheme is active; the presets are {', '.join(PRESETS)}")
        if not secrets:
            raise ValueError("no webhook secret is set; at least one is needed")
        for number, secret in enumerate(secrets, start=1):
            if not secret.strip():
                raise ValueError(f"webhook secret {number} of {len(secrets)} is empty; set it or leave it out")
        self._checks: list[_HmacCheck | _TokenCheck] = [
            _HmacCheck(scheme, secrets, window_s) if isinstance(scheme, HmacScheme) else _TokenCheck(scheme, secrets)
            for scheme in schemes
        ]
        self._signs_url = any(isinstance(scheme, HmacScheme) and "{url}" in scheme.payload_format for scheme in schemes)

    @property
    def signs_url(self) -> bool:
        """Whether any scheme looks at the URL."""
        return self._signs_url

    def verify(self, headers: Headers, *, method: str, url: str, body: bytes, now_s: float) -> None:
        """Return when the request is proven, else raise SignatureMismatch.

        ``url`` is the public one, as configured at Vapi; it may be empty unless `signs_url`.
        """
        furthest: SignatureMismatch | None = None
        for check in self._checks:
            mismatch = check.mismatch(headers, method=method, url=url, body=body, now_s=now_s)
            if mismatch is None:
                return
            if furthest is None or _RANK[mismatch.reason] > _RANK[furthest.reason]:
                furthest = mismatch
        if furthest is None or furthest.reason is MismatchReason.MISSING:
            furthest = SignatureMismatch(MismatchReason.MISSING, self._missing())
        raise furthest

    def _missing(self) -> str:
        return f"the request has no {' or '.join(dict.fromkeys(check.header for check in self._checks))} header"


_RANK = {reason: rank for rank, reason in enumerate(MismatchReason)}
_TIMESTAMP = re.compile(r"[0-9]{1,16}")
_MESSAGE_ID = re.compile(r"[!-~]{1,256}")
_FIRST_MS = 100_000_000_000
"""A timestamp above it is in milliseconds: as seconds it would lie in the year 5138."""


class _HmacCheck:
    def __init__(self, scheme: HmacScheme, secrets: Sequence[str], window_s: float) -> None:
        self.header = scheme.signature_header.lower()
        self._scheme = scheme
        self._window_s = window_s
        # Odd places are placeholders, even ones the literal text between them.
        self._parts = [part.encode() for part in _ANY_PLACEHOLDER.split(scheme.payload_format)]
        self._signs_timestamp = b"timestamp" in self._parts[1::2]
        self._signs_message_id = b"svix-id" in self._parts[1::2]
        self._signs_request = not {b"method", b"url"}.isdisjoint(self._parts[1::2])
        # Keyed once: each request copies the state and pays for its own bytes only.
        self._keyed = [hmac.new(_key(scheme, secret), digestmod=scheme.algorithm) for secret in secrets]
        self._pattern = _signature_pattern(scheme)

    def mismatch(
        self, headers: Headers, *, method: str, url: str, body: bytes, now_s: float
    ) -> SignatureMismatch | None:
        value = headers.get(self.header)
        if not value:
            return SignatureMismatch(MismatchReason.MISSING, f"the request has no {self.header} header")
        prefix = self._scheme.signature_prefix
        if not value.startswith(prefix) or not self._pattern.fullmatch(value, len(prefix)):
            return SignatureMismatch(MismatchReason.MALFORMED, f"{self.header} is not {self._wanted()}")
        signed: dict[bytes, bytes] = {b"body": body}
        if self._signs_timestamp:
            timestamp = headers.get(self._scheme.timestamp_header.lower()) or ""
            if (stale := self._stale(timestamp, now_s)) is not None:
                return stale
            signed[b"timestamp"] = timestamp.encode()
        if self._signs_message_id:
            message_id = headers.get(self._scheme.message_id_header.lower()) or ""
            if not _MESSAGE_ID.fullmatch(message_id):
                text = f"{self._scheme.message_id_header} must hold 1 to 256 visible ASCII characters"
                return SignatureMismatch(MismatchReason.MALFORMED, text)
            signed[b"svix-id"] = message_id.encode()
        if self._signs_request:
            signed[b"method"] = method.encode("utf-8", "replace")
            signed[b"url"] = url.encode("utf-8", "replace")
        if self._matches(self._given(value[len(prefix) :]), signed):
            return None
        return SignatureMismatch(
            MismatchReason.WRONG, f"the request does not match {self.header} ({self._scheme.name}, {len(body):,} bytes)"
        )

    def _wanted(self) -> str:
        scheme = self._scheme
        behind = f" behind {scheme.signature_prefix!r}" if scheme.signature_prefix else ""
        return f"the {scheme.encoding} text of one {scheme.algorithm} digest{behind}"

    def _given(self, text: str) -> bytes:
        return (text.lower() if self._scheme.encoding == "hex" else text).encode()

    def _stale(self, timestamp: str, now_s: float) -> SignatureMismatch | None:
        header = self._scheme.timestamp_header.lower()
        if not _TIMESTAMP.fullmatch(timestamp):
            text = f"{header} must hold seconds or milliseconds since the epoch"
            return SignatureMismatch(MismatchReason.BAD_TIMESTAMP, text)
        at = int(timestamp)
        off_s = abs(now_s - (at / 1000 if at > _FIRST_MS else at))
        if off_s <= self._window_s:
            return None
        text = f"{header} is {off_s:,.0f} s from now; at most {self._window_s:g} s are right"
        return SignatureMismatch(MismatchReason.STALE, text)

    def _matches(self, given: bytes, signed: Mapping[bytes, bytes]) -> bool:
        for keyed in self._keyed:
            mac = keyed.copy()
            for index, part in enumerate(self._parts):
                mac.update(signed[part] if index % 2 else part)
            expected = mac.hexdigest().encode() if self._scheme.encoding == "hex" else base64.b64encode(mac.digest())
            if hmac.compare_digest(given, expected):
                return True
        return False


def _signature_pattern(scheme: HmacScheme) -> re.Pattern[str]:
    digest_bytes = hashlib.new(scheme.algorithm).digest_size
    if scheme.encoding == "hex":
        return re.compile(rf"[0-9a-fA-F]{{{2 * digest_bytes}}}")
    padding = -digest_bytes % 3
    return re.compile(rf"[A-Za-z0-9+/]{{{4 * ((digest_bytes + padding) // 3) - padding}}}={{{padding}}}")


def _key(scheme: HmacScheme, secret: str) -> bytes:
    if not scheme.secret_is_base64:
        return secret.encode()
    try:
        key = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError(f"{scheme.name}: secret_is_base64 is set, and a webhook secret is not base64")
    return key


class _TokenCheck:
    def __init__(self, scheme: TokenScheme, secrets: Sequence[str]) -> None:
        self.header = scheme.header.lower()
        self._prefix = scheme.prefix.lower()
        for number, secret in enumerate(secrets, start=1):
            if not (secret.isascii() and secret.isprintable() and secret == secret.strip()):
                raise ValueError(
                    f"{scheme.name}: webhook secret {number} of {len(secrets)} cannot travel in a header; "
                    "use printable ASCII without spaces at its ends"
                )
        self._secrets = [secret.encode() for secret in secrets]

    def mismatch(
        self, headers: Headers, *, method: str, url: str, body: bytes, now_s: float
    ) -> SignatureMismatch | None:
        value = (headers.get(self.header) or "").strip()
        if self._prefix and value[: len(self._prefix)].lower() == self._prefix:
            value = value[len(self._prefix) :].strip()
        if not value:
            return SignatureMismatch(MismatchReason.MISSING, f"the request has no {self.header} header")
        if not value.isascii():
            return SignatureMismatch(MismatchReason.MALFORMED, f"{self.header} is not ASCII")
        given = value.encode()
        if any(len(given) == len(secret) and hmac.compare_digest(given, secret) for secret in self._secrets):
            return None
        return SignatureMismatch(MismatchReason.WRONG, f"{self.header} holds none of the active secrets")
