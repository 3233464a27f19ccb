"""A call's durable log as a story: who said what, what was heard of it, and what each hop took.

Pure: events in, rows out. It shows what the log says and nothing else; the order is that of the reporter's clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Literal

from voicemesh.session.v1 import session_pb2 as pb
from voicemesh.type.v1 import call_pb2 as t

from voicemesh_cli.redact import enum_word
from voicemesh_cli.speech import retranscribed

Who = Literal["caller", "agent", "vapi", "mesh"]
Fate = Literal["heard", "unheard", "unknown", "told"]
"""Of a piece of text: the caller heard it, or did not, or nobody knows; told is our own description."""

_WHY_DROPPED = {
    pb.CUT_REASON_PEER_CLOSED: "Vapi closed the request",
    pb.CUT_REASON_SUPERSEDED: "a newer request took its place",
    pb.CUT_REASON_STALE: "it answers words older than the last cut",
    pb.CUT_REASON_CALL_ENDED: "the call is over",
    pb.CUT_REASON_INGRESS_LOST: "the ingress that held it is gone",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text and what became of it."""

    text: str
    fate: Fate


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the story. ``at_ms`` counts from the call's first event."""

    at_ms: int
    who: Who
    pieces: tuple[Piece, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class HopLine:
    """One hop of a turn against its budget; ``budget_us`` is 0 where it has none."""

    name: str
    duration_us: int
    budget_us: int
    count: int

    @property
    def is_over(self) -> bool:
        return 0 < self.budget_us < self.duration_us


@dataclass(frozen=True, slots=True)
class TurnHops:
    """What a turn's hops took."""

    turn: int
    generation: int
    reason: str
    culprit: str
    hops: tuple[HopLine, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The whole call."""

    rows: tuple[Row, ...]
    turns: tuple[TurnHops, ...]
    so_far_ms: int
    """From the first event to the last."""
    events: int
    generations: int
    cut: int
    """How many generations were cut by the caller's words."""
    dropped: int
    """How many were dropped before the caller heard them, for any other reason."""
    agent: str = ""
    """NAME@VERSION of the agent that had the call; empty where the log does not say."""
    tokens_in: int = 0
    """Of the prompts, as far as providers told; of a generation that was cut none does."""
    tokens_out: int = 0
    models: tuple[str, ...] = ()
    """The models that answered, with their providers, the one with most answers first."""


_PATH = (
    "ingress.ack",
    "session.fold",
    "bargein.verdict",
    "cut.flush",
    "endpointing",
    "llm.first_token",
    "mesh.first_token",
    "llm.generate",
    "turn.response",
)
"""The order in which a turn meets its hops; one that does not stand here comes last."""


@dataclass(slots=True)
class _Generation:
    number: int
    from_ms: int
    said: str = ""
    cut: pb.GenerationCut | None = None
    cut_at_ms: int = 0
    is_played: bool = False
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(slots=True)
class _Voice:
    """One stretch of the agent's speech, as Vapi's playback edges and transcripts tell it."""

    from_ms: int
    generation: _Generation | None = None
    heard: str = ""
    is_cut_by_vapi: bool = False


@dataclass(slots=True)
class _Story:
    start_ms: int
    rows: list[Row] = field(default_factory=list)
    turns: list[TurnHops] = field(default_factory=list)
    models: Counter[str] = field(default_factory=Counter)
    voices: list[_Voice] = field(default_factory=list)
    generations: dict[int, _Generation] = field(default_factory=dict)
    caller_from_ms: int | None = None
    asked: tuple[int, str] = (0, "")
    """How many caller messages the last request held, and the last of them."""

    def add(self, who: Who, at_ms: int, text: str, *, fate: Fate = "told", note: str = "") -> None:
        self.rows.append(Row(at_ms - self.start_ms, who, (Piece(text, fate),), note))

    def generation(self, number: int, at_ms: int) -> _Generation:
        return self.generations.setdefault(number, _Generation(number, at_ms))

    def take(self, event: pb.CallEvent) -> None:
        at_ms = event.at_ms
        match event.WhichOneof("kind"):
            case "call_status":
                self._status(event.call_status, at_ms)
            case "words" if event.words.stability == t.STABILITY_FINAL:
                self._final(event.words, at_ms)
            case "speech":
                self._edge(event.speech, at_ms)
            case "interrupted":
                self._interrupted(at_ms)
            case "history":
                self._history(event.history)
            case "answer_requested":
                self._asked(event.answer_requested, at_ms)
            case "generation_started":
                self.generation(event.generation_started.generation, at_ms)
            case "generation_ended":
                self._ended(event.generation_ended, at_ms)
            case "generation_cut":
                self._cut(event.generation_cut, at_ms)
            case "turn_ended":
                self.turns += [_turn(event.turn_ended)] if event.turn_ended.hops else []
            case "agent_silent":
                self.add("vapi", at_ms, "waits for the agent to say something")
            case "report":
                self.add("vapi", at_ms, f"reports the end: {event.report.ended_reason or 'no reason given'}")
            case "cut_requested":
                self._cut_requested(event.cut_requested, at_ms)
            case "expired":
                self.add("mesh", at_ms, f"forgets the call: nothing was heard for {event.expired.idle_ms // 1000} s")

    def _status(self, status: pb.CallStatus, at_ms: int) -> None:
        word = enum_word(pb.CallStatus.DESCRIPTOR.fields_by_name["phase"].enum_type, status.phase)
        text = {"in_progress": "the call is answered", "ended": "the call is over"}.get(word, f"the call is {word}")
        self.add("vapi", at_ms, text + (f": {status.ended_reason}" if status.ended_reason else ""))

    def _final(self, words: t.Words, at_ms: int) -> None:
        if words.party == t.PARTY_CALLER:
            from_ms = at_ms if self.caller_from_ms is None else self.caller_from_ms
            self.caller_from_ms = None
            self.add("caller", from_ms, words.text, fate="heard")
            return
        if not self.voices:
            self.voices.append(_Voice(at_ms))
        self.voices[-1].heard = f"{self.voices[-1].heard} {words.text}".strip()

    def _edge(self, edge: t.SpeechEdge, at_ms: int) -> None:
        if edge.edge != t.EDGE_STARTED:
            return
        if edge.party == t.PARTY_CALLER:
            self.caller_from_ms = at_ms
            return
        waiting = [g for g in self.generations.values() if not g.is_played and g.cut is None]
        voice = _Voice(at_ms, max(waiting, key=lambda g: g.number, default=None))
        if voice.generation:
            voice.generation.is_played = True
        self.voices.append(voice)

    def _interrupted(self, at_ms: int) -> None:
        if self.voices:
            self.voices[-1].is_cut_by_vapi = True
        self.add("vapi", at_ms, "stops the agent's audio")

    def _history(self, history: pb.HistoryReported) -> None:
        """Take what was heard from the provider's history where no transcript told it."""
        said = [message.content for message in history.tail if message.role == "assistant"]
        if said and self.voices and not self.voices[-1].heard:
            self.voices[-1].heard = said[-1]

    def _asked(self, asked: pb.AnswerRequested, at_ms: int) -> None:
        words = next((m.content for m in reversed(asked.messages) if m.role == "user"), "")
        count, before = self.asked
        if count == asked.user_message_count and words != before:
            self.add("vapi", at_ms, "asks again: the caller went on")
        elif count == asked.user_message_count:
            self.add("vapi", at_ms, "asks again for the same words")
        self.asked = (asked.user_message_count, words)

    def _cut_requested(self, cut: pb.CutRequested, at_ms: int) -> None:
        through = f"every generation up to {cut.through_generation}" if cut.through_generation else "no answer of ours"
        self.add("mesh", at_ms, f"hears the caller barge in: rule {cut.rule or 'unnamed'}, {through} to cut")

    def _ended(self, ended: pb.GenerationEnded, at_ms: int) -> None:
        generation = self.generation(ended.generation, at_ms)
        generation.said = ended.said_text
        generation.tokens_in, generation.tokens_out = ended.prompt_tokens, ended.completion_tokens
        if ended.model:
            self.models[ended.model] += 1
        if ended.finish == pb.FINISH_REASON_FAILED:
            self.add("mesh", at_ms, f"generation {ended.generation} failed: the model broke off")

    def _cut(self, cut: pb.GenerationCut, at_ms: int) -> None:
        generation = self.generation(cut.generation, at_ms)
        if generation.cut is not None:
            return
        generation.cut, generation.cut_at_ms = cut, at_ms
        generation.said = max(generation.said, cut.said_text, key=len)

    def finish(self) -> None:
        for generation in self.generations.values():
            if generation.cut:
                self._tell_cut(generation, generation.cut)
            elif not generation.is_played and generation.said:
                note = f"generation {generation.number}, not known what was heard"
                self.add("agent", generation.from_ms, generation.said, fate="unknown", note=note)
        for voice in self.voices:
            self._tell_voice(voice)
        self.rows.sort(key=lambda row: row.at_ms)

    def _tell_cut(self, generation: _Generation, cut: pb.GenerationCut) -> None:
        if cut.reason == pb.CUT_REASON_BARGE_IN:
            after = f", {generation.cut_at_ms - cut.spoken_at_ms} ms after Vapi heard it" if cut.spoken_at_ms else ""
            words = self._words_at(cut.spoken_at_ms)
            why = f"rule {cut.rule or 'unnamed'}" + (f' on "{words}"' if words else "") + after
            self.add("mesh", generation.cut_at_ms, f"cuts generation {generation.number}: {why}")
        elif not generation.is_played:
            why = _WHY_DROPPED.get(cut.reason, "no reason given")
            pieces = [Piece(f"drops generation {generation.number}: {why}", "told")]
            pieces += [Piece(generation.said, "unheard")] if generation.said else []
            self.rows.append(Row(generation.cut_at_ms - self.start_ms, "mesh", tuple(pieces)))

    def _words_at(self, spoken_at_ms: int) -> str:
        """Return the caller's line that was being spoken then: the partial that was judged is not kept."""
        lines = [row for row in self.rows if row.who == "caller" and row.at_ms <= spoken_at_ms - self.start_ms]
        return max(lines, key=lambda row: row.at_ms).pieces[0].text if lines and spoken_at_ms else ""

    def _tell_voice(self, voice: _Voice) -> None:
        generation = voice.generation
        if generation is None:
            if voice.heard:
                note = "cut by Vapi" if voice.is_cut_by_vapi else "spoken by Vapi"
                self.add("agent", voice.from_ms, voice.heard, fate="heard", note=note)
            return
        heard_by_ingress = generation.cut.heard_text if generation.cut and generation.cut.HasField("heard_text") else ""
        heard = heard_by_ingress or voice.heard
        note = f"generation {generation.number}"
        if not generation.said:
            self.add("agent", voice.from_ms, heard, fate="heard", note=note)
            return
        words = generation.said.split()
        count = words_heard(generation.said, heard)
        pieces = [Piece(" ".join(words[:count]), "heard")] if count else []
        if count < len(words):
            pieces.append(Piece(" ".join(words[count:]), "unheard"))
            note += f", heard {count} of {len(words)} words"
        self.rows.append(Row(voice.from_ms - self.start_ms, "agent", tuple(pieces), note))


def build(events: Iterable[pb.LoggedEvent]) -> Timeline:
    """Return the timeline of one call's durable events, in any order."""
    ordered = sorted(events, key=lambda logged: (logged.event.at_ms, logged.cursor))
    start_ms = ordered[0].event.at_ms if ordered else 0
    story = _Story(start_ms)
    for logged in ordered:
        story.take(logged.event)
    story.finish()
    generations = story.generations.values()
    cut = [g for g in generations if g.cut and g.cut.reason == pb.CUT_REASON_BARGE_IN]
    dropped = [g for g in generations if g.cut and g.cut.reason != pb.CUT_REASON_BARGE_IN and not g.is_played]
    return Timeline(
        rows=tuple(story.rows),
        turns=tuple(story.turns),
        so_far_ms=ordered[-1].event.at_ms - start_ms if ordered else 0,
        events=len(ordered),
        generations=len(story.generations),
        cut=len(cut),
        dropped=len(dropped),
        agent=_agent(ordered),
        tokens_in=sum(g.tokens_in for g in generations),
        tokens_out=sum(g.tokens_out for g in generations),
        models=tuple(model for model, _ in story.models.most_common()),
    )


def _agent(events: Iterable[pb.LoggedEvent]) -> str:
    # The first of the log, whatever the reporter's clock says: so session-svc has it.
    named = ((logged.cursor, logged.event.agent) for logged in events if logged.event.agent)
    return min(named, default=(0, ""))[1]


def words_heard(said: str, heard: str) -> int:
    """Return how many words of ``said`` the caller heard.

    ``heard`` is a transcriber's text: other case, no punctuation, numbers as words, a word misheard here and there.
    """
    spoken = [(word, index) for index, part in enumerate(said.split()) for word in retranscribed(part).split()]
    there = retranscribed(heard).split()
    if not spoken or not there:
        return 0
    blocks = SequenceMatcher(None, [word for word, _ in spoken], there, autojunk=False).get_matching_blocks()
    ends = [(block.a + block.size, block.b + block.size) for block in blocks if block.size]
    end, matched = ends[-1] if ends else (0, 0)
    # Words after the last match were heard too, in other letters.
    end = min(len(spoken), end + len(there) - matched)
    return spoken[end - 1][1] + 1


def _turn(ended: t.TurnEnded) -> TurnHops:
    hops = [HopLine(hop.name, hop.duration_us, hop.budget_us, hop.count) for hop in ended.hops]
    hops.sort(key=lambda hop: (_PATH.index(hop.name) if hop.name in _PATH else len(_PATH), hop.name))
    return TurnHops(ended.turn, ended.generation, ended.reason, ended.culprit, tuple(hops))
