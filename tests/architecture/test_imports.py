"""The folders mean what they say."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("ingress", "session", "bargein", "llm")
PACKAGES = {f"{name}_svc" for name in SERVICES} | {"svc_runtime", "voicemesh_cli", "voicemesh", "voicemesh_tools"}


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("service", SERVICES)
def test_a_domain_imports_the_standard_library_and_itself(service: str) -> None:
    package = f"{service}_svc"
    files = sources(ROOT / f"{service}-svc/src/{package}/domain")
    assert files
    for path in files:
        foreign = tops(path) - sys.stdlib_module_names - {package}
        assert not foreign, f"{path.relative_to(ROOT)} imports {sorted(foreign)}"
        outside = [name for name in imported(path) if name.startswith(package) and ".domain" not in name]
        assert not outside, f"{path.relative_to(ROOT)} reaches out of its domain: {outside}"
        assert "asyncio" not in tops(path), f"{path.relative_to(ROOT)} waits; only adapters do"


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_imports_another(service: str) -> None:
    package = f"{service}_svc"
    for path in sources(ROOT / f"{service}-svc/src"):
        # What an owner of tools imports is llm-svc's, which runs them.
        own = {package, "voicemesh_tools"} if service == "llm" else {package}
        others = tops(path) & (PACKAGES - own - {"svc_runtime", "voicemesh"})
        assert not others, f"{path.relative_to(ROOT)} imports {sorted(others)}"


def test_what_an_owner_of_tools_imports_imports_nothing_of_ours() -> None:
    files = sources(ROOT / "llm-svc/src/voicemesh_tools")
    assert files
    for path in files:
        assert tops(path) <= sys.stdlib_module_names, f"{path.relative_to(ROOT)} imports more than the standard library"


def test_the_runtime_knows_no_service_and_no_contract() -> None:
    files = sources(ROOT / "svc-runtime/src")
    assert files
    for path in files:
        known = tops(path) & (PACKAGES - {"svc_runtime"})
        assert not known, f"{path.relative_to(ROOT)} imports {sorted(known)}"


def test_the_runtime_has_no_word_of_the_domain() -> None:
    words = {"utterance", "playout", "transcript", "barge", "caller", "vapi", "twilio", "generation"}
    for path in sources(ROOT / "svc-runtime/src"):
        names = {node.id.lower() for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        found = {word for word in words for name in names if word in name.split("_")}
        assert not found, f"{path.relative_to(ROOT)} speaks of {sorted(found)}: could a weather service use it?"


def test_wiring_happens_only_in_main() -> None:
    """An adapter takes its settings as arguments; only ``__main__`` (and the CLI) reads the environment."""
    for service in SERVICES:
        for path in sources(ROOT / f"{service}-svc/src"):
            reads = "os.environ" in path.read_text(encoding="utf-8")
            assert not reads or path.name == "__main__.py", f"{path.relative_to(ROOT)} reads the environment"


def test_every_article_defect_of_this_product_has_a_named_test() -> None:
    names = [
        node.name
        for path in sources(ROOT / "tests")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    wanted = [*range(1, 34), 35, 36]
    missing = [
        f"D{number}" for number in wanted if not any(f"_d{number:02d}_" in n or f"_d{number}_" in n for n in names)
    ]
    assert not missing, f"no test is named after {', '.join(missing)}"
