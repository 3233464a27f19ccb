"""Which replica a key belongs to: a fixed number of slots, and a hint of who holds each."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

SLOTS = 256
"""Fixed in every store: changing it would move every key."""


def slot_of(key: str) -> int:
    """Return the slot of ``key``, 0 to 255."""
    return zlib.crc32(key.encode()) % SLOTS


def rendezvous(slot: int, replicas: Sequence[str]) -> str:
    """Return the replica that all who know the same replicas expect to hold ``slot``.

    Highest-random-weight hashing: when a replica leaves, only its own slots move. Raises ValueError without replicas.
    """
    if not replicas:
        raise ValueError("no replica to choose from; give at least one address")
    return max(replicas, key=lambda replica: (zlib.crc32(f"{slot}@{replica}".encode()), replica))
