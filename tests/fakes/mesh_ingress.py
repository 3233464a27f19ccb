"""One ingress process without gRPC and without time, and its streams; see `fakes.mesh_sim`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fakes.mesh_judge import FILLER, Judge, Told
from fakes.mesh_tools import ToolsSim, wants_a_tool
from ingress_svc.adapters import wire
from ingress_svc.domain import effects, vapi
from ingress_svc.domain.chat import ChatMessage
from ingress_svc.domain.lateness import Lateness
from ingress_svc.domain.output import Output
from ingress_svc.domain.tool_claims import ToolEnd, ToolOutcome
from session_svc.domain import commands
from voicemesh.bargein.v1 import bargein_pb2
from voicemesh.session.v1 import session_pb2

CALL = "vapi:1"
ASK_AGAIN_MS = 1_000
ASK_TIMES = 6
CAUGHT_UP_MS = 1_000


class World(Protocol):
    """What an ingress sees of the world around it."""

    now_ms: int
    judge: Judge
    agent: str
    tools: bool

    def next_beat(self) -> int: ...


def answer_to(words: str) -> list[str]:
    """What the model says, token by token; no two requests get the same."""
    return [f"[{words}] ", "is ", "done."][: 2 + len(words) % 2]


def last_words(messages: Sequence[Any]) -> str:
    """What the caller has said last; behind it may stand what tools did."""
    return str(next(message.content for message in reversed(messages) if message.role == "user"))


@dataclass
class Link:
    """A resumable stream from an ingress to a service."""

    ingress: str
    connected: bool = True
    seq: int = 0
    held: dict[int, Any] = field(default_factory=dict)
    up: deque[tuple[str, int]] = field(default_factory=deque)
    down: deque[tuple[str, Any]] = field(default_factory=deque)
    beats: set[int] = field(default_factory=set)
    """Barriers without echo."""

    def submit(self, event: Any) -> None:
        self.seq += 1
        self.held[self.seq] = event
        if self.connected:
            self.up.append(("event", self.seq))

    def beat(self, number: int) -> None:
        self.beats.add(number)
        if self.connected:
            self.up.append(("beat", number))

    def send(self, item: Any) -> None:
        if self.connected:
            self.down.append(("item", item))

    def lose(self) -> None:
        self.connected = False
        self.up.clear()
        self.down.clear()

    def reopen(self, first: Iterable[Any]) -> None:
        self.connected = True
        for item in first:
            self.send(item)
        self.up.extend(("event", seq) for seq in self.held)
        self.up.extend(("beat", number) for number in sorted(self.beats))


@dataclass
class Run:
    """A model at work. Cancelled, it may still deliver what was on its way."""

    generation: int
    tokens: deque[str]
    words: str = ""
    """Of the caller, which it answers."""
    turn: int = 0
    looks: bool = False
    """It will call a tool before it speaks."""
    waits_for: str = ""
    """The key of the tool that it has called."""
    cancelled: bool = False
    late: bool = False


@dataclass(kw_only=True)
class Writer:
    """What lets content go, and catches up first after a sleep."""

    cleared: int
    catching_up: tuple[int, int, int] | None = None
    """The barrier's beat, when it began, and the sleep that it clears."""


@dataclass
class Saying(Writer):
    """An answer on its way to live call control."""

    generation: int
    text: str
    left: bool = False


@dataclass
class Request(Writer):
    """An attachment, and the writer behind it."""

    attachment_id: str
    messages: tuple[ChatMessage, ...]
    received_ms: int
    answered: bool = False
    attempts: int = 0
    asks_at_ms: list[int] = field(default_factory=list)
    frames: list[tuple[int, str]] = field(default_factory=list)
    closing: bool = False
    over: bool = False
    """Closed by either side."""
    by_peer: bool = False
    apologised: bool = False

    @property
    def has_work(self) -> bool:
        return not self.over and bool(self.frames or self.closing)

    @property
    def waits(self) -> bool:
        """A timer will ask for it again."""
        return not self.over and not self.answered and bool(self.asks_at_ms)


