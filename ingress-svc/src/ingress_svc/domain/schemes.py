"""The ways in which Vapi can be told to prove that a request is its own, and what each needs to know."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

_PLACEHOLDERS = frozenset({"body", "timestamp", "method", "url", "svix-id"})
ANY_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")


def _check_header_name(scheme: str, header: str) -> None:
    """Raise ValueError for what HTTP knows as no header's name; an empty one passes, for a header that is not used."""
    if header and not _HEADER_NAME.fullmatch(header):
        raise ValueError(f"{scheme}: {header!r} is not the name of a header, such as x-signature")


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
        for header in (self.signature_header, self.timestamp_header, self.message_id_header):
            _check_header_name(self.name, header)
        placeholders = set(ANY_PLACEHOLDER.findall(self.payload_format))
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
    """The secret itself in a header. ``prefix`` may be left out on the wire; its case is free. Raises ValueError."""

    name: str
    header: str
    prefix: str = ""

    def __post_init__(self) -> None:
        if not self.header:
            raise ValueError(f"{self.name}: header is empty; it names the header that carries the secret")
        _check_header_name(self.name, self.header)


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthScheme:
    """A token of our own token endpoint, as a bearer. The secrets are the client's, not in the header."""

    name: str = "oauth2"
    client_id: str = "vapi"


Scheme: TypeAlias = HmacScheme | TokenScheme | OAuthScheme


@dataclass(frozen=True, slots=True)
class Credential:
    """A scheme and the secrets that are active for it: several allow for rotation.

    Raises ValueError for none, for an empty one, which would accept forgeries, and for one of no use to the scheme.
    """

    scheme: Scheme
    secrets: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.secrets:
            raise ValueError(f"{self.scheme.name}: no secret is set; at least one is needed")
        for number, secret in enumerate(self.secrets, start=1):
            if problem := _problem(self.scheme, secret):
                raise ValueError(f"{self.scheme.name}: secret {number} of {len(self.secrets)} {problem}")


def _problem(scheme: Scheme, secret: str) -> str:
    if not secret.strip():
        return "is empty; set it or leave it out"
    if isinstance(scheme, HmacScheme) and not key_of(secret, is_base64=scheme.secret_is_base64):
        return "is not base64, as secret_is_base64 says"
    if isinstance(scheme, TokenScheme) and not (secret.isascii() and secret.isprintable() and secret == secret.strip()):
        return "cannot travel in a header; use printable ASCII without spaces at its ends"
    return ""


def key_of(secret: str, *, is_base64: bool) -> bytes:
    """Return the bytes of a secret, or none where it is not what it should be. Svix marks its own with ``whsec_``."""
    if not is_base64:
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return b""


VAPI_DEFAULT = HmacScheme()
ARTICLE = HmacScheme(
    name="article", signature_header="x-vapi-signature", include_timestamp=False, payload_format="{body}"
)
GITHUB_STYLE = HmacScheme(
    name="github-style",
    signature_header="x-hub-signature-256",
    signature_prefix="sha256=",
    include_timestamp=False,
    payload_format="{body}",
)
SVIX = HmacScheme(
    name="svix",
    signature_header="svix-signature",
    timestamp_header="svix-timestamp",
    signature_prefix="v1,",
    payload_format="{svix-id}.{timestamp}.{body}",
    message_id_header="svix-id",
    encoding="base64",
    secret_is_base64=True,
)
X_VAPI_SECRET = TokenScheme(name="x-vapi-secret", header="x-vapi-secret")
BEARER = TokenScheme(name="bearer", header="authorization", prefix="Bearer ")
PRESETS: Mapping[str, HmacScheme | TokenScheme] = {
    scheme.name: scheme for scheme in (VAPI_DEFAULT, ARTICLE, GITHUB_STYLE, SVIX, X_VAPI_SECRET, BEARER)
}
UNASKED = ("vapi-default", "article", "x-vapi-secret", "bearer")
"""Active where nobody says otherwise: each holds with any secret, and Vapi's dashboard makes each by itself."""
