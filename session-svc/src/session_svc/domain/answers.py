"""The generations of a call: who asked for an answer, which attempt holds the voice, and what has cut it."""

from __future__ import annotations

from collections.abc import Iterator

from session_svc.domain import history, outbox
from session_svc.domain.call import Call, Claim, Cut, Generation, Policy, Status, Step, Utterance
from session_svc.domain.commands import (
    Command,
    CutGeneration,
    MoveOutput,
    Order,
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
    Party,
)

INSISTS_AFTER_MS = 1_000
"""A request that was on its way when the caller cut in arrives sooner after the cut than this."""
LOOK_BACK = 12
"""How many generations, and how many utterances, are looked through for what a provider's last messages hold. Twice as
many attempts as were ever seen at one turn; without a bound a request late in a long call would take milliseconds."""


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
        return Step(_closed(call, body))
    if isinstance(body, CutRequested):
        return _cut_requested(call, body)
    return Step(call)


def settled_at_end(result: Step) -> Step:
    """Return an ended call with nothing left to do but to silence what still runs.

    Commands to an ended call are sent once and not kept: its requests end with it.
    """
    call, commands = result
    latest = call.latest
    if latest is not None and latest.live:
        call = _with(call, latest._replace(status=Status.CUT))
        silence = Command(latest.ingress_id, CutGeneration(latest.number, 0, CutReason.CALL_ENDED))
        commands = (*commands, silence)
    return Step(outbox.kept(call, [entry for entry in call.pending if entry.outlives]), commands)


def with_heard(call: Call, messages: tuple[ChatMessage, ...]) -> Call:
    """Return the call with what the provider's history shows as heard."""
    said = [history.Said(g.number, g.said_text) for g in call.generations[-LOOK_BACK:] if g.said_text]
    for told_as, parts in history.heard_in(history.tail(messages), said):
        for number, text in parts:
            call = _with(call, call.generations[number - 1]._replace(heard_text=text))
        first = call.generations[parts[0].generation - 1]
        call = _with(call, first._replace(told_as=told_as, told_through=parts[-1].generation))
    return call


def _asked(call: Call, event: Event, request: AnswerRequested, policy: Policy) -> Step:
    call = with_heard(call, request.messages)
    if call.ended:
        return _answer(call, request, RefuseAnswer(request.attachment_id, CutReason.CALL_ENDED))
    words = history.asked_words(request.messages)
    key = f"{request.user_message_count}:{' '.join(words) or '|' + history.asked_since(request.messages)}"
    latest = call.latest
    answers_until_ms = _answers_until(call, event, request, words)
    if answers_until_ms < call.cut.spoken_at_ms:
        if not _insists(call, event, key):
            return _answer(call, request, RefuseAnswer(request.attachment_id, CutReason.STALE))
        answers_until_ms = _asked_at_ms(call, event)
    if latest is not None and event.received_at_ms < latest.requested_at_ms:
        # Two ingress replicas: the newer request of the two was folded first.
        return _answer(call, request, RefuseAnswer(request.attachment_id, CutReason.SUPERSEDED))
    if latest is not None and key == latest.request_key:
        again = _asked_again(call, request, latest, answers_until_ms)
        if again is not None:
            return again
    return _start(call, event, request, answers_until_ms=answers_until_ms, key=key, policy=policy)


def _insists(call: Call, event: Event, key: str) -> bool:
    """Whether a provider asks anew, well after the cut, for the words whose answer was cut.

    Where no final has come since either, what cut the answer was a voice in the background, or words that the
    recogniser took back. To refuse it would be to leave the caller in silence.
    """
    latest = call.latest
    if latest is None or latest.status is not Status.CUT or latest.request_key != key:
        return False
    if any(u.at_ms >= call.cut.spoken_at_ms for u in call.utterances[-LOOK_BACK:] if u.party == Party.CALLER.value):
        return False
    return _asked_at_ms(call, event) >= call.cut.spoken_at_ms + INSISTS_AFTER_MS


