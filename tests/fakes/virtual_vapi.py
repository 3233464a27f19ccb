"""Runs a simulated Vapi call on a virtual clock, with answers that are given by a function."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from voicemesh_cli.recording import RecordedCall, parse
from voicemesh_cli.vapi_call import VapiCall
from voicemesh_cli.vapi_events import CloseLlm, Happening, LlmDone, LlmText, OpenLlm, Webhook

Answer = Callable[[str], str]
"""From the caller's last words to the agent's."""


@dataclass
class Sent:
    """All that the call sent, with the time of each in milliseconds from its start."""

    messages: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    opened: list[tuple[float, int, list[dict[str, str]]]] = field(default_factory=list)
    closed: list[tuple[float, int]] = field(default_factory=list)
    ended_ms: float = 0.0

    def of(self, kind: str, **fields: object) -> list[tuple[float, dict[str, Any]]]:
        """Return the messages of a type whose fields have these values."""
        wanted = {"type": kind, **fields}
        return [(at, m) for at, m in self.messages if all(m.get(name) == value for name, value in wanted.items())]

    def asked(self) -> list[str]:
        """Return the last words of each request."""
        return [messages[-1]["content"] for _, _, messages in self.opened]


def recorded(*lines: dict[str, Any], **header: Any) -> RecordedCall:
    """Return a recorded call from its lines, read as a file would be."""
    return parse("\n".join(json.dumps(row) for row in (header, *lines)))


def run(
    call: RecordedCall,
    answer: Answer = lambda words: "",
    *,
    first_text_ms: float = 300.0,
    word_ms: float = 40.0,
    speed: float = 1.0,
    happenings: Iterable[tuple[float, Happening]] = (),
) -> Sent:
    """Play ``call`` to its end. An answer comes word by word; ``happenings`` come from outside, at their times."""
    machine = VapiCall(call, call_id="call-1", epoch_ms=1_700_000_000_000, speed=speed)
    sent, coming = Sent(), sorted(happenings, key=lambda pair: pair[0])
    now_ms = 0.0
    while not machine.is_over:
        wakes_ms = machine.wakes_at_ms()
        if wakes_ms is None and not coming:
            raise AssertionError(f"the call waits for nothing at {now_ms} ms and is not over")
        happened: Happening | None = None
        if coming and (wakes_ms is None or coming[0][0] <= wakes_ms):
            now_ms, happened = max(now_ms, coming[0][0]), coming.pop(0)[1]
        else:
            now_ms = max(now_ms, wakes_ms or 0.0)
        for effect in machine.step(now_ms, happened):
            match effect:
                case Webhook(body):
                    sent.bodies.append(body)
                    sent.messages.append((now_ms, body["message"]))
                case OpenLlm(request, body):
                    sent.opened.append((now_ms, request, body["messages"]))
                    coming += _pieces(request, answer(body["messages"][-1]["content"]), now_ms + first_text_ms, word_ms)
                    coming.sort(key=lambda pair: pair[0])
                case CloseLlm(request):
                    sent.closed.append((now_ms, request))
    sent.ended_ms = now_ms
    return sent


def _pieces(request: int, text: str, at_ms: float, word_ms: float) -> list[tuple[float, Happening]]:
    words = text.split()
    pieces: list[tuple[float, Happening]] = [
        (at_ms + number * word_ms, LlmText(request, word + " ")) for number, word in enumerate(words)
    ]
    return [*pieces, (at_ms + len(words) * word_ms, LlmDone(request))]
