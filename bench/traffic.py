"""What a provider sends: signed webhooks in Vapi's real shapes, every one of them a happening of its own.

A call is three minutes long and makes 181 events; while the caller speaks, a partial comes every 200 ms. The bodies
are the fixtures of the tests, cut down to 1 kB or filled up to 18 kB with what fills them in reality: the assistant's
configuration, which every message repeats.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from bench.procs import ROOT

_SAMPLES = ROOT / "tests" / "fixtures" / "vapi" / "server"
_SMALL_BYTES = 2_000
_CALL, _WORDS, _AT = "the-call-id", "the-words", 1_111_111_111_111
_SAID = ("I would", "like to", "book a", "table for", "four people", "on Friday", "at half", "past seven please")


class Step(NamedTuple):
    """One event of a call."""

    sample: str
    words: str = ""


def _turn() -> Iterator[Step]:
    """The caller speaks, the agent answers: 14 events."""
    yield Step("speech-update.user-started")
    for count in range(1, len(_SAID) + 1):
        yield Step("transcript.partial.user", " ".join(_SAID[:count]))
    yield Step("transcript.final.user", " ".join(_SAID))
    yield Step("speech-update.user-stopped")
    yield Step("speech-update.assistant-started")
    yield Step("transcript.final.assistant", "Perfect, a table for four on Friday at half past seven.")
    yield Step("speech-update.assistant-stopped")


def greeting() -> list[Step]:
    """The first events of every call: it is answered, and the agent speaks first."""
    words = "Thank you for calling. I can help you book a table."
    return [
        Step("status-update.in-progress"),
        Step("speech-update.assistant-started"),
        Step("transcript.final.assistant", words),
        Step("speech-update.assistant-stopped"),
    ]


def whole_call() -> list[Step]:
    """181 events: a greeting, twelve turns, a history after most of them, and the call's end."""
    steps = greeting()
    for turn in range(12):
        steps += _turn()
        steps += [Step("conversation-update")] if turn < 7 else []
    return [*steps, Step("status-update.ended"), Step("end-of-call-report")]


def opening() -> list[Step]:
    """What comes behind the greeting of a call on which nothing happens then."""
    said = " ".join(_SAID)
    speech = (Step("speech-update.user-started"), Step("speech-update.user-stopped"))
    words = (Step("transcript.partial.user", _SAID[0]), Step("transcript.partial.user", said))
    return [speech[0], *words, Step("transcript.final.user", said), speech[1]]


MIXES = {
    "mix": whole_call(),
    "finals": [Step("transcript.final.user", " ".join(_SAID))],
    "opening": opening(),
}


