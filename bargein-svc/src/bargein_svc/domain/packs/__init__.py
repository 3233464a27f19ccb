"""What callers say, by language: one module each, data only."""

from __future__ import annotations

from bargein_svc.domain.packs.en import PACK as EN
from bargein_svc.domain.packs.es import PACK as ES
from bargein_svc.domain.packs.pack import Pack

PACKS: dict[str, Pack] = {pack.language: pack for pack in (EN, ES)}

__all__ = ["PACKS", "Pack"]
