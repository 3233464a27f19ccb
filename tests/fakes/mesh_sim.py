"""The mesh without gRPC and without time: the three real cores, and between them channels that a schedule moves.

One call, one or two ingress processes, one session-svc with its log and outbox, one bargein-svc. Each channel keeps its
order, as our streams do; across channels anything may overtake anything. Streams break and bring again what was
unanswered; session-svc dies and folds its log; an ingress is frozen while the world goes on; cancelled models still
deliver tokens. The shells are modelled after the adapters: what they send, and when a writer looks at the fence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bargein_svc.adapters import wire as bargein_wire
from bargein_svc.adapters.calls import Agent, agent_for
from bargein_svc.domain.events import Decision
from bargein_svc.domain.verdict import NEW
from bargein_svc.domain.verdict import Policy as BargeInPolicy
from bargein_svc.domain.verdict import step as judge_words
from fakes.mesh_ingress import CALL, IngressSim, Link, Request, Saying, answer_to, last_words
from fakes.mesh_judge import Judge, Promise, Told
from session_svc.adapters import wire as session_wire
from session_svc.domain import commands
from session_svc.domain.call import Call, Policy
from session_svc.domain.events import AnswerRequested, Event
from session_svc.domain.fold import step as fold_event

POLICY = Policy()
BARGE_IN = BargeInPolicy()

Move = Callable[[], None]


@dataclass
class Unit:
    event_id: str
    rows: list[Any]
    adds: list[commands.Command]
    removes: list[str]
    sends: list[commands.Command]
    waiters: list[tuple[Link, int]]


class SessionSim:
    """session-svc: the real fold, a log, an outbox, and commits that take their time."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.links: dict[str, Link] = {}
        self.log: list[Any] = []
        self.outbox: dict[str, commands.Command] = {}
        self.named: list[tuple[Link, Any]] = []
        self.alive = True
        self._forget()

    def _forget(self) -> None:
        self.call = Call(CALL)
        self.seen: set[str] = set()
        self.unlogged: dict[str, Any] = {}
        self.committing: deque[Unit] = deque()
        self.acked: dict[tuple[str, int], bool] = {}

    def die(self) -> None:
        """As kill -9: what was not committed is gone, and every stream."""
        self.alive = False
        self.named = []
        self._forget()
        for link in self.links.values():
            link.lose()

    def recover(self) -> None:
        """Fold the log; say again what has no recorded effect."""
        self.alive = True
        for row in self.log:
            event = session_wire.from_log(row)
            self.call = fold_event(self.call, event, POLICY).call
            self.seen.add(event.event_id)
        for link in self.links.values():
            self.reopen(link)

    def reopen(self, link: Link) -> None:
        named = [command for told, command in self.named if told is link]
        link.reopen([*named, *(command for command in self.outbox.values() if command.ingress_id == link.ingress)])

    def take(self, link: Link, seq: int) -> None:
        if (link.ingress, seq) in self.acked:
            if self.acked[link.ingress, seq]:
                link.down.append(("ack", seq))
            return
        self.acked[link.ingress, seq] = False
        event_pb = link.held[seq]
        for unit in self.committing:
            if unit.event_id == event_pb.event_id:
                unit.waiters.append((link, seq))
                return
        if event_pb.event_id in self.seen:
            for command in self.outbox.values():
                self.links[command.ingress_id].send(command)
            self._name_agent(link, event_pb)
            self._ack(link, seq)
            return
        event = session_wire.event_from(event_pb)
        before = self.call
        self.call, sends = fold_event(before, event, POLICY)
        if event.durable:
            self.committing.append(self._unit(before, event, event_pb, sends, (link, seq)))
        else:
            self.unlogged[event.event_id] = event_pb
            self._ack(link, seq)

    def _unit(
        self, before: Call, event: Event, event_pb: Any, sends: Sequence[commands.Command], waiter: tuple[Link, int]
    ) -> Unit:
        kept = [event_pb]
        if isinstance(event.body, AnswerRequested):
            recent = [self.unlogged.pop(p.event_id) for p in before.recent if p.event_id in self.unlogged]
            kept = [*recent, event_pb]
        after = {p.command_id for p in self.call.pending}
        return Unit(
            event.event_id,
            [session_wire.for_log(row) for row in kept],
            [command for command in sends if command.order.command_id in after],
            [p.command_id for p in before.pending if p.command_id not in after],
            list(sends),
            [waiter],
        )

    def commit(self, *, then_die: bool = False) -> None:
        """The store has it; the commands leave, and then the answer."""
        unit = self.committing.popleft()
        self.log += unit.rows
        for command_id in unit.removes:
            self.outbox.pop(command_id, None)
        for command in unit.adds:
            self.outbox[command.order.command_id] = command
        for order in (command.order for command in unit.sends):
            if isinstance(order, commands.StartGeneration):
                answer = "".join(answer_to(last_words(order.messages)))
                self.judge.promised(order.generation, Promise(order.attachment_id, order.answers_until_ms, answer))
        if then_die:
            self.die()
            return
        for command in unit.sends:
            self.links[command.ingress_id].send(command)
        self.seen.add(unit.event_id)
        for link, seq in unit.waiters:
            self._name_agent(link, link.held.get(seq))
            self._ack(link, seq)

    def _name_agent(self, link: Link, event: Any) -> None:
        if event is not None and event.agent not in ("", self.call.agent):
            command = session_wire.name_agent(CALL, self.call.agent, "")
            self.named.append((link, command))
            link.send(command)

    def _ack(self, link: Link, seq: int) -> None:
        self.acked[link.ingress, seq] = True
        if link.connected:
            link.down.append(("ack", seq))


