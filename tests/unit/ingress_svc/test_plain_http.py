"""Which requests are plain enough to be read without a full HTTP server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingress_svc.domain import plain_http

START = b"POST /vapi/webhook HTTP/1.1\r\n"
PLAIN = b"Host: example.org\r\nContent-Length: 12\r\n"


def test_a_plain_post_is_read() -> None:
    head = plain_http.read(START + PLAIN + b"X-Signature:  ab \t\r\nConnection: Keep-Alive\r\n\r\n")
    assert head is not None
    assert (head.path, head.body_bytes) == ("/vapi/webhook", 12)
    assert head.headers["x-signature"] == "ab"


def test_of_two_fields_with_one_name_the_first_counts_as_at_aiohttp() -> None:
    head = plain_http.read(START + PLAIN + b"X-Timestamp: 1\r\nx-timestamp: 2\r\n\r\n")
    assert head is not None
    assert head.headers["x-timestamp"] == "1"


def test_bytes_that_are_no_utf8_stay_what_they_are() -> None:
    head = plain_http.read(START + PLAIN + b"X-Call-Id: \xff\xc3\xa9\r\n\r\n")
    assert head is not None
    assert head.headers["x-call-id"].encode("utf-8", "surrogateescape") == b"\xff\xc3\xa9"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /vapi/webhook HTTP/1.1\r\n" + PLAIN + b"\r\n",
        b"POST /vapi/webhook HTTP/1.0\r\n" + PLAIN + b"\r\n",
        b"POST  /vapi/webhook HTTP/1.1\r\n" + PLAIN + b"\r\n",
        START + b"Host: a\r\n\r\n",
        START + b"Content-Length: 1\r\n\r\n",
        START + b"\r\n",
        START + PLAIN + b"Content-Length: 12\r\n\r\n",
        START + PLAIN + b"content-length: 13\r\n\r\n",
        START + PLAIN + b"Host: b\r\n\r\n",
        START + b"Host: a\r\nContent-Length: +1\r\n\r\n",
        START + b"Host: a\r\nContent-Length: 0x1\r\n\r\n",
        START + b"Host: a\r\nContent-Length: 1, 1\r\n\r\n",
        START + b"Host: a\r\nContent-Length: 99999999999\r\n\r\n",
        START + b"Host: a\r\nContent-Length : 1\r\n\r\n",
        START + b"Host: a\r\nContent-Length: \xd9\xa1\r\n\r\n",
        START + PLAIN + b"Transfer-Encoding: chunked\r\n\r\n",
        START + PLAIN + b"Expect: 100-continue\r\n\r\n",
        START + PLAIN + b"Upgrade: websocket\r\n\r\n",
        START + PLAIN + b"Content-Encoding: gzip\r\n\r\n",
        START + PLAIN + b"Connection: close\r\n\r\n",
        START + PLAIN + b"X: folded\r\n here\r\n\r\n",
        START + PLAIN + b"X: bare\nY: feed\r\n\r\n",
        START + PLAIN + b"X: nul\x00\r\n\r\n",
        START + PLAIN + b": no name\r\n\r\n",
        START + PLAIN + b"no colon\r\n\r\n",
    ],
)
def test_whatever_two_servers_might_read_differently_is_left_to_the_full_one(head: bytes) -> None:
    assert plain_http.read(head) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_left_and_never_an_error(noise: bytes) -> None:
    plain_http.read(noise)
    head = plain_http.read(START + PLAIN + b"X: " + noise + b"\r\n\r\n")
    if head is not None:
        assert head.body_bytes == 12
        assert head.headers["host"] == "example.org"
