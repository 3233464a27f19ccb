"""Says in the log with which format a refused request would have matched, for whoever sets up the credential."""

from __future__ import annotations

import time
from collections.abc import Callable

from svc_runtime import logs

from ingress_svc.domain.auth_doctor import AUTH_HEADERS, Doctor, Match
from ingress_svc.domain.schemes import HmacScheme
from ingress_svc.domain.signatures import Headers, SignatureMismatch

_EVERY_S = 1.0
"""The doctor's work is that of a hundred requests, and anybody may ask for it."""


class Refusals:
    """The doctor of one endpoint. Tells names of headers and formats, never a secret, a signature or a body."""

    def __init__(self, doctor: Doctor, *, endpoint: str, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._doctor = doctor
        self._endpoint = endpoint
        self._monotonic_s = monotonic_s
        self._next_s = 0.0

    def look(self, error: SignatureMismatch, headers: Headers, body: bytes, *, url: str, now_s: float) -> None:
        """Log what would have matched, at most once a second."""
        if self._monotonic_s() < self._next_s:
            return
        found = self._doctor.look(headers.items(), method="POST", url=url, body=body, now_s=now_s)
        self._next_s = self._monotonic_s() + _EVERY_S
        present = [name for name in AUTH_HEADERS if headers.get(name)]
        told = {"reason": error.reason.value, "detail": str(error), "present": present}
        # What a terminal's line may cut off stands last.
        if found.match is not None:
            logs.get().warning("auth.format_found", endpoint=self._endpoint, **_fields(found.match), **told)
        else:
            tries = {"tries": found.tries, "finished": found.finished}
            logs.get().warning("auth.format_unknown", endpoint=self._endpoint, **tries, **told)


def _fields(match: Match) -> dict[str, object]:
    """Return what the table of a scheme would have to say, and what no table can."""
    scheme = match.scheme
    fields: dict[str, object] = {"secret_of": match.secret_of, "secret_number": match.secret_number}
    if not isinstance(scheme, HmacScheme):
        return fields | {"header": scheme.header, "prefix": scheme.prefix}
    fields |= {
        "signature_header": scheme.signature_header,
        "signature_prefix": scheme.signature_prefix,
        "algorithm": scheme.algorithm,
        "signature_encoding": scheme.encoding,
        "payload_format": scheme.payload_format,
        "include_timestamp": scheme.include_timestamp,
        "secret_is_base64": scheme.secret_is_base64,
    }
    if scheme.include_timestamp:
        fields |= {"timestamp_header": scheme.timestamp_header, "timestamp_signed_as": match.timestamp_as}
        fields["timestamp_off_s"] = match.off_s
    if scheme.message_id_header:
        fields["message_id_header"] = scheme.message_id_header
    if match.url_as:
        fields["url_signed_as"] = match.url_as
    return fields
