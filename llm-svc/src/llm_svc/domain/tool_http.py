"""What is sent to the endpoint of a tool, and what its answer means."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, NoReturn

from llm_svc.domain.tools import Ask, Outcome, Reason, failed, returned_json, returned_text

MOST_BODY_BYTES: Final = 131_072
"""Twice the longest result in four-byte characters: enough to tell that it is too long, and no more."""
REPEATABLE: Final = frozenset({429, 502, 503, 504})
"""Answers of an endpoint that is busy or on its way up. The idempotency key makes the repeat safe."""
_MAY_HAVE_ACTED = frozenset({502, 504})
_FIRST_PAUSE_S = 0.2


class Answer(NamedTuple):
    """What an endpoint answered."""

    status: int
    content_type: str = ""
    """Without parameters, in lower case."""
    body: bytes = b""
    """Of a 2xx answer only, and no more of it than `MOST_BODY_BYTES` and one."""
    retry_after: str = ""


def body_of(ask: Ask, arguments: Mapping[str, Any]) -> bytes:
    """Return the body. Raises ValueError for a number that JSON cannot hold."""
    told = {
        "tool": ask.name,
        "arguments": arguments,
        "call_id": ask.call_id,
        "idempotency_key": ask.idempotency_key,
    }
    return json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def headers_of(ask: Ask, body: bytes, *, secret: str, now_s: float) -> dict[str, str]:
    """Return the headers, signed as Vapi signs its webhooks by default: hex HMAC-SHA256 of ``{timestamp}.{body}``.

    So an owner who checks Vapi's signature checks ours with the same code. Without a secret nothing is signed.
    """
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/plain",
        # Not compressed: a bounded read of what may unfold to any size is none.
        "Accept-Encoding": "identity",
        "User-Agent": "voicemesh",
        "Idempotency-Key": ask.idempotency_key,
    }
    if ask.traceparent:
        headers["traceparent"] = ask.traceparent
    if secret:
        timestamp = str(int(now_s))
        signed = timestamp.encode() + b"." + body
        headers["x-timestamp"] = timestamp
        headers["x-signature"] = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return headers


def pause_s(tries: int, retry_after: str = "") -> float:
    """Return how long to wait after so many tries: 0.2 s, 0.4 s and so on, or the seconds that the endpoint names."""
    asked = int(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 6 else 0
    return max(float(asked), _FIRST_PAUSE_S * 2.0 ** (tries - 1))


def outcome_of(answer: Answer, *, tries: int, effect_unknown: bool) -> Outcome:
    """Return what ``answer`` means; ``effect_unknown`` says whether an earlier try may have done its work."""
    status = answer.status
    if not 200 <= status < 300:
        return failed(
            Reason.REFUSED,
            f"The tool refused (HTTP {status}).",
            effect_unknown=effect_unknown or may_have_acted(status),
            http_status=status,
            tries=tries,
        )
    if len(answer.body) > MOST_BODY_BYTES:
        return failed(
            Reason.TOO_LARGE, "The tool has done its work, but its answer is too long.", http_status=status, tries=tries
        )
    if not answer.body.strip():
        return returned_text("", tries=tries)
    try:
        return _read(answer, tries)
    except (ValueError, RecursionError):
        return failed(
            Reason.DEFECT,
            "The tool has done its work, but its answer is neither JSON nor plain text.",
            http_status=status,
            tries=tries,
        )


def may_have_acted(status: int) -> bool:
    """Return whether an endpoint that answers ``status`` may have done its work all the same."""
    return status in _MAY_HAVE_ACTED or (status >= 500 and status not in REPEATABLE)


def _read(answer: Answer, tries: int) -> Outcome:
    if answer.content_type == "text/plain":
        return returned_text(answer.body.decode(), tries=tries)
    if answer.content_type != "application/json" and not answer.content_type.endswith("+json"):
        raise ValueError(answer.content_type)
    value = json.loads(answer.body, parse_constant=_refuse)
    if value is None:
        return returned_text("", tries=tries)
    if isinstance(value, str):
        return returned_text(value, tries=tries)
    # 1e999 is read as infinity, which JSON cannot say.
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return returned_json(text, tries=tries)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
