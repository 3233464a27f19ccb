"""What differs between two configurations of an assistant, and whether Vapi has kept what it was sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from voicemesh_cli.words import printable

_MOST_SHOWN = 70
_SECRET = re.compile(r"(?i)secret|api_?key|token$|password|authorization")
_HEADERS = re.compile(r"(^|\.)headers\.[^.]+$")
_HIDDEN = "(secret)"
_UNORDERED = frozenset({"serverMessages", "credentialIds", "excludedStatusCodes"})
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs; the values are fit to be shown."""

    kind: Literal["+", "-", "~"]
    path: str
    old: str = ""
    new: str = ""


def changed(old: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``wanted`` that are not so in ``old``: the body of the PATCH."""
    return {name: value for name, value in wanted.items() if any(_changes(old.get(name, _ABSENT), value, name))}


def changes(old: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Change]:
    """Return what `changed` would change, field by field."""
    return [change for name, value in wanted.items() for change in _changes(old.get(name, _ABSENT), value, name)]


def not_kept(wanted: Mapping[str, Any], got: Mapping[str, Any]) -> list[str]:
    """Return in words what ``got`` lacks of ``wanted``. What Vapi has added is no matter."""
    return [words for name, value in wanted.items() for words in _lost(value, got.get(name, _ABSENT), name)]


def _changes(old: Any, new: Any, path: str) -> Iterator[Change]:
    if _same(old, new, path):
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _changes(old.get(name, _ABSENT), new.get(name, _ABSENT), f"{path}.{name}")
    elif _is_flat(old) and _is_flat(new):
        yield from (Change("-", path, old=shown(item, path)) for item in old if item not in new)
        yield from (Change("+", path, new=shown(item, path)) for item in new if item not in old)
        if sorted(map(str, old)) == sorted(map(str, new)):
            yield Change("~", path, old=shown(old, path), new=shown(new, path))
    elif old is _ABSENT or old is None:
        yield from _whole("+", new, path)
    elif new is _ABSENT or new is None:
        yield from _whole("-", old, path)
    else:
        yield Change("~", path, old=shown(old, path), new=shown(new, path))


def _whole(kind: Literal["+", "-"], value: Any, path: str) -> Iterator[Change]:
    """Yield a change for each leaf of what has come or gone."""
    if isinstance(value, Mapping) and value:
        for name, below in value.items():
            yield from _whole(kind, below, f"{path}.{name}")
    elif _is_list(value) and value and all(isinstance(item, str) for item in value):
        for item in value:
            yield from _whole(kind, item, path)
    elif kind == "+":
        yield Change("+", path, new=shown(value, path))
    else:
        yield Change("-", path, old=shown(value, path))


def _lost(wanted: Any, got: Any, path: str) -> Iterator[str]:
    if _same(got, wanted, path):
        return
    if isinstance(wanted, Mapping) and isinstance(got, Mapping):
        for name, value in wanted.items():
            yield from _lost(value, got.get(name, _ABSENT), f"{path}.{name}")
    elif _is_flat(wanted) and _is_flat(got):
        gone = [str(item) for item in wanted if item not in got]
        if gone:
            yield f"{path} without {', '.join(gone)}"
        else:
            yield f"{path} is {shown(got, path)}, not {shown(wanted, path)}"
    elif _is_list(wanted) and _is_list(got) and len(wanted) == len(got):
        for number, (one, other) in enumerate(zip(wanted, got, strict=True)):
            yield from _lost(one, other, f"{path}[{number}]")
    elif got is _ABSENT or got is None:
        yield f"{path} is not set"
    elif wanted is None:
        yield f"{path} is still set"
    else:
        yield f"{path} is {shown(got, path)}, not {shown(wanted, path)}"


def _same(old: Any, new: Any, path: str) -> bool:
    if is_secret(path) and isinstance(new, str):
        # Vapi may leave a secret out or star out its middle, which says nothing against it.
        return (
            old == new or (isinstance(old, str) and "**" in old) or (old is _ABSENT and path.startswith("credentials"))
        )
    if path.rpartition(".")[2] in _UNORDERED and _is_flat(old) and _is_flat(new):
        return sorted(map(str, old)) == sorted(map(str, new))
    if old is _ABSENT or new is _ABSENT:
        return old in (_ABSENT, None) and new in (_ABSENT, None)
    return bool(old == new)


def starred(body: Any, path: str = "") -> list[str]:
    """Return where a body has secrets that Vapi has shown with their middle starred out: sent so, they are lost."""
    if isinstance(body, Mapping):
        return [at for name, value in body.items() for at in starred(value, f"{path}.{name}" if path else name)]
    if _is_list(body):
        return [at for number, value in enumerate(body) for at in starred(value, f"{path}[{number}]")]
    return [path] if isinstance(body, str) and "**" in body and is_secret(path) else []


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_flat(value: Any) -> bool:
    return _is_list(value) and all(isinstance(item, str | int | float) for item in value)


def is_secret(path: str) -> bool:
    """Whether the field at ``path`` holds a secret: by its name, and any header."""
    return bool(_SECRET.search(path.rpartition(".")[2]) or _HEADERS.search(path))


def shown(value: Any, path: str) -> str:
    """Return a value on one short line, without secrets."""
    if value is _ABSENT or value is None:
        return "not set"
    if is_secret(path):
        return _HIDDEN
    if isinstance(value, str):
        text = _plain_url(value) if value.startswith(("http://", "https://", "wss://")) else value
    else:
        text = json.dumps(_masked(value, path), ensure_ascii=False)
    text = printable(" ".join(text.split()))
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"


def _masked(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return {
            name: _HIDDEN if is_secret(f"{path}.{name}") else _masked(below, f"{path}.{name}")
            for name, below in value.items()
        }
    if _is_list(value):
        return [_masked(item, path) for item in value]
    if isinstance(value, str) and value.startswith(("http://", "https://", "wss://")):
        return _plain_url(value)
    return value


def _plain_url(url: str) -> str:
    """Return a URL without what may be a token in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(a URL)"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "…" if parts.query else "", ""))