def _asked_at_ms(call: Call, event: Event) -> int:
    """Return when the request was received, on the reporter's clock."""
    return event.received_at_ms - (call.clock_offset_ms or 0)


def _asked_again(call: Call, request: AnswerRequested, latest: Generation, answers_until_ms: int) -> Step | None:
    """Serve the same words again: from the running generation, from the record, or (None) by a new one."""
    if latest.live and latest.ingress_id == request.ingress_id:
        call = _with(call, latest._replace(attachment_id=request.attachment_id))
        # An earlier move would take the output back to an attachment that was left.
        left = f"move:{latest.number}:"
        call = outbox.kept(call, [p for p in call.pending if not p.command_id.startswith(left)])
        order = MoveOutput(latest.number, request.attachment_id)
        return _answer(call, request, order, generation=latest.number)
    if latest.status is Status.ENDED and latest.finish in (Finish.STOP, Finish.LENGTH):
        order_again = ReplayAnswer(latest.number, request.attachment_id, latest.said_text, answers_until_ms)
        return _answer(call, request, order_again, generation=latest.number)
    return None


def _start(
    call: Call, event: Event, request: AnswerRequested, *, answers_until_ms: int, key: str, policy: Policy
) -> Step:
    generation = Generation(
        number=len(call.generations) + 1,
        turn=request.user_message_count,
        request_key=key,
        attachment_id=request.attachment_id,
        ingress_id=request.ingress_id,
        requested_at_ms=event.received_at_ms,
        answers_until_ms=answers_until_ms,
    )
    call, cuts = _superseded(call, request.ingress_id)
    order = StartGeneration(
        turn=generation.turn,
        generation=generation.number,
        attachment_id=request.attachment_id,
        answers_until_ms=answers_until_ms,
        messages=history.for_model(
            history.with_tools(request.messages, request.user_message_count, _tools_run(call)),
            call.spelling(),
            policy.prompt,
        ),
        agent=call.agent,
    )
    call = call._replace(generations=(*call.generations, generation))
    started = _answer(call, request, order, generation=generation.number)
    return Step(started.call, (*cuts, *started.commands))


def _tools_run(call: Call) -> list[Claim]:
    """Return what our own tools did: a provider that does not run the model knows nothing of them."""
    return [claim for claim in call.claims.values() if claim.turn and claim.outcome is not None]


def _superseded(call: Call, by_ingress_id: str) -> tuple[Call, tuple[Command, ...]]:
    """Return the call with no voice in it, and the cut that an ingress must get which will not see the new start.

    The start fences every lower generation at the ingress that gets it, so nothing that was pending for them is left
    to be done there. Elsewhere only cuts are. A refusal concerns no generation and stays.
    """
    kept = [p for p in call.pending if p.apart or p.is_refusal or (p.is_cut and p.ingress_id != by_ingress_id)]
    call = outbox.kept(call, kept)
    latest = call.latest
    if latest is None or not latest.live:
        return call, ()
    call = _with(call, latest._replace(status=Status.CUT))
    if latest.ingress_id == by_ingress_id:
        return call, ()
    cut = Command(latest.ingress_id, CutGeneration(latest.number, 0, CutReason.SUPERSEDED))
    return outbox.added(call, cut, generation=latest.number), (cut,)


def _answer(call: Call, request: AnswerRequested, order: Order, *, generation: int = 0) -> Step:
    command = Command(request.ingress_id, order)
    return Step(outbox.added(call, command, generation=generation, attachment_id=request.attachment_id), (command,))


def _started(call: Call, body: GenerationStarted) -> Call:
    generation = _numbered(call, body.generation)
    if generation is None:
        return call
    if generation.status is Status.STARTING:
        call = _with(call, generation._replace(status=Status.RUNNING))
    return outbox.settled(call, f"start:{body.generation}", f"move:{body.generation}:{body.attachment_id}")


