"""Four services read the same agent files: what one of them reads no other refuses, and what none reads all refuse."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bargein_svc import config as bargein
from ingress_svc import agent_file as ingress
from ingress_svc.config import Config
from llm_svc import wiring as llm
from llm_svc.config import Settings
from llm_svc.tool_wiring import Workshop
from session_svc import config as session
from svc_runtime.config import ConfigError
from svc_runtime.file_shelf import FileShelf
from svc_runtime.metrics import Counters

ROOT = Path(__file__).parents[2]

Read = Callable[[dict[str, Any]], FileShelf[Any]]
READERS: dict[str, Read] = {
    "ingress-svc": lambda place: ingress.agents(Config(**place, owner_secret="s"), Counters()),
    "session-svc": lambda place: session.agents(session.Config(**place), Counters()),
    "bargein-svc": lambda place: bargein.agents(bargein.Settings(**place), Counters()),
    "llm-svc": lambda place: llm.agents(Settings(**place, openai_api_key="k"), Workshop(Settings()), Counters()),
}
every_service = pytest.mark.parametrize("read", READERS.values(), ids=READERS)
VALUES = {
    "agent.prompt": '"x"',
    "agent.apology": '"x"',
    "agent.builtin_tools": '["end_call"]',
    "owner.url": '"https://crm.example.com/v"',
    "owner.reports": "true",
    "owner.transcript": "false",
    "owner.internal": "true",
    "tools": '[{ name = "x", url = "http://127.0.0.1:9/x", description = "X." }]',
    "match.numbers": '["+15005550006"]',
    "match.assistant_ids": '["a"]',
    "match.metadata": "{ tenant = 1 }",
    "slow_turn.after_ms": "2500",
    "slow_turn.filler": '["One moment."]',
    "model.provider": '"scripted"',
    "model.name": '"booking"',
    "model.base_url": '"https://example.com/v1"',
    "model.temperature": "0.5",
    "model.max_tokens": "50",
    "model.first_token_timeout_s": "1.5",
    "model.include_usage": "true",
    "model.fallback": '{ provider = "scripted" }',
    "barge_in.language": '"es"',
    "barge_in.min_words": "3",
    "barge_in.greeting_interruptible": "false",
    "barge_in.stop_phrases": '["basta"]',
    "barge_in.correction_phrases": '["mejor"]',
    "barge_in.acknowledgement_phrases": '["vale"]',
}


def documented() -> list[str]:
    """Return the keys that docs/settings.md explains."""
    spec = importlib.util.spec_from_file_location("settings_table", ROOT / "scripts/settings_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return [key.name for key in module.AGENT]


def shelf(read: Read, tmp_path: Path, text: str) -> FileShelf[Any]:
    folder = tmp_path / "agents"
    folder.mkdir(parents=True)
    (folder / "sales.toml").write_text(text)
    return read({"agent_file": str(ROOT / "agent.toml"), "agents_dir": str(folder)})


def whole() -> str:
    keys = "".join(f"{name} = {VALUES[name]}\n" for name in documented())
    return keys + 'vapi.assistant_request.assistant_id = "a"\n'


@every_service
def test_a_file_with_every_key_is_read_by_all(read: Read, tmp_path: Path) -> None:
    assert sorted(shelf(read, tmp_path, whole()).current) == ["default", "sales"]


@every_service
def test_the_example_of_the_documentation_is_read_by_all(read: Read, tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", (ROOT / "docs/agents.md").read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    assert "sales" in shelf(read, tmp_path, example[1]).current


@every_service
def test_a_table_that_nobody_reads_is_refused_by_all(read: Read, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        shelf(read, tmp_path, f"{whole()}\n[bargein]\nmin_words = 9")
    line = len(documented()) + 3
    path = tmp_path / "agents/sales.toml"
    assert str(raised.value) == f"{path}:{line}: [bargein] is not known; did you mean barge_in?"


@pytest.mark.parametrize(
    ("services", "key"),
    [
        (("session-svc", "ingress-svc", "llm-svc"), "agent.promt"),
        (("bargein-svc",), "barge_in.min_word"),
        (("llm-svc",), "model.tempreature"),
        (("llm-svc",), "model.fallback.nmae"),
        (("ingress-svc",), "match.number"),
        (("ingress-svc",), "vapi.predail"),
    ],
)
def test_a_key_that_nobody_reads_is_refused_by_who_reads_its_table(
    services: tuple[str, ...], key: str, tmp_path: Path
) -> None:
    """`model.fallback` is an inline table above; here it is written out."""
    rows = [row for row in whole().splitlines() if not row.startswith("model.fallback")]
    text = "\n".join([*rows, 'model.fallback.provider = "scripted"', f"{key} = 1"])
    for service in services:
        with pytest.raises(ConfigError, match=rf"sales\.toml:{len(rows) + 2}: .*{key.rpartition('.')[2]} is not known"):
            shelf(READERS[service], tmp_path / service, text)


@every_service
def test_all_call_a_version_alike(read: Read, tmp_path: Path) -> None:
    one = shelf(read, tmp_path, whole()).current["sales"].reference
    assert one == shelf(READERS["ingress-svc"], tmp_path / "ingress-svc", whole()).current["sales"].reference
