"""What a request that was refused is signed with after all: for the day on which nothing that Vapi sends is let in.

The candidates are what webhooks are known to be signed with, and Vapi's own format with what its documentation leaves
open: the unit of the timestamp, and what becomes of a {timestamp} that is not sent.
"""

import base64
import hmac
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import NamedTuple

from ingress_svc.domain.schemes import Credential, HmacScheme, OAuthScheme, TokenScheme, key_of
from ingress_svc.domain.signatures import FIRST_MS, at_public_url

AUTH_HEADERS = (
    "authorization",
    "x-vapi-secret",
    "x-vapi-signature",
    "x-signature",
    "x-hub-signature-256",
    "x-hub-signature",
    "x-webhook-signature",
    "webhook-signature",
    "svix-signature",
    "x-timestamp",
    "x-vapi-timestamp",
    "x-webhook-timestamp",
    "webhook-timestamp",
    "svix-timestamp",
    "webhook-id",
    "svix-id",
)
"""Names that may be told although nobody has proven to be Vapi."""
_ID_HEADERS = ("svix-id", "webhook-id", "x-message-id", "x-webhook-id")
_FORMATS = (
    "{timestamp}.{body}",
    "{body}",
    ".{body}",
    "{svix-id}.{timestamp}.{body}",
    "{timestamp}{body}",
    "{timestamp}:{body}",
    "undefined.{body}",
    "null.{body}",
    "v1:{timestamp}:{body}",
    "v0:{timestamp}:{body}",
    "{method}.{url}.{timestamp}.{body}",
    "{method}{url}{timestamp}{body}",
    "{url}.{timestamp}.{body}",
    "{url}{body}",
    "{method}{url}{body}",
    "{body}.{timestamp}",
    "{body}{timestamp}",
)
"""The likely ones first, for there is an end to the work."""
_MOST_TRIES = 2_000
_MOST_HASHED_BYTES = 16_000_000
"""At most some 30 ms (3 ms for what Vapi sends). A body of 18 kB, its smallest, is tried 880 times."""
_MOST_HEADERS = 6
"""Of each kind: what looks like a signature, a timestamp, an id."""

_SHAPES = {
    ("hex", "sha256"): r"[0-9a-fA-F]{64}",
    ("base64", "sha256"): r"[A-Za-z0-9+/]{43}=",
    ("hex", "sha1"): r"[0-9a-fA-F]{40}",
    ("base64", "sha1"): r"[A-Za-z0-9+/]{27}=",
    ("hex", "sha512"): r"[0-9a-fA-F]{128}",
    ("base64", "sha512"): r"[A-Za-z0-9+/]{86}==",
}
_PREFIX = r"([A-Za-z0-9_-]{1,16}[=,: ] ?)?"
_SIGNATURES = [(key, re.compile(f"{_PREFIX}({shape})")) for key, shape in _SHAPES.items()]
_TOKEN = re.compile(r"([A-Za-z]{1,16} )?(\S+)")
_TIME = re.compile(r"[0-9]{10}|[0-9]{13}")


class Match(NamedTuple):
    """A scheme that would have accepted the request, the time aside. Nothing in it is secret."""

    scheme: HmacScheme | TokenScheme
    secret_of: str
    """The active scheme to which the secret belongs."""
    secret_number: int
    timestamp_as: str = ""
    """"sent", or the unit that was signed where the header holds the other."""
    url_as: str = ""
    """"sent", or "https" where we take the request for plain http because a proxy stands in front."""
    off_s: int = 0
    """How far the signed time is from now."""


class Diagnosis(NamedTuple):
    match: Match | None
    """The first that was found."""
    tries: int
    finished: bool
    """False where there was more to try than the work that a request may make."""


@dataclass(frozen=True, slots=True)
class _Secret:
    of: str
    number: int
    text: str
    key: bytes
    is_base64: bool


class _Signature(NamedTuple):
    header: str
    prefix: str
    text: str
    encoding: str
    algorithm: str


class _Stamp(NamedTuple):
    header: str = ""
    text: str = ""
    told_as: str = ""
    off_s: int = 0


class _Id(NamedTuple):
    header: str = ""
    text: str = ""


class _Url(NamedTuple):
    told_as: str = ""
    text: str = ""


