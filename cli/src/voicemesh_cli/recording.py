"""A recorded call: what the caller says and does, one JSON object a line, as docs/recorded-calls.md says."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

Event = Literal["start", "previous", "agent_started", "agent_said", "agent_done"]
Utterance = Literal["voice", "partial", "final"]


class BadRecording(Exception):
    """The file is no recorded call; the message names the line, the value and what would be right."""


@dataclass(frozen=True, slots=True)
class When:
    """When a line is played: ``ms`` after an event. A line is never played before the one above it."""

    after: Event = "start"
    ms: int = 0
    words: int = 0
    """With ``agent_said``: how many words of one stretch of speech must have been heard."""


@dataclass(frozen=True, slots=True)
class CallerLine:
    """The caller makes a sound, or words of the caller are transcribed."""

    when: When
    what: Utterance
    text: str = ""
    """The utterance so far: transcripts are cumulative."""
    endpointing_ms: int | None = None
    """In place of the header's, for the end of turn after this line."""


@dataclass(frozen=True, slots=True)
class Hangup:
    """The call ends."""

    when: When
    reason: str = "customer-ended-call"


@dataclass(frozen=True, slots=True)
class RawWebhook:
    """A webhook sent as it stands, as ``{"message": …}`` or in any other shape."""

    when: When
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RawLlm:
    """A custom-LLM request sent as it stands; its answer is read and not spoken."""

    when: When
    body: Mapping[str, Any]
    close_after_ms: int | None = None


Line = CallerLine | Hangup | RawWebhook | RawLlm


@dataclass(frozen=True, slots=True)
class Pace:
    """How the simulated Vapi behaves. The figures are those measured on live calls, where there are any."""

    speech_words_per_s: float = 2.7
    endpointing_ms: int = 700
    """From a final to the request for an answer."""
    eager_endpointing_ms: int | None = None
    """From a partial to a request on approval, closed when the caller goes on; none without it."""
    vapi_cuts_after_ms: int | None = 450
    """From the caller's first sound to Vapi's own barge-in; null: not before the caller's turn is over."""
    backoff_ms: int = 1000
    """No agent audio for so long after an interruption."""
    tts_ms: int = 300
    """From text that is worth speaking to its first audio."""
    min_characters: int = 30
    """Text shorter than this is not spoken before it ends in punctuation or the answer is complete."""
    greeting_ms: int = 900
    """From the answered call to the first message."""
    partial_every_ms: int = 500
    """Between partial transcripts of the agent's speech."""
    hang_ms: int = 5000
    """Silence after the caller's turn that makes Vapi send `hang`."""
    silence_ms: int = 30_000
    """Silence of both that ends the call."""
    ended_ms: int = 1600
    """From hanging up to the status."""
    report_ms: int = 2900
    """From hanging up to the report."""
    retranscribed: bool = True
    """History holds the agent's words as a transcriber would hear them: lower case, no punctuation, digits as words."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A whole file."""

    lines: tuple[Line, ...]
    pace: Pace = Pace()
    call: Mapping[str, Any] = field(default_factory=dict)
    """Fields laid over the simulated call object, ``id`` among them."""
    assistant: Mapping[str, Any] = field(default_factory=dict)
    """Fields laid over the simulated assistant; ``first_message`` and ``system_prompt`` for short."""

    @property
    def is_raw(self) -> bool:
        """Whether only recorded messages are sent, and nothing is simulated around them."""
        return all(isinstance(line, RawWebhook | RawLlm) for line in self.lines) and not self.assistant


def parse(text: str) -> RecordedCall:
    """Return the recorded call in ``text``.

    Raises BadRecording for the first line that cannot be understood.
    """
    rows = [(number, row) for number, row in enumerate(text.splitlines(), 1) if row.strip()]
    if not rows:
        raise BadRecording('the file is empty: a recorded call starts with a header line, for example {"call": {}}')
    number, first = rows[0]
    header = _object(first, number)
    if _is_line(header):
        raise BadRecording(
            f'line {number} is no header: the first line describes the call, for example {{"call": {{}}}}'
        )
    return replace(_header(header, number), lines=tuple(_line(_object(row, n), n) for n, row in rows[1:]))


