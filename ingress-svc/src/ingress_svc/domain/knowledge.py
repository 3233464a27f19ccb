"""Search of a folder of text by words (BM25): no model, no network, nothing that is not written in the files."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

MAX_PASSAGE_CHARS = 800
"""Of one document in an answer: the model reads three of them in each turn."""
MAX_QUESTION_WORDS = 64
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
        self._postings: dict[str, list[tuple[int, int]]] = {}
        lengths = []
        for index, passage in enumerate(self.passages):
            counts = Counter(words_of(passage.text))
            lengths.append(counts.total())
            for word, count in counts.items():
                self._postings.setdefault(word, []).append((index, count))
        average = sum(lengths) / len(lengths) if lengths else 1.0
        self._norms = [_K1 * (1 - _B + _B * length / (average or 1.0)) for length in lengths]

    def search(self, question: str) -> list[Found]:
        """Return the best passages, best first; none where no word of the question is in any."""
        scores: dict[int, float] = {}
        best = 0.0
        for word in list(dict.fromkeys(words_of(question)))[:MAX_QUESTION_WORDS]:
            postings = self._postings.get(word)
            if not postings:
                continue
            weight = math.log(1 + (len(self.passages) - len(postings) + 0.5) / (len(postings) + 0.5))
            best += weight
            for index, count in postings:
                gain = weight * count * (_K1 + 1) / (count + self._norms[index])
                scores[index] = scores.get(index, 0.0) + gain
        ranked = sorted(scores, key=lambda index: (-scores[index], index))[: self._most]
        found = (Found(self.passages[index], round(min(scores[index] / best, 1.0), 3)) for index in ranked)
        return [each for each in found if each.similarity >= self._least]
