"""What the doctor makes of each service's readiness."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from voicemesh_cli.checks import Result, State
from voicemesh_cli.checks_mesh import services
from voicemesh_cli.state_dir import Run


@asynccontextmanager
async def answering(status: int, body: object) -> AsyncIterator[str]:
    async def readyz(_: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_get("/readyz", readyz)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def examined(status: int, body: Mapping[str, object] | list[object]) -> Result:
    async with answering(status, body) as url, aiohttp.ClientSession() as http:
        return await services(http, Run(os.getpid(), url, {}, "", side_ports={"llm-svc": url.removeprefix("http://")}))


async def test_a_mesh_that_is_ready_is_well() -> None:
    assert (await examined(200, {"ready": True, "waits_for": []})).state is State.OK


async def test_an_agent_that_runs_on_an_older_version_is_a_warning_that_names_it() -> None:
    found = await examined(200, {"ready": True, "waits_for": [], "degraded": ["agent sales"]})
    assert found.state is State.WARN
    assert "ingress-svc (agent sales); llm-svc (agent sales)" in found.what
    assert "correct that file" in found.remedy


@pytest.mark.parametrize("body", [{"waits_for": ["store"]}, {"waits_for": ["store"], "degraded": ["agent sales"]}])
async def test_a_service_that_is_not_ready_fails_whatever_else_it_says(body: Mapping[str, object]) -> None:
    found = await examined(503, body)
    assert found.state is State.FAIL
    assert "llm-svc waits for store" in found.what


async def test_what_is_no_readiness_is_no_answer() -> None:
    assert "does not answer" in (await examined(200, ["ready"])).what
