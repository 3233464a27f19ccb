from __future__ import annotations

import pytest
from svc_runtime.listen import is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_a_loopback_address_is_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example.com", "127.0.0.1.example.com", "[::1]"]
)
def test_nothing_else_is(host: str) -> None:
    assert not is_loopback(host)
