"""Single fields of JSON that strangers wrote: the value where it is usable, a plain absence where it is not."""

import re
from datetime import UTC, datetime, timedelta

MAX_NAME_CHARS = 195
"""Of a foreign name: a call id, a turn id, a carrier's id, a reason."""
EARLIEST_MS = 1_000_000_000_000
"""September 2001: a smaller number is not milliseconds since the epoch."""
MAX_DURATION_MS = 7 * 24 * 3_600_000

_VISIBLE = re.compile(rf"[!-~]{{1,{MAX_NAME_CHARS}}}")
_LINE = re.compile(rf"[ -~]{{1,{MAX_NAME_CHARS}}}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LATEST_MS = 253_402_300_799_999
"""The end of the year 9999, where ISO times end."""


def visible(value: object) -> str:
    """Return a name of visible ASCII characters (no space, no control), else ""."""
    return value if isinstance(value, str) and _VISIBLE.fullmatch(value) else ""


def line(value: object) -> str:
    """Return one line of printable ASCII, else ""."""
    return value if isinstance(value, str) and _LINE.fullmatch(value) else ""


def clean(text: str) -> str:
    """Replace lone surrogates: they cannot be written as UTF-8, so they would fail far from here, in a protobuf."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def instant_ms(value: object) -> int | None:
    """Return a time in milliseconds since the epoch, from such a number or from ISO 8601; None where it is absurd."""
    if isinstance(value, str):
        value = _iso_ms(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if EARLIEST_MS <= value <= _LATEST_MS else None


def duration_ms(value: object, *, unit_ms: int) -> int | None:
    """Return a length counted in units of so many milliseconds; None where it is absurd."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return round(value * unit_ms) if 0 <= value <= MAX_DURATION_MS / unit_ms else None


def _iso_ms(text: str) -> int | None:
    """A time without a zone is UTC, as all of Vapi's are."""
    try:
        moment = datetime.fromisoformat(text)
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND
    except ValueError:
        return None
