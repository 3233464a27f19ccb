"""The generations of a call: who asked for an answer, which attempt holds the voice, and what has cut it."""

from __future__ import annotations

from dataclasses import replace

from session_svc.domain import history
from session_svc.domain.call import Call, Cut, Generation, Policy, Status, Step
from session_svc.domain.commands import (
    Command,
    CutGeneration,
    MoveOutput,
    Order,
    Pending,
    RefuseAnswer,
    ReplayAnswer,
    StartGeneration,
)
from session_svc.domain.events import (
    AnswerRequested,
    AttachmentClosed,
    ChatMessage,
    CutReason,
    CutRequested,
    Event,
    Finish,
    GenerationCut,
    GenerationEnded,
    GenerationStarted,
)


def step(call: Call, event: Event, policy: Policy) -> Step:
    """Fold an event that concerns generations; any other changes nothing."""
    body = event.body
    if isinstance(body, AnswerRequested):
        return _asked(call, event, body, policy)
    if isinstance(body, GenerationStarted):
        return Step(_started(call, body))
    if isinstance(body, GenerationEnded):
        return Step(_finished(call, body))
    if isinstance(body, GenerationCut):
        return Step(_cut(call, body))
    if isinstance(body, AttachmentClosed):
        return Step(_without_pending(call, attachment_id=body.attachment_id))
    if isinstance(body, CutRequested):
        return _cut_requested(call, body)
    return Step(call)


def settled_at_end(call: Call) -> Step:
    """Return an ended call with nothing left to do but to silence what still runs; a live one as it is."""
    if not call.ended:
        return Step(call)
    live = [generation for generation in call.generations if generation.live]
    settled = replace(
        call, pending=(), generations=tuple(replace(g, status=Status.CUT) if g.live else g for g in call.generations)
    )
    return Step(
        settled, tuple(Command(g.ingress_id, CutGeneration(g.number, 0, CutReason.CALL_ENDED)) for g in live[-1:])
    )


def with_heard(call: Call, messages: tuple[ChatMessage, ...]) -> Call:
    """Return the call with what the provider's history shows as heard."""
    heard = history.heard_in(history.tail(messages), call.said())
    if not heard:
        return call
    return replace(
        call,
        generations=tuple(replace(g, heard_text=heard[g.number]) if g.number in heard else g for g in call.generations),
    )


def _asked(call: Call, event: Event, request: AnswerRequested, policy: Policy) -> Step:
    call = with_heard(call, request.messages)
    if call.ended:
        return _answer(call, request, RefuseAnswer(request.attachment_id, CutReason.CALL_ENDED))
    answers_until_ms = _answers_until(call, event, request)
    if answers_until_ms < call.cut.spoken_at_ms:
        return _answer(call, request, RefuseAnswer(request.attachment_id, CutReason.STALE))
    key = _request_key(request)
    latest = call.latest
    if latest is not None and event.received_at_ms < latest.requested_at_ms and key != latest.request_key:
        # Two ingress replicas: the newer request of the two was folded first.
        return _answer(call, request, RefuseAnswer(request.attachment_id, CutReason.SUPERSEDED))
    if latest is not None and key == latest.request_key:
        again = _asked_again(call, request, latest)
        if again is not None:
            return again
    return _start(call, event, request, answers_until_ms=answers_until_ms, key=key, policy=policy)


def _asked_again(call: Call, request: AnswerRequested, latest: Generation) -> Step | None:
    """Serve the same words again: from the running generation, from the record, or (None) by a new one."""
    if latest.live and latest.ingress_id == request.ingress_id:
        moved = replace(latest, attachment_id=request.attachment_id)
        order = MoveOutput(latest.number, request.attachment_id)
        return _answer(_with(call, moved), request, order, generation=latest.number)
    if latest.status is Status.ENDED and latest.finish in (Finish.STOP, Finish.LENGTH):
        return _answer(call, request, ReplayAnswer(latest.number, request.attachment_id, latest.said_text))
    return None


