"""Which control URLs may be called, and which addresses behind them."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from fakes.vapi_samples import sample
from hypothesis import example, given
from hypothesis import strategies as st
from ingress_svc.domain.control_url import (
    MAX_URL_CHARS,
    ControlUrl,
    UrlRefusal,
    allowed_hosts,
    may_connect,
    sent_control_url,
)
from yarl import URL

VAPI = allowed_hosts([".vapi.ai"])
LOCAL = allowed_hosts([".vapi.ai", "127.0.0.1:9000", "localhost"])
REAL = sample("custom_llm/request")["call"]["monitor"]["controlUrl"]


def refusal(value: object, allowed: object = VAPI) -> UrlRefusal | None:
    read = ControlUrl.read(value, allowed)  # type: ignore[arg-type]
    return read if isinstance(read, UrlRefusal) else None


@pytest.mark.parametrize(
    "url",
    [
        REAL,
        "https://vapi.ai/c/control",
        "https://a.vapi.ai:443/c/control",
        "https://A.VAPI.AI/c/control",
        "https://a.vapi.ai/c/control?token=x%20y",
        "https://a.vapi.ai/c@d:1/control",
    ],
)
def test_a_plain_https_url_below_an_allowed_name_may_be_called(url: str) -> None:
    read = ControlUrl.read(url, VAPI)
    assert isinstance(read, ControlUrl)
    assert read.value == url
    assert read.host == URL(url).host


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (None, UrlRefusal.NOT_TEXT),
        (7, UrlRefusal.NOT_TEXT),
        ({"url": REAL}, UrlRefusal.NOT_TEXT),
        ("", UrlRefusal.MALFORMED),
        ("https://a.vapi.ai/" + "x" * MAX_URL_CHARS, UrlRefusal.TOO_LONG),
        # another host that looks like it
        ("https://evil-vapi.ai/c", UrlRefusal.HOST),
        ("https://evilvapi.ai/c", UrlRefusal.HOST),
        ("https://vapi.ai.evil.com/c", UrlRefusal.HOST),
        ("https://a.vapi.ai-evil.com/c", UrlRefusal.HOST),
        ("https://vapi.aı/c", UrlRefusal.MALFORMED),
        ("https://a.vаpi.ai/c", UrlRefusal.MALFORMED),
        ("https://a.vapi.ai。evil.com/c", UrlRefusal.MALFORMED),
        ("https://xn--vpi-5cd.ai/c", UrlRefusal.HOST),
        ("https://a.vapi.ai\u2044evil.com/c", UrlRefusal.MALFORMED),
        # a host that parsers see differently
        ("https://a.vapi.ai@evil.com/c", UrlRefusal.MALFORMED),
        ("https://evil.com@a.vapi.ai/c", UrlRefusal.MALFORMED),
        ("https://user:pass@a.vapi.ai/c", UrlRefusal.MALFORMED),
        ("https://evil.com\\@a.vapi.ai/c", UrlRefusal.MALFORMED),
        ("https://evil.com\\.vapi.ai/c", UrlRefusal.MALFORMED),
        ("https:\\\\a.vapi.ai\\c", UrlRefusal.MALFORMED),
        ("https://evil.com#.vapi.ai/c", UrlRefusal.MALFORMED),
        ("https://evil.com?.vapi.ai/c", UrlRefusal.MALFORMED),
        ("https://evil.com/.vapi.ai/c", UrlRefusal.HOST),
        ("https://evil.com%2f.vapi.ai/c", UrlRefusal.MALFORMED),
        ("https:///a.vapi.ai/c", UrlRefusal.MALFORMED),
        ("https:a.vapi.ai/c", UrlRefusal.MALFORMED),
        ("//a.vapi.ai/c", UrlRefusal.MALFORMED),
        # not the plain form
        ("https://a.vapi.ai./c", UrlRefusal.MALFORMED),
        ("https://a..vapi.ai/c", UrlRefusal.MALFORMED),
        ("https://.vapi.ai/c", UrlRefusal.MALFORMED),
        ("https://-a.vapi.ai/c", UrlRefusal.MALFORMED),
        ("https://a_b.vapi.ai/c", UrlRefusal.MALFORMED),
        (f"https://{'a' * 64}.vapi.ai/c", UrlRefusal.MALFORMED),
        (f"https://{'a.' * 130}vapi.ai/c", UrlRefusal.MALFORMED),
        ("https://a.vapi.ai", UrlRefusal.MALFORMED),
        ("https://a.vapi.ai/c#f", UrlRefusal.MALFORMED),
        ("https://a.vapi.ai/c d", UrlRefusal.MALFORMED),
        (" https://a.vapi.ai/c", UrlRefusal.MALFORMED),
        ("https://a.vapi.ai/c\n", UrlRefusal.MALFORMED),
        ("https://a.vapi.ai/c\r\nX: y", UrlRefusal.MALFORMED),
        ("https://a.vapi.ai\t/c", UrlRefusal.MALFORMED),
        ("https://a.vapi.ai/\x00", UrlRefusal.MALFORMED),
        ("https://a.vapi.ai/\ud800", UrlRefusal.MALFORMED),
        # addresses
        ("https://[::1]/c", UrlRefusal.MALFORMED),
        ("https://[::ffff:127.0.0.1]/c", UrlRefusal.MALFORMED),
        ("https://127.0.0.1/c", UrlRefusal.HOST),
        ("https://127.1/c", UrlRefusal.HOST),
        ("https://2130706433/c", UrlRefusal.HOST),
        ("https://0x7f.0.0.1/c", UrlRefusal.HOST),
        ("https://169.254.169.254/latest/meta-data", UrlRefusal.HOST),
        # other doors
        ("http://a.vapi.ai/c", UrlRefusal.NOT_HTTPS),
        ("http://a.vapi.ai:443/c", UrlRefusal.NOT_HTTPS),
        ("HTTPS://a.vapi.ai/c", UrlRefusal.MALFORMED),
        ("wss://a.vapi.ai/c", UrlRefusal.MALFORMED),
        ("file:///etc/passwd", UrlRefusal.MALFORMED),
        ("https://a.vapi.ai:80/c", UrlRefusal.PORT),
        ("https://a.vapi.ai:8443/c", UrlRefusal.PORT),
        ("https://a.vapi.ai:0/c", UrlRefusal.PORT),
        ("https://a.vapi.ai:99999/c", UrlRefusal.PORT),
        ("https://a.vapi.ai:/c", UrlRefusal.MALFORMED),
        ("https://a.vapi.ai:４４３/c", UrlRefusal.MALFORMED),
        ("https://a.vapi.ai:+443/c", UrlRefusal.MALFORMED),
    ],
)
def test_any_other_url_is_refused_with_a_reason(url: object, why: UrlRefusal) -> None:
    assert refusal(url) is why
    assert refusal(url, allowed_hosts([])) is not None


def test_loopback_is_called_only_where_it_is_allowed_by_name_and_port() -> None:
    assert refusal("http://127.0.0.1:9000/c/control", LOCAL) is None
    assert refusal("http://127.0.0.1:9001/c/control", LOCAL) is UrlRefusal.PORT
    assert refusal("http://localhost:1234/c/control", LOCAL) is None
    assert refusal("http://localhost/c/control", LOCAL) is None
    assert refusal("http://localhost:0/c/control", LOCAL) is UrlRefusal.PORT
    assert refusal("http://a.localhost/c/control", LOCAL) is UrlRefusal.HOST
    assert refusal("http://127.0.0.2:9000/c/control", LOCAL) is UrlRefusal.HOST
    assert refusal("http://a.vapi.ai/c/control", LOCAL) is UrlRefusal.NOT_HTTPS
    assert refusal(REAL, LOCAL) is None


def test_a_name_without_a_dot_before_it_is_that_host_only() -> None:
    one = allowed_hosts(["Control.Vapi.ai"])
    assert refusal("https://control.vapi.ai/c", one) is None
    assert refusal("https://a.control.vapi.ai/c", one) is UrlRefusal.HOST
    assert refusal(REAL, allowed_hosts([])) is UrlRefusal.HOST


@pytest.mark.parametrize(
    "entry",
    ["", ".", ".ai", "ai", "*.vapi.ai", "https://vapi.ai", "vapi.ai/", "vapi.ai:443", "10.0.0.1", "127.0.0.2",
     ".1.2.3.4", "[::1]", "vapi .ai", "vapi.ai.", ".localhost", ".127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "host"],
)  # fmt: skip
def test_an_entry_that_would_allow_too_much_or_nothing_is_an_error_that_names_it(entry: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        allowed_hosts([".vapi.ai", entry])
    assert repr(entry) in str(caught.value)


def test_what_is_printed_of_a_control_url_does_not_show_it() -> None:
    url = ControlUrl.read(REAL, VAPI)
    assert isinstance(url, ControlUrl)
    for printed in (repr(url), str(url), f"{url}", repr([url])):
        assert "vapi" not in printed
        assert "control\n" not in printed
        assert REAL.split("/")[3] not in printed


PIECES = st.sampled_from(
    ["https://", "http://", "a.", "vapi.ai", ".vapi.ai", "evil.com", "@", ":", "443", "80", "/", "\\", "#", "?", "%",
     "[", "]", "::1", ".", "..", "-", "xn--", "\t", "\n", " ", "。", "ｖ", "control", "127.0.0.1", "localhost", "\x00"]
)  # fmt: skip


@given(st.lists(PIECES | st.characters(codec=None), max_size=12).map("".join) | st.text())
@example("https://a.vapi.ai/\\")
def test_every_parser_sees_the_host_that_was_allowed(value: str) -> None:
    read = ControlUrl.read(value, VAPI)
    if isinstance(read, ControlUrl):
        split, url = urlsplit(value), URL(value, encoded=True)
        for host in (read.host, split.hostname, url.host):
            assert host is not None
            assert host == "vapi.ai" or host.endswith(".vapi.ai")
        assert split.scheme == url.scheme == "https"
        assert (split.port or 443) == url.port == 443
        assert (split.username, split.fragment, url.user, url.fragment) == (None, "", None, "")
        assert str(url).lower() == value.lower()


@pytest.mark.parametrize(
    ("call", "sent"),
    [
        ({"monitor": {"controlUrl": REAL}}, REAL),
        ({}, ""),
        ({"monitor": None}, ""),
        ({"monitor": [REAL]}, ""),
        ({"monitor": {}}, ""),
        ({"monitor": {"controlUrl": None}}, ""),
        ({"monitor": {"controlUrl": {"a": 1}}}, ""),
    ],
)
def test_a_control_url_is_read_leniently_and_checked_later(call: dict[str, object], sent: str) -> None:
    assert sent_control_url(call) == sent


def test_a_control_url_of_any_length_costs_little_and_reads_as_too_long() -> None:
    sent = sent_control_url({"monitor": {"controlUrl": "https://a.vapi.ai/" + "x" * 100_000}})
    assert len(sent) == MAX_URL_CHARS + 1
    assert refusal(sent) is UrlRefusal.TOO_LONG


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "44.238.177.138", "2606:4700:4700::1111", "2a00:1450:4001::1", "64:ff9b::101:101"]
)
def test_a_public_address_may_be_connected_to(address: str) -> None:
    assert may_connect(address, host="a.vapi.ai")
    assert not may_connect(address, host="localhost")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
     "169.254.0.1", "100.64.0.1", "100.100.100.200", "100.127.255.255", "192.0.0.192", "192.0.2.1", "198.18.0.1",
     "198.51.100.1", "203.0.113.1", "192.88.99.1", "168.63.129.16", "224.0.0.1", "239.255.255.250", "240.0.0.1",
     "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:1.1.1.1", "::127.0.0.1", "fe80::1", "fe80::1%eth0",
     "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "2001::1", "2002:7f00:1::", "3fff::1",
     "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2606:4700::1%1", "", "localhost", "1", "127.1",
     "01.1.1.1"],
)  # fmt: skip
def test_no_other_address_may(address: str) -> None:
    assert not may_connect(address, host="a.vapi.ai")


@pytest.mark.parametrize(
    ("address", "may"),
    [("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("10.0.0.1", False), ("169.254.169.254", False),
     ("::", False), ("0.0.0.0", False)],
)  # fmt: skip
def test_a_loopback_name_leads_to_loopback_only(address: str, may: bool) -> None:
    assert may_connect(address, host="localhost") is may
