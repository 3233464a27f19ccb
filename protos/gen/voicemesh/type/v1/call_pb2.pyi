from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Party(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PARTY_UNSPECIFIED: _ClassVar[Party]
    PARTY_CALLER: _ClassVar[Party]
    PARTY_AGENT: _ClassVar[Party]

class Stability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STABILITY_UNSPECIFIED: _ClassVar[Stability]
    STABILITY_PARTIAL: _ClassVar[Stability]
    STABILITY_FINAL: _ClassVar[Stability]

class Edge(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EDGE_UNSPECIFIED: _ClassVar[Edge]
    EDGE_STARTED: _ClassVar[Edge]
    EDGE_STOPPED: _ClassVar[Edge]
PARTY_UNSPECIFIED: Party
PARTY_CALLER: Party
PARTY_AGENT: Party
STABILITY_UNSPECIFIED: Stability
STABILITY_PARTIAL: Stability
STABILITY_FINAL: Stability
EDGE_UNSPECIFIED: Edge
EDGE_STARTED: Edge
EDGE_STOPPED: Edge

class Words(_message.Message):
    __slots__ = ("party", "stability", "text")
    PARTY_FIELD_NUMBER: _ClassVar[int]
    STABILITY_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    party: Party
    stability: Stability
    text: str
    def __init__(self, party: _Optional[_Union[Party, str]] = ..., stability: _Optional[_Union[Stability, str]] = ..., text: _Optional[str] = ...) -> None: ...

class SpeechEdge(_message.Message):
    __slots__ = ("party", "edge", "provider_turn")
    PARTY_FIELD_NUMBER: _ClassVar[int]
    EDGE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_TURN_FIELD_NUMBER: _ClassVar[int]
    party: Party
    edge: Edge
    provider_turn: str
    def __init__(self, party: _Optional[_Union[Party, str]] = ..., edge: _Optional[_Union[Edge, str]] = ..., provider_turn: _Optional[str] = ...) -> None: ...

class ProviderInterrupted(_message.Message):
    __slots__ = ("provider_turn",)
    PROVIDER_TURN_FIELD_NUMBER: _ClassVar[int]
    provider_turn: str
    def __init__(self, provider_turn: _Optional[str] = ...) -> None: ...

class ChatMessage(_message.Message):
    __slots__ = ("role", "content", "tool_calls_json", "tool_call_id")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_JSON_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    role: str
    content: str
    tool_calls_json: str
    tool_call_id: str
    def __init__(self, role: _Optional[str] = ..., content: _Optional[str] = ..., tool_calls_json: _Optional[str] = ..., tool_call_id: _Optional[str] = ...) -> None: ...

class TraceContext(_message.Message):
    __slots__ = ("traceparent",)
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    traceparent: str
    def __init__(self, traceparent: _Optional[str] = ...) -> None: ...

class Hop(_message.Message):
    __slots__ = ("name", "duration_us", "budget_us", "count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DURATION_US_FIELD_NUMBER: _ClassVar[int]
    BUDGET_US_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    duration_us: int
    budget_us: int
    count: int
    def __init__(self, name: _Optional[str] = ..., duration_us: _Optional[int] = ..., budget_us: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class TurnEnded(_message.Message):
    __slots__ = ("trace_id", "turn", "keep", "reason", "culprit", "hops", "generation")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CULPRIT_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    turn: int
    keep: bool
    reason: str
    culprit: str
    hops: _containers.RepeatedCompositeFieldContainer[Hop]
    generation: int
    def __init__(self, trace_id: _Optional[str] = ..., turn: _Optional[int] = ..., keep: _Optional[bool] = ..., reason: _Optional[str] = ..., culprit: _Optional[str] = ..., hops: _Optional[_Iterable[_Union[Hop, _Mapping]]] = ..., generation: _Optional[int] = ...) -> None: ...
