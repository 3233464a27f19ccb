"""The calls that this ingress has seen: their output, their open requests, and the turn that is going on."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from svc_runtime import logs
from svc_runtime.clock import Clock
from svc_runtime.metrics import Counters
from svc_runtime.telemetry import Kind, SpanRef
from voicemesh.bargein.v1 import bargein_pb2
from voicemesh.session.v1 import session_pb2
from voicemesh.type.v1 import call_pb2

from ingress_svc.adapters import wire
from ingress_svc.adapters.agents import Agents
from ingress_svc.adapters.asking import Asking
from ingress_svc.adapters.attachment import Attachment
from ingress_svc.adapters.catch_up import CaughtUp
from ingress_svc.adapters.control import LetGo
from ingress_svc.adapters.control_lines import ControlLine, ControlLines
from ingress_svc.adapters.draining import wait_in_drain
from ingress_svc.adapters.generate import Generate
from ingress_svc.adapters.live_call import LiveCall
from ingress_svc.adapters.mesh import Mesh
from ingress_svc.adapters.partings import Partings
from ingress_svc.adapters.slow_turns import SlowTurns
from ingress_svc.adapters.tool_desk import ToolDesk
from ingress_svc.adapters.tool_rounds import Ending
from ingress_svc.adapters.turns import Turn, Turns
from ingress_svc.domain import effects, vapi
from ingress_svc.domain.agent_tools import OwnCall
from ingress_svc.domain.control import Command, Outcome, Result
from ingress_svc.domain.lateness import Lateness
from ingress_svc.domain.partings import Parting, parting
from ingress_svc.domain.vapi_llm import LlmRequest

CAUGHT_UP_S = 1.0
FLUSH_S = 0.25
"""How long a cut turn stays open for the hops that its cut still measures."""
QUIET_TURN_S = 30.0
"""A turn whose agent has finished and of which nothing more is heard is over after so long."""

CUTS = "voicemesh.cuts"


class Calls:
    """Carries out what the outputs decide. Belongs to one event loop."""

    def __init__(
        self,
        *,
        clock: Clock,
        counters: Counters,
        lateness: Lateness,
        controls: ControlLines,
        agents: Agents,
        most_calls: int,
        idle_s: float,
    ) -> None:
        self._clock = clock
        self._counters = counters
        self._lateness = lateness
        self._controls = controls
        self._agents = agents
        self._most_calls = most_calls
        self._idle_s = idle_s
        self._calls: OrderedDict[str, LiveCall] = OrderedDict()
        self._attached = 0
        self._reported = 0
        self._answering = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.slow_turns = SlowTurns(
            agents.slow_turn,
            counters,
            carry_out=self._carry_out,
            control=self.control,
            slept=self._slept,
            caught_up=self._caught_up,
        )
        self.partings = Partings(self.control, counters, caller_has_floor=self._caller_has_floor)
        counters.declare(CUTS, "Generations cut.", reason=tuple(reason.value for reason in effects.CutReason))

    def connect(self, mesh: Mesh, turns: Turns, generate: Generate, tools: ToolDesk) -> None:
        """Connect what the outputs act upon: it in turn calls back here, so neither can come first."""
        self.mesh = mesh
        self.turns = turns
        self.generate = generate
        self._tools = tools
        self._asking = Asking(mesh, turns, turn_of=self.turn_of, apology=self._agents.apology)

    def __len__(self) -> int:
        return len(self._calls)

    def get(self, call_id: str) -> LiveCall:
        """Return the call, made known if it was not; the idlest without open requests make room."""
        call = self._calls.get(call_id)
        if call is None:
            call = self._calls[call_id] = LiveCall(call_id)
            if len(self._calls) > self._most_calls:
                self._forget_idlest()
        else:
            self._calls.move_to_end(call_id)
        call.touched_s = self._clock.monotonic_s()
        return call

    def known(self, call_id: str) -> LiveCall | None:
        """Return the call if it is one that we know."""
        return self._calls.get(call_id)

    def choose_agent(self, call: LiveCall, body: Callable[[], object]) -> None:
        """Give the call to an agent, by what is said of it where it is first heard of."""
        call.agent = self._agents.choose(body)

    def turn_of(self, call: LiveCall, outside: SpanRef | None = None) -> Turn:
        """Return the turn that is going on, opened if there is none."""
        if call.turn is None or call.turn.over:
            call.turn = self.turns.opened(outside)
        return call.turn

    def _caller_has_floor(self, call_id: str) -> bool:
        call = self._calls.get(call_id)
        return call is not None and (call.caller_speaks or bool(call.output.attachments))

    def turn_going_on(self, call_id: str) -> Turn | None:
        call = self._calls.get(call_id)
        return call.turn if call is not None else None

    # --- requests -----------------------------------------------------------------------------------------------

    def attach(
        self, call_id: str, request: LlmRequest, *, body: object, received_ns: int, outside: SpanRef | None
    ) -> Attachment:
        """Take a request for an answer, and ask session-svc for it. ``body`` is what the request was read from."""
        call = self.get(call_id)
        if not call.agent:
            self.choose_agent(call, lambda: body)
        self.learn_control(call, request.control_url)
        turn = call.turn
        if turn is not None and turn.log.number and turn.log.number < request.user_message_count:
            self._end_turn(call)
        turn = self.turn_of(call, outside)
        self._attached += 1
        self._answering += 1
        self._quiet.clear()
        attachment = Attachment(
            f"{self.mesh.client_id}-{self._attached}",
            request,
            received_ms=received_ns // 1_000_000,
            received_ns=received_ns,
            may_write=call.output.may_write,
            caught_up=self._caught_up(call_id),
            slept=self._slept,
        )
        call.attachments[attachment.attachment_id] = attachment
        call.output.attached(attachment.attachment_id)
        if call.caller_stopped_ms:
            # By our own clock at both ends: the reporter's may be another.
            self.turns.note(turn, "endpointing", call.caller_stopped_seen_ns, end_ns=received_ns)
        self._asking.ask(call, attachment)
        return attachment

    def detach(self, call_id: str, attachment: Attachment, *, answered: bool) -> None:
        """The request is over: answered, or its peer has gone."""
        self._answering -= 1
        if not self._answering:
            self._quiet.set()
        self._asking.stop(attachment)
        call = self._calls.get(call_id)
        if call is None:
            return
        call.attachments.pop(attachment.attachment_id, None)
        self._carry_out(call, call.output.peer_closed(attachment.attachment_id, answered=answered))

    # --- what the other services say ----------------------------------------------------------------------------

    def on_command(self, command: session_pb2.Command) -> None:
        """Obey session-svc."""
        call = self.get(command.call_id)
        kind = command.WhichOneof("kind")
        if kind == "start_generation":
            start = command.start_generation
            call.has_agent(start.agent)
            self._answered(call, start.attachment_id)
            self.partings.dropped(call.call_id, before=start.generation)
            done = call.output.start(
                start.generation,
                turn=start.turn,
                attachment_id=start.attachment_id,
                answers_until_ms=start.answers_until_ms,
                messages=tuple(wire.message_from(message) for message in start.messages),
            )
        elif kind == "cut_generation":
            cut = command.cut_generation
            reason = wire.reason_from(cut.reason)
            done = call.output.obey_cut(cut.through_generation, cut.spoken_at_ms, reason, cut.rule)
            if reason is effects.CutReason.BARGE_IN:
                self._carry_out_cut(call, done, spoke=True)
                return
        elif kind == "move_output":
            self._answered(call, command.move_output.attachment_id)
            done = call.output.move(command.move_output.generation, command.move_output.attachment_id)
        elif kind == "replay_answer":
            replay = command.replay_answer
            self._answered(call, replay.attachment_id)
            self.partings.dropped(call.call_id, before=replay.generation)
            done = call.output.replay(
                replay.generation, replay.attachment_id, replay.said_text, replay.answers_until_ms
            )
        elif kind == "refuse_answer":
            self._answered(call, command.refuse_answer.attachment_id)
            done = call.output.refuse(command.refuse_answer.attachment_id)
        elif kind in ("run_tool", "take_tool_result"):
            self._tools.obey(command)
            return
        elif kind == "name_agent":
            call.has_agent(command.name_agent.agent)
            return
        elif kind == "take_control":
            # Read as one that came in a webhook: what may be called is decided here alone.
            self.learn_control(call, command.take_control.control_url)
            return
        else:
            logs.get().warning("command.unknown", command_id=command.command_id)
            return
        self._carry_out(call, done)

    def on_verdict(self, verdict: bargein_pb2.Verdict) -> None:
        """Obey bargein-svc: the fence rises here, before anything is awaited."""
        known = self._calls.get(verdict.call_id)
        if known is not None and (judged := known.unjudged.pop(verdict.event_id, None)) is not None:
            judged()
        if verdict.decision == bargein_pb2.DECISION_CUT:
            call = self.get(verdict.call_id)
            done = call.output.cut(verdict.through_generation, verdict.spoken_at_ms, verdict.rule)
            self._carry_out_cut(call, done, spoke=verdict.playout_known)

    def _carry_out_cut(self, call: LiveCall, done: Sequence[effects.Effect], *, spoke: bool) -> None:
        """Silence the agent, measure how long that takes, and leave the turn that was cut.

        ``spoke``: somebody was heard, if not here then at another ingress or at the provider (its greeting).
        """
        began_ns = time.time_ns()
        turn = call.turn
        closing = [effect.attachment_id for effect in done if isinstance(effect, effects.Close)]
        if turn is not None:
            for attachment_id in closing:
                if (attachment := call.attachments.get(attachment_id)) is not None:
                    attachment.on_closed.append(lambda: self.turns.note(turn, "cut.flush", began_ns))
        self._carry_out(call, done)
        if turn is not None and done and (spoke or any(isinstance(effect, effects.Cut) for effect in done)):
            turn.log.cut = True
            self.turns.end_later(call.call_id, turn, FLUSH_S)
            # What the caller says from here on belongs to the next turn.
            call.turn = None

    # --- what the provider says ---------------------------------------------------------------------------------

    def speech(self, call: LiveCall, edge: vapi.SpeechEdge, at_ms: int, received_ns: int) -> None:
        """Take an edge of somebody's speech, if it is news."""
        if at_ms <= call.edges.get(edge.party, 0):
            return
        call.edges[edge.party] = at_ms
        if edge.party is vapi.Party.CALLER:
            call.caller_speaks = edge.started
            if not edge.started:
                call.caller_stopped_ms, call.caller_stopped_seen_ns = at_ms, received_ns
        elif edge.started:
            self._agent_started(call, at_ms)
        else:
            self._agent_stopped(call)

    def _agent_started(self, call: LiveCall, at_ms: int) -> None:
        """The caller hears the agent: the answer to the words before has begun."""
        if call.caller_stopped_ms and call.output.voice is not None and call.turn is not None:
            if at_ms > call.caller_stopped_ms:
                self.turns.note(
                    call.turn, "turn.response", call.caller_stopped_ms * 1_000_000, end_ns=at_ms * 1_000_000
                )
            call.caller_stopped_ms = 0

    def _agent_stopped(self, call: LiveCall) -> None:
        done = call.output.agent_fell_silent()
        self._carry_out(call, done)
        self.partings.silent(call.call_id)
        if done:
            self._end_turn(call)

    def learn_control(self, call: LiveCall, sent: str) -> None:
        """Take the control URL that came with something about the call; "" for none."""
        self._controls.learn(call.control, sent)

    def ended(self, call: LiveCall) -> None:
        self.partings.dropped(call.call_id)
        self._controls.end(call.control)
        self._carry_out(call, call.output.call_ended())
        self._end_turn(call)

    # --- what the provider is told -------------------------------------------------------------------------------

    def control(
        self,
        call_id: str,
        command: Command,
        on_outcome: Callable[[Outcome], None] | None = None,
        let_go: LetGo | None = None,
    ) -> None:
        """Act on a live call, behind what was asked of it before. It is done in the background, and nothing waits for
        it: no acknowledgement, no verdict, no other call.

        ``on_outcome`` is called once, before this returns where the command cannot be sent at all. ``let_go`` is asked
        right before its bytes leave.
        """
        call = self._calls.get(call_id)
        turn = call.turn if call is not None else None
        asked_ns = time.time_ns()

        def settled(outcome: Outcome) -> None:
            if turn is not None:
                error = (outcome.failure or outcome.result).value if outcome.result is not Result.ACCEPTED else ""
                self.turns.note(turn, "control.send", asked_ns, kind=Kind.CLIENT, error=error)
            if on_outcome is not None:
                on_outcome(outcome)

        self._controls.put(call.control if call is not None else ControlLine(), command, settled, let_go)

    # --- carrying out -------------------------------------------------------------------------------------------

    def _carry_out(self, call: LiveCall, done: Sequence[effects.Effect]) -> None:
        for effect in done:
            if isinstance(effect, effects.Write | effects.WriteToolCall | effects.Close):
                call.to_request(effect)
            elif isinstance(effect, effects.CancelGenerate):
                run = call.runs.pop(effect.generation, None)
                if run is not None:
                    run.cancel()
            elif isinstance(effect, effects.PlayoutChanged):
                self._tell_playout(call, effect)
            elif isinstance(effect, effects.OpenGenerate):
                self._open(call, effect)
            elif isinstance(effect, effects.SayAnswer):
                self.slow_turns.say(call, effect)
            elif isinstance(effect, effects.AskAgain):
                self._ask_again(call, effect.attachment_id)
            else:
                self._report(call, effect)

    def _open(self, call: LiveCall, effect: effects.OpenGenerate) -> None:
        attachment = call.attachments[effect.attachment_id]
        turn = self.turn_of(call)
        turn.log.number, turn.log.generation = effect.turn, effect.generation
        if turn.timer is not None:
            turn.timer.cancel()

        def token(text: str) -> None:
            self._carry_out(call, call.output.token(effect.generation, text))

        def tool_call(piece: effects.WriteToolCall) -> None:
            self._carry_out(call, call.output.tool_call(piece))

        def part(asked: OwnCall) -> Parting | str:
            destinations = self._agents.transfers(call.agent)
            return parting(asked.name, asked.arguments_json, destinations, reachable=call.control.url is not None)

        def finished(ending: Ending) -> None:
            call.runs.pop(effect.generation, None)
            provider_first_token_us = ending.provider_first_token_us
            if ending.finish is effects.Finish.FAILED:
                turn.log.failed = True
                apology = self._agents.apology(call.agent)
                token(f" {apology}" if call.output.voice and call.output.voice.sent else apology)
            if ending.parting is not None:
                self.partings.wait(call.call_id, effect.generation, ending.parting)
            self._carry_out(call, call.output.finished(effect.generation, ending.finish, ending.usage, ending.model))
            first_ns = attachment.first_text_ns
            added_us = (first_ns - attachment.received_ns) // 1000 - provider_first_token_us
            # Text that left before the provider's first token was a filler.
            if first_ns and provider_first_token_us and added_us >= 0:
                self.turns.note(turn, "mesh.first_token", first_ns - added_us * 1000, end_ns=first_ns)
            if not turn.over:
                self.turns.end_later(call.call_id, turn, QUIET_TURN_S)

        call.runs[effect.generation] = self.generate.run(
            call.call_id,
            effect,
            attachment.request,
            turn,
            agent=call.agent,
            token=token,
            tool_call=tool_call,
            part=part,
            is_aside=lambda: call.output.voice is not None and call.output.voice.aside is not None,
            finished=finished,
        )
        self.slow_turns.opened(call, effect)

    def _ask_again(self, call: LiveCall, attachment_id: str) -> None:
        attachment = call.attachments.get(attachment_id)
        if attachment is not None:
            attachment.answered = False
            self._asking.ask(call, attachment)

    def _answered(self, call: LiveCall, attachment_id: str) -> None:
        attachment = call.attachments.get(attachment_id)
        if attachment is not None:
            attachment.answered = True

    def _report(self, call: LiveCall, report: wire.Report) -> None:
        if isinstance(report, effects.Cut):
            self._counters.add(CUTS, reason=report.reason.value)
        if isinstance(report, effects.Cut | effects.Ended):
            self.slow_turns.ended(call.call_id, report.generation)
        if isinstance(report, effects.Cut):
            self.partings.dropped(call.call_id, before=report.generation + 1)
        elif isinstance(report, effects.Ended):
            if report.finish is effects.Finish.FAILED:
                self.partings.dropped(call.call_id, before=report.generation + 1)
            self.partings.words_left(call.call_id, report.generation, report.said_text)
        turn = call.turn
        traceparent = self.turns.context(turn.root) if turn is not None else ""
        self._reported += 1
        event = wire.report_event(
            call.call_id,
            report,
            report_id=f"report:{self.mesh.client_id}-{self._reported}",
            now_ms=self._clock.now_ms(),
            traceparent=traceparent,
        )
        self.mesh.tell(event, urgent=not isinstance(report, effects.Started))

    def _tell_playout(self, call: LiveCall, change: effects.PlayoutChanged) -> None:
        traceparent = self.turns.context(call.turn.root) if call.turn is not None else ""
        event = wire.playout_event(
            call.call_id,
            change,
            now_ms=self._clock.now_ms(),
            traceparent=traceparent,
            agent=call.agent,
            agent_settled=call.agent_settled,
        )
        call.playing = wire.still_playing(event, call.playing)
        self.mesh.watch(event)

    # --- turns and idleness -------------------------------------------------------------------------------------

    def announce(self, call_id: str, ended: call_pb2.TurnEnded) -> None:
        """Tell every service that a turn has ended, so that it keeps or drops its records."""
        now_ms = self._clock.now_ms()
        event = session_pb2.CallEvent(
            event_id=f"turn:{ended.trace_id}", call_id=call_id, at_ms=now_ms, received_at_ms=now_ms, turn_ended=ended
        )
        self.mesh.tell(event, urgent=False)
        if self.turns.recorder.enabled:
            self.mesh.judged(event)

    def _end_turn(self, call: LiveCall) -> None:
        turn, call.turn = call.turn, None
        if turn is not None:
            self.turns.ended(call.call_id, turn)

    def tick(self) -> None:
        """Notice a sleep, and let go of idle calls."""
        now_s = self._clock.monotonic_s()
        self._lateness.tick(now_s)
        while self._calls:
            oldest = next(iter(self._calls.values()))
            if now_s - oldest.touched_s < self._idle_s or oldest.busy:
                return
            self._end_turn(oldest)
            del self._calls[oldest.call_id]

    def _caught_up(self, call_id: str) -> CaughtUp:
        return lambda: self.mesh.caught_up(call_id, CAUGHT_UP_S)

    def _slept(self) -> int:
        self._lateness.tick(self._clock.monotonic_s())
        return self._lateness.slept

    def _forget_idlest(self) -> None:
        newest = next(reversed(self._calls))
        for call_id, call in self._calls.items():
            if call_id != newest and not call.busy:
                self._end_turn(call)
                del self._calls[call_id]
                return

    async def drain(self, drain_s: float, hurry: asyncio.Event) -> bool:
        """Let the answers that are on their way end, for so long and while nobody is in a hurry; then cut the rest.

        Returns whether there was none to cut.
        """
        await wait_in_drain(self._all_answered(), drain_s, hurry)
        self.partings.drop_all()
        answering = sum(call.busy for call in self._calls.values())
        logs.get().info("drain.answers", cut=answering, calls=len(self._calls))
        for call in list(self._calls.values()):
            if call.busy:
                self._carry_out(call, call.output.ingress_ends())
            self._end_turn(call)
        return not answering

    async def _all_answered(self) -> None:
        await self._quiet.wait()
        await self.slow_turns.quiet.wait()
        await self.partings.quiet.wait()