class BargeInSim:
    """bargein-svc: the real verdicts, nothing durable."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.links: dict[str, Link] = {}
        self.restart()

    def restart(self) -> None:
        self.state = NEW
        self.agent: Agent | None = None
        self.taken: set[tuple[str, int]] = set()
        for link in self.links.values():
            link.lose()
            link.reopen(())

    def take(self, link: Link, seq: int) -> None:
        if (link.ingress, seq) not in self.taken:
            self.taken.add((link.ingress, seq))
            event_pb = link.held[seq]
            self.agent = agent_for(self.agent, event_pb.agent, lambda _: BARGE_IN, settled=event_pb.agent_settled)
            for event in bargein_wire.events_of(link.held[seq]):
                self.state, verdict = judge_words(self.state, event, BARGE_IN)
                if verdict is not None and verdict.decision is Decision.CUT:
                    self.judge.verdict(verdict.through_generation, verdict.spoken_at_ms)
                    link.send(verdict)
        link.down.append(("ack", seq))


class World:
    """One call and everything that may happen to it next."""

    def __init__(self, ingresses: int = 1, *, slow: bool = False, tools: bool = False) -> None:
        self.tools = tools
        """Whether the models have tools."""
        self.now_ms = 1_000_000
        self.agent = "sales@0"
        """What the files give the call to at the moment."""
        self.judge = Judge()
        self.session = SessionSim(self.judge)
        self.bargein = BargeInSim(self.judge)
        self.ingresses = [IngressSim(f"ingress-{number}", self) for number in range(ingresses)]
        for ingress in self.ingresses:
            ingress.slow = slow
            self.judge.told[ingress.name] = Told()
            self.session.links[ingress.name] = ingress.session
            self.bargein.links[ingress.name] = ingress.bargein
        self._beats = 0

    def edit(self) -> None:
        """Somebody changes the agent's file, and every ingress has read it."""
        self.agent = f"sales@{int(self.agent.partition('@')[2]) + 1}"

    def next_beat(self) -> int:
        self._beats += 1
        return self._beats

    def advance(self, ms: int) -> None:
        self.now_ms += ms
        for ingress in self.ingresses:
            if not ingress.frozen:
                ingress.lateness.tick(self.now_ms / 1000)

    @property
    def requests(self) -> list[Request]:
        return [request for ingress in self.ingresses for request in ingress.requests.values()]

    def deliveries(self) -> list[Move]:
        """What is on its way, by channel."""
        found: list[Move] = []
        for ingress in self.ingresses:
            for link, service in ((ingress.session, self.session), (ingress.bargein, self.bargein)):
                if link.up:
                    found.append(lambda link=link, service=service: self.arrive(link, service))  # type: ignore[misc]
                if link.down and not ingress.frozen:
                    found.append(lambda ingress=ingress, link=link: ingress.hear(link))  # type: ignore[misc]
        if self.session.committing:
            found.append(self.session.commit)
        return found

    def work(self, *, models: bool = True) -> list[Move]:
        """What the models, the writers and the timers may do."""
        found: list[Move] = []
        for ingress in self.ingresses:
            if ingress.frozen:
                continue
            if models:
                speaking = [run for run in ingress.runs if not run.waits_for]
                found += [lambda run=run, at=ingress: at.model_speaks(run) for run in speaking]  # type: ignore[misc]
            tools = ingress.tools
            found += [lambda ask=ask, at=tools: at.ends(ask) for ask in tools.running]  # type: ignore[misc]
            found += [lambda key=key, at=tools: at.again(CALL, key) for key in tools.due()]  # type: ignore[misc]
            found += [lambda saying=saying, at=ingress: self._aloud(at, saying) for saying in ingress.sayings]  # type: ignore[misc]
            for request in ingress.requests.values():
                if request.has_work:
                    found.append(lambda request=request, at=ingress: at.write(request))  # type: ignore[misc]
                if request.asks_at_ms and request.asks_at_ms[0] <= self.now_ms:
                    found.append(lambda request=request, at=ingress: self._ask(at, request))  # type: ignore[misc]
        return found

    def calm(self, *, models: bool = True) -> None:
        """Mend everything, and let all that was begun come to its end."""
        for ingress in self.ingresses:
            if ingress.frozen:
                ingress.thaw()
        if not self.session.alive:
            self.session.recover()
        for link in self.session.links.values():
            if not link.connected:
                self.session.reopen(link)
        for _ in range(20_000):
            moves = self.deliveries() or self.work(models=models)
            if moves:
                moves[0]()
            elif any(request.waits for request in self.requests) or any(at.tools.ask_at_ms for at in self.ingresses):
                self.advance(50)
            else:
                return
        raise AssertionError("the mesh never comes to rest")

    def arrive(self, link: Link, service: SessionSim | BargeInSim) -> None:
        kind, number = link.up.popleft()
        if kind == "beat":
            link.down.append(("echo", number))
        elif number in link.held:
            service.take(link, number)

    def _aloud(self, ingress: IngressSim, saying: Saying) -> None:
        ingress.hear_of(saying) if saying.left else ingress.say(saying)

    def _ask(self, ingress: IngressSim, request: Request) -> None:
        request.asks_at_ms.pop(0)
        ingress.ask(request)
