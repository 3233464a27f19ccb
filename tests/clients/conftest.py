"""Clients and servers of others. Where one of them is not installed its tests do not run, and say so."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

HERE = Path(__file__).parent
LITELLM = HERE.parents[1] / ".clients/litellm/bin/litellm"
REQUIRED = "VOICEMESH_CLIENTS_REQUIRED"
"""Set where they must run (.ci/run): what could be installed and is not then fails."""

not_run: dict[str, str] = {}
"""What is missing, and why."""


def _skip(what: str, why: str) -> NoReturn:
    not_run[what] = why
    pytest.skip(f"NOT RUN: {what}: {why}")


def _installed(what: str, found: Path, how: str) -> None:
    if not found.exists():
        if os.environ.get(REQUIRED):
            pytest.fail(f"{what}: not installed")
        _skip(what, f"not installed; {how} installs it")


@pytest.fixture(scope="session")
def node() -> str:
    """The node that runs the npm client."""
    command = shutil.which("node")
    if command is None:
        _skip("npm client", "there is no node on this machine")
    _installed("npm client", HERE / "node/node_modules/openai", "make clients")
    return command


@pytest.fixture(scope="session")
def litellm() -> str:
    """The litellm proxy's command."""
    _installed("litellm proxy", LITELLM, "make clients")
    return str(LITELLM)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for what, why in not_run.items():
        terminalreporter.write_line(f"NOT RUN: tests with the {what}: {why}", yellow=True)