def _start(
    call: Call, event: Event, request: AnswerRequested, *, answers_until_ms: int, key: str, policy: Policy
) -> Step:
    latest = call.latest
    number = latest.number + 1 if latest else 1
    cuts: list[Command] = []
    if latest is not None and latest.live:
        if latest.ingress_id != request.ingress_id:
            cuts.append(Command(latest.ingress_id, CutGeneration(latest.number, 0, CutReason.SUPERSEDED)))
        call = _with(call, replace(latest, status=Status.CUT))
    generation = Generation(
        number=number,
        turn=request.user_message_count,
        request_key=key,
        attachment_id=request.attachment_id,
        ingress_id=request.ingress_id,
        requested_at_ms=event.received_at_ms,
        answers_until_ms=answers_until_ms,
    )
    # One voice: a start leaves nothing of its predecessors to be done, so what was pending for them is void.
    call = replace(call, generations=(*call.generations, generation), pending=())
    order = StartGeneration(
        turn=generation.turn,
        generation=number,
        attachment_id=request.attachment_id,
        answers_until_ms=answers_until_ms,
        messages=history.for_model(request.messages, call.said(), policy.prompt),
    )
    for cut in cuts:
        call = _pending(call, cut, generation=number - 1)
    started = _answer(call, request, order, generation=number)
    return Step(started.call, (*cuts, *started.commands))


def _answer(call: Call, request: AnswerRequested, order: Order, *, generation: int = 0) -> Step:
    command = Command(request.ingress_id, order)
    return Step(_pending(call, command, generation=generation, attachment_id=request.attachment_id), (command,))


def _pending(call: Call, command: Command, *, generation: int, attachment_id: str = "") -> Call:
    entry = Pending(command.order.command_id, command.ingress_id, generation, attachment_id)
    return replace(call, pending=(*call.pending, entry))


def _started(call: Call, body: GenerationStarted) -> Call:
    generation = _numbered(call, body.generation)
    if generation is None:
        return call
    if generation.status is Status.STARTING:
        call = _with(call, replace(generation, status=Status.RUNNING))
    settled = {f"start:{body.generation}", f"move:{body.generation}:{body.attachment_id}"}
    return replace(call, pending=tuple(p for p in call.pending if p.command_id not in settled))


def _finished(call: Call, body: GenerationEnded) -> Call:
    generation = _numbered(call, body.generation)
    if generation is None:
        return call
    status = Status.CUT if generation.status is Status.CUT else Status.ENDED
    call = _with(call, replace(generation, status=status, said_text=body.said_text, finish=body.finish))
    return _without_pending(call, generation=body.generation)


def _cut(call: Call, body: GenerationCut) -> Call:
    call = replace(call, cut=call.cut.joined(body.generation, body.spoken_at_ms))
    generation = _numbered(call, body.generation)
    if generation is not None:
        call = _with(
            call,
            replace(
                generation,
                status=Status.CUT,
                said_text=body.said_text or generation.said_text,
                heard_text=body.heard_text if body.heard_text is not None else generation.heard_text,
            ),
        )
    return _without_pending(call, generation=body.generation)


def _cut_requested(call: Call, body: CutRequested) -> Step:
    call = replace(call, cut=call.cut.joined(body.through_generation, body.spoken_at_ms))
    latest = call.latest
    if latest is None or not _is_cut(latest, call.cut):
        return Step(call)
    order = CutGeneration(latest.number, call.cut.spoken_at_ms, CutReason.BARGE_IN, body.rule)
    command = Command(latest.ingress_id, order)
    if latest.live:
        call = _with(call, replace(latest, status=Status.CUT))
    return Step(_pending(call, command, generation=latest.number), (command,))


def _is_cut(generation: Generation, cut: Cut) -> bool:
    """Whether a cut names this generation, by its number or as an answer to older words."""
    return generation.number <= cut.through_generation or generation.answers_until_ms < cut.spoken_at_ms


def _answers_until(call: Call, event: Event, request: AnswerRequested) -> int:
    """Return when the last caller word that the request answers was spoken, on the reporter's clock.

    The request carries no times, so its last words are looked for among the transcripts, newest first. Words that no
    transcript has brought yet are newer than all of them: then it is the time of the request itself.
    """
    asked = history.words_of(history.trailing_caller_text(request.messages))
    for at_ms, words in reversed(call.recent):
        if words and asked[-len(words) :] == words:
            return at_ms
    return event.received_at_ms - (call.clock_offset_ms or 0)


def _request_key(request: AnswerRequested) -> str:
    words = history.words_of(history.trailing_caller_text(request.messages))
    return f"{request.user_message_count}:{' '.join(words)}"


def _numbered(call: Call, number: int) -> Generation | None:
    return next((g for g in reversed(call.generations) if g.number == number), None)


def _with(call: Call, generation: Generation) -> Call:
    return replace(
        call, generations=tuple(generation if g.number == generation.number else g for g in call.generations)
    )


def _without_pending(call: Call, *, generation: int = -1, attachment_id: str = "") -> Call:
    return replace(
        call,
        pending=tuple(
            p
            for p in call.pending
            if not (p.generation == generation or (attachment_id and p.attachment_id == attachment_id))
        ),
    )