class Doctor:
    """Looks for what would have matched, with the secrets that are active."""

    def __init__(self, credentials: Sequence[Credential], *, public_url: str = "") -> None:
        self._secrets = list(_secrets(credentials))
        self._public_url = public_url.rstrip("/")

    def look(
        self, headers: Iterable[tuple[str, str]], *, method: str, url: str, body: bytes, now_s: float
    ) -> Diagnosis:
        """Return the first format that fits. Header names in any case, values as they came."""
        named = [(name.lower(), value) for name, value in headers if value and value.isascii()]
        if (token := self._token(named)) is not None:
            return Diagnosis(token, 0, True)
        tries = 0
        hashed_bytes = 0
        for candidate in self._candidates(named, method, url, now_s):
            if tries == _MOST_TRIES or hashed_bytes + len(body) > _MOST_HASHED_BYTES:
                return Diagnosis(None, tries, False)
            tries += 1
            hashed_bytes += len(body)
            if candidate.fits(body):
                return Diagnosis(candidate.match(), tries, True)
        return Diagnosis(None, tries, True)

    def _token(self, headers: Sequence[tuple[str, str]]) -> Match | None:
        for name, value in headers:
            found = _TOKEN.fullmatch(value.strip())
            for secret in self._secrets if found is not None else ():
                if found is not None and hmac.compare_digest(found[2].encode(), secret.text.encode()):
                    scheme = TokenScheme(name="found", header=name, prefix=found[1] or "")
                    return Match(scheme, secret.of, secret.number)
        return None

    def _candidates(
        self, headers: Sequence[tuple[str, str]], method: str, url: str, now_s: float
    ) -> "Iterator[_Candidate]":
        signatures = list(islice(_signatures(headers), _MOST_HEADERS))
        stamps = list(_stamps(headers, now_s))
        ids = [_Id(name, value) for name, value in headers if name in _ID_HEADERS][:_MOST_HEADERS]
        urls = [_Url("sent", url)]
        if url.startswith("http://"):
            urls.append(_Url("https", "https://" + url.removeprefix("http://")))
        if self._public_url:
            urls.append(_Url("public", at_public_url(self._public_url, url)))
        for payload_format in _FORMATS:
            used = product(
                stamps if "{timestamp}" in payload_format else [_Stamp()],
                ids if "{svix-id}" in payload_format else [_Id()],
                urls if "{url}" in payload_format else [_Url()],
            )
            for stamp, message_id, url_used in used:
                for signature, secret in product(signatures, self._secrets):
                    yield _Candidate(payload_format, signature, secret, stamp, message_id, method, url_used)


class _Candidate(NamedTuple):
    payload_format: str
    signature: _Signature
    secret: _Secret
    stamp: _Stamp
    message_id: _Id
    method: str
    url: _Url

    def fits(self, body: bytes) -> bool:
        before, _, behind = self.payload_format.partition("{body}")
        mac = hmac.new(self.secret.key, self._filled(before), self.signature.algorithm)
        mac.update(body)
        mac.update(self._filled(behind))
        if self.signature.encoding == "hex":
            return hmac.compare_digest(self.signature.text.lower(), mac.hexdigest())
        return hmac.compare_digest(self.signature.text, base64.b64encode(mac.digest()).decode())

    def _filled(self, text: str) -> bytes:
        text = text.replace("{method}", self.method).replace("{timestamp}", self.stamp.text)
        # What the request brings comes last, for it may hold anything.
        text = text.replace("{svix-id}", self.message_id.text).replace("{url}", self.url.text)
        return text.encode("utf-8", "replace")

    def match(self) -> Match:
        scheme = HmacScheme(
            name="found",
            algorithm=self.signature.algorithm,
            signature_header=self.signature.header,
            timestamp_header=self.stamp.header,
            signature_prefix=self.signature.prefix,
            include_timestamp=bool(self.stamp.header),
            payload_format=self.payload_format,
            message_id_header=self.message_id.header,
            encoding=self.signature.encoding,
            secret_is_base64=self.secret.is_base64,
        )
        return Match(scheme, self.secret.of, self.secret.number, self.stamp.told_as, self.url.told_as, self.stamp.off_s)


def _secrets(credentials: Sequence[Credential]) -> Iterator[_Secret]:
    seen = set()
    for credential in credentials:
        if isinstance(credential.scheme, OAuthScheme):
            continue
        for number, text in enumerate(credential.secrets, start=1):
            if text in seen:
                continue
            seen.add(text)
            yield _Secret(credential.scheme.name, number, text, text.encode(), False)
            if key := key_of(text, is_base64=True):
                yield _Secret(credential.scheme.name, number, text, key, True)


def _signatures(headers: Sequence[tuple[str, str]]) -> Iterator[_Signature]:
    for name, value in headers:
        for (encoding, algorithm), pattern in _SIGNATURES:
            if found := pattern.fullmatch(value):
                yield _Signature(name, found[1] or "", found[2], encoding, algorithm)


def _stamps(headers: Sequence[tuple[str, str]], now_s: float) -> Iterator[_Stamp]:
    """Yield each timestamp as it was sent, and in the other unit."""
    times = [(name, value) for name, value in headers if _TIME.fullmatch(value)]
    for name, value in times[:_MOST_HEADERS]:
        at = int(value)
        in_ms = at > FIRST_MS
        off_s = round(abs(now_s - (at / 1000 if in_ms else at)))
        yield _Stamp(name, value, "sent", off_s)
        yield (
            _Stamp(name, value[:-3], "seconds", off_s) if in_ms else _Stamp(name, value + "000", "milliseconds", off_s)
        )
