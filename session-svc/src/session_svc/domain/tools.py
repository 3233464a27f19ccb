"""The tools of a call: who may run which, and what became of each. A key is claimed once, and so run at most once."""

from __future__ import annotations

from session_svc.domain import outbox
from session_svc.domain.call import Call, Claim, Status, Step
from session_svc.domain.commands import Command, Order, RunTool, TakeToolResult
from session_svc.domain.events import Event, ToolAsked, ToolEnded, ToolOutcome

LOST_AFTER_MS = 3_000
"""So long after its time is over a run without result counts as lost: its result may still be on the way."""
MOST_CLAIMS = 256
"""In one call: a model that asks for tools in a circle must not fill a store."""
LOST = "It is not known whether this was done: the connection was lost while it ran. Do not simply try it again."
TOO_MANY = "Too many tools were run in this call; no more can be."
NOT_WANTED = "It was not run: the answer that asked for it is no longer wanted."


def asked(call: Call, event: Event, body: ToolAsked) -> Step:
    """Give the claim to whoever asks first, and tell the others what became of the run as soon as that is known."""
    claim = call.claims.get(body.key)
    if claim is None:
        return _refused(call, event, body) or _claimed(call, event, body)
    if claim.outcome is not None:
        return _tell(call, body.ingress_id, claim)
    if claim.ingress_id == body.ingress_id:
        # It has asked anew, because the order was late or because it had given the first ask up.
        return _ordered(_settled(call, claim), claim._replace(ask_id=event.event_id))
    if event.received_at_ms > claim.until_ms:
        claim = claim._replace(outcome=ToolOutcome.UNKNOWN, text=LOST)
        return _tell(_settled(_with(call, claim), claim), body.ingress_id, claim)
    if body.ingress_id in claim.waiting:
        return Step(call)
    return Step(_with(call, claim._replace(waiting=(*claim.waiting, body.ingress_id))))


def ended(call: Call, body: ToolEnded) -> Step:
    """Record what became of a run. The first result stays, but for one that was held to be lost."""
    claim = call.claims.get(body.key)
    if claim is None or claim.outcome not in (None, ToolOutcome.UNKNOWN):
        return Step(call)
    if body.outcome is ToolOutcome.NOT_RUN:
        # A newer ask of the same ingress has the claim meanwhile, and may have begun.
        return Step(call) if claim.outcome or body.ask_id != claim.ask_id else Step(_released(call, claim))
    told = claim.waiting
    claim = claim._replace(outcome=body.outcome, text=body.text, waiting=())
    call = _settled(_with(call, claim), claim)
    order = TakeToolResult(claim.key, body.outcome, body.text)
    return Step(call, tuple(Command(ingress_id, order) for ingress_id in told))


def _refused(call: Call, event: Event, body: ToolAsked) -> Step | None:
    """Return the refusal of work that nobody wants any more, or that is too much."""
    if call.ended or _is_cut(call, body.generation):
        order: Order = TakeToolResult(body.key, ToolOutcome.NOT_RUN, NOT_WANTED, event.event_id)
    elif len(call.claims) >= MOST_CLAIMS:
        order = TakeToolResult(body.key, ToolOutcome.FAILED, TOO_MANY)
    else:
        return None
    return Step(call, (Command(body.ingress_id, order),))


def _is_cut(call: Call, number: int) -> bool:
    latest = call.latest
    if not number or latest is None:
        return False
    # Whatever holds the voice now, an older generation lost it.
    return number < latest.number or (number == latest.number and latest.status is Status.CUT)


def _claimed(call: Call, event: Event, body: ToolAsked) -> Step:
    claim = Claim(
        key=body.key,
        ask_id=event.event_id,
        ingress_id=body.ingress_id,
        turn=body.turn,
        name=body.name,
        arguments_json=body.arguments_json,
        until_ms=event.received_at_ms + body.timeout_ms + LOST_AFTER_MS,
    )
    return _ordered(call, claim)


def _ordered(call: Call, claim: Claim) -> Step:
    command = Command(claim.ingress_id, _order(claim))
    return Step(outbox.added(_with(call, claim), command, apart=True), (command,))


def _order(claim: Claim) -> RunTool:
    return RunTool(claim.key, claim.ask_id)


def _tell(call: Call, ingress_id: str, claim: Claim) -> Step:
    assert claim.outcome is not None
    return Step(call, (Command(ingress_id, TakeToolResult(claim.key, claim.outcome, claim.text)),))


def _with(call: Call, claim: Claim) -> Call:
    return call._replace(claims={**call.claims, claim.key: claim})


def _released(call: Call, claim: Claim) -> Call:
    rest = {key: kept for key, kept in call.claims.items() if key != claim.key}
    return _settled(call, claim)._replace(claims=rest)


def _settled(call: Call, claim: Claim) -> Call:
    return outbox.settled(call, _order(claim).command_id)