def _object(row: str, number: int) -> dict[str, Any]:
    try:
        value = json.loads(row)
    except json.JSONDecodeError as error:
        raise BadRecording(f"line {number} is not JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(value, dict):
        raise BadRecording(f"line {number} is not a JSON object")
    return value


def _is_line(value: Mapping[str, Any]) -> bool:
    return "at_ms" in value or "after" in value


def _header(value: Mapping[str, Any], number: int) -> RecordedCall:
    kinds = typing.get_type_hints(Pace)
    settings: dict[str, Any] = {}
    for name, given in value.items():
        if name in ("call", "assistant"):
            if not isinstance(given, dict):
                raise BadRecording(f"line {number}: {name} must be an object")
        elif name in kinds:
            settings[name] = _setting(name, given, kinds[name], number)
        elif name != "comment":
            known = ", ".join(["call", "assistant", "comment", *(f.name for f in fields(Pace))])
            raise BadRecording(f"line {number}: {name} is no setting of a recorded call; known are {known}")
    return RecordedCall((), Pace(**settings), value.get("call", {}), value.get("assistant", {}))


def _setting(name: str, given: object, kind: object, number: int) -> object:
    if kind is bool and isinstance(given, bool):
        return given
    if given is None and kind == (int | None):
        return None
    least = 0.1 if kind is float else 0
    if kind is not bool and isinstance(given, int | float) and not isinstance(given, bool) and given >= least:
        return float(given) if kind is float else int(given)
    raise BadRecording(
        f"line {number}: {name} is {given!r}; it must be {'on or off' if kind is bool else f'a number from {least} on'}"
    )


def _line(value: Mapping[str, Any], number: int) -> Line:
    when = _when(value, number)
    if "caller" in value:
        return _caller(value, when, number)
    if value.get("hangup"):
        return Hangup(when, str(value.get("reason", "customer-ended-call")))
    if isinstance(value.get("webhook"), dict):
        return RawWebhook(when, value["webhook"])
    if isinstance(value.get("llm"), dict):
        return RawLlm(when, value["llm"], value.get("close_after_ms"))
    raise BadRecording(
        f"line {number} says nothing to do: it needs one of caller, hangup, webhook (object), llm (object)"
    )


def _caller(value: Mapping[str, Any], when: When, number: int) -> CallerLine:
    what, text = value["caller"], value.get("text", "")
    if what not in typing.get_args(Utterance):
        raise BadRecording(f"line {number}: caller is {what!r}; it must be voice, partial or final")
    if what != "voice" and not (isinstance(text, str) and text.strip()):
        raise BadRecording(f"line {number}: a {what} needs its text")
    return CallerLine(when, what, str(text), value.get("endpointing_ms"))


def _when(value: Mapping[str, Any], number: int) -> When:
    if ("at_ms" in value) == ("after" in value):
        raise BadRecording(f"line {number} needs at_ms (from the start of the call) or after (an event), and not both")
    name = "at_ms" if "at_ms" in value else "ms"
    ms = value.get(name, 0)
    if isinstance(ms, bool) or not isinstance(ms, int | float) or ms < 0:
        raise BadRecording(f"line {number}: {name} is {ms!r}; it must be milliseconds from 0 on")
    if "at_ms" in value:
        return When("start", int(ms))
    after, _, words = str(value["after"]).partition(":")
    if after not in typing.get_args(Event) or (after == "agent_said") != words.isdigit():
        known = "start, previous, agent_started, agent_said:<words> or agent_done"
        raise BadRecording(f"line {number}: after is {value['after']!r}; it must be {known}")
    return When(typing.cast(Event, after), int(ms), int(words or 0))
