"""Search of a folder of text by words (BM25): no model, no network, nothing that is not written in the files."""

import heapq
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

MAX_PASSAGE_CHARS = 800
"""Of one document in an answer: the model reads three of them in each turn."""
MAX_QUESTION_WORDS = 64
MAX_POSTINGS = 3_000
"""Places that one search looks at, a microsecond each: it holds up the loop."""
_K1, _B = 1.2, 0.75
"""The usual constants: how much a word's second occurrence adds, and how much long passages are held back."""

_WORD = re.compile(r"[^\W_]+")
_BREAK = re.compile(r"\n[ \t]*\n")
_HEADING = re.compile(r"#{1,6}[ \t]+(\S.*)")


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a file that is found as a whole."""

    name: str
    """The file and the passage's number in it."""
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    passage: Passage
    similarity: float
    """0 to 1: what it scores of what a passage of average length does that has each word of the question, of those that
    occur at all, once."""


def words_of(text: str) -> list[str]:
    """Return the words, without case and accents."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return _WORD.findall("".join(char for char in plain if not unicodedata.combining(char)))


def passages_of(name: str, text: str) -> Iterator[Passage]:
    """Split a file at its headings and between paragraphs. A heading stands above each passage below it."""
    number = 0
    for heading, body in _sections(text):
        room = max(MAX_PASSAGE_CHARS - len(heading) - 1, MAX_PASSAGE_CHARS // 2)
        for part in _parts(body, room):
            number += 1
            yield Passage(f"{name}#{number}", f"{heading}\n{part}" if heading else part)


def _sections(text: str) -> Iterator[tuple[str, str]]:
    heading = ""
    lines: list[str] = []
    for line in [*text.splitlines(), "# end"]:
        if found := _HEADING.fullmatch(line.rstrip()):
            if body := "\n".join(lines).strip():
                yield heading, body
            heading, lines = found[1][: MAX_PASSAGE_CHARS // 4], []
        else:
            lines.append(line)


def _parts(body: str, room: int) -> Iterator[str]:
    part = ""
    for paragraph in filter(None, (piece.strip() for piece in _BREAK.split(body))):
        if part and len(part) + len(paragraph) + 1 > room:
            yield part
            part = ""
        part = f"{part}\n{paragraph}" if part else paragraph
        while len(part) > room:
            end = part.rfind(" ", room // 2, room)
            end = room if end < 0 else end
            yield part[:end].rstrip()
            part = part[end:].lstrip()
    if part:
        yield part


class KnowledgeBase:
    """The passages by their words. Built once; asked from one thread."""

    def __init__(self, passages: Iterable[Passage], *, most: int = 3, least_similarity: float = 0.2) -> None:
        self.passages = tuple(passages)
        self._most = most
        self._least = least_similarity
        counts = [Counter(words_of(passage.text)) for passage in self.passages]
        average = sum(count.total() for count in counts) / len(counts) if counts else 1.0
        self._postings: dict[str, list[tuple[int, float]]] = {}
        """By word: in which passages it stands, and what it is worth there."""
        for index, words in enumerate(counts):
            norm = _K1 * (1 - _B + _B * words.total() / (average or 1.0))
            for word, count in words.items():
                self._postings.setdefault(word, []).append((index, count * (_K1 + 1) / (count + norm)))

    def search(self, question: str) -> list[Found]:
        """Return the best passages, best first; none where no word of the question is in any."""
        scores: dict[int, float] = {}
        best, room = 0.0, MAX_POSTINGS
        for postings in self._rarest_first(question):
            room -= len(postings)
            if room < 0 and scores:
                # The rest are the words that say least.
                break
            weight = math.log(1 + (len(self.passages) - len(postings) + 0.5) / (len(postings) + 0.5))
            best += weight
            for index, worth in postings[:MAX_POSTINGS]:
                scores[index] = scores.get(index, 0.0) + weight * worth
        ranked = heapq.nlargest(self._most, scores, key=lambda index: (scores[index], -index))
        found = (Found(self.passages[index], round(min(scores[index] / best, 1.0), 3)) for index in ranked)
        return [each for each in found if each.similarity >= self._least]

    def _rarest_first(self, question: str) -> list[list[tuple[int, float]]]:
        """Return where each word of the question stands."""
        words = list(dict.fromkeys(words_of(question)))[:MAX_QUESTION_WORDS]
        return sorted((self._postings[word] for word in words if word in self._postings), key=len)