class IngressSim:
    """ingress-svc: the real output and lateness; requests, models and writers after the adapters."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.world = world
        self.output = Output()
        self.session = Link(name)
        self.bargein = Link(name)
        self.requests: dict[str, Request] = {}
        self.runs: list[Run] = []
        self.sayings: list[Saying] = []
        self.lateness = Lateness(world.now_ms / 1000)
        self.frozen = False
        self.slow = False
        """Every model takes too long to its first token."""
        self.tools = ToolsSim(self)
        self.playing: bargein_pb2.PlayoutChanged | None = None
        self.reports = 0
        self.agent = ""
        self.agent_settled = False
        self.naming: set[int] = set()
        """Events, by seq, whose answer settles the agent."""
        self.missed: list[Any] = []
        """What had been said to it when it thawed, and is not handled yet."""

    # --- the world to us ---

    def webhook(self, webhook: vapi.Webhook) -> None:
        now_ms = self.world.now_ms
        body = webhook.body
        self.agent = self.agent or self.world.agent
        watched = wire.watch_event(
            webhook,
            received_at_ms=now_ms,
            traceparent="",
            playing=self.playing,
            agent=self.agent,
            agent_settled=self.agent_settled,
        )
        if watched is not None:
            self.bargein.submit(watched)
        durable = not (isinstance(body, vapi.Words) and not body.final)
        agent = self.unsettled_agent if durable else ""
        self.session.submit(wire.call_event(webhook, received_at_ms=now_ms, traceparent="", agent=agent))
        if durable:
            self.naming.add(self.session.seq)
        if isinstance(body, vapi.SpeechEdge) and body.party is vapi.Party.AGENT and not body.started:
            self.carry_out(self.output.agent_fell_silent())
        if isinstance(body, vapi.CallStatus) and body.phase is vapi.Phase.ENDED:
            self.world.judge.told[self.name].ended = True
            self.carry_out(self.output.call_ended())

    @property
    def unsettled_agent(self) -> str:
        return "" if self.agent_settled else self.agent

    def has_agent(self, agent: str) -> None:
        if agent:
            self.agent, self.agent_settled = agent, True

    def forget_agent(self) -> None:
        """As a restart, or a call that was idle for long."""
        self.agent, self.agent_settled = "", False
        self.naming.clear()

    def post(self, attachment_id: str, messages: tuple[ChatMessage, ...]) -> Request:
        self.agent = self.agent or self.world.agent
        self.lateness.tick(self.world.now_ms / 1000)
        request = Request(attachment_id, messages, self.world.now_ms, cleared=self.lateness.slept)
        self.requests[attachment_id] = request
        self.world.judge.asked[attachment_id] = "".join(answer_to(messages[-1].content))
        self.output.attached(attachment_id)
        self.ask(request)
        return request

    def peer_closes(self, request: Request) -> None:
        request.by_peer = True
        self._detach(request)

    def _detach(self, request: Request) -> None:
        request.over = True
        self.carry_out(self.output.peer_closed(request.attachment_id, answered=not request.by_peer))

    def ask(self, request: Request) -> None:
        if request.answered or request.over:
            return
        if request.attempts >= ASK_TIMES:
            request.answered = request.apologised = request.closing = True
            return
        request.attempts += 1
        asked = wire.answer_requested(
            CALL,
            request.attachment_id,
            request.messages,
            user_message_count=sum(message.role == "user" for message in request.messages),
            ingress_id=self.name,
            attempt=request.attempts,
            received_at_ms=request.received_ms,
            traceparent="",
            agent=self.unsettled_agent,
        )
        self.session.submit(asked)
        self.naming.add(self.session.seq)
        request.asks_at_ms.append(self.world.now_ms + ASK_AGAIN_MS)

    # --- the mesh to us ---

    def hear(self, link: Link) -> None:
        kind, item = link.down.popleft()
        if kind == "ack":
            link.held.pop(item, None)
            if link is self.session and item in self.naming:
                self.naming.discard(item)
                self.agent_settled = True
        elif kind == "echo":
            link.beats.discard(item)
        else:
            self.missed = [missed for missed in self.missed if missed is not item]
            if isinstance(item, commands.Command):
                self.obey(item.order)
            elif isinstance(item, session_pb2.Command):
                self.has_agent(item.name_agent.agent)
            else:
                self.world.judge.told[self.name].cuts.append((item.through_generation, item.spoken_at_ms))
                self.carry_out(self.output.cut(item.through_generation, item.spoken_at_ms, item.rule.value))

    def obey(self, order: commands.Order) -> None:
        told, output = self.world.judge.told[self.name], self.output
        if isinstance(order, commands.RunTool):
            self.tools.carry_out(self.tools.claims.run(CALL, order.key, order.ask_id))
            return
        if isinstance(order, commands.TakeToolResult):
            end = ToolEnd(ToolOutcome(order.outcome.value), order.text)
            self.tools.carry_out(self.tools.claims.taken(CALL, order.key, end, order.ask_id))
            return
        if not isinstance(order, commands.CutGeneration) and order.attachment_id in self.requests:
            self.requests[order.attachment_id].answered = True
        if isinstance(order, commands.StartGeneration):
            told.newest_start = max(told.newest_start, order.generation)
            self.has_agent(order.agent)
            messages = tuple(ChatMessage(message.role, message.content) for message in order.messages)
            done = output.start(
                order.generation,
                turn=order.turn,
                attachment_id=order.attachment_id,
                answers_until_ms=order.answers_until_ms,
                messages=messages,
            )
        elif isinstance(order, commands.CutGeneration):
            told.cuts.append((order.through_generation, order.spoken_at_ms))
            reason = effects.CutReason(order.reason.value)
            done = output.obey_cut(order.through_generation, order.spoken_at_ms, reason, order.rule)
        elif isinstance(order, commands.MoveOutput):
            done = output.move(order.generation, order.attachment_id)
        elif isinstance(order, commands.ReplayAnswer):
            done = output.replay(order.generation, order.attachment_id, order.said_text, order.answers_until_ms)
        else:
            done = output.refuse(order.attachment_id)
        self.carry_out(done)

    def model_speaks(self, run: Run) -> None:
        voice = self.output.voice
        wanted = voice is not None and (voice.aside is not None or not self.requests[voice.attachment_id].over)
        assert run.cancelled or wanted, "a model for nobody"
        if self.slow and not run.late:
            self.is_slow(run)
            return
        if run.looks:
            run.looks = False
            if run.cancelled:
                self.runs.remove(run)
            else:
                self.tools.want(CALL, run, run.turn)
        elif run.tokens:
            self.carry_out(self.output.token(run.generation, run.tokens.popleft()))
        else:
            self.runs.remove(run)
            self.carry_out(self.output.finished(run.generation, effects.Finish.STOP))

    def is_slow(self, run: Run) -> None:
        """So long without a token that the caller is told to wait."""
        run.late = True
        self.carry_out(self.output.set_aside(run.generation, FILLER))

    # --- us to the world ---

    def carry_out(self, done: Sequence[effects.Effect]) -> None:
        for effect in done:
            if isinstance(effect, effects.Write):
                request = self.requests[effect.attachment_id]
                if not request.closing:
                    request.frames.append((effect.generation, effect.text))
            elif isinstance(effect, effects.Close):
                self.requests[effect.attachment_id].closing = True
            elif isinstance(effect, effects.OpenGenerate):
                assert all(run.cancelled for run in self.runs), "two models at work for one voice"
                words = last_words(effect.messages)
                tokens, looks = deque(answer_to(words)), self.world.tools and wants_a_tool(words)
                self.runs.append(Run(effect.generation, tokens, words, effect.turn, looks))
                self.world.judge.ran.append((effect.generation, self.agent))
            elif isinstance(effect, effects.CancelGenerate):
                for run in [run for run in self.runs if run.generation == effect.generation]:
                    run.cancelled = True
                    if run.waits_for:
                        self.tools.leave(CALL, run)
                        self.runs.remove(run)
            elif isinstance(effect, effects.SayAnswer):
                assert self.sayings == [], "one answer is said twice at the same time"
                self.sayings.append(Saying(effect.generation, effect.text, cleared=self.lateness.slept))
            elif isinstance(effect, effects.AskAgain):
                self.requests[effect.attachment_id].answered = False
                self.ask(self.requests[effect.attachment_id])
            elif isinstance(effect, effects.PlayoutChanged):
                now_ms = self.world.now_ms
                told = wire.playout_event(
                    CALL,
                    effect,
                    now_ms=now_ms,
                    traceparent="",
                    agent=self.agent,
                    agent_settled=self.agent_settled,
                )
                self.playing = wire.still_playing(told, self.playing)
                self.bargein.submit(told)
            elif not isinstance(effect, effects.WriteToolCall):
                self._report(effect)

    def _report(self, effect: wire.Report) -> None:
        if isinstance(effect, effects.Cut) and effect.reason is effects.CutReason.BARGE_IN and effect.said_text:
            self.world.judge.cut(self.name, effect.generation)
        event = wire.report_event(
            CALL, effect, report_id=self.next_report_id(), now_ms=self.world.now_ms, traceparent=""
        )
        self.session.submit(event)

    def next_report_id(self) -> str:
        self.reports += 1
        return f"report:{self.name}-{self.reports}"

    def write(self, request: Request) -> None:
        """The last writer: catches up after a sleep, looks at the fence, and lets go."""
        if not self._caught_up(request):
            return
        frames, request.frames = request.frames, []
        for generation, text in frames:
            if self.output.may_write(generation):
                assert not self._missed_a_cut_of(generation), f"{self.name} slept through the cut of {generation}"
                self.world.judge.wrote(self.name, request.attachment_id, generation, text)
        if request.closing:
            self._detach(request)

    def say(self, saying: Saying) -> None:
        """The other last writer: asks in the same way, and only beside no request."""
        if saying.left or not self._caught_up(saying):
            return
        generation = saying.generation
        if not self.output.let_say(generation):
            self.sayings.remove(saying)
            self.carry_out(self.output.withheld(generation))
            return
        assert not self._missed_a_cut_of(generation), f"{self.name} slept through the cut of {generation}"
        assert all(request.over for request in self.requests.values()), f"{generation} was said into an open request"
        self.world.judge.said(self.name, generation, saying.text)
        saying.left = True

    def hear_of(self, saying: Saying, *, accepted: bool = True) -> None:
        """The provider has answered."""
        self.sayings.remove(saying)
        self.carry_out(self.output.said(saying.generation, accepted=accepted))

    def _caught_up(self, writer: Writer) -> bool:
        self.lateness.tick(self.world.now_ms / 1000)
        if writer.catching_up is None and writer.cleared != self.lateness.slept:
            beat = self.world.next_beat()
            writer.catching_up = (beat, self.world.now_ms, self.lateness.slept)
            self.session.beat(beat)
            self.bargein.beat(beat)
        if writer.catching_up is not None:
            beat, began_ms, sleep = writer.catching_up
            waits = beat in self.session.beats or beat in self.bargein.beats
            if waits and self.world.now_ms < began_ms + CAUGHT_UP_MS:
                return False
            if waits:
                self.missed = []  # a service that cannot be reached has nothing to say
            writer.catching_up, writer.cleared = None, sleep
        return writer.cleared == self.lateness.slept

    def _missed_a_cut_of(self, generation: int) -> bool:
        told = Told()
        for item in self.missed:
            if isinstance(item, session_pb2.Command):
                continue
            cut = item.order if isinstance(item, commands.Command) else item
            if not isinstance(cut, commands.Order) or isinstance(cut, commands.CutGeneration):
                told.cuts.append((cut.through_generation, cut.spoken_at_ms))
        return told.names(generation, self.world.judge.promises[generation])

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False
        if self.world.now_ms / 1000 - self.lateness.last_tick_s > 0.2:
            self.missed = [item for link in (self.session, self.bargein) for kind, item in link.down if kind == "item"]
