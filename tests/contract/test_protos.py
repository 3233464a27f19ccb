"""The contracts are documented, the code made from them is current, and every resumable stream has the one shape."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from svc_runtime.stream import StreamShape
from voicemesh.bargein.v1 import bargein_pb2
from voicemesh.llm.v1 import llm_pb2
from voicemesh.session.v1 import session_pb2
from voicemesh.type.v1 import stream_pb2

ROOT = Path(__file__).parents[2]
STREAMS = [
    (session_pb2.ConverseRequest, session_pb2.ConverseResponse),
    (bargein_pb2.WatchRequest, bargein_pb2.WatchResponse),
    (llm_pb2.FollowTurnsRequest, llm_pb2.FollowTurnsResponse),
]


def compiled(tmp_path: Path, *options: str) -> Path:
    files = [str(path.relative_to(ROOT / "protos")) for path in sorted((ROOT / "protos/voicemesh").rglob("*.proto"))]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", *options, *files], check=True, cwd=tmp_path
    )
    return tmp_path


def test_every_element_of_the_contracts_is_documented(tmp_path: Path) -> None:
    out = compiled(tmp_path, "--include_source_info", f"--descriptor_set_out={tmp_path / 'set'}") / "set"
    undocumented = []
    for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
        for location in file.source_code_info.location:
            path = tuple(location.path)
            # Odd lengths end in an index: an element, not one of its parts. 4 message, 5 enum, 6 service.
            is_element = path and path[0] in (4, 5, 6) and len(path) % 2 == 0
            if is_element and not location.leading_comments.strip():
                undocumented.append(f"{file.name}:{location.span[0] + 1}")
    assert not undocumented


def test_generated_code_is_current(tmp_path: Path) -> None:
    out = compiled(tmp_path, "--python_out=.", "--pyi_out=.", "--grpc_python_out=.")
    for made in sorted(out.rglob("*.py*")):
        kept = ROOT / "protos/gen" / made.relative_to(out)
        if kept.exists() or "type/v1" not in str(made) or not made.name.endswith("_grpc.py"):
            assert kept.read_text() == made.read_text(), f"{made.relative_to(out)} is stale: run `make protos`"


@pytest.mark.parametrize(("request_class", "response_class"), STREAMS)
def test_every_resumable_stream_has_the_one_shape(request_class: type, response_class: type) -> None:
    asked = request_class.DESCRIPTOR.fields_by_name  # type: ignore[attr-defined]
    answered = response_class.DESCRIPTOR.fields_by_name  # type: ignore[attr-defined]
    assert list(asked) == ["hello", "events", "floor_seq", "heartbeat", "bye"]
    assert list(answered) == ["welcome", "acked_seqs", "errors", "items", "heartbeat", "draining"]
    assert asked["hello"].message_type is stream_pb2.Hello.DESCRIPTOR
    assert answered["errors"].message_type is stream_pb2.EventError.DESCRIPTOR
    assert asked["events"].message_type.fields_by_name["seq"].number == 1


@pytest.mark.parametrize(("request_class", "response_class"), STREAMS)
def test_the_runtime_finds_the_classes_of_a_stream_by_its_two_messages(request_class: Any, response_class: Any) -> None:
    shape = StreamShape.of(request_class, response_class)
    assert (shape.request, shape.response) == (request_class, response_class)
    assert (shape.hello, shape.welcome, shape.error) == (
        stream_pb2.Hello,
        stream_pb2.Welcome,
        stream_pb2.EventError,
    )
    assert response_class(items=[shape.item()]).items[0] == shape.item()


def test_messages_that_are_no_stream_have_no_shape() -> None:
    with pytest.raises(KeyError, match="hello"):
        StreamShape.of(stream_pb2.Hello, stream_pb2.Welcome)


def test_error_codes_are_those_of_the_runtime() -> None:
    from svc_runtime import stream

    for name, number in stream_pb2.ErrorCode.items():
        short = name.removeprefix("ERROR_CODE_")
        if number:
            assert getattr(stream, short) == number
