"""Who calls, and what goes wrong: the moves that a schedule chooses from."""

from __future__ import annotations

from collections.abc import Sequence

from fakes.mesh_ingress import CALL, IngressSim, Request
from fakes.mesh_sim import Move, World
from ingress_svc.domain import vapi
from ingress_svc.domain.chat import ChatMessage

DELAY_MS = 30
"""From the provider to us."""
PHRASES = ("wait", "no make that", "I need a table for", "uh huh", "yes", "so I was")


class Caller:
    """Speaks like a caller and asks like Vapi: words as webhooks, answers as requests with all words so far.

    Every utterance ends in a word of its own, so that no two are alike.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.history: list[ChatMessage] = []
        self.said: list[str] = []
        self.utterance: list[str] = []
        self.revealed = 0
        self.spoken = 0
        self.sent: list[vapi.Webhook] = []
        self.requests: list[tuple[IngressSim, Request]] = []
        # As every call begins. Its time tells session-svc how far the provider's clock is from ours.
        self.send(world.ingresses[0], vapi.CallStatus(vapi.Phase.IN_PROGRESS))
        world.calm()

    def send(self, at: IngressSim, body: vapi.Body) -> None:
        webhook = vapi.Webhook(CALL, f"webhook-{len(self.sent)}", self.world.now_ms - DELAY_MS, True, body)
        self.sent.append(webhook)
        at.webhook(webhook)

    def again(self, at: IngressSim) -> None:
        """A webhook is delivered a second time, perhaps elsewhere."""
        at.webhook(self.sent[-1])

    def speak(self, at: IngressSim, phrase: str = "") -> None:
        """Say one word more of an utterance, or the first of a new one."""
        if not self.utterance:
            phrase = phrase or PHRASES[self.spoken % len(PHRASES)]
            self.utterance = [*phrase.split(), f"w{self.spoken}"]
            self.spoken += 1
            self.revealed = 0
        self.revealed = min(self.revealed + 1, len(self.utterance))
        self.send(at, vapi.Words(vapi.Party.CALLER, False, " ".join(self.utterance[: self.revealed])))

    def finish(self, at: IngressSim) -> None:
        """The final transcript of the utterance, if one is open."""
        if not self.utterance:
            return
        text = " ".join(self.utterance)
        self.utterance = []
        self.said.append(text)
        self.send(at, vapi.Words(vapi.Party.CALLER, True, text))

    def post(self, at: IngressSim) -> Request:
        """Ask for the answer to all that was said since the agent's last message."""
        messages = (*self.history, ChatMessage("user", " ".join(self.said)))
        request = at.post(f"request-{len(self.requests)}", messages)
        self.requests.append((at, request))
        return request

    def hear(self) -> None:
        """The provider takes something as the agent's turn: the next words open another one."""
        self.history += [ChatMessage("user", " ".join(self.said)), ChatMessage("assistant", "ok")]
        self.said = []

    def hang_up(self, at: IngressSim) -> None:
        self.send(at, vapi.CallStatus(vapi.Phase.ENDED, "customer-ended-call"))


class Chaos:
    """All that may happen next, at the choice of a schedule."""

    def __init__(
        self, world: World, caller: Caller, *, faults: bool = True, hang_up: bool = False, edits: bool = False
    ) -> None:
        self.world = world
        self.caller = caller
        self.faults = faults
        self.may_hang_up = hang_up
        self.edits = edits

    def run(self, schedule: Sequence[int], *, speaking: bool = True, models: bool = True) -> None:
        world = self.world
        for choice in schedule:
            moves = world.deliveries() * 3 + world.work(models=models) * 2 + [lambda: world.advance(40)]
            if models:
                moves += self._slowness()
            if self.faults:
                moves += self._faults()
            if self.edits:
                moves += [world.edit, *(ingress.forget_agent for ingress in world.ingresses)]
            if speaking:
                moves += self._caller()
            moves[choice % len(moves)]()

    def _slowness(self) -> list[Move]:
        return [
            lambda run=run, at=ingress: at.is_slow(run)  # type: ignore[misc]
            for ingress in self.world.ingresses
            if not ingress.frozen
            for run in ingress.runs
            if not run.cancelled
        ]

    def _caller(self) -> list[Move]:
        caller, moves = self.caller, list[Move]()
        for ingress in self.world.ingresses:
            if ingress.frozen:
                continue
            moves.append(lambda at=ingress: caller.speak(at))  # type: ignore[misc]
            if caller.utterance:
                moves.append(lambda at=ingress: caller.finish(at))  # type: ignore[misc]
            if caller.said:
                # Twice as likely: the first asks, and every other asks with the same or with longer words.
                moves += [lambda at=ingress: caller.post(at)] * 2  # type: ignore[misc, list-item]
            if caller.sent:
                moves.append(lambda at=ingress: caller.again(at))  # type: ignore[misc]
            moves.append(lambda at=ingress: self._edge(at))  # type: ignore[misc]
            moves += [lambda s=s, at=ingress: at.hear_of(s, accepted=False) for s in ingress.sayings if s.left]  # type: ignore[misc]
            moves.append(lambda at=ingress: caller.send(at, vapi.ProviderInterrupted()))  # type: ignore[misc]
            if self.may_hang_up and caller.requests:
                moves.append(lambda at=ingress: caller.hang_up(at))  # type: ignore[misc]
        if caller.said and caller.requests:
            moves.append(caller.hear)
        open_requests = [(at, r) for at, r in caller.requests if not r.over and not at.frozen]
        moves += [lambda at=at, request=request: at.peer_closes(request) for at, request in open_requests]  # type: ignore[misc]
        return moves

    def _edge(self, at: IngressSim) -> None:
        started = len(self.caller.sent) % 2 == 0
        self.caller.send(at, vapi.SpeechEdge(vapi.Party.AGENT, started))

    def _faults(self) -> list[Move]:
        world, moves = self.world, list[Move]()
        session = world.session
        if session.alive:
            moves.append(session.die)
            if session.committing:
                moves.append(lambda: session.commit(then_die=True))
        else:
            moves.append(session.recover)
        moves.append(world.bargein.restart)
        for ingress in world.ingresses:
            if ingress.session.connected:
                moves.append(ingress.session.lose)
            elif session.alive:
                moves += [lambda at=ingress: session.reopen(at.session)] * 3  # type: ignore[misc]
            if ingress.frozen:
                moves += [ingress.thaw, lambda: world.advance(150)]
            else:
                moves.append(ingress.freeze)
        return moves
