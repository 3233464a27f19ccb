"""What the model is told it said: what was heard, in our own words.

A provider that does the speaking sends its history with every request. Its assistant messages hold what was heard,
re-transcribed: lower case, no punctuation, digits as words, consecutive answers merged into one message. Our own text
is the better spelling of the same words, so it replaces the part that was heard.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from session_svc.domain.events import ChatMessage

SAME_ENOUGH = 0.6
"""Share of equal words (difflib ratio) above which a re-transcription is taken to be our sentence."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one generation sent."""

    generation: int
    text: str


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of ``text`` as two transcripts of the same speech would share them."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("’", "")
    return tuple("".join(c if c.isalnum() else " " for c in folded).split())


def tail(messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """Return the end of a history that can still change what is known to be heard.

    From the second-last assistant message on, without system messages. The tail of a tail is the same tail, so a fold
    over logged tails ends in the same state as the fold over whole histories.
    """
    spoken = [message for message in messages if message.role != "system"]
    agent = [index for index, message in enumerate(spoken) if message.role == "assistant"]
    return tuple(spoken[agent[-2] if len(agent) > 1 else 0 :])


def trailing_caller_text(messages: Sequence[ChatMessage]) -> str:
    """Return what the caller has said since the agent's last message."""
    parts: list[str] = []
    for message in reversed(messages):
        if message.role != "user":
            if parts or message.role == "assistant":
                break
            continue
        parts.append(message.content)
    return " ".join(reversed(parts))


def heard_in(messages: Sequence[ChatMessage], said: Sequence[Said]) -> dict[int, str]:
    """Return generation → the part of its text that ``messages`` show as heard."""
    heard: dict[int, str] = {}
    for _, matches in _aligned(messages, said):
        heard.update(matches)
    return heard


def for_model(messages: Sequence[ChatMessage], said: Sequence[Said], prompt: str) -> tuple[ChatMessage, ...]:
    """Return ``messages`` with our spelling of what was heard, and with ``prompt`` (if any) as the system prompt."""
    ours = {index: " ".join(parts.values()).strip() for index, parts in _aligned(messages, said)}
    told = [
        replace(message, content=ours[index]) if index in ours else message for index, message in enumerate(messages)
    ]
    if prompt:
        told = [ChatMessage("system", prompt), *(message for message in told if message.role != "system")]
    return tuple(told)


def first_words(text: str, count: int) -> str:
    """Return ``text`` up to its ``count``-th word, with its spelling and punctuation."""
    taken: list[str] = []
    left = count
    for piece in text.split():
        if left <= 0:
            break
        taken.append(piece)
        left -= len(words_of(piece))
    return " ".join(taken)


def _aligned(messages: Sequence[ChatMessage], said: Sequence[Said]) -> list[tuple[int, dict[int, str]]]:
    """Match assistant messages with runs of generations, both in order; a message may hold several generations."""
    found: list[tuple[int, dict[int, str]]] = []
    rest = [(entry, words_of(entry.text)) for entry in said if entry.text]
    for index, message in enumerate(messages):
        if message.role != "assistant" or not message.content:
            continue
        theirs = words_of(message.content)
        for start in range(len(rest)):
            matches, used = _run(rest[start:], theirs)
            if matches:
                found.append((index, matches))
                rest = rest[start + used :]
                break
    return found


def _run(rest: Sequence[tuple[Said, tuple[str, ...]]], theirs: tuple[str, ...]) -> tuple[dict[int, str], int]:
    """Return what ``theirs`` shows as heard of a run of generations from the first on, and the run's length."""
    ours: tuple[str, ...] = ()
    heard: dict[int, str] = {}
    for used, (entry, entry_words) in enumerate(rest, start=1):
        left = len(theirs) - len(ours)
        heard[entry.generation] = first_words(entry.text, left) if left < len(entry_words) else entry.text
        ours += entry_words
        if _same(ours[: len(theirs)], theirs[: len(ours)]) is False:
            return {}, 0
        if len(ours) >= len(theirs):
            return heard, used
    # The caller heard a little more than we have on record (a filler of the provider's): still ours.
    return (heard, len(rest)) if ours and _same(ours, theirs) else ({}, 0)


def _same(ours: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    if ours == theirs:
        return True
    return SequenceMatcher(None, ours, theirs, autojunk=False).ratio() >= SAME_ENOUGH
