"""What must hold for a call's output, judged at the last writer and by nothing that the code under test believes.

The judge knows which commands and verdicts reached which ingress, and sees every piece of content that leaves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Promise(NamedTuple):
    """What session-svc said of a generation when it gave out its number."""

    attachment_id: str
    answers_until_ms: int
    answer: str
    """All that its model will say."""


FILLER = "One moment."
"""What the request of a slow turn ends with."""


@dataclass
class Told:
    """What has reached one ingress."""

    cuts: list[tuple[int, int]] = field(default_factory=list)
    """(through generation, spoken at)."""
    newest_start: int = 0
    ended: bool = False

    def names(self, generation: int, promise: Promise) -> bool:
        return any(
            generation <= through or promise.answers_until_ms < spoken_at_ms for through, spoken_at_ms in self.cuts
        )


@dataclass
class Judge:
    told: dict[str, Told] = field(default_factory=dict)
    promises: dict[int, Promise] = field(default_factory=dict)
    ran: list[tuple[int, str]] = field(default_factory=list)
    """(generation, agent whose models ran it)."""
    left: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """By attachment, the content that left: (generation, text)."""
    asked: dict[str, str] = field(default_factory=dict)
    """By attachment, the whole answer to the words that it brought."""
    aloud: dict[int, str] = field(default_factory=dict)
    """By generation, what was said by live call control."""

    tools: set[str] = field(default_factory=set)
    """The tool runs that have begun, by key."""
    refused_tools: list[tuple[str, int]] = field(default_factory=list)
    """(ingress, generation) whose tool was not run."""

    def tool_began(self, ingress: str, key: str, generation: int) -> None:
        """A tool runs at most once, and not for a generation that this ingress knows to be cut."""
        assert key not in self.tools, f"tool {key} ran twice, now at {ingress}"
        self.tools.add(key)
        told = self.told[ingress]
        assert not told.names(generation, self.promises[generation]), (
            f"{ingress} ran {key} for {generation}, cut before"
        )

    def tool_told(self, ingress: str, key: str, generation: int, outcome: str, text: str) -> None:
        """A model learns what became of its tool."""
        assert outcome in ("done", "unknown", "not_run"), outcome
        if outcome == "done":
            assert (key in self.tools, text) == (True, f"did {key}")
        if outcome == "not_run":
            # It was refused to a generation that had lost the voice by then, though this ingress may not know it yet.
            self.refused_tools.append((ingress, generation))

    def promised(self, generation: int, promise: Promise) -> None:
        """A generation's number is given out once, whatever died since."""
        known = self.promises.setdefault(generation, promise)
        assert known == promise, f"generation {generation} was given out twice: {known}, {promise}"

    def wrote(self, ingress: str, attachment_id: str, generation: int, text: str) -> None:
        self._may_leave(ingress, generation)
        pieces = self.left.setdefault(attachment_id, [])
        pieces.append((generation, text))
        assert len({number for number, _ in pieces}) == 1, f"two generations spoke on {attachment_id}: {pieces}"
        said = self.text(attachment_id)
        wanted = self.asked[attachment_id]
        assert wanted.startswith(said) or f"{FILLER} {wanted}".startswith(said), (
            f"{attachment_id} asked for {wanted!r} and got {said!r}"
        )

    def said(self, ingress: str, generation: int, text: str) -> None:
        """An answer was said aloud, behind a filler."""
        self._may_leave(ingress, generation)
        assert generation not in self.aloud, f"{generation} was said twice"
        assert text == self.promises[generation].answer.strip(), f"{text!r} is not the answer of {generation}"
        self.aloud[generation] = text

    def _may_leave(self, ingress: str, generation: int) -> None:
        told, promise = self.told[ingress], self.promises[generation]
        assert not told.names(generation, promise), f"content of {generation} left {ingress} after its cut"
        assert generation >= told.newest_start, f"{generation} spoke at {ingress} beside {told.newest_start}"
        assert not told.ended, f"content of {generation} left {ingress} after the end of the call"

    def cut(self, ingress: str, generation: int) -> None:
        """A generation was cut for barge-in: something that reached this ingress must name it."""
        promise = self.promises[generation]
        assert self.told[ingress].names(generation, promise), f"{generation} was cut at {ingress} without being named"

    def verdict(self, through_generation: int, spoken_at_ms: int) -> None:
        promise = self.promises.get(through_generation)
        assert promise is None or promise.answers_until_ms < spoken_at_ms, (
            f"words spoken at {spoken_at_ms} cut {through_generation}, which answers words until "
            f"{promise.answers_until_ms}"
        )

    def text(self, attachment_id: str) -> str:
        return "".join(text for _, text in self.left.get(attachment_id, []))

    def complete(self, attachment_id: str) -> bool:
        """Whether all of the answer left: on the request, or aloud behind the filler that ended it."""
        text, wanted = self.text(attachment_id), self.asked[attachment_id]
        if text != FILLER:
            return text in (wanted, f"{FILLER} {wanted}")
        return self.aloud.get(self.left[attachment_id][0][0]) == wanted.strip()
