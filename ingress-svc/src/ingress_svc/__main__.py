"""Run ingress-svc: config, wiring, serve, drain."""

from __future__ import annotations

import os

from svc_runtime import logs, server
from svc_runtime.config import load

from ingress_svc.config import Config
from ingress_svc.wiring import Ingress


async def main() -> None:
    config = load(Config, os.environ)
    logs.setup("ingress-svc", config.log_level)
    ingress = Ingress(config)
    signals = server.StopSignals()
    await ingress.start()
    server.freeze_startup()
    logs.get().info("server.started", name="ingress-svc", port=ingress.port)
    try:
        await signals.first.wait()
        await ingress.drain(signals.second)
    finally:
        await ingress.close()
        logs.get().info("server.ended", name="ingress-svc")


if __name__ == "__main__":
    server.run(main())
