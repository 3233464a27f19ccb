"""Asks session-svc for answers to open requests, again and again, and apologises where none can be had."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from svc_runtime import logs, stream
from svc_runtime.telemetry import Kind

from ingress_svc.adapters import wire
from ingress_svc.adapters.attachment import NO_GENERATION, Attachment
from ingress_svc.adapters.live_call import LiveCall
from ingress_svc.adapters.mesh import Mesh
from ingress_svc.adapters.turns import Turn, Turns
from ingress_svc.domain import effects
from ingress_svc.domain.chat import ChatMessage, newest_half

ASK_AGAIN_S = 1.0
"""An attachment without a command for so long asks session-svc once more."""
ASK_TIMES = 6


class Asking:
    """What has been asked for and not been answered."""

    def __init__(
        self, mesh: Mesh, turns: Turns, *, turn_of: Callable[[LiveCall], Turn], apology: Callable[[str], str]
    ) -> None:
        self._mesh = mesh
        self._turns = turns
        self._turn_of = turn_of
        self._apology = apology
        self._timers: dict[str, asyncio.TimerHandle] = {}
        """What asks again, by attachment: one timer each, whoever it was that asked last."""

    def ask(self, call: LiveCall, attachment: Attachment) -> None:
        """Ask now, and again after a while unless it has been answered by then."""
        self.stop(attachment)
        if attachment.answered or attachment.attachment_id not in call.attachments:
            return
        if attachment.attempts >= ASK_TIMES:
            self._apologise(call, attachment)
            return
        attachment.attempts += 1
        messages: Sequence[ChatMessage] = attachment.request.messages
        while not self._asks(call, attachment, messages):
            shorter = newest_half(messages)
            if len(shorter) == len(messages):
                self._apologise(call, attachment)
                return
            logs.get().warning("answer.history_shortened", messages=len(messages), kept=len(shorter))
            messages = shorter
        timer = asyncio.get_running_loop().call_later(ASK_AGAIN_S, self.ask, call, attachment)
        self._timers[attachment.attachment_id] = timer

    def stop(self, attachment: Attachment) -> None:
        """Ask no more for this one."""
        timer = self._timers.pop(attachment.attachment_id, None)
        if timer is not None:
            timer.cancel()

    def _asks(self, call: LiveCall, attachment: Attachment, messages: Sequence[ChatMessage]) -> bool:
        """Ask with this much of the history; False when it is too long for one event."""
        turn = self._turn_of(call)
        hop = self._turns.child(turn.root)
        event = wire.answer_requested(
            call.call_id,
            attachment.attachment_id,
            messages,
            user_message_count=attachment.request.user_message_count,
            ingress_id=self._mesh.client_id,
            attempt=attachment.attempts,
            received_at_ms=attachment.received_ms,
            traceparent=self._turns.context(hop),
            agent=call.unsettled_agent,
            control_url=call.control.known_url,
        )
        sent_ns = time.time_ns()

        def answered(outcome: stream.Outcome) -> None:
            if outcome.code == stream.OK:
                call.agent_settled = True
                self._turns.note(turn, "session.fold", sent_ns, span=hop, kind=Kind.CLIENT)
            else:
                self._not_asked(call, attachment, outcome)

        try:
            self._mesh.sessions.of(call.call_id).submit(event, answered)
        except stream.EventTooLarge:
            return False
        except stream.Overloaded as error:
            logs.get().warning("answer.not_asked", reason=str(error))
            self._apologise(call, attachment)
        return True

    def _not_asked(self, call: LiveCall, attachment: Attachment, outcome: stream.Outcome) -> None:
        self._mesh.sessions.moved(call.call_id, outcome)
        if outcome.code in (stream.INVALID, stream.TOO_LARGE):
            logs.get().warning("answer.refused", code=outcome.code, reason=outcome.message)
            self._apologise(call, attachment)

    def _apologise(self, call: LiveCall, attachment: Attachment) -> None:
        """Say something rather than nothing: no generation could be had."""
        attachment.answered = True
        if call.turn is not None:
            call.turn.log.failed = True
        attachment.push(NO_GENERATION, self._apology(call.agent))
        attachment.close(effects.Finish.FAILED)
