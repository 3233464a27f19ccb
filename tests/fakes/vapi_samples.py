"""Vapi's payloads, as the fixtures hold them and as a test builds them."""

import json
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parents[1] / "fixtures" / "vapi"
CALL = "01a02b10-7c1e-7d5a-9f3e-2b6c8d0e4f11"
"""The call that every sample is about."""
AT_MS = 1_787_428_899_945
NAMES = sorted(f"{path.parent.name}/{path.stem}" for path in SAMPLES.glob("se*/*.json"))
"""Every webhook sample, such as `server/hang` or `seed_shape/transcript.final`. Those of `server_made` are made after
the documentation, where it shows none."""


def sample(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_bytes())
    return loaded


def seed_shape(body: dict[str, Any]) -> dict[str, Any]:
    """The same in the article's shape: the type beside the message."""
    inner = dict(body["message"])
    return {"type": inner.pop("type"), "message": inner} if "type" in inner else body


def message(**fields: object) -> dict[str, object]:
    """A webhook of today's shape."""
    return {"message": {"call": {"id": CALL}, "timestamp": AT_MS} | fields}
