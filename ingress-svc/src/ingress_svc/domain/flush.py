"""Vapi's flush tag in what a model says: an order to speak at once what stands before it, and no words."""

from __future__ import annotations

import re
from typing import Final

_TAG: Final = re.compile(r"\s*<\s*(?:flush\s*/?|/\s*flush\s*)>\s*", re.IGNORECASE)
_BEGUN: Final = re.compile(r"<\s*(?:/\s*)?(?:f(?:l(?:u(?:s(?:h\s*/?)?)?)?)?)?\Z", re.IGNORECASE)
_LONGEST: Final = 16
"""A tag takes 9 characters; what is longer with all its blanks is none that anybody writes."""


def without_tags(text: str) -> str:
    """Return the words alone."""
    if "<" not in text or not _TAG.search(text):
        return text
    return _TAG.sub(" ", text).strip()


def parted(text: str) -> tuple[str, str]:
    """Return ``text`` in two: what may leave now, and at its end a tag that has only begun.

    It is not known whether Vapi finds a tag that comes in two pieces; one that it does not find is read out.
    """
    if "<" not in text:
        return text, ""
    begun = _BEGUN.search(text, max(0, len(text) - _LONGEST))
    return (text[: begun.start()], begun.group()) if begun else (text, "")
