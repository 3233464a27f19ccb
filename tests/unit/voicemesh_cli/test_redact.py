from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fakes.call_log import answered, event, log
from voicemesh.session.v1 import session_pb2 as pb
from voicemesh.type.v1 import call_pb2 as t
from voicemesh_cli.redact import OPEN_TEXT, redacted

PROTOS = Path(__file__).parents[3] / "protos" / "voicemesh"


def _filled(message: Any, path: tuple[str, ...] = ()) -> None:
    """Fill every field of a message; text that is not meant to be shown holds the word SECRET."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None:
            inner = getattr(message, field.name)
            _filled(inner.add() if field.is_repeated else inner, (*path, field.name))
        elif field.type == field.TYPE_STRING:
            name = f"{field.containing_type.name}.{field.name}"
            setattr(message, field.name, "shown" if name in OPEN_TEXT else "SECRET words")
        elif field.type == field.TYPE_BOOL:
            setattr(message, field.name, True)
        else:
            setattr(message, field.name, 1)


def _every_kind() -> Iterator[pb.LoggedEvent]:
    for field in pb.CallEvent.DESCRIPTOR.oneofs_by_name["kind"].fields:
        one = event(5)
        _filled(getattr(one, field.name))
        getattr(one, field.name).SetInParent()
        yield log(one)[0]


def test_no_private_text_of_any_kind_of_event_is_printed() -> None:
    lines = [json.dumps(redacted(logged)) for logged in _every_kind()]
    assert not [line for line in lines if "SECRET" in line]
    hidden = [line for line in lines if '{"redacted": true, "chars": 12}' in line]
    assert len(hidden) >= 4


def test_the_agent_is_told_where_an_event_names_it() -> None:
    named = answered()
    named.agent = "sales@00000001"
    first, second = map(redacted, log(named, answered(5)))
    assert first["agent"] == "sales@00000001"
    assert "agent" not in second


def test_the_fields_of_a_kind_never_cover_those_of_the_line() -> None:
    own = {"cursor", "call_id", "call_seq", "event_id", "kind", "at_ms", "received_at_ms", "agent"}
    for field in pb.CallEvent.DESCRIPTOR.oneofs_by_name["kind"].fields:
        assert field.message_type is not None
        assert not own & set(field.message_type.fields_by_name)


def test_no_field_that_the_contract_calls_private_is_open() -> None:
    private = set()
    for file in PROTOS.rglob("*.proto"):
        message, comment = "", ""
        for line in file.read_text().splitlines():
            if found := re.match(r"message (\w+)", line):
                message = found[1]
            if line.strip().startswith("//"):
                comment += line
                continue
            if (found := re.match(r"\s+(?:optional |repeated )?[\w.]+ (\w+) = \d+;", line)) and "Private." in comment:
                private.add(f"{message}.{found[1]}")
            comment = ""
    assert {"Words.text", "ChatMessage.content", "GenerationCut.heard_text"} <= private
    assert not private & OPEN_TEXT


def test_a_line_says_where_it_stands_and_what_happened() -> None:
    words = t.Words(party=t.PARTY_CALLER, stability=t.STABILITY_FINAL, text="call me on 555 0101")
    [first, second] = [redacted(logged) for logged in log(answered(), event(40, words=words))]
    assert first["kind"] == "call_status"
    assert first["phase"] == "in_progress"
    assert second == {
        "cursor": 2,
        "call_id": "vapi:c",
        "call_seq": 2,
        "event_id": "e40",
        "kind": "words",
        "at_ms": 1_700_000_000_040,
        "received_at_ms": 1_700_000_000_043,
        "party": "caller",
        "stability": "final",
        "text": {"redacted": True, "chars": 19},
    }


def test_what_is_unknown_of_a_cut_is_absent_and_not_empty() -> None:
    one = event(5, generation_cut=pb.GenerationCut(generation=3, reason=pb.CUT_REASON_STALE))
    line = redacted(log(one)[0])
    assert "heard_text" not in line
    assert line["reason"] == "stale"
