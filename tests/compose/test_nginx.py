"""What nginx does, and does not do, to what passes through it: deploy/nginx.conf in front of servers of the test."""

from __future__ import annotations

import hashlib
import json
import random
import time
import urllib.request
from collections.abc import Iterator

import aiohttp
import pytest
from compose.stack import Stack, stack
from docker.models.containers import Container
from yarl import URL

SIGNED = {"x-vapi-signature": "AbC", "X-Call-Id": "call-1", "Content-Type": "application/json"}


def count(house: Stack, server: Container) -> int:
    """Return how many requests have reached a server."""
    with urllib.request.urlopen(f"http://{house.address(server)}:8080/count", timeout=5) as answer:
        return int(json.loads(answer.read())["requests"])


@pytest.fixture
def front(built: None, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """nginx as in the stack, with servers of the test behind it: `param` is how many, and what they do."""
    many, mode = getattr(request, "param", (1, "echo"))
    with stack("front", "upstream.yaml", UPSTREAM=mode) as house:
        house.compose("up", "-d", "--no-deps", "--scale", f"ingress-svc={many}", "ingress-svc")
        house.until(lambda: not house.unready(), 30.0)
        house.compose("up", "-d", "--no-deps", "--scale", f"ingress-svc={many}", "ingress-svc", "nginx")
        house.until(lambda: not house.unready(), 30.0)
        yield house


async def test_bytes_headers_sockets_and_tokens_pass_untouched(front: Stack) -> None:
    async with aiohttp.ClientSession(front.url) as http:
        for size in (0, 1, 18_000, 1_500_000, 8_000_000):
            body = random.Random(size).randbytes(size)
            url = URL(f"{front.url}/vapi/webhook?a=%2F%20b", encoded=True)
            async with http.post(url, data=body, headers=SIGNED) as answer:
                came = await answer.json()
            assert came["sha256"] == hashlib.sha256(body).hexdigest()
            assert came["path"] == "/vapi/webhook?a=%2F%20b"
            assert {name.lower(): value for name, value in SIGNED.items()}.items() <= came["headers"].items()
            assert came["headers"]["host"] == front.url.removeprefix("http://")
        async with http.post("/vapi/webhook", data=bytes(9_000_000)) as answer:
            assert answer.status == 413
        async with http.ws_connect("/twilio/media") as socket:
            for text in ("abc", "x" * 100_000):
                await socket.send_str(text)
                assert (await socket.receive()).data == text[::-1]
        began_s, arrived = time.monotonic(), []
        async with http.get("/drip") as answer:
            async for _ in answer.content.iter_any():
                arrived.append(time.monotonic() - began_s)
        assert len(arrived) >= 8, "pieces came together"
        assert arrived[0] < 0.3


@pytest.mark.parametrize("front", [(2, "hangs_up")], indirect=True)
async def test_a_post_that_was_sent_is_never_sent_again(front: Stack) -> None:
    async with aiohttp.ClientSession(front.url) as http, http.post("/vapi/webhook", data=b"{}") as answer:
        assert answer.status == 502
    assert sum(count(front, one) for one in front.containers("ingress-svc")) == 1


@pytest.mark.parametrize("front", [(2, "echo")], indirect=True)
async def test_a_replica_that_cannot_be_reached_costs_no_request(front: Stack) -> None:
    gone, stays = front.containers("ingress-svc")
    gone.stop(timeout=0)
    async with aiohttp.ClientSession(front.url) as http:
        for number in range(40):
            headers = {"X-Call-Id": str(number)}
            async with http.post("/vapi/webhook", data=b"{}", headers=headers) as answer:
                assert answer.status == 200
    assert count(front, stays) == 40


@pytest.mark.parametrize("front", [(2, "echo")], indirect=True)
async def test_a_call_stays_with_one_replica(front: Stack) -> None:
    servers = front.containers("ingress-svc")
    async with aiohttp.ClientSession(front.url) as http:
        for _ in range(20):
            await http.post("/vapi/webhook", data=b"{}", headers={"X-Call-Id": "call-1"})
        assert sorted(count(front, one) for one in servers) == [0, 20]
        for _ in range(40):
            await http.post("/vapi/webhook", data=b"{}")
    assert min(count(front, one) for one in servers) > 5
