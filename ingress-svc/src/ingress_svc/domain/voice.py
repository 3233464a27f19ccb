"""A generation that holds the output of a call, and the answer to a slow turn, which is gathered aside."""

from __future__ import annotations

from dataclasses import dataclass, field

from ingress_svc.domain.effects import Ended, Finish, PlayoutChanged, PlayoutState, Usage, WriteToolCall
from ingress_svc.domain.flush import parted, without_tags

TAIL_CHARS = 200
"""How much bargein-svc sees of what was said (did it end in a question?) and of what it answers (is it repeated?)."""


@dataclass(slots=True)
class Aside:
    """The answer of a slow turn: its request has ended with a filler, and it is to be said by live call control."""

    answer: list[str] = field(default_factory=list)
    finish: Finish | None = None
    """How the model ended; None while it runs."""
    asked: bool = False
    """Whether the shell has been told to say it, and has not answered yet."""
    left: bool = False
    """Whether it was let go."""

    @property
    def words(self) -> str:
        return without_tags("".join(self.answer)).strip()


@dataclass(slots=True)
class Voice:
    """A generation that is running or sounding here."""

    generation: int
    turn: int
    attachment_id: str
    answers_until_ms: int
    answered_tail: str = ""
    """The end of the caller's words that it answers."""
    finish: Finish | None = None
    """How it ended; None while the model runs, or its answer waits to be said."""
    usage: Usage | None = None
    model: str = ""
    """Which has answered, with its provider; "" where none has come to its end."""
    sent: list[str] = field(default_factory=list)
    """Text as it was sent."""
    held: str = ""
    """The beginning of a flush tag, which is not sent before its end."""
    calls: list[WriteToolCall] = field(default_factory=list)
    aside: Aside | None = None

    @property
    def running(self) -> bool:
        return self.finish is None

    @property
    def thinking(self) -> bool:
        """Whether its model runs."""
        return self.finish is None and (self.aside is None or self.aside.finish is None)

    @property
    def sent_text(self) -> str:
        return "".join(self.sent)

    @property
    def said_text(self) -> str:
        """What was sent, for the record: words only."""
        return without_tags(self.sent_text)

    @property
    def begun(self) -> bool:
        """Whether the model has begun to answer."""
        return bool(self.sent or self.held or self.calls)

    def take(self, text: str) -> str:
        """Take text from the model, and return what may be sent of it now."""
        text, self.held = parted(self.held + text)
        if text:
            self.sent.append(text)
        return text

    def take_rest(self) -> str:
        """The model has ended: return what was held, which is no tag."""
        text, self.held = self.held, ""
        if text:
            self.sent.append(text)
        return text

    def playing(self) -> PlayoutChanged:
        tail = self.said_text[-TAIL_CHARS:]
        return PlayoutChanged(self.generation, PlayoutState.PLAYING, self.answers_until_ms, tail, self.answered_tail)

    def over(self) -> PlayoutChanged:
        return PlayoutChanged(self.generation, PlayoutState.OVER, self.answers_until_ms)

    def ended(self) -> Ended:
        return Ended(self.generation, self.turn, self.said_text, self.finish or Finish.STOP, self.usage, self.model)

    def let_go(self) -> None:
        """The answer aside counts as said, behind the filler."""
        if self.aside is not None and not self.aside.left:
            self.aside.left = True
            self.sent.append(f" {''.join(self.aside.answer).lstrip()}")

    def take_back(self) -> None:
        """What was let go has not been said after all."""
        if self.aside is not None and self.aside.left:
            self.aside.left = False
            self.sent.pop()
