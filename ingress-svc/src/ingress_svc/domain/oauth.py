"""OAuth 2.0 client credentials (RFC 6749, 4.4): Vapi changes an id and a secret for a bearer token that expires.

A token is the time of its expiry with an HMAC over it, keyed with the client secret. So any replica knows a token of
any other, also after a restart, and a secret that is taken away takes its tokens with it.
"""

import base64
import binascii
import enum
import hmac
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LIFETIME_S = 3600
"""How long a token is valid, unless configured otherwise. Vapi asks for the next one by itself."""
MOST_FORM_BYTES = 16_384
_MOST_FIELDS = 32

_FORM = re.compile(r"vm1\.([0-9]{1,12})\.([0-9a-f]{64})")
"""Expiry in seconds since the epoch, and the HMAC in hex."""
_PURPOSE = b"voicemesh access token 1\0"
_SCOPE = re.compile(r"[!#-\[\]-~]+( [!#-\[\]-~]+)*")


class Token(enum.Enum):
    """What a text is that came in a token's place."""

    VALID = "valid"
    EXPIRED = "expired"
    OF_ANOTHER = "of_another"
    """In a token's form, but of no secret that is active."""
    NONE = "none"


class ErrorCode(enum.StrEnum):
    """RFC 6749, 5.2. Closed set, fit for a counter."""

    INVALID_REQUEST = "invalid_request"
    INVALID_CLIENT = "invalid_client"
    INVALID_SCOPE = "invalid_scope"
    UNSUPPORTED_GRANT_TYPE = "unsupported_grant_type"


class Refused(Exception):
    """No token. The text says why, and nothing of what was sent."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Issued:
    """A token, and for how many seconds it is valid."""

    access_token: str = field(repr=False)
    expires_in_s: int


def keys_of(client_id: str, secrets: Sequence[str]) -> list[bytes]:
    """Return the signing key that belongs to each client secret.

    Not the secret itself: where the same one signs webhooks too, no signature of the one may pass for the other.
    """
    return [hmac.digest(secret.encode(), _PURPOSE + client_id.encode(), "sha256") for secret in secrets]


def judge(keys: Sequence[bytes], text: str, now_s: float) -> Token:
    """Return what ``text`` is."""
    found = _FORM.fullmatch(text)
    if found is None:
        return Token.NONE
    if not any(hmac.compare_digest(found[2], _mac(key, found[1])) for key in keys):
        return Token.OF_ANOTHER
    return Token.VALID if now_s < int(found[1]) else Token.EXPIRED


def _mac(key: bytes, expires_at: str) -> str:
    return hmac.digest(key, expires_at.encode(), "sha256").hex()


class TokenEndpoint:
    """Answers `POST /oauth/token`."""

    def __init__(self, client_id: str, secrets: Sequence[str], *, lifetime_s: int = LIFETIME_S) -> None:
        self._client_id = client_id
        self._secrets = list(secrets)
        self._keys = keys_of(client_id, secrets)
        self._lifetime_s = lifetime_s

    def issue(self, authorization: str, raw: bytes, now_s: float) -> Issued:
        """Return a token for a form whose client has proven itself, in the form or by HTTP Basic. Raises Refused."""
        form = _form(raw)
        if raw and not form:
            raise Refused(ErrorCode.INVALID_REQUEST, "the body must be a form (application/x-www-form-urlencoded)")
        by_basic = authorization[:6].lower() == "basic "
        key = self._key_of_client(form, authorization[6:].strip() if by_basic else "", by_basic=by_basic)
        if (grant := form.get("grant_type")) is None:
            raise Refused(ErrorCode.INVALID_REQUEST, "grant_type is missing; it must be client_credentials")
        if grant != "client_credentials":
            raise Refused(ErrorCode.UNSUPPORTED_GRANT_TYPE, "the only grant_type is client_credentials")
        # Every token opens the same doors, so any scope is granted as it was asked for.
        if "scope" in form and not _SCOPE.fullmatch(form["scope"]):
            raise Refused(ErrorCode.INVALID_SCOPE, "scope must be words of visible ASCII, one space between them")
        expires_at = str(int(now_s) + self._lifetime_s)
        return Issued(f"vm1.{expires_at}.{_mac(key, expires_at)}", self._lifetime_s)

    def _key_of_client(self, form: Mapping[str, str], basic: str, *, by_basic: bool) -> bytes:
        """Return the key of the secret that the client has shown. Its token lives no longer than that secret does."""
        if by_basic and "client_secret" in form:
            raise Refused(ErrorCode.INVALID_REQUEST, "send the client's secret in the form or by HTTP Basic, not both")
        shown = _in_basic(basic) if by_basic else [(form.get("client_id", ""), form.get("client_secret", ""))]
        for client_id, client_secret in shown:
            known = _same(client_id, self._client_id)
            for secret, key in zip(self._secrets, self._keys, strict=True):
                if _same(client_secret, secret) and known:
                    return key
        text = "the client is not known, or its secret is wrong; send client_id and client_secret"
        raise Refused(ErrorCode.INVALID_CLIENT, text)


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), known.encode())


def _form(raw: bytes) -> dict[str, str]:
    """Return the fields of a form; one without a value counts as left out (RFC 6749, 3.2). Raises Refused."""
    try:
        pairs = urllib.parse.parse_qsl(raw.decode("ascii"), errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        text = "the body must be a form (application/x-www-form-urlencoded) in UTF-8"
        raise Refused(ErrorCode.INVALID_REQUEST, text) from None
    form = dict(pairs)
    if len(form) < len(pairs):
        raise Refused(ErrorCode.INVALID_REQUEST, "a field comes more than once")
    return form


def _in_basic(text: str) -> list[tuple[str, str]]:
    """Return what HTTP Basic may say: as many send it, and as the RFC has it, with both halves encoded as in a form."""
    try:
        client_id, colon, secret = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return []
    if not colon:
        return []
    unquoted = (urllib.parse.unquote_plus(client_id), urllib.parse.unquote_plus(secret))
    return [(client_id, secret), unquoted]
