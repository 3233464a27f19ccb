"""Holds what calls were told against what the durable log kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from fakes.phone import Answer, Phone
from ingress_svc.config import APOLOGY
from voicemesh.session.v1 import session_pb2 as pb


def check(log: Sequence[pb.LoggedEvent], phones: Iterable[Phone]) -> None:
    """Assert for every call: acknowledged is kept, once, in order; and what was heard is what was recorded as said."""
    cursors = [logged.cursor for logged in log]
    assert cursors == sorted(set(cursors)), "cursors do not rise"
    for phone in phones:
        of_call = log_of(log, phone)
        _check_durable(of_call, phone)
        _check_said(of_call, phone.answers)


def log_of(log: Iterable[pb.LoggedEvent], phone: Phone) -> list[pb.LoggedEvent]:
    return [logged for logged in log if logged.event.call_id == f"vapi:{phone.call_id}"]


def _check_durable(of_call: Sequence[pb.LoggedEvent], phone: Phone) -> None:
    assert [logged.call_seq for logged in of_call] == list(range(1, len(of_call) + 1)), "call_seq has gaps"
    ids = [logged.event.event_id for logged in of_call]
    doubled = [event_id for event_id, count in Counter(ids).items() if count > 1]
    assert doubled == [], "events were kept twice"
    acknowledged = phone.acknowledged
    assert len(acknowledged) == len(set(acknowledged)), "two events share an id"
    kept = [event_id for event_id in ids if event_id in set(acknowledged)]
    assert kept == acknowledged, "what was acknowledged is not what the log holds, in its order"


def _check_said(of_call: Sequence[pb.LoggedEvent], answers: Iterable[Answer]) -> None:
    said = said_by_generation(of_call)
    # A writer that slept may be cut between the end of its model and the last of its words.
    was_cut = {logged.event.generation_cut.generation for logged in of_call} - {0}
    for answer in answers:
        generation = generation_of(of_call, answer)
        if not answer.text:
            continue
        if generation is None or generation not in said:
            # Replayed, or the mesh's own apology; or its ingress was killed before it could tell.
            known = [APOLOGY, *said.values()]
            assert answer.text in known or answer.end in ("broken", "closed"), "nobody is recorded to have said this"
        elif answer.end == "done" and generation in ended(of_call) and generation not in was_cut:
            assert answer.text == said[generation], "a complete answer was heard otherwise than it was said"
        else:
            assert said[generation].startswith(answer.text), "words were heard that had been cut"


def generation_of(of_call: Iterable[pb.LoggedEvent], answer: Answer) -> int | None:
    """Return the generation whose text came on ``answer``."""
    for logged in of_call:
        started = logged.event.generation_started
        if answer.attachment_id and started.attachment_id == answer.attachment_id:
            return started.generation
    return None


def said_by_generation(of_call: Iterable[pb.LoggedEvent]) -> dict[int, str]:
    """Return the longest text that was reported of each generation."""
    said: dict[int, str] = {}
    for logged in of_call:
        for report in (logged.event.generation_ended, logged.event.generation_cut):
            if report.generation:
                said[report.generation] = max(said.get(report.generation, ""), report.said_text, key=len)
    return said


def ended(of_call: Iterable[pb.LoggedEvent]) -> set[int]:
    """Return the generations that ran to their end."""
    return {logged.event.generation_ended.generation for logged in of_call} - {0}


def cut(of_call: Iterable[pb.LoggedEvent], reason: pb.CutReason) -> list[int]:
    """Return the generations that were cut for ``reason``."""
    cuts = [logged.event.generation_cut for logged in of_call if logged.event.HasField("generation_cut")]
    return [one.generation for one in cuts if one.reason == reason]


def kinds(of_call: Iterable[pb.LoggedEvent]) -> list[str]:
    return [logged.event.WhichOneof("kind") or "" for logged in of_call]
