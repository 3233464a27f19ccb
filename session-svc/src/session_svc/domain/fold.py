"""A call as a fold over its events: ``step(call, event, policy) -> Step``. Pure; time comes with the events.

What a call is does not depend on the order in which its events were delivered: utterances are ordered by when they were
spoken, lifecycle facts are collected and read together, and an event after the end opens nothing. Only generation
numbers follow the order of arrival.

This file holds the call's life; `answers` holds what happens to its generations.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import replace

from session_svc.domain import answers, history
from session_svc.domain.call import Call, Policy, Step, Utterance
from session_svc.domain.events import (
    CallExpired,
    CallReported,
    CallStatus,
    Event,
    HistoryReported,
    Party,
    Phase,
    Words,
)

RECENT_WORDS = 8
"""How many of the caller's latest transcripts are kept to tell which words a request answers."""


def opened(call_id: str, event: Event) -> Call:
    """Return the record of a call whose first event this is; the event itself is still to be folded."""
    return Call(call_id, started_at_ms=event.received_at_ms, last_received_at_ms=event.received_at_ms)


def step(call: Call, event: Event, policy: Policy) -> Step:
    """Return the call after ``event``, and the commands that follow.

    The caller has made sure that no event comes here twice. An event that means nothing for the call changes only when
    it was last heard of.
    """
    call = _heard_of(call, event)
    body = event.body
    if isinstance(body, Words):
        return Step(_with_words(call, event, body))
    if isinstance(body, CallStatus):
        return answers.settled_at_end(_with_status(call, event, body))
    if isinstance(body, CallReported):
        ended = _ended(call, event)
        return answers.settled_at_end(replace(ended, report_reason=body.ended_reason or call.report_reason))
    if isinstance(body, CallExpired):
        return answers.settled_at_end(replace(_ended(call, event), expired=True) if not call.ended else call)
    if isinstance(body, HistoryReported):
        return Step(answers.with_heard(call, body.tail))
    return answers.step(call, event, policy)


def turns(call: Call) -> list[tuple[str, str]]:
    """Return (party, text) of each turn, in the order of speech: utterances of one party in a row are one turn."""
    grouped: list[tuple[str, str]] = []
    for utterance in call.utterances:
        if grouped and grouped[-1][0] == utterance.party:
            grouped[-1] = (utterance.party, f"{grouped[-1][1]} {utterance.text}")
        else:
            grouped.append((utterance.party, utterance.text))
    return grouped


def _heard_of(call: Call, event: Event) -> Call:
    offset = call.clock_offset_ms
    if event.has_reporter_time:
        delay = event.received_at_ms - event.at_ms
        offset = delay if offset is None else min(offset, delay)
    return replace(
        call,
        clock_offset_ms=offset,
        started_at_ms=min(call.started_at_ms, event.received_at_ms),
        last_received_at_ms=max(call.last_received_at_ms, event.received_at_ms),
    )


def _with_words(call: Call, event: Event, words: Words) -> Call:
    if words.final:
        utterances = list(call.utterances)
        insort(utterances, Utterance(event.at_ms, event.event_id, words.party.value, words.text))
        call = replace(call, utterances=tuple(utterances))
    if words.party is Party.CALLER:
        recent = sorted((*call.recent, (event.at_ms, history.words_of(words.text))))[-RECENT_WORDS:]
        call = replace(call, recent=tuple(recent))
    return call


def _with_status(call: Call, event: Event, status: CallStatus) -> Call:
    if status.phase is Phase.ENDED:
        return replace(_ended(call, event), status_reason=status.ended_reason or call.status_reason)
    # A late "ringing" never takes a call back: phases only advance.
    return replace(call, phase=max(call.phase, status.phase, key=lambda phase: phase.value))


def _ended(call: Call, event: Event) -> Call:
    return replace(call, phase=Phase.ENDED, ended_at_ms=call.ended_at_ms or event.received_at_ms)