class Signer:
    """Signs requests with Vapi's default HMAC credential."""

    def __init__(self, secret: str) -> None:
        self._keyed = hmac.new(secret.encode(), digestmod=hashlib.sha256)

    def request(self, body: bytes, call_id: str) -> bytes:
        """Return the whole HTTP request of a webhook."""
        stamp = str(time.time_ns() // 1_000_000).encode()
        mac = self._keyed.copy()
        mac.update(stamp + b"." + body)
        return b"".join(
            (
                b"POST /vapi/webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json, text/plain, */*\r\n"
                b"Content-Type: application/json\r\nUser-Agent: bench\r\nx-call-id: ",
                call_id.encode(),
                b"\r\nx-signature: ",
                mac.hexdigest().encode(),
                b"\r\nx-timestamp: ",
                stamp,
                b"\r\nContent-Length: ",
                str(len(body)).encode(),
                b"\r\n\r\n",
                body,
            )
        )


class _Slot:
    """Where one call after another takes place."""

    def __init__(self, steps: Sequence[Step], first: int, begin_ms: int) -> None:
        self._steps = steps
        self._next = first
        self._at_ms = begin_ms
        self.call_id = str(uuid.uuid4())

    def next(self, size: int) -> bytes:
        if self._next == len(self._steps):
            self._next = 0
            self.call_id = str(uuid.uuid4())
        step = self._steps[self._next]
        self._next += 1
        # A millisecond on: the event's time is what makes it a happening of its own.
        self._at_ms += 1
        return body_of(step, size, self.call_id, self._at_ms)


class Traffic(NamedTuple):
    """Signed requests: what comes before the measurement, and what is measured."""

    before: list[bytes]
    measured: list[bytes]


def events(mix: str, *, size: int, calls: int, count: int, secret: str, staggered: bool = True) -> Traffic:
    """Return ``count`` signed requests about ``calls`` calls at a time, in turn, behind the greetings of these calls.

    ``staggered``: the calls are at different points of their lives, so that every stretch has the same mix. Each has
    been greeted all the same: a service that never heard the agent of a call judges its caller by words alone.
    """
    steps = MIXES[mix]
    if len(steps) == 1:
        # Finals go on within the same call; a whole call is followed by the next.
        steps, staggered = steps * -(-count // calls), False
    begin_ms = time.time_ns() // 1_000_000 - 60_000
    slots = [_Slot(steps, at * len(steps) // calls if staggered else 0, begin_ms) for at in range(calls)]
    signer = Signer(secret)
    before = [
        signer.request(body_of(step, size, slot.call_id, begin_ms - 1_000 + at), slot.call_id)
        for at, step in enumerate(greeting())
        for slot in slots
    ]
    requests = []
    for number in range(count):
        slot = slots[number % calls]
        body = slot.next(size)
        requests.append(signer.request(body, slot.call_id))
    return Traffic(before, requests)


def body_of(step: Step, size: int, call_id: str, at_ms: int) -> bytes:
    """Return the JSON of one event, about ``size`` bytes long."""
    text = _template(step.sample, size)
    return text.replace(_CALL, call_id).replace(str(_AT), str(at_ms)).replace(_WORDS, step.words).encode()


@functools.cache
def _template(sample: str, size: int) -> str:
    if sample == "speech-update.user-stopped":
        return _template("speech-update.user-started", size).replace('"status":"started"', '"status":"stopped"', 1)
    message = json.loads((_SAMPLES / f"{sample}.json").read_bytes())["message"]
    message["timestamp"] = _AT
    message["call"]["id"] = _CALL
    if "transcript" in message and message["type"] == "transcript":
        message["transcript"] = _WORDS
    body = _cut_down(message, size) if size < _SMALL_BYTES else _filled_up(message, size)
    return json.dumps({"message": body}, separators=(",", ":"))


def _cut_down(message: dict[str, Any], size: int) -> dict[str, Any]:
    """Leave out the largest parts that carry nothing for us, then as many others as it takes."""
    message["call"] = {name: message["call"][name] for name in ("id", "orgId", "createdAt", "type", "status")}
    keep = {"timestamp", "type", "role", "status", "transcriptType", "transcript", "turn", "endedReason", "call"}
    if message["type"] == "conversation-update":
        keep.add("messagesOpenAIFormatted")
    extras = sorted(set(message) - keep, key=lambda name: len(json.dumps(message[name])), reverse=True)
    for name in extras:
        if _length(message) <= size:
            break
        del message[name]
    message["metadata"] = {"notes": "x" * max(0, size - _length(message) - len('"metadata":{"notes":""},'))}
    return message


def _filled_up(message: dict[str, Any], size: int) -> dict[str, Any]:
    """Give the assistant more tools and a longer prompt: where the bytes of a real event come from."""
    model = message["assistant"]["model"]
    tool = json.dumps(model["tools"][0])
    while _length(message) < size * 3 // 4:
        model["tools"].append(json.loads(tool.replace("book_table", f"tool_{len(model['tools'])}")))
    prompt = model["messages"][0]
    sentence = " Ask for the party, the day and the time, one question at a time, and repeat what you understood."
    missing = max(0, size - _length(message))
    prompt["content"] += (sentence * (missing // len(sentence) + 1))[:missing]
    return message


def _length(message: dict[str, Any]) -> int:
    return len(json.dumps({"message": message}, separators=(",", ":"))) + len(str(uuid.uuid4())) - len(_CALL)