def _closed(call: Call, body: AttachmentClosed) -> Call:
    # Of a start or a move this is no effect: what became of the generation is still to be reported.
    return outbox.settled(call, f"replay:{body.attachment_id}", f"refuse:{body.attachment_id}")


def _finished(call: Call, body: GenerationEnded) -> Call:
    generation = _numbered(call, body.generation)
    if generation is None:
        return call
    generation = generation._replace(
        status=Status.CUT if generation.status is Status.CUT else Status.ENDED,
        said_text=_longer(generation.said_text, body.said_text),
        finish=body.finish,
    )
    return _without(_with(call, generation), body.generation)


def _cut(call: Call, body: GenerationCut) -> Call:
    call = _with_cut(call, body.generation, body.spoken_at_ms)
    generation = _numbered(call, body.generation)
    if generation is None:
        return call
    generation = generation._replace(
        status=Status.CUT,
        said_text=_longer(generation.said_text, body.said_text),
        heard_text=generation.heard_text if body.heard_text is None else body.heard_text,
    )
    return _without(_with(call, generation), body.generation)


def _cut_requested(call: Call, body: CutRequested) -> Step:
    call = _with_cut(call, body.through_generation, body.spoken_at_ms)
    latest = call.latest
    if latest is None or not _is_cut(latest, call.cut):
        return Step(call)
    order = CutGeneration(latest.number, call.cut.spoken_at_ms, CutReason.BARGE_IN, body.rule)
    command = Command(latest.ingress_id, order)
    if latest.live:
        call = _with(call, latest._replace(status=Status.CUT))
    return Step(outbox.added(call, command, generation=latest.number), (command,))


def _with_cut(call: Call, through_generation: int, spoken_at_ms: int) -> Call:
    # A cut never names what is yet to be started.
    return call._replace(cut=call.cut.joined(min(through_generation, len(call.generations)), spoken_at_ms))


def _is_cut(generation: Generation, cut: Cut) -> bool:
    """Whether a cut names this generation, by its number or as an answer to older words."""
    return generation.number <= cut.through_generation or generation.answers_until_ms < cut.spoken_at_ms


def _answers_until(call: Call, event: Event, request: AnswerRequested, words: tuple[str, ...]) -> int:
    """Return when the last caller word that the request answers was spoken, on the reporter's clock.

    The request carries no times, so its last words are looked for among the transcripts, newest first. Words that no
    transcript has brought yet are newer than all of them: then it is the time of the request itself. So are words that
    only repeat what an earlier turn has answered.
    """
    latest = call.latest
    answered_ms = latest.answers_until_ms if latest is not None and latest.turn < request.user_message_count else -1
    for transcript in _caller_newest_first(call):
        if transcript.at_ms <= answered_ms:
            break
        theirs = history.words_of(transcript.text)
        if theirs and words[-len(theirs) :] == theirs:
            return transcript.at_ms
    return _asked_at_ms(call, event)


def _caller_newest_first(call: Call) -> Iterator[Utterance]:
    yield from reversed(call.recent)
    for utterance in reversed(call.utterances[-LOOK_BACK:]):
        if utterance.party == Party.CALLER.value:
            yield utterance


def _longer(one: str, other: str) -> str:
    # Reports of one generation may come in any order; what was sent only grows.
    return one if len(one) >= len(other) else other


def _numbered(call: Call, number: int) -> Generation | None:
    return call.generations[number - 1] if 1 <= number <= len(call.generations) else None


def _with(call: Call, generation: Generation) -> Call:
    before, after = call.generations[: generation.number - 1], call.generations[generation.number :]
    return call._replace(generations=(*before, generation, *after))


def _without(call: Call, generation: int) -> Call:
    """Return the call without the commands that name a generation which has come to its end."""
    return outbox.kept(call, [p for p in call.pending if p.apart or p.generation != generation])
