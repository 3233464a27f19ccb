"""A simulated Vapi: one call as a state machine, without a clock or a socket.

`VapiCall.step` takes the time and what came back from our side, and returns what Vapi would send. It plays the caller
from a recorded call, speaks the answers word by word, cuts the agent off by itself as Vapi does, and puts into the
history what the caller had heard. Times are milliseconds from the start of the call.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from voicemesh_cli.conversation import Conversation
from voicemesh_cli.recording import CallerLine, Event, Hangup, Line, RawLlm, RawWebhook, RecordedCall
from voicemesh_cli.speech import Speech
from voicemesh_cli.vapi_events import CloseLlm, Effect, Happening, LlmFailed, LlmText, OpenLlm, Webhook
from voicemesh_cli.vapi_shapes import ACKNOWLEDGEMENTS, Envelope

_FINAL_AFTER_MS = 115
"""From the agent's last sound to its final transcript."""
_USER_STOPPED_AFTER_MS = 20
"""From the caller's final transcript to the speech edge, which comes late on live calls too."""
_NOISE_MS = 600
"""A sound of the caller without words is over after this."""
_LOOK_AGAIN_MS = 50
_LLM_FAILED = "call.in-progress.error-providerfault-custom-llm-llm-failed"


class VapiCall:
    """One simulated call. Call `step` at `wakes_at_ms`, and whenever something happens, until `is_over`."""

    def __init__(self, recorded: RecordedCall, *, call_id: str, epoch_ms: int, speed: float = 1.0) -> None:
        self.is_over = False
        self._epoch_ms = epoch_ms
        self._speed = speed
        self._pace = recorded.pace
        self._envelope = Envelope(call_id, epoch_ms, recorded.call, recorded.assistant)
        self._lines = list(recorded.lines)
        self._talk = Conversation(self._envelope, epoch_ms, retranscribed=recorded.pace.retranscribed)
        self._effects: list[Effect] = []
        self._timers: dict[str, tuple[float, Callable[[], None]]] = {"begin": (0.0, self._begin)}
        self._now_ms = 0.0
        self._is_raw = recorded.is_raw
        self._hung_up_reason = ""

        self._turn = 0
        """How many turns the caller has begun; Vapi's `turn`."""
        self._said: list[str] = []
        """The caller's finals of a turn of whose answer nothing was heard yet."""
        self._said_in_turn = 0
        """How many of them the turn held when it ended."""
        self._partial = ""
        self._caller_speaks = False
        self._spoke_from_ms = 0.0
        self._turn_is_over = True
        """Whether the caller's turn ended, so that an answer may be spoken."""

        self._speech: Speech | None = None
        self._is_greeting = False
        self._quiet_until_ms = 0.0
        self._request = 0
        """The request whose answer is wanted; 0 for none."""
        self._requests = 0
        self._asked = ""
        """The caller's words that the request answers."""
        self._raw_requests: set[int] = set()
        self._interruptions = 0
        self._agent_turn = 0
        self._agent_final = ""
        self._ended_ms = 0.0

    def wakes_at_ms(self) -> float | None:
        """When `step` is due without anything happening."""
        due = [at_ms for at_ms, _ in self._timers.values()]
        if self._speech and self._speech.next_ms is not None:
            due.append(self._speech.next_ms)
        return min(due, default=None)

    def step(self, now_ms: float, happened: Happening | None = None) -> list[Effect]:
        """Do what was due by ``now_ms``, then take in what happened. Returns what is to be sent, in order."""
        while (due := self.wakes_at_ms()) is not None and due <= now_ms and not self.is_over:
            self._now_ms = due
            self._run_due(due)
        self._now_ms = max(self._now_ms, now_ms)
        if happened and not self.is_over:
            self._take(happened)
        busy = self._timers or self._lines or self._speech or self._request or self._raw_requests
        self.is_over = self.is_over or not busy
        effects, self._effects = self._effects, []
        return effects

    def _run_due(self, due: float) -> None:
        for name, (at_ms, then) in self._timers.items():
            if at_ms == due:
                del self._timers[name]
                return then()
        return self._on_word()

    def _in(self, name: str, ms: float, then: Callable[[], None]) -> None:
        self._timers[name] = (self._now_ms + max(0.0, ms), then)

    def _stop_timers(self, *names: str) -> None:
        for name in names:
            self._timers.pop(name, None)

    # --- the recorded lines

    def _begin(self) -> None:
        if not self._is_raw:
            self._send("status-update", status="in-progress")
            self._send("assistant.started", newAssistant=self._envelope.assistant)
            if self._envelope.first_message:
                self._in("greeting", self._pace.greeting_ms, self._on_greeting)
        self._await_line()

    def _await_line(self) -> None:
        """Set the timer of the next line, or wait for the event that it follows."""
        if not self._lines:
            return
        when = self._lines[0].when
        if when.after == "start":
            self._in("line", when.ms - self._now_ms, self._on_line)
        elif when.after == "previous":
            self._in("line", when.ms, self._on_line)
        else:
            self._in("silence", self._pace.silence_ms, self._on_silence)
            if self._speech and self._speech.started_ms is not None and when.after != "agent_done":
                self._event("agent_started")
                self._event("agent_said")

    def _event(self, event: Event) -> None:
        """Something that a line may wait for has happened."""
        if not self._lines or "line" in self._timers:
            return
        when = self._lines[0].when
        said_enough = event != "agent_said" or (self._speech is not None and self._speech.heard >= when.words)
        if when.after == event and said_enough:
            self._stop_timers("silence")
            self._in("line", when.ms, self._on_line)

    def _on_line(self) -> None:
        line = self._lines.pop(0)
        self._play(line)
        if not self._hung_up_reason:
            self._await_line()

    def _play(self, line: Line) -> None:
        match line:
            case CallerLine():
                self._caller(line)
            case Hangup():
                self._hang_up(line.reason)
            case RawWebhook():
                self._effects.append(Webhook(self._envelope.filled(line.body, self._stamp())))
            case RawLlm():
                self._raw_llm(line)

    def _raw_llm(self, line: RawLlm) -> None:
        self._requests += 1
        request = self._requests
        self._raw_requests.add(request)
        self._effects.append(OpenLlm(request, {"call": {"id": self._envelope.call_id}, **line.body}))

        def close() -> None:
            if request in self._raw_requests:
                self._raw_requests.remove(request)
                self._effects.append(CloseLlm(request))

        if line.close_after_ms is not None:
            self._in(f"close {request}", line.close_after_ms, close)

    def _on_silence(self) -> None:
        self._hang_up("silence-timed-out")

    # --- the caller

    def _caller(self, line: CallerLine) -> None:
        if not self._caller_speaks:
            self._begins_to_speak()
        if line.what == "voice":
            return self._in("noise", _NOISE_MS, self._on_noise)
        self._stop_timers("endpoint", "eager", "hang", "user_stopped", "noise")
        self._partial = line.text
        if self._answer_is_unheard() and self._caller_words() != self._asked:
            # The caller goes on: the answer to the shorter words is not wanted any more.
            self._drop_request()
        self._send("transcript", role="user", transcriptType=line.what, transcript=line.text, **_confidence(line))
        if line.what == "final":
            self._ends_utterance(line)
        elif self._pace.eager_endpointing_ms is not None and not self._is_only_acknowledged():
            self._in("eager", self._pace.eager_endpointing_ms, self._on_eager)
        return None

    def _begins_to_speak(self) -> None:
        self._caller_speaks = True
        if not self._said and self._turn_is_over:
            self._turn += 1
        if not self._said:
            self._spoke_from_ms = self._now_ms
        self._turn_is_over = False
        self._send("speech-update", status="started", role="user", turn=self._turn)
        if self._agent_speaks() and self._pace.vapi_cuts_after_ms is not None and self._may_cut():
            self._in("cut", self._pace.vapi_cuts_after_ms, self._on_cut)

    def _on_noise(self) -> None:
        """No words followed the sound."""
        self._caller_speaks, self._turn_is_over = False, not self._said
        self._on_user_stopped()

    def _ends_utterance(self, line: CallerLine) -> None:
        self._caller_speaks = False
        self._in("user_stopped", _USER_STOPPED_AFTER_MS, self._on_user_stopped)
        if self._agent_speaks() and self._is_only_acknowledged():
            self._partial, self._turn_is_over = "", True
            self._stop_timers("cut")
            return
        self._said.append(self._partial)
        self._partial = ""
        endpointing_ms = self._pace.endpointing_ms if line.endpointing_ms is None else line.endpointing_ms
        self._in("endpoint", endpointing_ms, self._on_endpoint)

    def _caller_words(self) -> str:
        return " ".join(part for part in [*self._said, self._partial] if part)

    def _is_only_acknowledged(self) -> bool:
        return self._agent_speaks() and self._partial.lower().strip(" .,!?").replace("'", "") in ACKNOWLEDGEMENTS

    def _may_cut(self) -> bool:
        return not self._is_greeting or bool(self._envelope.assistant.get("firstMessageInterruptionsEnabled"))

    def _on_user_stopped(self) -> None:
        self._send("speech-update", status="stopped", role="user", turn=self._turn)

    def _on_cut(self) -> None:
        if not self._agent_speaks():
            return None
        if self._is_only_acknowledged():
            # Looked at again with the caller's next words.
            return self._in("cut", max(_LOOK_AGAIN_MS, self._pace.vapi_cuts_after_ms or 0), self._on_cut)
        return self._interrupt()

    def _on_eager(self) -> None:
        if not self._agent_speaks():
            self._ask()

    def _on_endpoint(self) -> None:
        if self._agent_speaks() and not self._may_cut():
            return self._in("endpoint", _LOOK_AGAIN_MS, self._on_endpoint)
        if self._agent_speaks():
            self._interrupt()
        self._turn_is_over, self._said_in_turn = True, len(self._said)
        self._talk.caller_said(self._caller_words(), self._stamp(self._spoke_from_ms), self._stamp())
        self._send("conversation-update", **self._talk.update())
        self._ask()
        self._in("hang", self._pace.hang_ms, self._on_hang)
        return self._speak_soon()

    def _on_hang(self) -> None:
        self._send("hang")

    # --- the answer

    def _ask(self) -> None:
        """Ask for the answer to the caller's words, unless that request is already open."""
        words = self._caller_words()
        if words == self._asked and (self._request or self._speech):
            return
        self._drop_request()
        self._requests += 1
        self._request, self._asked = self._requests, words
        self._effects.append(OpenLlm(self._request, self._envelope.llm_request(self._talk.with_caller(words))))

    def _drop_request(self) -> None:
        """Close the request and forget an answer of which nothing was heard."""
        if self._request:
            self._effects.append(CloseLlm(self._request))
            self._request = 0
        if self._speech and self._speech.started_ms is None:
            self._speech = None
            self._stop_timers("speak")
        self._asked = ""

    def _answer_is_unheard(self) -> bool:
        return bool(self._request or self._speech) and not self._agent_speaks()

    def _agent_speaks(self) -> bool:
        return self._speech is not None and self._speech.started_ms is not None

    def _take(self, happened: Happening) -> None:
        if not isinstance(happened, LlmText):
            self._raw_requests.discard(happened.request)
        if happened.request != self._request:
            return None
        if isinstance(happened, LlmFailed):
            self._request = 0
            return self._hang_up(_LLM_FAILED)
        if self._speech is None:
            self._speech = Speech(words_per_s=self._pace.speech_words_per_s)
        if isinstance(happened, LlmText):
            self._speech.add(happened.text, self._now_ms)
        else:
            self._request = 0
            self._speech.complete(self._now_ms)
            self._end_silent_answer()
        return self._speak_soon()

    def _end_silent_answer(self) -> None:
        if self._speech is None or not self._speech.is_over:
            return
        if self._agent_speaks():
            self._stops()
        else:
            self._speech = None

    def _speak_soon(self) -> None:
        """Have the answer spoken when the turn is the agent's and there is enough of it."""
        speech = self._speech
        if speech is None or self._agent_speaks() or not self._turn_is_over or "speak" in self._timers:
            return
        if speech.is_worth_speaking(self._pace.min_characters):
            self._in("speak", max(self._pace.tts_ms, self._quiet_until_ms - self._now_ms), self._on_speak)

    def _on_greeting(self) -> None:
        self._is_greeting = True
        self._speech = Speech(words_per_s=self._pace.speech_words_per_s)
        self._speech.add(self._envelope.first_message, self._now_ms)
        self._speech.complete(self._now_ms)
        self._on_speak()

    def _on_speak(self) -> None:
        if self._speech is None:
            return
        self._stop_timers("hang")
        self._speech.start(self._now_ms)
        self._agent_turn = self._turn
        self._send("speech-update", status="started", role="assistant", turn=self._agent_turn)
        self._in("agent_partial", self._pace.partial_every_ms, self._on_agent_partial)
        self._event("agent_started")

    def _on_word(self) -> None:
        assert self._speech is not None
        self._speech.tick(self._now_ms)
        if self._speech.heard == 1:
            # The caller's turn is answered: what the caller says from here on is a new one.
            del self._said[: self._said_in_turn]
            self._said_in_turn = 0
        self._event("agent_said")
        if "silence" in self._timers:
            self._in("silence", self._pace.silence_ms, self._on_silence)
        if self._speech.is_over:
            self._stops()

    def _on_agent_partial(self) -> None:
        if self._speech and self._speech.heard:
            self._send("transcript", **self._talk.agent_transcript("partial", self._speech.heard_text))
        self._in("agent_partial", self._pace.partial_every_ms, self._on_agent_partial)

    def _interrupt(self) -> None:
        """Cut the agent off, as Vapi's own barge-in does."""
        self._interruptions += 1
        turn_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{self._envelope.call_id}/{self._requests}")
        self._send("user-interrupted", turnId=str(turn_id))
        self._quiet_until_ms = self._now_ms + self._pace.backoff_ms
        self._stops()

    def _stops(self) -> None:
        """The agent's voice ends, at the end of its words or before."""
        speech = self._speech
        if speech is None or speech.started_ms is None:
            return
        self._speech, self._is_greeting = None, False
        self._stop_timers("agent_partial", "cut")
        self._send("speech-update", status="stopped", role="assistant", turn=self._agent_turn)
        self._drop_request()
        if speech.heard:
            self._talk.agent_heard(speech.heard_text, self._stamp(speech.started_ms), self._stamp())
            self._agent_final = speech.heard_text
            self._in("agent_final", _FINAL_AFTER_MS, self._on_agent_final)
        if speech.is_over:
            self._event("agent_done")

    def _on_agent_final(self) -> None:
        self._send("transcript", **self._talk.agent_transcript("final", self._agent_final))
        self._send("conversation-update", **self._talk.update())

    # --- the end

    def _hang_up(self, reason: str) -> None:
        self._hung_up_reason = reason
        self._lines.clear()
        self._stops()
        self._drop_request()
        pending = self._timers.pop("agent_final", None)
        self._timers.clear()
        if pending is not None:
            self._timers["agent_final"] = pending
        if self._is_raw:
            return
        self._ended_ms = self._now_ms
        self._in("ended", self._pace.ended_ms, self._on_ended)
        self._in("report", max(self._pace.report_ms, self._pace.ended_ms), self._on_report)

    def _on_ended(self) -> None:
        self._send("status-update", status="ended", endedReason=self._hung_up_reason)

    def _on_report(self) -> None:
        ended_ms = self._stamp(self._ended_ms)
        self._send("end-of-call-report", **self._talk.report(self._hung_up_reason, ended_ms, self._interruptions))

    def _send(self, kind: str, **own: Any) -> None:
        self._effects.append(Webhook(self._talk.webhook(kind, self._stamp(), **own)))

    def _stamp(self, at_ms: float | None = None) -> int:
        """Return epoch milliseconds: a call that is played faster is a shorter call."""
        return self._epoch_ms + round((self._now_ms if at_ms is None else at_ms) / self._speed)


def _confidence(line: CallerLine) -> dict[str, Any]:
    return {"confidence": 0.97, "confidenceSource": "provider"} if line.what == "final" else {}
