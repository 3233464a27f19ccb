"""What the owner's system is told of a call that has ended: when, with what, and how often it is tried.

It is made as soon as the call is over, to be sent once the provider's own report has come, or when that was waited for
long enough. Until it is first due, whatever still comes of the call is put into it. How often it was tried is told by
events, as all else is: so a restart changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from session_svc.domain import outbox
from session_svc.domain.call import Call, Policy, Progress, ReportPolicy, Step, Tally
from session_svc.domain.commands import Command, ReportCall, ReportedTool, ReportedTurn
from session_svc.domain.events import (
    CallReported,
    CallStatus,
    CutReason,
    Event,
    GenerationCut,
    GenerationEnded,
    Phase,
    ReportResult,
    ReportTried,
)

SETTLE_MS = 2_000
"""So long after the provider's report the last of our own may still come: a cut, the words of a history."""
MOST_TEXT_CHARS = 50_000
"""Of a report: an hour of speech. In bytes at most 200,000."""
MOST_TURNS = 1_000
MOST_RETRY_AFTER_MS = 3_600_000
"""Whoever asks to be left alone for longer is asked again sooner."""


def tallied(tally: Tally, event: Event) -> Tally:
    """Return the tally with what ``event`` adds; in any order the same."""
    body, now_ms = event.body, event.received_at_ms
    if not tally.started_ms or now_ms < tally.started_ms:
        tally = tally._replace(started_ms=now_ms)
    if isinstance(body, CallStatus):
        if body.phase is Phase.IN_PROGRESS and (not tally.answered_ms or now_ms < tally.answered_ms):
            return tally._replace(answered_ms=now_ms)
    elif isinstance(body, CallReported):
        costs = [cost for cost in (tally.cost_usd, body.cost_usd) if cost is not None]
        return tally._replace(
            duration_ms=max(tally.duration_ms, body.duration_ms), cost_usd=max(costs) if costs else None
        )
    elif isinstance(body, GenerationEnded):
        if body.prompt_tokens or body.completion_tokens:
            used = {body.generation: (body.prompt_tokens, body.completion_tokens)}
            return tally._replace(tokens={**tally.tokens, **used})
    elif isinstance(body, GenerationCut) and body.reason is CutReason.BARGE_IN:
        return tally._replace(cut_off=tally.cut_off | {body.generation})
    return tally


def after(result: Step, event: Event, policy: Policy) -> Step:
    """Return the step with what ``event`` means for the report of a call that has ended."""
    call, commands = result
    rules, known = policy.report, call.report
    if isinstance(event.body, ReportTried):
        return _tried(result, event, event.body, rules or ReportPolicy())
    if rules is None:
        return result
    now_ms = event.received_at_ms
    if known is None:
        # Of a call that was given up nothing more is to be expected.
        wait_ms = SETTLE_MS if call.report_reason is not None or call.expired else rules.wait_ms
        known = Progress(1, now_ms + wait_ms, now_ms + wait_ms)
    elif known.over or known.attempt > 1 or now_ms >= known.not_before_ms:
        return result
    elif isinstance(event.body, CallReported):
        due_ms = min(known.not_before_ms, now_ms + SETTLE_MS)
        known = known._replace(not_before_ms=due_ms, first_ms=due_ms)
    call, order = _ordered(call, known, rules)
    return result._replace(call=call, commands=(*commands, order))


def lines(call: Call) -> Iterator[ReportedTurn]:
    """Yield each turn, in the order of speech: utterances of one party in a row are one turn."""
    party, at_ms, texts = "", 0, list[str]()
    for utterance in call.utterances:
        if texts and utterance.party != party:
            yield ReportedTurn(party, at_ms, " ".join(texts))
            texts = []
        if not texts:
            party, at_ms = utterance.party, utterance.at_ms
        texts.append(utterance.text)
    if texts:
        yield ReportedTurn(party, at_ms, " ".join(texts))


def _tried(result: Step, event: Event, body: ReportTried, rules: ReportPolicy) -> Step:
    call, known = result.call, result.call.report
    if known is None:
        # It was ordered under another policy than that by which the log is read now.
        known = Progress(body.attempt, event.received_at_ms, event.received_at_ms)
    if known.over:
        return result
    if body.result is not ReportResult.AGAIN:
        # Also of an earlier try: another ingress may have had it.
        return _over(result, known, body.result.value)
    if body.attempt != known.attempt:
        return result
    pause_ms = rules.pauses_ms[min(known.attempt, len(rules.pauses_ms)) - 1]
    due_ms = event.received_at_ms + max(pause_ms, min(body.retry_after_ms, MOST_RETRY_AFTER_MS))
    if due_ms > known.first_ms + rules.give_up_ms:
        return _over(result, known, "given_up")
    call, order = _ordered(call, known._replace(attempt=known.attempt + 1, not_before_ms=due_ms), rules)
    return result._replace(call=call, commands=(*result.commands, order))


def _over(result: Step, known: Progress, how: str) -> Step:
    call = result.call._replace(report=known._replace(over=how))
    return result._replace(call=outbox.settled(call, ReportCall.command_id))


def _ordered(call: Call, progress: Progress, rules: ReportPolicy) -> tuple[Call, Command]:
    # It takes the place of the one before.
    command = Command("", _report(call, progress, rules))
    call = outbox.settled(call, ReportCall.command_id)._replace(report=progress)
    return outbox.added(call, command, apart=True, outlives=True), command


def _report(call: Call, progress: Progress, rules: ReportPolicy) -> ReportCall:
    turns, tally = list(lines(call)), call.tally
    return ReportCall(
        attempt=progress.attempt,
        not_before_ms=progress.not_before_ms,
        agent=call.agent,
        outcome=call.outcome,
        ended_reason=call.report_reason or call.status_reason or "",
        started_at_ms=tally.started_ms,
        answered_at_ms=tally.answered_ms,
        ended_at_ms=call.ended_at_ms,
        duration_ms=tally.duration_ms,
        turns=_last_of(turns) if rules.with_texts else tuple(turn._replace(text="") for turn in turns[-MOST_TURNS:]),
        turn_count=len(turns),
        cut_count=len(tally.cut_off),
        tools=tuple(ReportedTool(claim.name, claim.turn, claim.outcome) for claim in call.claims.values()),
        prompt_tokens=sum(prompt for prompt, _ in tally.tokens.values()),
        completion_tokens=sum(answer for _, answer in tally.tokens.values()),
        cost_usd=tally.cost_usd,
        provider_reported=call.report_reason is not None,
    )


def _last_of(turns: list[ReportedTurn]) -> tuple[ReportedTurn, ...]:
    """Return the last turns, as many as fit."""
    kept, room = [], MOST_TEXT_CHARS
    for turn in reversed(turns[-MOST_TURNS:]):
        room -= len(turn.text)
        if room < 0:
            # The end of a turn says more than nothing: of the only one that there is, too.
            kept.append(turn._replace(text=turn.text[-(room + len(turn.text)) :] if room + len(turn.text) else ""))
            break
        kept.append(turn)
    return tuple(reversed(kept))
