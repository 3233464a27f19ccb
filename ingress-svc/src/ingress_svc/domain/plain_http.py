"""The head of a plain HTTP/1.1 request: a POST of so many bytes, with nothing that changes how its body is read.

Vapi's webhooks look like that, and reading them this way costs a third of a full HTTP server. Whatever is not plain is
no error here: the full server answers it, and says what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_START = re.compile(rb"POST (\S+) HTTP/1\.1\r\n")
_FIELDS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)+\r\n")
"""Strictly as the standard has it: what two servers might read differently is not for this one."""
_LENGTH = re.compile(r"[0-9]{1,10}")
_SPECIAL = ("transfer-encoding", "expect", "upgrade", "content-encoding")
_KEEPS = frozenset({"", "keep-alive"})


class Head(NamedTuple):
    path: str
    headers: Mapping[str, str]
    """By lower-case name; of several with one name the first."""
    body_bytes: int


def read(head: bytes) -> Head | None:
    """Read a head with the empty line at its end; None where it is not plain."""
    start = _START.match(head)
    if start is None or not _FIELDS.fullmatch(head, start.end()):
        return None
    # As aiohttp decodes them, so that both servers hold the same text against a signature.
    lines = head[start.end() : -4].decode("utf-8", "surrogateescape").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.lower()
        if name not in headers:
            headers[name] = value.strip(" \t")
        elif name in ("content-length", "host"):
            return None
    length = headers.get("content-length", "")
    if not _LENGTH.fullmatch(length) or "host" not in headers:
        return None
    if any(name in headers for name in _SPECIAL) or headers.get("connection", "").lower() not in _KEEPS:
        return None
    return Head(start[1].decode("ascii", "replace"), headers, int(length))
