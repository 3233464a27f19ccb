"""The table [vapi] of an agent's section: what it answers when Vapi asks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from svc_runtime.listen import is_loopback
from svc_runtime.toml_file import Section

from ingress_svc.domain.answers import Destination, Plan, digits
from ingress_svc.domain.asks import Kind
from ingress_svc.domain.endpointing import MOST_S, EndpointingRules
from ingress_svc.domain.knowledge import KnowledgeBase, Passage, passages_of, words_of

MOST_FILE_BYTES: Final = 1_000_000
MOST_PASSAGES: Final = 5_000
"""Of a folder: some 4 MB of text, which take two seconds at the start."""
_TABLES: Final[Mapping[str, tuple[Kind, ...]]] = {
    "assistant_request": (Kind.ASSISTANT,),
    "tool_calls": (Kind.TOOLS, Kind.FUNCTION),
    "transfer": (Kind.TRANSFER,),
    "handoff": (Kind.HANDOFF,),
    "knowledge_base": (Kind.KNOWLEDGE,),
    "endpointing": (Kind.ENDPOINTING,),
    "predial": (Kind.PREDIAL,),
    "voice": (Kind.VOICE,),
}
"""The table of each type."""
_TABLE = "a table of what JSON can carry: no dates, no inf, no nan"
_E164 = 'a number such as "+15005550199"'


def read_plan(agent: Section, folder: Path) -> Plan:
    """Read the table [vapi] of an agent's section. ``folder`` is that of the file, from which its paths start.

    Problems are noted in the section's file, and the caller checks that.
    """
    vapi = agent.section("vapi")
    tables = {name: vapi.section(name) for name in _TABLES}
    plan = Plan(
        assistant=_assistant(tables["assistant_request"]),
        transfer=tuple(_transfers(tables["transfer"])),
        handoff=tuple(_handoffs(tables["handoff"])),
        endpointing=_endpointing(tables["endpointing"]),
        may_dial=tables["predial"].switch("eligible", False),
        blocked=_blocked(tables["predial"], folder),
        knowledge=_knowledge(tables["knowledge_base"], folder),
        urls={kind: url for name, kinds in _TABLES.items() if (url := read_url(tables[name])) for kind in kinds},
    )
    for table in (vapi, *tables.values()):
        table.refuse_unknown()
    return plan


def read_url(table: Section) -> str:
    """Return the owner's URL of a table; "" for none."""
    right = "an https:// URL; http:// is for this machine only (localhost, 127.0.0.1, ::1)"
    url: str = table.value("url", "", _is_url, right)
    return url


