"""What docs/tools.md shows works as it stands there."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.tool_endpoint import tool_endpoint
from llm_svc.agent_tools import read_tools
from llm_svc.config import Settings
from llm_svc.domain.tools import Ask, HttpSpec
from llm_svc.tool_wiring import Workshop
from svc_runtime.toml_file import TomlFile

PAGE = Path(__file__).parents[2] / "docs/tools.md"
SECRET = "open-sesame"
ASK = Ask(call_id="vapi:1", turn=1, generation=1, name="free_tables", arguments_json="", idempotency_key="k-1")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "restaurant.py").write_text(blocks("python")[0], encoding="utf-8")
    (tmp_path / "agent.toml").write_text("\n".join(reversed(blocks("toml"))), encoding="utf-8")
    yield Workshop(Settings(tools_path=str(tmp_path), owner_secret=SECRET))
    sys.modules.pop("restaurant", None)


async def test_the_function_is_a_tool(tmp_path: Path, workshop: Workshop) -> None:
    file = TomlFile.read(tmp_path / "agent.toml", hint="")
    toolset = workshop.toolset(read_tools(file), file)
    file.check()
    assert set(toolset.tools) == {"book_table", "free_tables"}
    assert toolset.builtin == ("end_call", "transfer_call", "tell_owner")
    tool = toolset.tools["book_table"]
    assert tool.arguments.schema["required"] == ["day", "party", "guest"]
    given = {"day": "2026-11-25", "party": "4", "guest": {"name": "Ann Lee"}}
    outcome = await tool.run(tool.arguments.read(json.dumps(given)), ASK)
    assert json.loads(outcome.result) == {"booked": True, "for": "Ann Lee", "where": "inside", "reference": "k-1"}
    refused = await tool.run(tool.arguments.read(json.dumps({**given, "party": 13})), ASK)
    assert refused.failure is not None
    assert refused.failure.message == "We have no table for more than twelve guests."


async def test_the_check_of_an_endpoint_tells_our_requests_from_others() -> None:
    from llm_svc.adapters.http_tool import HttpTool, HttpTools

    scope: dict[str, Any] = {}
    exec(blocks("python")[1], scope)
    is_ours: Callable[[Any, bytes, str], bool] = scope["is_ours"]
    http = HttpTools()
    async with tool_endpoint() as endpoint:
        spec = HttpSpec(name="free_tables", url=endpoint.url, loopback=True, description="x", timeout_s=5.0, retries=0)
        await HttpTool(spec, http, secret=SECRET).run({}, ASK)
    await http.close()
    (asked,) = endpoint.asked
    assert set(asked.body) == set(json.loads(blocks("json")[0]))
    assert is_ours(asked.headers, asked.raw, SECRET)
    assert not is_ours(asked.headers, asked.raw + b" ", SECRET)
    assert not is_ours(asked.headers, asked.raw, "another")
    assert not is_ours({**asked.headers, "x-timestamp": str(int(time.time()) - 301)}, asked.raw, SECRET)
    assert not is_ours({}, asked.raw, SECRET)
