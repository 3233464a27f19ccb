"""Forgets ended calls when their time is over."""

from __future__ import annotations

import asyncio

from svc_runtime import logs
from svc_runtime.clock import Clock

from session_svc.adapters.store import Store, StoreUnavailable

EVERY_S = 600.0


async def keep_forgetting(store: Store, clock: Clock, retention_h: float) -> None:
    """Delete, every ten minutes, the calls that ended more than ``retention_h`` hours ago."""
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            forgotten = await store.forget_before(clock.now_ms() - round(retention_h * 3_600_000))
        except StoreUnavailable as error:
            logs.get().warning("retention.failed", reason=str(error))
            continue
        if forgotten:
            logs.get().info("retention.forgot", calls=forgotten)
