"""Texts for a person to read."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return ``text``, which came from outside, without what could steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def counted(number: int, thing: str) -> str:
    """Return ``1 generation``, ``2 generations``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def outcome_words(outcome: str) -> str:
    """Return how a call ended, `live` for one that has not."""
    return printable(outcome).replace("_", " ") or "live"


def model_words(model: str) -> str:
    """Return a model's label, `PROVIDER/NAME`, with what it is where that is no language model."""
    # Whoever reads an answer of the scripted model must not take it for what a language model would say.
    return model + (" (plays a restaurant, no LLM)" if model.startswith("scripted/") else "")
