"""Each tool runs at most once, in any order of asks, orders, results, cuts and deaths; and whoever waits is told.

The real claims of several ingress processes and the real fold, between them streams that a schedule moves. An ingress
that dies takes with it what it ran, and comes back as another process that knows nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from unittest.mock import patch

from fakes.mesh_ingress import CALL, Link
from fakes.mesh_judge import Judge
from fakes.mesh_sim import SessionSim
from hypothesis import given, settings
from hypothesis import strategies as st
from ingress_svc.adapters import wire
from ingress_svc.domain.chat import ChatMessage
from ingress_svc.domain.tool_claims import (
    AskForTool,
    Claims,
    Effect,
    RecordTool,
    StartTool,
    ToolAsk,
    ToolEnd,
    ToolOutcome,
)
from session_svc.domain import commands, tools

KEYS = ("k1", "k2")
AGAIN_MS = 200
TIMEOUT_MS = 100
LOST_AFTER_MS = 200


@dataclass
class Process:
    """One ingress process."""

    name: str
    link: Link
    claims: Claims
    generation: int = 0
    """Of the newest start that it was told of."""
    waiting: list[ToolAsk] = field(default_factory=list)
    running: list[ToolAsk] = field(default_factory=list)
    recording: list[ToolAsk] = field(default_factory=list)
    again_ms: dict[str, int] = field(default_factory=dict)


class World:
    def __init__(self, processes: int) -> None:
        self.now_ms = 1_000_000
        self.judge = Judge()
        self.session = SessionSim(self.judge)
        self.processes: list[Process] = []
        self.numbers = 0
        self.begun: Counter[str] = Counter()
        self.results: dict[str, str] = {}
        self.told: list[tuple[str, ToolEnd]] = []
        for _ in range(processes):
            self.processes.append(self.new_process())

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def new_process(self) -> Process:
        name = f"ingress-{self.number()}"
        link = self.session.links[name] = Link(name, connected=self.session.alive)
        return Process(name, link, Claims(name))

    # --- what may happen ---

    def ask_for_answer(self, at: Process) -> None:
        """The caller went on: a new generation, at this process."""
        number = self.number()
        event = wire.answer_requested(
            CALL,
            f"request-{number}",
            (ChatMessage("user", f"words {number}"),),
            user_message_count=1,
            ingress_id=at.name,
            attempt=1,
            received_at_ms=self.now_ms,
            traceparent="",
        )
        at.link.submit(event)

    def want(self, at: Process, key: str, generation: int) -> None:
        ask = ToolAsk(CALL, key, 1 if generation else 0, generation, "look", "{}", TIMEOUT_MS)
        at.waiting.append(ask)
        at.again_ms.setdefault(key, self.now_ms + AGAIN_MS)
        self.carry_out(at, at.claims.ask(ask))

    def leave(self, at: Process, ask: ToolAsk) -> None:
        at.waiting.remove(ask)
        at.claims.leave(ask.place)
        if all(other.key != ask.key for other in at.waiting):
            at.again_ms.pop(ask.key, None)

    def again(self, at: Process, key: str) -> None:
        at.again_ms[key] = self.now_ms + AGAIN_MS
        self.carry_out(at, at.claims.again((CALL, key)))

    def end_run(self, at: Process, ask: ToolAsk) -> None:
        at.running.remove(ask)
        text = self.results.setdefault(ask.key, f"result-{self.number()}")
        self.carry_out(at, at.claims.ended(ask.place, ToolEnd(ToolOutcome.DONE, text)))
        at.recording.append(ask)

    def record(self, at: Process, ask: ToolAsk) -> None:
        at.recording.remove(ask)
        self.carry_out(at, at.claims.recorded(ask.place))

    def kill(self, at: Process) -> None:
        at.link.lose()
        self.processes[self.processes.index(at)] = self.new_process()

    def lose_stream(self, at: Process) -> None:
        at.link.lose()
        if self.session.alive:
            self.session.reopen(at.link)

    def advance(self) -> None:
        self.now_ms += 60

    # --- how it goes on ---

    def carry_out(self, at: Process, done: Sequence[Effect]) -> None:
        for effect in done:
            if isinstance(effect, AskForTool):
                at.link.submit(wire.tool_asked(effect, ingress_id=at.name, now_ms=self.now_ms, traceparent=""))
            elif isinstance(effect, StartTool):
                self.begun[effect.ask.key] += 1
                assert self.begun[effect.ask.key] == 1, f"{effect.ask.key} ran a second time, at {at.name}"
                at.running.append(effect.ask)
            elif isinstance(effect, RecordTool):
                report_id = f"report:{self.number()}"
                at.link.submit(wire.tool_ended(effect, report_id=report_id, now_ms=self.now_ms, traceparent=""))
            else:
                self.settle(at, effect.place[1], effect.end)

    def settle(self, at: Process, key: str, end: ToolEnd) -> None:
        if end.outcome is ToolOutcome.DONE:
            assert end.text == self.results[key]
        self.told.append((key, end))
        at.waiting = [ask for ask in at.waiting if ask.key != key]
        at.again_ms.pop(key, None)

    def hear(self, at: Process) -> None:
        kind, item = at.link.down.popleft()
        if kind == "ack":
            at.link.held.pop(item, None)
        elif isinstance(order := item.order, commands.RunTool):
            self.carry_out(at, at.claims.run(CALL, order.key, order.ask_id))
        elif isinstance(order, commands.TakeToolResult):
            end = ToolEnd(ToolOutcome(order.outcome.value), order.text)
            self.carry_out(at, at.claims.taken(CALL, order.key, end, order.ask_id))
        elif isinstance(order, commands.StartGeneration):
            at.generation = max(at.generation, order.generation)

    def deliveries(self) -> list[Callable[[], None]]:
        found: list[Callable[[], None]] = []
        for at in self.processes:
            if at.link.up:
                found.append(lambda at=at: self._arrive(at))  # type: ignore[misc]
            if at.link.down:
                found.append(lambda at=at: self.hear(at))  # type: ignore[misc]
        if self.session.committing:
            found.append(self.session.commit)
        return found

    def _arrive(self, at: Process) -> None:
        _, seq = at.link.up.popleft()
        if seq in at.link.held:
            self.session.take(at.link, seq)

    def due(self) -> list[Callable[[], None]]:
        return [
            lambda at=at, key=key: self.again(at, key)  # type: ignore[misc]
            for at in self.processes
            for key, at_ms in at.again_ms.items()
            if at_ms <= self.now_ms
        ]

    def moves(self) -> list[Callable[[], None]]:
        """All that may happen next, what is on its way three times as likely."""
        found = [*self.deliveries() * 3, *self.due() * 2, self.advance]
        for at in self.processes:
            found += [lambda at=at, key=key: self.want(at, key, 0) for key in KEYS]  # type: ignore[misc]
            if at.generation:
                found.append(lambda at=at: self.want(at, KEYS[0], at.generation))  # type: ignore[misc]
            found += [lambda at=at, ask=ask: self.leave(at, ask) for ask in at.waiting]  # type: ignore[misc]
            found += [lambda at=at, ask=ask: self.end_run(at, ask) for ask in at.running]  # type: ignore[misc]
            found += [lambda at=at, ask=ask: self.record(at, ask) for ask in at.recording]  # type: ignore[misc]
            found += [
                lambda at=at: self.ask_for_answer(at),  # type: ignore[misc]
                lambda at=at: self.lose_stream(at),  # type: ignore[misc]
                lambda at=at: self.kill(at),  # type: ignore[misc]
            ]
        if self.session.alive:
            found.append(self.session.die)
            if self.session.committing:
                found.append(lambda: self.session.commit(then_die=True))
        else:
            found += [self.session.recover] * 4
        return found

    def calm(self) -> None:
        """Let everything that was begun come to its end."""
        if not self.session.alive:
            self.session.recover()
        for at in self.processes:
            if not at.link.connected:
                self.session.reopen(at.link)
        for _ in range(5_000):
            runs = [lambda at=at, ask=ask: self.end_run(at, ask) for at in self.processes for ask in at.running]
            records = [lambda at=at, ask=ask: self.record(at, ask) for at in self.processes for ask in at.recording]
            moves = self.deliveries() or runs or records or self.due()
            if moves:
                moves[0]()
            elif any(at.waiting for at in self.processes):
                self.advance()
            else:
                return
        raise AssertionError("somebody waits for ever")


@settings(max_examples=1_500, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(10, 150))
def test_a_tool_runs_at_most_once_and_whoever_waits_is_told(seed: int, processes: int, length: int) -> None:
    dice = Random(seed)
    with patch.object(tools, "LOST_AFTER_MS", LOST_AFTER_MS):
        world = World(processes)
        for _ in range(length):
            dice.choice(world.moves())()
        world.calm()
    living = {at.name for at in world.processes}
    assert [entry for entry in world.session.call.pending if entry.ingress_id in living and entry.apart] == []
    for key, end in world.told:
        if end.outcome is ToolOutcome.NOT_RUN:
            assert world.session.call.generations, f"{key} was refused, and nothing had cut it"


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_where_nothing_dies_every_wanted_tool_has_its_result(seed: int, processes: int) -> None:
    dice = Random(seed)
    world = World(processes)
    for at in world.processes:
        world.want(at, KEYS[0], 0)
    for _ in range(dice.randrange(60)):
        moves = world.deliveries() * 3 + world.due() + [world.advance]
        moves += [lambda at=at: world.lose_stream(at) for at in world.processes]  # type: ignore[misc]
        dice.choice(moves)()
        if world.now_ms > 1_000_000 + TIMEOUT_MS + tools.LOST_AFTER_MS:
            break
    world.calm()
    assert world.begun == {KEYS[0]: 1}
    assert [end.outcome for _, end in world.told] == [ToolOutcome.DONE] * processes
