"""What the model is told it said: what was heard, in our own words.

A provider that does the speaking sends its history with every request. Its assistant messages hold what was heard,
re-transcribed: lower case, no punctuation, digits as words, consecutive answers merged into one message. Our own text
is the better spelling of the same words, so it replaces the part that was heard.

Only the end of a history is compared with what we said; what older messages hold was found out when they were the end.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple, Protocol, TypeVar

from session_svc.domain.call import Claim
from session_svc.domain.events import ChatMessage

SAME_ENOUGH = 0.6
"""Share of a message's words that must be found in ours, in order, for it to be taken as ours, re-transcribed."""
MOST_RUNS_TOLD = 16
"""The model is told of so many of the newest runs of our tools: each may be 16 kB."""

_WORD = re.compile(r"[^\W_]+")
_APOSTROPHES = str.maketrans("", "", "'’")


class HasRole(Protocol):
    """A chat message, on the wire or off it."""

    @property
    def role(self) -> str: ...


M = TypeVar("M", bound=HasRole)


class Said(NamedTuple):
    """What one generation sent."""

    generation: int
    text: str


class Heard(NamedTuple):
    """What one assistant message shows as heard."""

    told_as: str
    """The message."""
    parts: tuple[Said, ...]
    """Of each generation that it holds, oldest first, the part that was heard."""


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of ``text`` as two transcripts of the same speech would share them."""
    folded = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return tuple(_WORD.findall(folded.casefold().translate(_APOSTROPHES)))


def tail(messages: Sequence[M]) -> tuple[M, ...]:
    """Return the end of a history that can still change what is known to be heard.

    From the second-last assistant message on, without system messages. The tail of a tail is the same tail, so a fold
    over logged tails ends in the same state as the fold over whole histories.
    """
    end: list[M] = []
    agents = 0
    for message in reversed(messages):
        if message.role == "system":
            continue
        end.append(message)
        agents += message.role == "assistant"
        if agents == 2:
            break
    return tuple(reversed(end))


def asked_words(messages: Sequence[ChatMessage]) -> tuple[str, ...]:
    """Return what the caller has said since the agent's last message, in words."""
    parts: list[str] = []
    for message in reversed(messages):
        if message.role == "assistant":
            break
        if message.role == "user":
            parts.append(message.content)
    return words_of(" ".join(reversed(parts)))


def asked_since(messages: Sequence[ChatMessage]) -> str:
    """Return what sets a request apart that brings no new words of the caller: the agent's last message, tool results.

    So the second round of tools in a turn is not taken for the first one again.
    """
    parts: list[str] = []
    for message in reversed(messages):
        if message.role == "assistant":
            parts.append(" ".join(words_of(message.content)))
            break
        if message.tool_call_id:
            parts.append(message.tool_call_id)
    return "|".join(reversed(parts))


def heard_in(messages: Sequence[ChatMessage], said: Sequence[Said]) -> list[Heard]:
    """Return what ``messages`` show as heard of what was ``said``; both oldest first, the answer newest first.

    Matched from the end on, because what was said last is what the last message shows, however often the same words
    were said before.
    """
    found: list[Heard] = []
    left = [(entry, words_of(entry.text)) for entry in said]
    for message in reversed(messages):
        if message.role != "assistant" or not message.content:
            continue
        start, parts = _newest_run(left, words_of(message.content))
        if parts:
            found.append(Heard(message.content, parts))
            del left[start:]
    return found


def for_model(messages: Sequence[ChatMessage], spelling: Mapping[str, str], prompt: str) -> tuple[ChatMessage, ...]:
    """Return ``messages`` in our ``spelling`` of what was heard, and with ``prompt`` (if any) as the system prompt."""
    told = [
        message._replace(content=spelling[message.content])
        if message.role == "assistant" and message.content in spelling
        else message
        for message in messages
    ]
    if prompt:
        told = [ChatMessage("system", prompt), *(message for message in told if message.role != "system")]
    return tuple(told)


def with_tools(
    messages: Sequence[ChatMessage], user_message_count: int, runs: Sequence[Claim]
) -> Sequence[ChatMessage]:
    """Return ``messages`` with the newest of our tools' ``runs``, each behind the words of the caller that led to it.

    ``user_message_count``: of the whole history, whose older messages may be missing. A turn whose words are missing
    has lost its runs too.
    """
    if not runs:
        return messages
    newest = runs[-MOST_RUNS_TOLD:]
    told: list[ChatMessage] = []
    turn = user_message_count - sum(message.role == "user" for message in messages)
    for message in messages:
        told.append(message)
        if message.role == "user":
            turn += 1
            told += _tool_messages([run for run in newest if run.turn == turn])
    return told


def _tool_messages(runs: Sequence[Claim]) -> list[ChatMessage]:
    if not runs:
        return []
    calls = [
        {"id": run.key, "type": "function", "function": {"name": run.name, "arguments": run.arguments_json or "{}"}}
        for run in runs
    ]
    asked = ChatMessage("assistant", "", tool_calls_json=json.dumps(calls, separators=(",", ":")))
    return [asked, *(ChatMessage("tool", run.text, tool_call_id=run.key) for run in runs)]


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


_Entry = tuple[Said, tuple[str, ...]]


def _newest_run(said: Sequence[_Entry], theirs: tuple[str, ...]) -> tuple[int, tuple[Said, ...]]:
    """Return where the run of entries begins that ``theirs`` tells best, and what was heard of each of them.

    Of two that it tells equally well, the newer; nothing when it tells none well enough.
    """
    best = (0.0, 0, 0, 0)
    for start in reversed(range(len(said))):
        share, used, heard_words = _run(said, start, theirs)
        if share > best[0]:
            best = (share, start, used, heard_words)
            if share == 1.0:
                break
    share, start, used, heard_words = best
    if share < SAME_ENOUGH:
        return 0, ()
    return start, _parts(said[start : start + used], heard_words)


def _run(said: Sequence[_Entry], start: int, theirs: tuple[str, ...]) -> tuple[float, int, int]:
    """Return how well ``theirs`` tells the entries from ``start`` on, how many of them, and how many of their words.

    A message may hold several answers in a row. One more is taken in only where that explains the message better: a
    word that was transcribed as two does not make the next answer heard.
    """
    ours: tuple[str, ...] = ()
    best = (0.0, 0, 0)
    for used, (_, entry_words) in enumerate(said[start:], start=1):
        ours += entry_words
        share, heard_words = _told(ours, theirs)
        if share <= best[0]:
            break
        best = (share, used, heard_words)
        if len(ours) >= len(theirs):
            break
    return best


def _told(ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[float, int]:
    """Return the share of ``theirs`` that tells the beginning of ``ours``, and how many words of ours that is."""
    length = len(theirs)
    if ours[:length] == theirs:
        return 1.0, length
    blocks = SequenceMatcher(None, ours[:length], theirs, autojunk=False).get_matching_blocks()[:-1]
    if not blocks:
        return 0.0, 0
    # Counted from the last words that both have: before them a word may have been told as two, or two as one.
    last = blocks[-1]
    heard_words = last.a + last.size + (length - last.b - last.size)
    return sum(block.size for block in blocks) / length, min(heard_words, len(ours))


def _parts(run: Sequence[_Entry], heard_words: int) -> tuple[Said, ...]:
    parts: list[Said] = []
    left = heard_words
    for entry, entry_words in run:
        if left > 0:
            text = entry.text if left >= len(entry_words) else first_words(entry.text, left)
            parts.append(Said(entry.generation, text))
        left -= len(entry_words)
    return tuple(parts)
