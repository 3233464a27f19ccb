"""ingress-svc as `wiring` makes it, on a port of its own, in front of a fake mesh; and a provider that calls it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from fakes.mesh_servers import FakeMesh, fake_mesh
from fakes.streams import until
from ingress_svc.config import Config
from ingress_svc.wiring import Ingress

ROOT = Path(__file__).parents[2]
SECRET = "test-secret"
CALL = "call-1"
CALL_ID = f"vapi:{CALL}"


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Headers that prove a body, in the article's way."""
    return {"x-vapi-signature": hmac.digest(secret.encode(), body, hashlib.sha256).hex()}


@dataclass
class Answer:
    """A custom-LLM request on its way: its frames as they come."""

    response: aiohttp.ClientResponse
    events: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False

    @property
    def text(self) -> str:
        return "".join(event["choices"][0]["delta"].get("content") or "" for event in self.events)

    @property
    def finish_reason(self) -> str | None:
        return self.events[-1]["choices"][0]["finish_reason"] if self.events else None

    async def some(self, text: str) -> None:
        """Read until ``text`` has come."""
        async with asyncio.timeout(10):
            while text not in self.text:
                await self._frame()

    async def all(self) -> Answer:
        """Read to the end of the body."""
        async with asyncio.timeout(30):
            while await self._frame():
                pass
        return self

    async def _frame(self) -> bool:
        line = await self.response.content.readline()
        if line.startswith(b"data: [DONE]"):
            self.done = True
        elif line.startswith(b"data: "):
            assert not self.done, "something follows [DONE]"
            self.events.append(json.loads(line[6:]))
        return bool(line)


class Provider:
    """Sends what Vapi sends."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.http = http
        self.at_ms = 0

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str, Mapping[str, str]]:
        """Return status, text and headers of the answer."""
        async with self.http.post(self.url + path, data=body, headers=dict(headers)) as response:
            return response.status, await response.text(), response.headers

    async def webhook(self, call: str = CALL, **fields: object) -> tuple[int, Mapping[str, str]]:
        self.at_ms = max(self.at_ms + 1, time.time_ns() // 1_000_000)
        message = {"call": {"id": call}, "timestamp": self.at_ms} | fields
        body = json.dumps({"message": message}).encode()
        status, _, headers = await self.post("/vapi/webhook", body, signed(body))
        return status, headers

    async def partial(self, text: str, call: str = CALL) -> tuple[int, Mapping[str, str]]:
        return await self.webhook(call, type="transcript", transcriptType="partial", role="user", transcript=text)

    async def final(self, text: str, call: str = CALL) -> tuple[int, Mapping[str, str]]:
        return await self.webhook(call, type="transcript", transcriptType="final", role="user", transcript=text)

    async def ask(self, *words: str, path: str = "/vapi/llm", **more: object) -> Answer:
        """Open a request for the answer to ``words``, and return once its headers are there."""
        messages = [{"role": "user", "content": text} for text in words]
        body = {"model": "m", "messages": messages, "stream": True, "call": {"id": CALL}} | more
        headers = {"Authorization": f"Bearer {SECRET}"}
        return Answer(await self.http.post(self.url + path, json=body, headers=headers))


@dataclass
class Edge:
    """An ingress, what is behind it and who calls it."""

    ingress: Ingress
    mesh: FakeMesh
    provider: Provider

    @property
    def url(self) -> str:
        return self.provider.url


@asynccontextmanager
async def edge(**settings: Any) -> AsyncIterator[Edge]:
    async with fake_mesh() as mesh:
        config: dict[str, Any] = {
            "vapi_secrets": SECRET,
            "port": 0,
            "session_targets": (mesh.session_server.target,),
            "bargein_targets": (mesh.bargein_server.target,),
            "llm_targets": (mesh.llm_server.target,),
            "agent_file": "no-such-file.toml",
            "budget_file": str(ROOT / "budget.toml"),
            "drain_s": 0.2,
        }
        ingress = Ingress(Config(**(config | settings)))
        await ingress.start()
        connector = aiohttp.TCPConnector(limit=0)
        try:
            async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(30)) as http:
                provider = Provider(f"http://{ingress.host}:{ingress.port}", http)
                await until(lambda: not ingress.missing)
                yield Edge(ingress, mesh, provider)
        finally:
            await ingress.close()
