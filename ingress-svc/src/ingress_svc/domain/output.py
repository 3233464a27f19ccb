"""The output of one call: which generation holds the voice, and what may still leave.

Pure: methods take what happened and return what is to be done. Commands, verdicts, tokens and hang-ups may come in any
order and twice.

    waiting ── Start ──▶ running ── model ends ──▶ sounding ── playout ends ──▶ gone
                            │                          │
                            └──────── cut ─────────────┴──▶ fenced: nothing of it leaves any more

On Vapi a generation sounds on after its last token, until the provider says that the agent fell silent.

The answer to a slow turn leaves the attachment, and still runs until it is said:

    running ── set_aside ──▶ model runs ── model ends, no request open ──▶ SayAnswer ── let_say ──▶ said ──▶ sounding
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ingress_svc.domain.chat import ChatMessage
from ingress_svc.domain.effects import (
    AskAgain,
    AttachmentClosed,
    CancelGenerate,
    Close,
    Cut,
    CutReason,
    Effect,
    Finish,
    OpenGenerate,
    PlayoutChanged,
    PlayoutState,
    RequestCut,
    SayAnswer,
    Started,
    Usage,
    Write,
    WriteToolCall,
)
from ingress_svc.domain.voice import TAIL_CHARS, Aside, Voice


@dataclass(slots=True)
class Output:
    """All that one call may still say through this ingress."""

    fence: int = 0
    """No content of a generation up to this one leaves."""
    cut_spoken_at_ms: int = 0
    """Answers to words spoken before this are stale."""
    voice: Voice | None = None
    """At most one: the generation that holds the output. Never a fenced one."""
    latest: int = 0
    """The newest generation that has held the output here."""
    attachments: set[str] = field(default_factory=set)
    """Requests whose end has not been decided."""
    open: set[str] = field(default_factory=set)
    """Requests whose connection is open."""
    over: bool = False
    """The call has ended: nothing starts any more."""

    def may_write(self, generation: int) -> bool:
        """Whether content of ``generation`` may leave at this moment."""
        return self.fence < generation <= self.latest

    def attached(self, attachment_id: str) -> None:
        self.attachments.add(attachment_id)
        self.open.add(attachment_id)

    def start(
        self,
        generation: int,
        *,
        turn: int,
        attachment_id: str,
        answers_until_ms: int,
        messages: tuple[ChatMessage, ...],
    ) -> list[Effect]:
        """Obey StartGeneration: run it, or record why it may not run. A second delivery changes nothing."""
        voice = self.voice
        if voice is not None and voice.generation == generation:
            return [Started(generation, voice.attachment_id)]
        if generation <= self.fence:
            return self._not_started(generation, turn, attachment_id, CutReason.SUPERSEDED)
        if generation <= self.latest:
            return [Started(generation, attachment_id)]
        # Whatever becomes of it, session-svc has given up all before it.
        effects = self._give_way(CutReason.SUPERSEDED)
        self.fence = generation
        if self.over:
            return effects + self._not_started(generation, turn, attachment_id, CutReason.CALL_ENDED)
        if answers_until_ms < self.cut_spoken_at_ms:
            return effects + self._not_started(generation, turn, attachment_id, CutReason.STALE)
        if attachment_id not in self.attachments:
            return effects + self._not_started(generation, turn, attachment_id, CutReason.PEER_CLOSED)
        asked = next((message.content for message in reversed(messages) if message.role == "user"), "")
        voice = Voice(generation, turn, attachment_id, answers_until_ms, asked[-TAIL_CHARS:])
        self._hold(voice)
        return [
            *effects,
            OpenGenerate(generation, turn, attachment_id, messages),
            Started(generation, attachment_id),
            PlayoutChanged(generation, PlayoutState.PREPARING, answers_until_ms, answered_tail=voice.answered_tail),
        ]

    def token(self, generation: int, text: str) -> list[Effect]:
        """Take text from the model."""
        voice = self._thinking(generation)
        if voice is None or not text:
            return []
        if voice.aside is not None:
            voice.aside.answer.append(text)
            return []
        first = not voice.sent
        text = voice.take(text)
        if not text:
            return []
        effects: list[Effect] = [Write(voice.attachment_id, generation, text)]
        if first:
            effects.append(voice.playing())
        return effects

    def tool_call(self, piece: WriteToolCall) -> list[Effect]:
        """Take a piece of a tool call from the model, whatever attachment it names."""
        voice = self._thinking(piece.generation)
        if voice is None or voice.aside is not None:
            return []
        piece = replace(piece, attachment_id=voice.attachment_id)
        voice.calls.append(piece)
        return [piece]

    def finished(self, generation: int, finish: Finish, usage: Usage | None = None, model: str = "") -> list[Effect]:
        """The model has said all, or has failed after the words that stand at the end. ``model`` names it."""
        voice = self._thinking(generation)
        if voice is None:
            return []
        voice.usage, voice.model = usage, model
        if voice.aside is not None:
            return self._gathered(voice, voice.aside, finish)
        voice.finish = finish
        self.attachments.discard(voice.attachment_id)
        rest = voice.take_rest()
        effects: list[Effect] = [Write(voice.attachment_id, generation, rest)] if rest else []
        effects += [Close(voice.attachment_id, finish, usage), voice.ended()]
        if voice.sent:
            return [*effects, voice.playing()]
        self.voice = None
        return [*effects, voice.over()]

    def silent(self, generation: int) -> Voice | None:
        """Return the voice if the model of ``generation`` has not begun to answer."""
        voice = self._thinking(generation)
        if voice is None or voice.aside is not None or voice.begun:
            return None
        return voice

    def set_aside(self, generation: int, filler: str) -> list[Effect]:
        """The model is slow: say ``filler``, end the request with it, and gather the answer to be said later.

        Text behind a filler on a request that stays open would not be spoken (the provider waits for more of it).
        """
        voice = self.silent(generation)
        if voice is None:
            return []
        voice.aside = Aside()
        voice.sent.append(filler)
        self.attachments.discard(voice.attachment_id)
        return [
            Write(voice.attachment_id, generation, filler),
            Close(voice.attachment_id),
            voice.playing(),
        ]

    def let_say(self, generation: int) -> bool:
        """Whether the answer aside may leave at this moment; it counts as said from here on.

        Not beside a request: what is said into an open one breaks it, and what it asks for is not decided yet.
        """
        voice = self._aside(generation)
        if voice is None or self.open or not self.may_write(generation):
            return False
        voice.let_go()
        return True

    def said(self, generation: int, *, accepted: bool) -> list[Effect]:
        """The provider has taken the answer aside, or has not."""
        voice = self._aside(generation)
        if voice is None or voice.aside is None:
            return []
        if accepted:
            voice.finish = voice.aside.finish
            return [voice.ended(), voice.playing()]
        voice.take_back()
        voice.finish = Finish.FAILED
        self.voice = None
        return [voice.ended(), voice.over()]

    def withheld(self, generation: int) -> list[Effect]:
        """The last writer was not let: it is asked again once no request is open."""
        voice = self._aside(generation)
        if voice is None or voice.aside is None:
            return []
        voice.aside.asked = False
        return self._say()

    def cut(self, through_generation: int, spoken_at_ms: int, rule: str) -> list[Effect]:
        """Obey a verdict. Where the output is not here, whoever holds it is to be found."""
        known = self.fence >= through_generation and self.cut_spoken_at_ms >= spoken_at_ms
        effects = self._cut(through_generation, spoken_at_ms, CutReason.BARGE_IN, rule)
        if effects or known:
            return effects
        return [RequestCut(through_generation, spoken_at_ms, rule)]

    def obey_cut(self, through_generation: int, spoken_at_ms: int, reason: CutReason, rule: str) -> list[Effect]:
        """Obey CutGeneration. What is not here any more is recorded as cut, so that the command is settled."""
        effects = self._cut(through_generation, spoken_at_ms, reason, rule)
        return effects or [Cut(through_generation, 0, "", reason, spoken_at_ms, rule)]

    def move(self, generation: int, attachment_id: str) -> list[Effect]:
        """Obey MoveOutput: the same answer from its first byte on another attachment."""
        voice = self.voice
        if voice is None or voice.generation != generation:
            asks = [AskAgain(attachment_id)] if attachment_id in self.attachments else []
            return [*self._never_came(generation), *asks]
        if attachment_id == voice.attachment_id or attachment_id not in self.attachments:
            # A request that was left meanwhile takes nothing over, and the command is settled all the same.
            return [Started(generation, attachment_id)]
        old, voice.attachment_id = voice.attachment_id, attachment_id
        self.attachments.discard(old)
        effects: list[Effect] = [Close(old), Started(generation, attachment_id)]
        if voice.aside is not None and voice.running:
            return effects + self._come_back(voice, voice.aside)
        if voice.sent:
            effects.append(Write(attachment_id, generation, voice.sent_text))
        voice.calls = [replace(piece, attachment_id=attachment_id) for piece in voice.calls]
        effects += voice.calls
        if voice.finish is not None:
            self.attachments.remove(attachment_id)
            effects.append(Close(attachment_id, voice.finish, voice.usage))
        return effects

    def replay(self, generation: int, attachment_id: str, said_text: str, answers_until_ms: int) -> list[Effect]:
        """Obey ReplayAnswer: an answer that was complete, once more."""
        if attachment_id not in self.attachments:
            return [AttachmentClosed(attachment_id)]
        if self.over:
            return self.refuse(attachment_id)
        # Session-svc decided this before it heard of a cut that was made here.
        if generation <= self.fence or answers_until_ms < self.cut_spoken_at_ms:
            return [AskAgain(attachment_id)]
        effects: list[Effect] = []
        if self.voice is not None and self.voice.generation == generation:
            self.voice.answers_until_ms = max(self.voice.answers_until_ms, answers_until_ms)
        else:
            effects += self._give_way(CutReason.SUPERSEDED)
            self._hold(Voice(generation, 0, attachment_id, answers_until_ms, finish=Finish.STOP, sent=[said_text]))
        self.attachments.remove(attachment_id)
        return [
            *effects,
            Write(attachment_id, generation, said_text),
            Close(attachment_id),
            AttachmentClosed(attachment_id),
        ]

    def refuse(self, attachment_id: str) -> list[Effect]:
        """Obey RefuseAnswer: close without content."""
        self.attachments.discard(attachment_id)
        return [Close(attachment_id), AttachmentClosed(attachment_id)]

    def peer_closed(self, attachment_id: str, *, answered: bool = False) -> list[Effect]:
        """The request is over. Unless it was ``answered`` to its end, nobody wants the rest of the answer."""
        self.open.discard(attachment_id)
        undecided = attachment_id in self.attachments
        self.attachments.discard(attachment_id)
        voice = self.voice
        if voice is not None and voice.attachment_id == attachment_id and voice.running:
            if undecided or not answered:
                return self._silence(CutReason.PEER_CLOSED)
            return self._say()
        return [AttachmentClosed(attachment_id), *self._say()] if undecided else self._say()

    def agent_fell_silent(self) -> list[Effect]:
        """The provider has stopped playing: what sounded is over. What still runs will sound again."""
        voice = self.voice
        if voice is None or voice.running:
            return []
        self.voice = None
        return [voice.over()]

    def call_ended(self) -> list[Effect]:
        """Silence everything for good."""
        return self._shut(CutReason.CALL_ENDED)

    def ingress_ends(self) -> list[Effect]:
        """This process ends and the call does not: silence everything here."""
        return self._shut(CutReason.INGRESS_LOST)

    def _shut(self, reason: CutReason) -> list[Effect]:
        self.over = True
        effects = self._give_way(reason)
        self.fence = max(self.fence, self.latest)
        for attachment_id in sorted(self.attachments):
            effects += [Close(attachment_id), AttachmentClosed(attachment_id)]
        self.attachments.clear()
        return effects

    def _hold(self, voice: Voice) -> None:
        self.voice = voice
        self.latest = voice.generation
        self.fence = voice.generation - 1

    def _never_came(self, generation: int) -> list[Effect]:
        """Settle a generation that session-svc takes to be running here, and whose start was lost on the way."""
        if generation <= max(self.fence, self.latest):
            return []  # its end was reported
        effects = self._give_way(CutReason.SUPERSEDED)
        self.fence = generation
        return [*effects, Cut(generation, 0, "", CutReason.SUPERSEDED)]

    def _thinking(self, generation: int) -> Voice | None:
        voice = self.voice
        return voice if voice is not None and voice.generation == generation and voice.thinking else None

    def _aside(self, generation: int) -> Voice | None:
        """Return the voice if its answer is about to be said."""
        voice = self.voice
        if voice is None or voice.generation != generation or not voice.running:
            return None
        return voice if voice.aside is not None and voice.aside.asked else None

    def _gathered(self, voice: Voice, aside: Aside, finish: Finish) -> list[Effect]:
        """The model of an answer aside has ended. A tool of the provider's can no longer be called."""
        aside.finish = Finish.FAILED if finish is Finish.TOOL_CALLS else finish
        if aside.words:
            return self._say()
        voice.finish = aside.finish
        return [voice.ended(), voice.playing()]

    def _say(self) -> list[Effect]:
        """Have the answer aside said, if it is whole and no request is open."""
        voice = self.voice
        aside = voice.aside if voice is not None and voice.running else None
        if voice is None or aside is None or aside.finish is None or aside.asked or self.open:
            return []
        aside.asked = True
        return [SayAnswer(voice.generation, aside.words)]

    def _come_back(self, voice: Voice, aside: Aside) -> list[Effect]:
        """The provider asks again for what is aside: give it there, from the first byte."""
        self.attachments.discard(voice.attachment_id)
        if aside.finish is None and not aside.answer:
            # There is nothing but the filler, which has to end this request too in order to be spoken.
            return [Write(voice.attachment_id, voice.generation, voice.sent_text), Close(voice.attachment_id)]
        voice.let_go()
        voice.aside = None
        written = Write(voice.attachment_id, voice.generation, voice.sent_text)
        if aside.finish is None:
            self.attachments.add(voice.attachment_id)
            return [written]
        voice.finish = aside.finish
        closed = Close(voice.attachment_id, voice.finish, voice.usage)
        return [written, closed, voice.ended(), voice.playing()]

    def _cut(self, through: int, spoken_at_ms: int, reason: CutReason, rule: str) -> list[Effect]:
        """Raise the fence, and silence the voice if the cut names it: by number, or as an answer to older words."""
        self.fence = max(self.fence, through)
        self.cut_spoken_at_ms = max(self.cut_spoken_at_ms, spoken_at_ms)
        voice = self.voice
        if voice is None or not (voice.generation <= through or voice.answers_until_ms < spoken_at_ms):
            return []
        return self._silence(reason, spoken_at_ms=spoken_at_ms, rule=rule)

    def _give_way(self, reason: CutReason) -> list[Effect]:
        """Make room: cut what runs. What only sounded has said all and is simply over."""
        if self.voice is not None and not self.voice.running:
            return self.agent_fell_silent()
        return self._silence(reason)

    def _silence(self, reason: CutReason, *, spoken_at_ms: int = 0, rule: str = "") -> list[Effect]:
        voice = self.voice
        if voice is None:
            return []
        self.voice = None
        self.fence = max(self.fence, voice.generation)
        effects: list[Effect] = []
        if voice.thinking:
            effects.append(CancelGenerate(voice.generation))
        if voice.running and voice.attachment_id in self.attachments:
            self.attachments.remove(voice.attachment_id)
            effects.append(Close(voice.attachment_id))
        cut = Cut(voice.generation, voice.turn, voice.said_text, reason, spoken_at_ms, rule)
        return [*effects, cut, voice.over()]

    def _not_started(self, generation: int, turn: int, attachment_id: str, reason: CutReason) -> list[Effect]:
        effects: list[Effect] = []
        if attachment_id in self.attachments:
            self.attachments.remove(attachment_id)
            effects.append(Close(attachment_id))
        return [*effects, Cut(generation, turn, "", reason)]
