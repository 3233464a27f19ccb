"""Whether a webhook really comes from Vapi: every way in which Vapi can be told to prove it.

Everything is checked over the bytes as received, before anything is parsed. A header may hold anything: what does not
look like a signature is a mismatch, never an exception.
"""

import base64
import enum
import hashlib
import re
from collections.abc import Iterable, Sequence
from hmac import compare_digest
from typing import Protocol

from ingress_svc.domain import oauth
from ingress_svc.domain.schemes import ANY_PLACEHOLDER, Credential, HmacScheme, OAuthScheme, TokenScheme, key_of

WINDOW_S = 300
"""How far a signed timestamp may be from now, to either side."""


class MismatchReason(enum.StrEnum):
    """Closed set, fit for a counter. Where several schemes are active, the one that came furthest speaks."""

    MISSING = "missing"
    MALFORMED = "malformed"
    BAD_TIMESTAMP = "bad_timestamp"
    STALE = "stale"
    WRONG = "wrong"
    EXPIRED = "expired"
    """A token that we did give out, which says more than that no other scheme knows it."""


class SignatureMismatch(Exception):
    """The request is not proven to come from Vapi. The text holds neither secret nor signature."""

    def __init__(self, reason: MismatchReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Headers(Protocol):
    """Any mapping whose ``get`` ignores case. Names are asked for in lower case."""

    def get(self, key: str, /) -> str | None: ...

    def items(self) -> Iterable[tuple[str, str]]: ...


class Verifier:
    """Accepts what any of the credentials accepts, the first one soonest.

    Raises ValueError when there is nothing to check against.
    ``public_url`` is where Vapi reaches us (scheme and host), for schemes that sign the URL; by default, what the
    request says of itself.
    """

    def __init__(self, credentials: Sequence[Credential], *, window_s: float = WINDOW_S, public_url: str = "") -> None:
        if not credentials:
            raise ValueError("no way to prove a request is active")
        self._checks = [_check(credential, window_s, public_url.rstrip("/")) for credential in credentials]

    def verify(self, headers: Headers, *, method: str, url: str, body: bytes, now_s: float) -> None:
        """Return when the request is proven, else raise SignatureMismatch. ``url`` is the whole one, http://host/…"""
        for check in self._checks:
            if check.accepts(headers, method, url, body, now_s):
                return
        found = [check.mismatch(headers, body, now_s) for check in self._checks]
        furthest = max(found, key=lambda mismatch: _RANK[mismatch.reason])
        if furthest.reason is MismatchReason.MISSING:
            names = " or ".join(dict.fromkeys(check.header for check in self._checks))
            furthest = SignatureMismatch(MismatchReason.MISSING, f"the request has no {names} header")
        raise furthest


class Unsigned:
    """In a verifier's place where nothing has to be proven."""

    def verify(self, headers: Headers, *, method: str, url: str, body: bytes, now_s: float) -> None:
        """Return."""


_RANK = {reason: rank for rank, reason in enumerate(MismatchReason)}
_TIMESTAMP = re.compile(r"[0-9]{1,16}")
_MESSAGE_ID = re.compile(r"[!-~]{1,256}")
FIRST_MS = 100_000_000_000
"""A timestamp above it is in milliseconds: as seconds it would lie in the year 5138."""


class _Check(Protocol):
    header: str

    def accepts(self, headers: Headers, method: str, url: str, body: bytes, now_s: float) -> bool:
        """Return whether the request is proven. Every event waits for this."""

    def mismatch(self, headers: Headers, body: bytes, now_s: float) -> SignatureMismatch:
        """Return why the request was not accepted."""


def _check(credential: Credential, window_s: float, public_url: str) -> _Check:
    match credential.scheme:
        case HmacScheme():
            return _HmacCheck(credential.scheme, credential.secrets, window_s, public_url)
        case TokenScheme():
            return _TokenCheck(credential.scheme, credential.secrets)
        case OAuthScheme():
            return _OAuthCheck(credential.scheme, credential.secrets)


def _missing(header: str) -> SignatureMismatch:
    return SignatureMismatch(MismatchReason.MISSING, f"the request has no {header} header")


class _HmacCheck:
    def __init__(self, scheme: HmacScheme, secrets: Sequence[str], window_s: float, public_url: str) -> None:
        self.header = scheme.signature_header.lower()
        self._scheme = scheme
        self._window_s = window_s
        self._public_url = public_url
        self._timestamp_header = scheme.timestamp_header.lower()
        self._message_id_header = scheme.message_id_header.lower()
        # What is signed before {body} and what behind it: each a format of bytes, with the names of its values.
        before, _, behind = scheme.payload_format.partition("{body}")
        self._before, self._before_names = _compiled(before)
        self._behind, self._behind_names = _compiled(behind)
        names = {*self._before_names, *self._behind_names}
        self._signs_timestamp = "timestamp" in names
        self._signs_message_id = "svix-id" in names
        # Vapi's default and the article's format, without the names of all that other formats may sign.
        self._is_plain = names <= {"timestamp"} and len(self._before_names) < 2 and not behind
        self._is_hex = scheme.encoding == "hex"
        self._pattern = _signature_pattern(scheme)
        self._prefix = scheme.signature_prefix
        self._chars = len(self._prefix) + _text_chars(scheme)
        # Keyed once: each request copies the states and pays for its own bytes only.
        self._keyed = [_keyed(scheme, secret) for secret in secrets]

    def accepts(self, headers: Headers, method: str, url: str, body: bytes, now_s: float) -> bool:
        value = headers.get(self.header)
        if not value or len(value) != self._chars or not value.isascii() or not value.startswith(self._prefix):
            return False
        timestamp = (headers.get(self._timestamp_header) or "") if self._signs_timestamp else ""
        if self._signs_timestamp and not self._is_fresh(timestamp, now_s):
            return False
        given = value[len(self._prefix) :] if self._prefix else value
        if self._is_hex:
            given = given.lower()
        if self._is_plain:
            before = self._before % (timestamp.encode() if self._signs_timestamp else ())
            return self._matches(given, before, body, b"")
        message_id = (headers.get(self._message_id_header) or "") if self._signs_message_id else ""
        if self._signs_message_id and not _MESSAGE_ID.fullmatch(message_id):
            return False
        signed = {
            "body": body,
            "timestamp": timestamp.encode(),
            "svix-id": message_id.encode(),
            "method": method.encode("utf-8", "replace"),
            "url": self._url(url).encode("utf-8", "replace"),
        }
        before = self._before % tuple(signed[name] for name in self._before_names)
        behind = self._behind % tuple(signed[name] for name in self._behind_names)
        return self._matches(given, before, body, behind)

    def _url(self, url: str) -> str:
        return at_public_url(self._public_url, url) if self._public_url else url

    def _matches(self, given: str, before: bytes, body: bytes, behind: bytes) -> bool:
        for inner, outer in self._keyed:
            mac = inner.copy()
            mac.update(before)
            mac.update(body)
            if behind:
                mac.update(behind)
            whole = outer.copy()
            whole.update(mac.digest())
            expected = whole.hexdigest() if self._is_hex else base64.b64encode(whole.digest()).decode()
            if compare_digest(given, expected):
                return True
        return False

    def _is_fresh(self, timestamp: str, now_s: float) -> bool:
        if not _TIMESTAMP.fullmatch(timestamp):
            return False
        return self._off_s(timestamp, now_s) <= self._window_s

    def _off_s(self, timestamp: str, now_s: float) -> float:
        at = int(timestamp)
        return abs(now_s - (at / 1000 if at > FIRST_MS else at))

    def mismatch(self, headers: Headers, body: bytes, now_s: float) -> SignatureMismatch:
        value = headers.get(self.header)
        if not value:
            return _missing(self.header)
        if not value.startswith(self._prefix) or not self._pattern.fullmatch(value, len(self._prefix)):
            return SignatureMismatch(MismatchReason.MALFORMED, f"{self.header} is not {self._wanted()}")
        if self._signs_timestamp:
            timestamp = headers.get(self._timestamp_header) or ""
            if not _TIMESTAMP.fullmatch(timestamp):
                text = f"{self._timestamp_header} must hold seconds or milliseconds since the epoch"
                return SignatureMismatch(MismatchReason.BAD_TIMESTAMP, text)
            off_s = self._off_s(timestamp, now_s)
            if off_s > self._window_s:
                text = f"{self._timestamp_header} is {off_s:,.0f} s from now; at most {self._window_s:g} s are right"
                return SignatureMismatch(MismatchReason.STALE, text)
        if self._signs_message_id and not _MESSAGE_ID.fullmatch(headers.get(self._message_id_header) or ""):
            text = f"{self._scheme.message_id_header} must hold 1 to 256 visible ASCII characters"
            return SignatureMismatch(MismatchReason.MALFORMED, text)
        return SignatureMismatch(
            MismatchReason.WRONG, f"the request does not match {self.header} ({self._scheme.name}, {len(body):,} bytes)"
        )

    def _wanted(self) -> str:
        scheme = self._scheme
        behind = f" behind {scheme.signature_prefix!r}" if scheme.signature_prefix else ""
        return f"the {scheme.encoding} text of one {scheme.algorithm} digest{behind}"


def _compiled(text: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a part of a payload format as a format of bytes, and the names of what is put in."""
    # Odd places are placeholders, even ones the literal text between them.
    parts = ANY_PLACEHOLDER.split(text)
    return b"%b".join(literal.replace("%", "%%").encode() for literal in parts[::2]), tuple(parts[1::2])


def _text_chars(scheme: HmacScheme) -> int:
    digest_bytes = hashlib.new(scheme.algorithm).digest_size
    return 2 * digest_bytes if scheme.encoding == "hex" else (digest_bytes + 2) // 3 * 4


def _signature_pattern(scheme: HmacScheme) -> re.Pattern[str]:
    chars = _text_chars(scheme)
    if scheme.encoding == "hex":
        return re.compile(rf"[0-9a-fA-F]{{{chars}}}")
    padding = -hashlib.new(scheme.algorithm).digest_size % 3
    return re.compile(rf"[A-Za-z0-9+/]{{{chars - padding}}}={{{padding}}}")


def _keyed(scheme: HmacScheme, secret: str) -> "tuple[hashlib._Hash, hashlib._Hash]":
    """Return the two halves of an HMAC (RFC 2104) with the key in them.

    By hand, because a copy of the standard library's HMAC object costs each event half as much again.
    """
    blank = hashlib.new(scheme.algorithm)
    key = key_of(secret, is_base64=scheme.secret_is_base64)
    if len(key) > blank.block_size:
        key = hashlib.new(scheme.algorithm, key).digest()
    key = key.ljust(blank.block_size, b"\0")
    inner, outer = blank.copy(), blank.copy()
    inner.update(bytes(byte ^ 0x36 for byte in key))
    outer.update(bytes(byte ^ 0x5C for byte in key))
    return inner, outer


class _TokenCheck:
    def __init__(self, scheme: TokenScheme, secrets: Sequence[str]) -> None:
        self.header = scheme.header.lower()
        self._prefix = scheme.prefix.lower()
        self._secrets = [secret.encode() for secret in secrets]

    def accepts(self, headers: Headers, method: str, url: str, body: bytes, now_s: float) -> bool:
        value = headers.get(self.header)
        if not value or not value.isascii():
            return False
        given = without_prefix(value, self._prefix).encode()
        return any(compare_digest(given, secret) for secret in self._secrets)

    def mismatch(self, headers: Headers, body: bytes, now_s: float) -> SignatureMismatch:
        value = without_prefix(headers.get(self.header) or "", self._prefix)
        if not value:
            return _missing(self.header)
        if not value.isascii():
            return SignatureMismatch(MismatchReason.MALFORMED, f"{self.header} is not ASCII")
        return SignatureMismatch(MismatchReason.WRONG, f"{self.header} holds none of the active secrets")


class _OAuthCheck:
    header = "authorization"

    def __init__(self, scheme: OAuthScheme, secrets: Sequence[str]) -> None:
        self._keys = oauth.keys_of(scheme.client_id, secrets)

    def accepts(self, headers: Headers, method: str, url: str, body: bytes, now_s: float) -> bool:
        value = headers.get(self.header)
        return (
            bool(value) and oauth.judge(self._keys, without_prefix(value or "", "bearer "), now_s) is oauth.Token.VALID
        )

    def mismatch(self, headers: Headers, body: bytes, now_s: float) -> SignatureMismatch:
        value = without_prefix(headers.get(self.header) or "", "bearer ")
        if not value:
            return _missing(self.header)
        match oauth.judge(self._keys, value, now_s):
            case oauth.Token.EXPIRED:
                return SignatureMismatch(
                    MismatchReason.EXPIRED, "the token has expired; POST /oauth/token gives another"
                )
            case oauth.Token.OF_ANOTHER:
                text = "the token was made with none of the active client secrets"
                return SignatureMismatch(MismatchReason.WRONG, text)
        return SignatureMismatch(MismatchReason.MALFORMED, f"{self.header} is no token of ours")


def at_public_url(public_url: str, url: str) -> str:
    """Return ``url`` as whoever sent it to ``public_url`` (scheme and host) has written it."""
    return public_url + url[url.find("/", len("https://")) :]


def without_prefix(value: str, prefix: str) -> str:
    """Return a token without the prefix (in lower case) that it may have in any case."""
    value = value.strip()
    return value[len(prefix) :].strip() if prefix and value[: len(prefix)].lower() == prefix else value
