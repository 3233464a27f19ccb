from voicemesh.type.v1 import call_pb2 as _call_pb2
from voicemesh.type.v1 import stream_pb2 as _stream_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PlayoutState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLAYOUT_STATE_UNSPECIFIED: _ClassVar[PlayoutState]
    PLAYOUT_STATE_PREPARING: _ClassVar[PlayoutState]
    PLAYOUT_STATE_PLAYING: _ClassVar[PlayoutState]
    PLAYOUT_STATE_OVER: _ClassVar[PlayoutState]

class Decision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECISION_UNSPECIFIED: _ClassVar[Decision]
    DECISION_KEEP: _ClassVar[Decision]
    DECISION_CUT: _ClassVar[Decision]
PLAYOUT_STATE_UNSPECIFIED: PlayoutState
PLAYOUT_STATE_PREPARING: PlayoutState
PLAYOUT_STATE_PLAYING: PlayoutState
PLAYOUT_STATE_OVER: PlayoutState
DECISION_UNSPECIFIED: Decision
DECISION_KEEP: Decision
DECISION_CUT: Decision

class WatchRequest(_message.Message):
    __slots__ = ("hello", "events", "floor_seq", "heartbeat", "bye")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    FLOOR_SEQ_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    BYE_FIELD_NUMBER: _ClassVar[int]
    hello: _stream_pb2.Hello
    events: _containers.RepeatedCompositeFieldContainer[WatchEvent]
    floor_seq: int
    heartbeat: int
    bye: bool
    def __init__(self, hello: _Optional[_Union[_stream_pb2.Hello, _Mapping]] = ..., events: _Optional[_Iterable[_Union[WatchEvent, _Mapping]]] = ..., floor_seq: _Optional[int] = ..., heartbeat: _Optional[int] = ..., bye: _Optional[bool] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("welcome", "acked_seqs", "errors", "items", "heartbeat", "draining")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ACKED_SEQS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    welcome: _stream_pb2.Welcome
    acked_seqs: _containers.RepeatedScalarFieldContainer[int]
    errors: _containers.RepeatedCompositeFieldContainer[_stream_pb2.EventError]
    items: _containers.RepeatedCompositeFieldContainer[Verdict]
    heartbeat: int
    draining: bool
    def __init__(self, welcome: _Optional[_Union[_stream_pb2.Welcome, _Mapping]] = ..., acked_seqs: _Optional[_Iterable[int]] = ..., errors: _Optional[_Iterable[_Union[_stream_pb2.EventError, _Mapping]]] = ..., items: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ..., heartbeat: _Optional[int] = ..., draining: _Optional[bool] = ...) -> None: ...

class WatchEvent(_message.Message):
    __slots__ = ("seq", "event_id", "call_id", "at_ms", "received_at_ms", "trace", "playing", "agent", "agent_settled", "words", "speech", "interrupted", "playout", "call_over", "turn_ended")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    PLAYING_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    AGENT_SETTLED_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    SPEECH_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTED_FIELD_NUMBER: _ClassVar[int]
    PLAYOUT_FIELD_NUMBER: _ClassVar[int]
    CALL_OVER_FIELD_NUMBER: _ClassVar[int]
    TURN_ENDED_FIELD_NUMBER: _ClassVar[int]
    seq: int
    event_id: str
    call_id: str
    at_ms: int
    received_at_ms: int
    trace: _call_pb2.TraceContext
    playing: PlayoutChanged
    agent: str
    agent_settled: bool
    words: _call_pb2.Words
    speech: _call_pb2.SpeechEdge
    interrupted: _call_pb2.ProviderInterrupted
    playout: PlayoutChanged
    call_over: CallOver
    turn_ended: _call_pb2.TurnEnded
    def __init__(self, seq: _Optional[int] = ..., event_id: _Optional[str] = ..., call_id: _Optional[str] = ..., at_ms: _Optional[int] = ..., received_at_ms: _Optional[int] = ..., trace: _Optional[_Union[_call_pb2.TraceContext, _Mapping]] = ..., playing: _Optional[_Union[PlayoutChanged, _Mapping]] = ..., agent: _Optional[str] = ..., agent_settled: _Optional[bool] = ..., words: _Optional[_Union[_call_pb2.Words, _Mapping]] = ..., speech: _Optional[_Union[_call_pb2.SpeechEdge, _Mapping]] = ..., interrupted: _Optional[_Union[_call_pb2.ProviderInterrupted, _Mapping]] = ..., playout: _Optional[_Union[PlayoutChanged, _Mapping]] = ..., call_over: _Optional[_Union[CallOver, _Mapping]] = ..., turn_ended: _Optional[_Union[_call_pb2.TurnEnded, _Mapping]] = ...) -> None: ...

class PlayoutChanged(_message.Message):
    __slots__ = ("generation", "state", "answers_until_ms", "said_tail", "answered_tail", "changed_at_ms")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    SAID_TAIL_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_TAIL_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    generation: int
    state: PlayoutState
    answers_until_ms: int
    said_tail: str
    answered_tail: str
    changed_at_ms: int
    def __init__(self, generation: _Optional[int] = ..., state: _Optional[_Union[PlayoutState, str]] = ..., answers_until_ms: _Optional[int] = ..., said_tail: _Optional[str] = ..., answered_tail: _Optional[str] = ..., changed_at_ms: _Optional[int] = ...) -> None: ...

class CallOver(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("event_id", "call_id", "decision", "rule", "matched", "word_count", "language", "through_generation", "spoken_at_ms", "playout_known", "into_playout_ms", "work_us", "trace", "received_at_ms")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    WORD_COUNT_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    THROUGH_GENERATION_FIELD_NUMBER: _ClassVar[int]
    SPOKEN_AT_MS_FIELD_NUMBER: _ClassVar[int]
    PLAYOUT_KNOWN_FIELD_NUMBER: _ClassVar[int]
    INTO_PLAYOUT_MS_FIELD_NUMBER: _ClassVar[int]
    WORK_US_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    call_id: str
    decision: Decision
    rule: str
    matched: str
    word_count: int
    language: str
    through_generation: int
    spoken_at_ms: int
    playout_known: bool
    into_playout_ms: int
    work_us: int
    trace: _call_pb2.TraceContext
    received_at_ms: int
    def __init__(self, event_id: _Optional[str] = ..., call_id: _Optional[str] = ..., decision: _Optional[_Union[Decision, str]] = ..., rule: _Optional[str] = ..., matched: _Optional[str] = ..., word_count: _Optional[int] = ..., language: _Optional[str] = ..., through_generation: _Optional[int] = ..., spoken_at_ms: _Optional[int] = ..., playout_known: _Optional[bool] = ..., into_playout_ms: _Optional[int] = ..., work_us: _Optional[int] = ..., trace: _Optional[_Union[_call_pb2.TraceContext, _Mapping]] = ..., received_at_ms: _Optional[int] = ...) -> None: ...
