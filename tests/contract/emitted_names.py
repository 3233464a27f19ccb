"""Reads from source, without running it, every name that our code emits: spans, attributes, log events, metrics.

A name stands where it is emitted: as a literal, as a constant of a module, or as a choice between such. Where a
function hands on a name that it was given, its callers are read instead: those in the file of a private function,
those in the package of any other. Anything else is a problem to report, because a name that is put together at run
time cannot be listed beforehand.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LOG_METHODS = {"debug", "info", "warning", "error", "exception"}
OURS = re.compile(r"(voicemesh|gen_ai)(\.[a-z][a-z0-9_]*)+")
NOT_NAMES = re.compile(r".*\.(db|sqlite|toml|log|json)")
"""File names that look like names of ours."""


@dataclass
class Emitted:
    """Names by kind; each with the packages that emit it."""

    names: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, kind: str, name: str, package: str) -> None:
        self.names.setdefault(kind, {}).setdefault(name, set()).add(package)

    def of(self, kind: str) -> dict[str, set[str]]:
        return self.names.get(kind, {})


@dataclass(frozen=True)
class _Call:
    """A call that emits: which of its arguments holds the name."""

    kind: str
    position: int
    keyword: str


@dataclass(frozen=True)
class _Forwarder:
    """A function that hands on a name which it was given."""

    scope: str
    """Where its callers are: the file of a private function, the package of any other."""
    on: str
    """The class that it is a method of, in lower case; empty for none."""
    name: str
    call: _Call


def read_trees(roots: list[Path]) -> Emitted:
    """Read every Python file below each root (a package's ``src``)."""
    emitted = Emitted()
    modules = {
        ".".join(path.relative_to(root).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
        for root in roots
        for path in sorted(root.rglob("*.py"))
    }
    _read(modules, emitted)
    return emitted


def read_sources(**sources: str) -> Emitted:
    """Read the texts of a package's files, for tests of the reading itself."""
    emitted = Emitted()
    _read({f"package.{name}": ast.parse(source) for name, source in sources.items()}, emitted)
    return emitted


def _read(modules: dict[str, ast.Module], emitted: Emitted) -> None:
    constants = {name: _constants(module) for name, module in modules.items()}
    readers = [_Reader(emitted, name, module, constants) for name, module in modules.items()]
    known: set[_Forwarder] = set()
    new = {forwarder for reader in readers for forwarder in reader.read_calls()}
    while new := new - known:
        known |= new
        new = {found for reader in readers for forwarder in new for found in reader.follow(forwarder)}
    for reader in readers:
        reader.read_attributes()


class _Reader:
    """Reads one file."""

    def __init__(self, emitted: Emitted, path: str, module: ast.Module, constants: dict[str, dict[str, str]]) -> None:
        self._emitted = emitted
        self._path = path
        self._package = path.split(".")[0]
        self._module = module
        self._constants = constants
        self._known = self._visible(constants[path])
        self._calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
        self._owner: dict[ast.AST, ast.FunctionDef | ast.AsyncFunctionDef] = {}
        for function in ast.walk(module):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._owner.update(dict.fromkeys(ast.walk(function), function))
        self._class_of: dict[ast.AST, str] = {}
        for holder in ast.walk(module):
            if isinstance(holder, ast.ClassDef):
                self._class_of.update(dict.fromkeys(holder.body, holder.name.lower()))

    def read_calls(self) -> Iterator[_Forwarder]:
        """Take what is emitted here; return the functions here that hand on a name which they were given."""
        for node in self._calls:
            if emits := _emitting(node):
                yield from self._take(node, emits, sure=True)

    def follow(self, forwarder: _Forwarder) -> Iterator[_Forwarder]:
        """Do the same for the calls of a function that hands a name on."""
        if forwarder.scope in (self._path, self._package):
            for node in self._calls:
                if _called(node) == forwarder.name and not _emitting(node):
                    yield from self._take(node, forwarder.call, sure=_called_on(node) in ("", "self", forwarder.on))

    def _take(self, node: ast.Call, emits: _Call, *, sure: bool) -> Iterator[_Forwarder]:
        """``sure`` is False where another class may have a method of that name: a text is taken even then."""
        value = _argument(node, emits)
        if value is None:
            return
        owner = self._owner.get(node)
        if isinstance(value, ast.Name) and owner is not None and (call := _parameter(owner, value.id, emits.kind)):
            scope = self._path if owner.name.startswith("_") else self._package
            yield _Forwarder(scope, self._class_of.get(owner, ""), owner.name, call)
            return
        names = list(self._texts(value))
        if sure and not names:
            where = f"{self._path}:{node.lineno}"
            self._emitted.problems.append(f"{where}: {emits.kind} {ast.unparse(value)!r} is neither text nor constant")
        for name in names:
            self._emitted.add(emits.kind, name, self._package)

    def read_attributes(self) -> None:
        """Take the keys of ours, and any other text that looks like a name of ours."""
        keys: list[ast.expr] = []
        for node in ast.walk(self._module):
            if isinstance(node, ast.Dict):
                keys += [key for key in node.keys if key is not None]
            elif isinstance(node, ast.Subscript):
                keys.append(node.slice)
        for key in keys:
            for name in self._texts(key):
                if OURS.fullmatch(name) or name.startswith("error."):
                    self._emitted.add("attribute", name, self._package)
        taken = {name for kind in ("metric", "log", "span", "attribute") for name in self._emitted.of(kind)}
        for name in _all_texts(self._module):
            if OURS.fullmatch(name) and not NOT_NAMES.fullmatch(name) and name not in taken:
                self._emitted.add("other", name, self._package)

    def _texts(self, value: ast.expr) -> Iterator[str]:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value
        elif isinstance(value, ast.IfExp):
            yield from self._texts(value.body)
            yield from self._texts(value.orelse)
        elif isinstance(value, ast.Name) and value.id in self._known:
            yield self._known[value.id]
        elif isinstance(value, ast.Attribute):
            module = ast.unparse(value.value).rsplit(".", 1)[-1]
            for path, constants in self._constants.items():
                if path.rsplit(".", 1)[-1] == module and value.attr in constants:
                    yield constants[value.attr]

    def _visible(self, own: dict[str, str]) -> dict[str, str]:
        known = dict(own)
        for node in ast.walk(self._module):
            if isinstance(node, ast.ImportFrom) and node.module in self._constants:
                imported = self._constants[node.module]
                known |= {a.asname or a.name: imported[a.name] for a in node.names if a.name in imported}
        return known


def _emitting(node: ast.Call) -> _Call | None:
    function = node.func
    if isinstance(function, ast.Name):
        return _Call("metric", 0, "name") if function.id == "Gauge" else None
    if not isinstance(function, ast.Attribute):
        return None
    on = ast.unparse(function.value).lower()
    if function.attr == "Gauge":
        return _Call("metric", 0, "name")
    if function.attr == "note" and "record" in on:
        return _Call("span", 0, "name")
    if function.attr in LOG_METHODS and re.search(r"\blogs?\b|_log\b|logs\.get\(\)", on):
        return _Call("log", 0, "event")
    if function.attr in ("add", "declare") and "counter" in on:
        return _Call("metric", 0, "name")
    return None


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _called_on(node: ast.Call) -> str:
    """Return the last word of what a method is called on: ``turns`` for ``self._turns.note(...)``."""
    if not isinstance(node.func, ast.Attribute):
        return ""
    return ast.unparse(node.func.value).rsplit(".", 1)[-1].strip("_").lower()


def _argument(node: ast.Call, emits: _Call) -> ast.expr | None:
    if 0 <= emits.position < len(node.args):
        return node.args[emits.position]
    return next((pair.value for pair in node.keywords if pair.arg == emits.keyword), None)


def _parameter(owner: ast.FunctionDef | ast.AsyncFunctionDef, name: str, kind: str) -> _Call | None:
    positional = [argument.arg for argument in (*owner.args.posonlyargs, *owner.args.args)]
    bound = int(bool(positional) and positional[0] in ("self", "cls"))
    if name in positional:
        return _Call(kind, positional.index(name) - bound, name)
    if name in [argument.arg for argument in owner.args.kwonlyargs]:
        return _Call(kind, -1, name)
    return None


def _constants(module: ast.Module) -> dict[str, str]:
    found = {}
    for node in module.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
            found[target.id] = value.value
    return found


def _all_texts(module: ast.Module) -> Iterator[str]:
    docstrings = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value
