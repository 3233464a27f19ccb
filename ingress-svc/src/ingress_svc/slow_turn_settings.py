"""The section [slow_turn] of an agent file."""

from __future__ import annotations

from typing import Final

from svc_runtime.toml_file import Section

from ingress_svc.domain.slow_turn import SlowTurn

FILLERS: Final = ("One moment, please.",)
LEAST_MS: Final = 100
"""No model is slow sooner: seconds were meant."""
MOST_MS: Final = 15_000
"""Vapi gives a request up after 20 s without a token."""


def read_slow_turn(root: Section) -> SlowTurn:
    """Return what ``root`` says of slow turns; its problems are noted there."""
    section = root.section("slow_turn")
    after_ms = section.whole("after_ms", 0, least=LEAST_MS, most=MOST_MS, required=root.has("slow_turn"))
    fillers = section.value("filler", FILLERS, _is_filler, "a text in quotes, or a list of such")
    section.refuse_unknown()
    return SlowTurn(after_ms, (fillers,) if isinstance(fillers, str) else tuple(fillers))


def _is_filler(value: object) -> bool:
    texts = value if isinstance(value, list) else [value]
    return bool(texts) and all(isinstance(text, str) and text.strip() for text in texts)
