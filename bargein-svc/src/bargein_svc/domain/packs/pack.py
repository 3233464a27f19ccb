"""The form of a language pack."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Phrases of one language, written as people write them; they are normalised like transcripts before use."""

    language: str
    stop: tuple[str, ...]
    """The caller wants silence or the floor. Counts where an utterance begins, and as its last clause."""
    stop_alone: tuple[str, ...] = ()
    """Stops that are also everyday words: count only when nothing follows in a final, or a pause does."""
    correction: tuple[str, ...]
    """The caller takes something back or contradicts. Counts in the same places as `stop`."""
    acknowledgement: tuple[str, ...]
    """The caller listens and wants the agent to go on. Counts only when it is all that was said."""
    filler: tuple[str, ...]
    """Sounds of somebody who may or may not be about to speak. Never decide, never count as words."""
    lead: tuple[str, ...]
    """Words that may stand before a stop or correction and decide nothing by themselves."""
    opener: tuple[str, ...]
    """Single words that open a turn of one's own: with them, fewer words are needed to take the floor."""
