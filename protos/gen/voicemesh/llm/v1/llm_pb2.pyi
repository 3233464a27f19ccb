from voicemesh.type.v1 import call_pb2 as _call_pb2
from voicemesh.type.v1 import stream_pb2 as _stream_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Finish(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_UNSPECIFIED: _ClassVar[Finish]
    FINISH_STOP: _ClassVar[Finish]
    FINISH_LENGTH: _ClassVar[Finish]
    FINISH_TOOL_CALLS: _ClassVar[Finish]
    FINISH_FAILED: _ClassVar[Finish]

class ToolFailureReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TOOL_FAILURE_REASON_UNSPECIFIED: _ClassVar[ToolFailureReason]
    TOOL_FAILURE_REASON_UNKNOWN_TOOL: _ClassVar[ToolFailureReason]
    TOOL_FAILURE_REASON_BAD_ARGUMENTS: _ClassVar[ToolFailureReason]
    TOOL_FAILURE_REASON_TIMEOUT: _ClassVar[ToolFailureReason]
    TOOL_FAILURE_REASON_UNREACHABLE: _ClassVar[ToolFailureReason]
    TOOL_FAILURE_REASON_REFUSED: _ClassVar[ToolFailureReason]
    TOOL_FAILURE_REASON_DEFECT: _ClassVar[ToolFailureReason]
    TOOL_FAILURE_REASON_TOO_LARGE: _ClassVar[ToolFailureReason]
    TOOL_FAILURE_REASON_CANCELLED: _ClassVar[ToolFailureReason]
FINISH_UNSPECIFIED: Finish
FINISH_STOP: Finish
FINISH_LENGTH: Finish
FINISH_TOOL_CALLS: Finish
FINISH_FAILED: Finish
TOOL_FAILURE_REASON_UNSPECIFIED: ToolFailureReason
TOOL_FAILURE_REASON_UNKNOWN_TOOL: ToolFailureReason
TOOL_FAILURE_REASON_BAD_ARGUMENTS: ToolFailureReason
TOOL_FAILURE_REASON_TIMEOUT: ToolFailureReason
TOOL_FAILURE_REASON_UNREACHABLE: ToolFailureReason
TOOL_FAILURE_REASON_REFUSED: ToolFailureReason
TOOL_FAILURE_REASON_DEFECT: ToolFailureReason
TOOL_FAILURE_REASON_TOO_LARGE: ToolFailureReason
TOOL_FAILURE_REASON_CANCELLED: ToolFailureReason

class GenerateRequest(_message.Message):
    __slots__ = ("call_id", "turn", "generation", "messages", "temperature", "max_tokens", "tools_json", "trace", "agent")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOOLS_JSON_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    turn: int
    generation: int
    messages: _containers.RepeatedCompositeFieldContainer[_call_pb2.ChatMessage]
    temperature: float
    max_tokens: int
    tools_json: str
    trace: _call_pb2.TraceContext
    agent: str
    def __init__(self, call_id: _Optional[str] = ..., turn: _Optional[int] = ..., generation: _Optional[int] = ..., messages: _Optional[_Iterable[_Union[_call_pb2.ChatMessage, _Mapping]]] = ..., temperature: _Optional[float] = ..., max_tokens: _Optional[int] = ..., tools_json: _Optional[str] = ..., trace: _Optional[_Union[_call_pb2.TraceContext, _Mapping]] = ..., agent: _Optional[str] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("token", "tool_call", "finished")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    token: Token
    tool_call: ToolCall
    finished: Finished
    def __init__(self, token: _Optional[_Union[Token, _Mapping]] = ..., tool_call: _Optional[_Union[ToolCall, _Mapping]] = ..., finished: _Optional[_Union[Finished, _Mapping]] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class ToolCall(_message.Message):
    __slots__ = ("index", "id", "name", "arguments")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    index: int
    id: str
    name: str
    arguments: str
    def __init__(self, index: _Optional[int] = ..., id: _Optional[str] = ..., name: _Optional[str] = ..., arguments: _Optional[str] = ...) -> None: ...

class Finished(_message.Message):
    __slots__ = ("finish", "model", "fell_back", "prompt_tokens", "completion_tokens", "provider_first_token_us")
    FINISH_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FELL_BACK_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIRST_TOKEN_US_FIELD_NUMBER: _ClassVar[int]
    finish: Finish
    model: str
    fell_back: bool
    prompt_tokens: int
    completion_tokens: int
    provider_first_token_us: int
    def __init__(self, finish: _Optional[_Union[Finish, str]] = ..., model: _Optional[str] = ..., fell_back: _Optional[bool] = ..., prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., provider_first_token_us: _Optional[int] = ...) -> None: ...

class FollowTurnsRequest(_message.Message):
    __slots__ = ("hello", "events", "floor_seq", "heartbeat", "bye")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    FLOOR_SEQ_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    BYE_FIELD_NUMBER: _ClassVar[int]
    hello: _stream_pb2.Hello
    events: _containers.RepeatedCompositeFieldContainer[TurnNote]
    floor_seq: int
    heartbeat: int
    bye: bool
    def __init__(self, hello: _Optional[_Union[_stream_pb2.Hello, _Mapping]] = ..., events: _Optional[_Iterable[_Union[TurnNote, _Mapping]]] = ..., floor_seq: _Optional[int] = ..., heartbeat: _Optional[int] = ..., bye: _Optional[bool] = ...) -> None: ...

class FollowTurnsResponse(_message.Message):
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
    items: _containers.RepeatedCompositeFieldContainer[Nothing]
    heartbeat: int
    draining: bool
    def __init__(self, welcome: _Optional[_Union[_stream_pb2.Welcome, _Mapping]] = ..., acked_seqs: _Optional[_Iterable[int]] = ..., errors: _Optional[_Iterable[_Union[_stream_pb2.EventError, _Mapping]]] = ..., items: _Optional[_Iterable[_Union[Nothing, _Mapping]]] = ..., heartbeat: _Optional[int] = ..., draining: _Optional[bool] = ...) -> None: ...

class TurnNote(_message.Message):
    __slots__ = ("seq", "turn_ended")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TURN_ENDED_FIELD_NUMBER: _ClassVar[int]
    seq: int
    turn_ended: _call_pb2.TurnEnded
    def __init__(self, seq: _Optional[int] = ..., turn_ended: _Optional[_Union[_call_pb2.TurnEnded, _Mapping]] = ...) -> None: ...

class Nothing(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RunToolRequest(_message.Message):
    __slots__ = ("call_id", "turn", "generation", "name", "arguments_json", "idempotency_key", "trace", "agent")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_JSON_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    turn: int
    generation: int
    name: str
    arguments_json: str
    idempotency_key: str
    trace: _call_pb2.TraceContext
    agent: str
    def __init__(self, call_id: _Optional[str] = ..., turn: _Optional[int] = ..., generation: _Optional[int] = ..., name: _Optional[str] = ..., arguments_json: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., trace: _Optional[_Union[_call_pb2.TraceContext, _Mapping]] = ..., agent: _Optional[str] = ...) -> None: ...

class RunToolResponse(_message.Message):
    __slots__ = ("result", "failure", "duration_ms", "repeated")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    result: str
    failure: ToolFailure
    duration_ms: int
    repeated: bool
    def __init__(self, result: _Optional[str] = ..., failure: _Optional[_Union[ToolFailure, _Mapping]] = ..., duration_ms: _Optional[int] = ..., repeated: _Optional[bool] = ...) -> None: ...

class ToolFailure(_message.Message):
    __slots__ = ("reason", "message", "effect_unknown", "http_status")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EFFECT_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    HTTP_STATUS_FIELD_NUMBER: _ClassVar[int]
    reason: ToolFailureReason
    message: str
    effect_unknown: bool
    http_status: int
    def __init__(self, reason: _Optional[_Union[ToolFailureReason, str]] = ..., message: _Optional[str] = ..., effect_unknown: _Optional[bool] = ..., http_status: _Optional[int] = ...) -> None: ...

class ListToolsRequest(_message.Message):
    __slots__ = ("agent",)
    AGENT_FIELD_NUMBER: _ClassVar[int]
    agent: str
    def __init__(self, agent: _Optional[str] = ...) -> None: ...

class ListToolsResponse(_message.Message):
    __slots__ = ("tools",)
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    tools: _containers.RepeatedCompositeFieldContainer[Tool]
    def __init__(self, tools: _Optional[_Iterable[_Union[Tool, _Mapping]]] = ...) -> None: ...

class Tool(_message.Message):
    __slots__ = ("name", "definition_json", "builtin", "speak_while_running", "timeout_ms")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_JSON_FIELD_NUMBER: _ClassVar[int]
    BUILTIN_FIELD_NUMBER: _ClassVar[int]
    SPEAK_WHILE_RUNNING_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    name: str
    definition_json: str
    builtin: bool
    speak_while_running: str
    timeout_ms: int
    def __init__(self, name: _Optional[str] = ..., definition_json: _Optional[str] = ..., builtin: _Optional[bool] = ..., speak_while_running: _Optional[str] = ..., timeout_ms: _Optional[int] = ...) -> None: ...
