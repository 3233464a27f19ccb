"""The tools of an agent file: the tables [[tools]], and those built in that [agent] builtin_tools turns on."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from svc_runtime.listen import is_loopback
from svc_runtime.toml_file import Section, TomlFile

from llm_svc.domain.builtin_tools import BUILTIN
from llm_svc.domain.tools import AgentTools, HttpSpec, Parameter, PythonSpec

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_KINDS = ("string", "integer", "number", "boolean", "object", "array")
_TIMEOUT_S = 5.0
"""A caller who hears nothing for longer takes the line for dead."""
_RETRIES = 2


def read_tools(file: TomlFile) -> AgentTools:
    """Return the tools of an agent file, or something like them after noting problems in it."""
    specs: dict[str, PythonSpec | HttpSpec] = {}
    for entry in file.root.each("tools"):
        spec = _spec(entry)
        if spec.name and spec.name in specs:
            entry.wrong("name", "a name of its own: another tool has it")
        specs[spec.name] = spec
    return AgentTools(tuple(specs.values()), _builtin(file.root.section("agent")))


def _builtin(agent: Section) -> tuple[str, ...]:
    right = "a list of some of " + ", ".join(f'"{name}"' for name in BUILTIN)
    names = agent.value("builtin_tools", [], _are_builtin, right)
    agent.leave("apology", "prompt")
    agent.refuse_unknown()
    return tuple(dict.fromkeys(names))


def _spec(entry: Section) -> PythonSpec | HttpSpec:
    name = entry.value("name", "", _is_name, _right_name(), required=True)
    target, url = (entry.value(key, "", lambda _: True, "") for key in ("python", "url"))
    if not target and not url:
        problem = 'is missing, and url too; a tool has one of them: python = "module:function" or a url'
        entry.note("python", problem, absent=True)
    elif target and url:
        entry.note("url", "stands beside python; a tool has one of them")
    elif target and not _is_target(target):
        entry.wrong("python", 'a function of a module, "module:function", for example "salon:free_slots"')
    spec = _http_spec(entry, name, url) if url and not target else _python_spec(entry, name, target)
    entry.refuse_unknown()
    return spec


def _python_spec(entry: Section, name: str, target: str) -> PythonSpec:
    return PythonSpec(
        name=name,
        target=target,
        description=entry.text("description", ""),
        timeout_s=_timeout_s(entry),
        speak_while_running=entry.text("speak_while_running", ""),
    )


def _http_spec(entry: Section, name: str, url: Any) -> HttpSpec:
    loopback = isinstance(url, str) and _check_url(entry, url)
    if not isinstance(url, str):
        entry.wrong("url", "the address of an endpoint, in quotes")
    return HttpSpec(
        name=name,
        url=url,
        loopback=loopback,
        description=entry.text(
            "description", "", required=True, right="a text that tells the model what it does, and when to use it"
        ),
        parameters=tuple(_parameter(name, table) for name, table in entry.section("parameters").sections()),
        timeout_s=_timeout_s(entry),
        retries=entry.whole("retries", _RETRIES, least=0, most=5),
        speak_while_running=entry.text("speak_while_running", ""),
    )


def _parameter(name: str, table: Section) -> Parameter:
    kind = table.text("type", "string", required=True, one_of=_KINDS)
    one_of = table.value(
        "one_of", [], lambda value: kind == "string" and _is_texts(value), "a list of texts, beside the type string"
    )
    items = ""
    if kind == "array":
        items = table.text("items", "string", required=True, one_of=_KINDS[:-1])
    parameter = Parameter(
        name=name,
        kind=kind,
        description=table.text("description", ""),
        required=table.switch("required", True),
        one_of=tuple(one_of),
        items=items,
    )
    table.refuse_unknown()
    return parameter


def _timeout_s(entry: Section) -> float:
    return entry.number("timeout_s", _TIMEOUT_S, least=0.1, most=60.0)


def _check_url(entry: Section, url: str) -> bool:
    """Return whether ``url`` leads to this machine. It may hold a token, so no problem quotes it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        entry.note("url", "is not an address, such as https://example.org/tools/free-slots")
        return False
    loopback = is_loopback(host)
    if not host or parts.scheme not in ("https", "http"):
        entry.note("url", "does not begin with https:// and a host")
    elif parts.scheme == "http" and not loopback:
        entry.note("url", "is not https://; plain http:// goes to this machine only (127.0.0.1, localhost)")
    elif parts.username is not None or parts.fragment:
        entry.note("url", "holds a user or a fragment, which are not sent; leave them out")
    elif any(not char.isprintable() or char.isspace() for char in url):
        entry.note("url", "holds spaces or control characters; leave them out or escape them")
    return loopback


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(_NAME.fullmatch(value)) and value not in BUILTIN


def _right_name() -> str:
    return f"a name of up to 64 letters, digits, _ or -, and not {', '.join(BUILTIN)}, which are built in"


def _are_builtin(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and name in BUILTIN for name in value)


def _is_target(value: object) -> bool:
    return isinstance(value, str) and bool(_TARGET.fullmatch(value))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) and item for item in value)
