"""A call as a fold over its events: ``step(call, event, policy) -> Step``. Pure; time comes with the events.

What a call is does not depend on the order in which its events were delivered: utterances are ordered by when they were
spoken, lifecycle facts are collected and read together, and an event after the end opens nothing. Only generation
numbers follow the order of arrival.

This file holds the call's life; `answers` holds what happens to its generations, `tools` what its tools do,
`call_report` what the owner's system is told when it is over.
"""

from __future__ import annotations

from bisect import insort

from session_svc.domain import answers, call_report, tools
from session_svc.domain.call import Call, Policy, Step, Utterance
from session_svc.domain.events import (
    CallExpired,
    CallReported,
    CallStatus,
    Event,
    HistoryReported,
    Party,
    Phase,
    ToolAsked,
    ToolEnded,
    Words,
)

RECENT_PARTIALS = 8
"""How many of the caller's latest partials are kept to tell which words a request answers: about four seconds."""


def step(call: Call, event: Event, policy: Policy) -> Step:
    """Return the call after ``event``, and the commands that follow.

    The caller has made sure that no durable event comes here twice. An event that means nothing for the call changes
    nothing but, perhaps, what is known of the reporter's clock.
    """
    body = event.body
    if isinstance(body, Words) and not body.final:
        return Step(_with_partial(call, event, body))
    result = _step(_tallied(_with_agent(_with_clock(call, event), event), event), event, policy)
    return call_report.after(answers.settled_at_end(result), event, policy) if result.call.ended else result


def agent_of(call: Call | None, event: Event) -> str:
    """Return the agent by whose policy ``event`` is to be folded: the call's own, or the one that it gets by it."""
    return (call.agent if call is not None else "") or event.agent


def turns(call: Call) -> list[tuple[str, str]]:
    """Return (party, text) of each turn, in the order of speech: utterances of one party in a row are one turn."""
    return [(turn.party, turn.text) for turn in call_report.lines(call)]


def _step(call: Call, event: Event, policy: Policy) -> Step:
    body = event.body
    if isinstance(body, Words):
        return Step(_with_final(call, event, body))
    if isinstance(body, CallStatus):
        return Step(_with_status(call, event, body))
    if isinstance(body, CallReported):
        return Step(_ended(call, event, report_reason=_reason(call.report_reason, body.ended_reason)))
    if isinstance(body, CallExpired):
        return Step(_ended(call, event, expired=True))
    if isinstance(body, HistoryReported):
        return Step(answers.with_heard(call, body.tail))
    if isinstance(body, ToolAsked):
        return tools.asked(call, event, body)
    if isinstance(body, ToolEnded):
        return tools.ended(call, body)
    return answers.step(call, event, policy)


def _with_agent(call: Call, event: Event) -> Call:
    # The first stays: a call that lives is not given to another agent, nor to another version of its own.
    return call if call.agent or not event.agent else call._replace(agent=event.agent)


def _tallied(call: Call, event: Event) -> Call:
    tally = call_report.tallied(call.tally, event)
    return call if tally is call.tally else call._replace(tally=tally)


def _with_clock(call: Call, event: Event) -> Call:
    if not event.has_reporter_time:
        return call
    offset_ms = event.received_at_ms - event.at_ms
    if call.clock_offset_ms is not None and call.clock_offset_ms <= offset_ms:
        return call
    return call._replace(clock_offset_ms=offset_ms)


def _with_partial(call: Call, event: Event, words: Words) -> Call:
    if words.party is not Party.CALLER or event.at_ms <= _last_caller_final_ms(call):
        return call  # late: the final says all that it could say
    partial = Utterance(event.at_ms, event.event_id, words.party.value, words.text)
    if partial in call.recent:
        return call
    return call._replace(recent=tuple(sorted((*call.recent, partial))[-RECENT_PARTIALS:]))


def _with_final(call: Call, event: Event, words: Words) -> Call:
    utterances = list(call.utterances)
    insort(utterances, Utterance(event.at_ms, event.event_id, words.party.value, words.text))
    recent = call.recent
    if recent and words.party is Party.CALLER:
        recent = tuple(partial for partial in recent if partial.at_ms > event.at_ms)
    return call._replace(utterances=tuple(utterances), recent=recent)


def _last_caller_final_ms(call: Call) -> int:
    return next((u.at_ms for u in reversed(call.utterances) if u.party == Party.CALLER.value), -1)


def _with_status(call: Call, event: Event, status: CallStatus) -> Call:
    if status.phase is Phase.ENDED:
        return _ended(call, event, status_reason=_reason(call.status_reason, status.ended_reason))
    # A late "ringing" never takes a call back: phases only advance.
    if status.phase.value <= call.phase.value:
        return call
    return call._replace(phase=status.phase)


def _ended(
    call: Call,
    event: Event,
    *,
    status_reason: str | None = None,
    report_reason: str | None = None,
    expired: bool = False,
) -> Call:
    return call._replace(
        phase=Phase.ENDED,
        ended_at_ms=call.ended_at_ms or event.received_at_ms,
        status_reason=call.status_reason if status_reason is None else status_reason,
        report_reason=call.report_reason if report_reason is None else report_reason,
        expired=call.expired or expired,
    )


def _reason(known: str | None, reported: str) -> str:
    # Two that differ: any fixed choice will do, so that every order of delivery ends with the same one.
    return reported if known is None else max(known, reported)