def _is_url(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not re.fullmatch(r"[!-~]+", value) or parts.fragment or "@" in parts.netloc:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


# --- assistant request ------------------------------------------------------------------------------------------------


def _assistant(table: Section) -> Mapping[str, object]:
    """Return one of the answers that Vapi takes; the default where none is set."""
    found: list[tuple[str, dict[str, object]]] = []
    if assistant_id := table.text("assistant_id", ""):
        found.append(("assistant_id", {"assistantId": assistant_id}))
    if squad_id := table.text("squad_id", ""):
        found.append(("squad_id", {"squadId": squad_id}))
    if assistant := _json_table(table, "assistant"):
        found.append(("assistant", {"assistant": assistant}))
    if (forward := _destination(table, "forward_to")) is not None:
        found.append(("forward_to", {"destination": {**forward, "message": table.text("forward_message", "")}}))
    if error := table.text("error", ""):
        found.append(("error", {"error": error}))
    overrides = _json_table(table, "overrides")
    if len(found) > 1:
        table.wrong(found[1][0], f"to stand beside {found[0][0]}: one answer is given")
    if overrides and not (found and found[0][0] in ("assistant_id", "assistant")):
        table.wrong("overrides", "of use without assistant_id or assistant")
    if not found:
        return Plan().assistant
    return found[0][1] | ({"assistantOverrides": overrides} if overrides else {})


def _json_table(table: Section, key: str) -> dict[str, object]:
    found: dict[str, object] = table.value(key, {}, _is_json_table, _TABLE)
    return found


def _is_json_table(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError):
        return False
    return isinstance(value, dict)


# --- destinations -----------------------------------------------------------------------------------------------------


def _destination(table: Section, key: str) -> dict[str, object] | None:
    """A number or a SIP address, whichever it looks like."""
    right = f'{_E164} or "sip:desk@example.com"'
    to: str = table.value(key, "", lambda value: _is_number(value) or _is_sip(value), right)
    if not to:
        return None
    return {"type": "sip", "sipUri": to} if _is_sip(to) else {"type": "number", "number": to}


def _is_number(value: object) -> bool:
    return isinstance(value, str) and value.startswith("+") and value[1:].isdecimal() and 7 <= len(value) <= 16


def _is_sip(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("sip:", "sips:")) and "@" in value and value.isprintable()


def _transfers(table: Section) -> Iterator[Destination]:
    say = table.text("say", "")
    for each in table.each("destinations"):
        target = _destination(each, "to")
        if name := each.text("assistant", ""):
            if target is not None:
                each.wrong("assistant", "to stand beside to: a destination is one or the other")
            target = {"type": "assistant", "assistantName": name}
        yield from _with_words(each, target, each.text("say", say), '"to" or "assistant"')


def _handoffs(table: Section) -> Iterator[Destination]:
    for each in table.each("destinations"):
        ways = {"assistant_id": "assistantId", "assistant": "assistantName"}
        found = {theirs: value for ours, theirs in ways.items() if (value := each.text(ours, ""))}
        if len(found) > 1:
            each.wrong("assistant", "to stand beside assistant_id: a destination is one or the other")
        target: dict[str, object] | None = {"type": "assistant", **found} if found else None
        yield from _with_words(each, target, each.text("result", ""), '"assistant_id" or "assistant"')


def _with_words(each: Section, target: dict[str, object] | None, say: str, needs: str) -> Iterator[Destination]:
    words = _words(each, "words", ())
    each.refuse_unknown()
    if target is None:
        each.missing(needs)
    else:
        yield Destination(target, words, say)


def _words(table: Section, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    found = table.value(key, None, _are_words, "a list of words or phrases in quotes")
    return default if found is None else tuple(found)


def _are_words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and words_of(item) for item in value)


# --- the rest ---------------------------------------------------------------------------------------------------------


def _endpointing(table: Section) -> EndpointingRules:
    default = EndpointingRules()

    def seconds(key: str, value: Any) -> Any:
        return table.number(key, value, least=0, most=MOST_S)

    more = _words(table, "unfinished_words", ())
    return EndpointingRules(
        always_s=seconds("timeout_seconds", None),
        after_sentence_s=seconds("after_sentence", default.after_sentence_s),
        after_number_s=seconds("after_number", default.after_number_s),
        unfinished_s=seconds("unfinished", default.unfinished_s),
        otherwise_s=seconds("otherwise", default.otherwise_s),
        unfinished_words=default.unfinished_words | {word.casefold() for word in more},
    )


def _blocked(table: Section, folder: Path) -> frozenset[str]:
    """Read a list of numbers, one a line; what follows # is a comment."""
    name = table.text("block_list", "")
    if not name:
        return frozenset()
    lines = _read(table, "block_list", folder / name).splitlines()
    numbers = [number for line in lines if (number := line.partition("#")[0].strip())]
    if any(not digits(number) for number in numbers):
        table.wrong("block_list", f"a file with {_E164} on each line")
    return frozenset(map(digits, numbers))


def _knowledge(table: Section, folder: Path) -> KnowledgeBase | None:
    name = table.text("folder", "")
    most = table.whole("most", 3, least=1, most=10)
    least = table.number("least_similarity", 0.2, least=0, most=1)
    if not name:
        return None
    root = folder / name
    files = sorted(path for end in ("md", "txt") for path in root.rglob(f"*.{end}")) if root.is_dir() else []
    if not files:
        table.wrong("folder", f"a folder with .md or .txt files (it is looked for at {root})")
    passages = [passage for path in files for passage in _passages(table, root, path)]
    if len(passages) > MOST_PASSAGES:
        table.wrong("folder", f"small enough: {len(passages)} passages, where {MOST_PASSAGES} can be searched")
        return None
    return KnowledgeBase(passages, most=most, least_similarity=least)


def _passages(table: Section, root: Path, path: Path) -> Iterator[Passage]:
    return passages_of(path.relative_to(root).as_posix(), _read(table, "folder", path))


def _read(table: Section, key: str, path: Path) -> str:
    try:
        raw = path.read_bytes()
        if len(raw) <= MOST_FILE_BYTES:
            return raw.decode("utf-8-sig")
        table.wrong(key, f"of use: {path} is larger than {MOST_FILE_BYTES} bytes")
    except OSError as error:
        table.wrong(key, f"readable: {path} ({error.strerror})")
    except UnicodeDecodeError:
        table.wrong(key, f"of use: {path} is not UTF-8 text")
    return ""
