"""What is passed over is never what is read."""

from __future__ import annotations

import json

import orjson
import pytest
from fakes.vapi_samples import SAMPLES
from hypothesis import given
from hypothesis import strategies as st
from ingress_svc.adapters import lean_json
from ingress_svc.domain import asks, vapi

AT_MS = 1_787_428_900_000
FILES = [
    path
    for folder in ("server", "server_legacy", "server_made", "seed_shape")
    for path in sorted((SAMPLES / folder).glob("*.json"))
]


def read(body: object, raw: bytes) -> object:
    try:
        return vapi.decode(body, received_at_ms=AT_MS, header_call_id=None, raw=raw)
    except vapi.BadWebhook as error:
        return error.reason, str(error)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_sample_reads_as_if_it_were_parsed_whole(path: object) -> None:
    raw = path.read_bytes()  # type: ignore[attr-defined]
    assert read(lean_json.parse(raw), raw) == read(orjson.loads(raw), raw)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        [*lean_json._Message.__annotations__, "artifact", "customer", "phoneNumber", "toolCallList", "contact"],
    ),
    JSON
    | st.sampled_from(["transcript", "speech-update", "status-update", "conversation-update", "user", "final"])
    | st.sampled_from([*asks.READERS]),
)


@given(FIELDS, st.dictionaries(st.sampled_from(["type", "call", "timestamp"]), JSON))
def test_any_fields_read_as_if_they_were_parsed_whole(fields: dict[str, object], outer: dict[str, object]) -> None:
    raw = json.dumps({**outer, "message": {"call": {"id": "c"}, **fields}}).encode()
    assert read(lean_json.parse(raw), raw) == read(orjson.loads(raw), raw)


MONITORS = JSON | st.fixed_dictionaries({"controlUrl": SCALARS | st.just("https://x.vapi.ai/c/control")})


@given(MONITORS, st.booleans())
def test_a_control_url_reads_as_if_it_were_parsed_whole(monitor: object, inside: bool) -> None:
    call = {"id": "c", "monitor": monitor}
    message = {"type": "hang"} | ({"call": call} if inside else {})
    raw = json.dumps({"message": message, "call": call}).encode()
    assert read(lean_json.parse(raw), raw) == read(orjson.loads(raw), raw)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"nul", b"[1,", b'{"message":{}', b'{"message":{"a":}}', b"\xff", b'{"message":{}}x']
)
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        lean_json.parse(raw)


def test_the_conversation_is_left_out_unless_it_is_the_news() -> None:
    history = [{"role": "user", "content": "hello"}]
    raw = json.dumps(
        {"message": {"type": "transcript", "messages": history, "artifact": {"messages": history}}}
    ).encode()
    assert lean_json.parse(raw) == {"message": {"type": "transcript"}}


def test_nesting_beyond_all_measure_is_refused_or_passed_over() -> None:
    deep = b"[" * 20_000 + b"]" * 20_000
    with pytest.raises(ValueError, match=r"."):
        lean_json.parse(b'{"message":{"type":"hang","artifact":' + deep + b"}}")
