"""From agent.toml and a folder of the owner's modules to tools that run; what cannot be is told before the start."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from llm_svc.adapters.tool import Toolset
from llm_svc.agent_tools import read_tools
from llm_svc.config import Settings
from llm_svc.domain.tools import Ask
from llm_svc.tool_wiring import Workshop
from svc_runtime.config import ConfigError
from svc_runtime.toml_file import TomlFile

RESTAURANT = '''
import asyncio
from voicemesh_tools import ToolContext, ToolError

COUNT = 3

class Desk:
    def free(self, day: str) -> str:
        """Say whether a table is free."""
        return f"free on {day}"

desk = Desk()

def book(party: int, context: ToolContext) -> dict[str, object]:
    """Book a table."""
    if party > 12:
        raise ToolError("We have no table for more than twelve.")
    return {"party": party, "key": context.idempotency_key}

async def tell(line: str) -> None:
    await asyncio.sleep(0)

def unhinted(x):
    """Do."""

def undescribed(x: int) -> None: ...

def numbers():
    """Count."""
    yield 1
'''


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path, modules = list(sys.path), set(sys.modules)
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "restaurant.py").write_text(RESTAURANT, encoding="utf-8")
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name in ("restaurant", "broken", "leaving", "email_list"):
            del sys.modules[name]


def tools_of(folder: Path, text: str, *, secret: str = "") -> Toolset:
    path = folder / "agent.toml"
    path.write_text(text, encoding="utf-8")
    file = TomlFile.read(path, hint="")
    settings = Settings(tools_path=str(folder / "modules"), owner_secret=secret)
    toolset = Workshop(settings).toolset(read_tools(file), file)
    file.check()
    return toolset


def python(name: str, target: str, more: str = "") -> str:
    return f'[[tools]]\nname = "{name}"\npython = "{target}"\n{more}\n'


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        tools_of(folder, text)
    lines = str(caught.value).splitlines()
    assert all(re.match(r".*agent\.toml:\d+: \[tools\[", line) for line in lines)
    return [line.partition(": ")[2].replace(str(folder / "modules"), "…") for line in lines]


async def test_functions_methods_and_coroutines_of_the_owners_folder_are_run(folder: Path) -> None:
    text = (
        '[agent]\nbuiltin_tools = ["end_call"]\n'
        + python("free", "restaurant:desk.free")
        + python("book", "restaurant:book")
        + python("tell", "restaurant:tell", 'description = "Tell somebody."')
    )
    toolset = tools_of(folder, text)
    asked = Ask(call_id="vapi:1", turn=1, generation=1, name="", arguments_json="", idempotency_key="k-1")
    assert toolset.builtin == ("end_call",)
    assert list(toolset.tools) == ["free", "book", "tell"]
    free, book, tell = toolset.tools.values()
    assert (await free.run(free.arguments.read('{"day": "monday"}'), asked)).result == "free on monday"
    assert (await book.run({"party": 4}, asked)).result == '{"party":4,"key":"k-1"}'
    refused = (await book.run({"party": 13}, asked)).failure
    assert refused is not None
    assert refused.message == "We have no table for more than twelve."
    assert (await tell.run({"line": "x"}, asked)).result == "done"
    assert (free.description, tell.description) == ("Say whether a table is free.", "Tell somebody.")


def test_every_callable_that_cannot_be_a_tool_is_told_at_once(folder: Path) -> None:
    modules = folder / "modules"
    (modules / "broken.py").write_text("def book(:\n", encoding="utf-8")
    (modules / "leaving.py").write_text("import sys\nsys.exit('my-password')\n", encoding="utf-8")
    text = "".join(
        [
            python("a", "restaurnat:book"),
            python("b", "restaurant:boko"),
            python("c", "restaurant:Desk"),
            python("d", "restaurant:COUNT"),
            python("e", "restaurant:numbers"),
            python("f", "restaurant:unhinted"),
            python("g", "restaurant:undescribed"),
            python("h", "broken:book"),
            python("i", "leaving:book"),
        ]
    )
    told = problems(folder, text)
    missing = "cannot be imported: there is no module restaurnat; VOICEMESH_TOOLS_PATH names the folder of your modules"
    assert told == [
        f'[tools[1]] python = "restaurnat:book" {missing}',
        '[tools[2]] python = "restaurant:boko" names nothing in …/restaurant.py; did you mean book?',
        '[tools[3]] python = "restaurant:Desk" is not a function',
        '[tools[4]] python = "restaurant:COUNT" is not a function',
        '[tools[5]] python = "restaurant:numbers" yields; a tool returns its result',
        '[tools[6]] python = "restaurant:unhinted" has no schema: parameter x has no type hint; give it one of str, '
        "int, float, bool, Literal, Enum, Optional, list, dict, a dataclass or a TypedDict",
        '[tools[7]] python = "restaurant:undescribed" has no docstring, and a model chooses by what it is told; '
        "write one, or a description",
        '[tools[8]] python = "broken:book" cannot be imported: …/broken.py:1: invalid syntax',
        '[tools[9]] python = "leaving:book" cannot be imported: SystemExit at …/leaving.py:2',
    ]


def test_a_module_of_the_owners_takes_no_module_of_pythons_away(folder: Path) -> None:
    (folder / "modules" / "json.py").write_text("raise RuntimeError", encoding="utf-8")
    tools_of(folder, python("book", "restaurant:book"))
    del sys.modules["json"]
    import json

    assert json.loads("1") == 1


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"VOICEMESH_TOOLS_PATH='.*nowhere' is not a folder"):
        Workshop(Settings(tools_path=str(tmp_path / "nowhere")))


async def test_an_endpoint_elsewhere_wants_the_secret_and_one_on_this_machine_does_not(folder: Path) -> None:
    away = '[[tools]]\nname = "x"\nurl = "https://example.org/hook/sesame"\ndescription = "X."\n'
    near = '[[tools]]\nname = "y"\nurl = "http://127.0.0.1:9/hook"\ndescription = "Y."\n'
    (told,) = problems(folder, away + near)
    assert told.startswith("[tools[1]] url leads to another machine")
    assert "VOICEMESH_OWNER_SECRET" in told
    assert "sesame" not in told
    assert list(tools_of(folder, near).tools) == ["y"]
    assert list(tools_of(folder, away + near, secret="s").tools) == ["x", "y"]
