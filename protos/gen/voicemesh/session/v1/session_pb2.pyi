from voicemesh.type.v1 import call_pb2 as _call_pb2
from voicemesh.type.v1 import stream_pb2 as _stream_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CallPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CALL_PHASE_UNSPECIFIED: _ClassVar[CallPhase]
    CALL_PHASE_RINGING: _ClassVar[CallPhase]
    CALL_PHASE_IN_PROGRESS: _ClassVar[CallPhase]
    CALL_PHASE_FORWARDING: _ClassVar[CallPhase]
    CALL_PHASE_ENDED: _ClassVar[CallPhase]

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_STOP: _ClassVar[FinishReason]
    FINISH_REASON_LENGTH: _ClassVar[FinishReason]
    FINISH_REASON_TOOL_CALLS: _ClassVar[FinishReason]
    FINISH_REASON_FAILED: _ClassVar[FinishReason]

class CutReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CUT_REASON_UNSPECIFIED: _ClassVar[CutReason]
    CUT_REASON_BARGE_IN: _ClassVar[CutReason]
    CUT_REASON_PEER_CLOSED: _ClassVar[CutReason]
    CUT_REASON_SUPERSEDED: _ClassVar[CutReason]
    CUT_REASON_STALE: _ClassVar[CutReason]
    CUT_REASON_CALL_ENDED: _ClassVar[CutReason]
    CUT_REASON_INGRESS_LOST: _ClassVar[CutReason]

class ToolOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TOOL_OUTCOME_UNSPECIFIED: _ClassVar[ToolOutcome]
    TOOL_OUTCOME_DONE: _ClassVar[ToolOutcome]
    TOOL_OUTCOME_FAILED: _ClassVar[ToolOutcome]
    TOOL_OUTCOME_UNKNOWN: _ClassVar[ToolOutcome]
    TOOL_OUTCOME_NOT_RUN: _ClassVar[ToolOutcome]

class ReportResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPORT_RESULT_UNSPECIFIED: _ClassVar[ReportResult]
    REPORT_RESULT_DELIVERED: _ClassVar[ReportResult]
    REPORT_RESULT_AGAIN: _ClassVar[ReportResult]
    REPORT_RESULT_REFUSED: _ClassVar[ReportResult]
CALL_PHASE_UNSPECIFIED: CallPhase
CALL_PHASE_RINGING: CallPhase
CALL_PHASE_IN_PROGRESS: CallPhase
CALL_PHASE_FORWARDING: CallPhase
CALL_PHASE_ENDED: CallPhase
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_STOP: FinishReason
FINISH_REASON_LENGTH: FinishReason
FINISH_REASON_TOOL_CALLS: FinishReason
FINISH_REASON_FAILED: FinishReason
CUT_REASON_UNSPECIFIED: CutReason
CUT_REASON_BARGE_IN: CutReason
CUT_REASON_PEER_CLOSED: CutReason
CUT_REASON_SUPERSEDED: CutReason
CUT_REASON_STALE: CutReason
CUT_REASON_CALL_ENDED: CutReason
CUT_REASON_INGRESS_LOST: CutReason
TOOL_OUTCOME_UNSPECIFIED: ToolOutcome
TOOL_OUTCOME_DONE: ToolOutcome
TOOL_OUTCOME_FAILED: ToolOutcome
TOOL_OUTCOME_UNKNOWN: ToolOutcome
TOOL_OUTCOME_NOT_RUN: ToolOutcome
REPORT_RESULT_UNSPECIFIED: ReportResult
REPORT_RESULT_DELIVERED: ReportResult
REPORT_RESULT_AGAIN: ReportResult
REPORT_RESULT_REFUSED: ReportResult

class ConverseRequest(_message.Message):
    __slots__ = ("hello", "events", "floor_seq", "heartbeat", "bye")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    FLOOR_SEQ_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    BYE_FIELD_NUMBER: _ClassVar[int]
    hello: _stream_pb2.Hello
    events: _containers.RepeatedCompositeFieldContainer[CallEvent]
    floor_seq: int
    heartbeat: int
    bye: bool
    def __init__(self, hello: _Optional[_Union[_stream_pb2.Hello, _Mapping]] = ..., events: _Optional[_Iterable[_Union[CallEvent, _Mapping]]] = ..., floor_seq: _Optional[int] = ..., heartbeat: _Optional[int] = ..., bye: _Optional[bool] = ...) -> None: ...

class ConverseResponse(_message.Message):
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
    items: _containers.RepeatedCompositeFieldContainer[Command]
    heartbeat: int
    draining: bool
    def __init__(self, welcome: _Optional[_Union[_stream_pb2.Welcome, _Mapping]] = ..., acked_seqs: _Optional[_Iterable[int]] = ..., errors: _Optional[_Iterable[_Union[_stream_pb2.EventError, _Mapping]]] = ..., items: _Optional[_Iterable[_Union[Command, _Mapping]]] = ..., heartbeat: _Optional[int] = ..., draining: _Optional[bool] = ...) -> None: ...

class CallEvent(_message.Message):
    __slots__ = ("seq", "event_id", "call_id", "at_ms", "received_at_ms", "trace", "has_reporter_time", "agent", "control_url", "call_status", "words", "speech", "interrupted", "history", "agent_silent", "report", "answer_requested", "generation_started", "generation_ended", "generation_cut", "attachment_closed", "cut_requested", "turn_ended", "tool_asked", "tool_ended", "report_tried", "expired")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    HAS_REPORTER_TIME_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    CONTROL_URL_FIELD_NUMBER: _ClassVar[int]
    CALL_STATUS_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    SPEECH_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTED_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    AGENT_SILENT_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    ANSWER_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    GENERATION_STARTED_FIELD_NUMBER: _ClassVar[int]
    GENERATION_ENDED_FIELD_NUMBER: _ClassVar[int]
    GENERATION_CUT_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENT_CLOSED_FIELD_NUMBER: _ClassVar[int]
    CUT_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    TURN_ENDED_FIELD_NUMBER: _ClassVar[int]
    TOOL_ASKED_FIELD_NUMBER: _ClassVar[int]
    TOOL_ENDED_FIELD_NUMBER: _ClassVar[int]
    REPORT_TRIED_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    seq: int
    event_id: str
    call_id: str
    at_ms: int
    received_at_ms: int
    trace: _call_pb2.TraceContext
    has_reporter_time: bool
    agent: str
    control_url: str
    call_status: CallStatus
    words: _call_pb2.Words
    speech: _call_pb2.SpeechEdge
    interrupted: _call_pb2.ProviderInterrupted
    history: HistoryReported
    agent_silent: AgentSilent
    report: CallReported
    answer_requested: AnswerRequested
    generation_started: GenerationStarted
    generation_ended: GenerationEnded
    generation_cut: GenerationCut
    attachment_closed: AttachmentClosed
    cut_requested: CutRequested
    turn_ended: _call_pb2.TurnEnded
    tool_asked: ToolAsked
    tool_ended: ToolEnded
    report_tried: ReportTried
    expired: CallExpired
    def __init__(self, seq: _Optional[int] = ..., event_id: _Optional[str] = ..., call_id: _Optional[str] = ..., at_ms: _Optional[int] = ..., received_at_ms: _Optional[int] = ..., trace: _Optional[_Union[_call_pb2.TraceContext, _Mapping]] = ..., has_reporter_time: _Optional[bool] = ..., agent: _Optional[str] = ..., control_url: _Optional[str] = ..., call_status: _Optional[_Union[CallStatus, _Mapping]] = ..., words: _Optional[_Union[_call_pb2.Words, _Mapping]] = ..., speech: _Optional[_Union[_call_pb2.SpeechEdge, _Mapping]] = ..., interrupted: _Optional[_Union[_call_pb2.ProviderInterrupted, _Mapping]] = ..., history: _Optional[_Union[HistoryReported, _Mapping]] = ..., agent_silent: _Optional[_Union[AgentSilent, _Mapping]] = ..., report: _Optional[_Union[CallReported, _Mapping]] = ..., answer_requested: _Optional[_Union[AnswerRequested, _Mapping]] = ..., generation_started: _Optional[_Union[GenerationStarted, _Mapping]] = ..., generation_ended: _Optional[_Union[GenerationEnded, _Mapping]] = ..., generation_cut: _Optional[_Union[GenerationCut, _Mapping]] = ..., attachment_closed: _Optional[_Union[AttachmentClosed, _Mapping]] = ..., cut_requested: _Optional[_Union[CutRequested, _Mapping]] = ..., turn_ended: _Optional[_Union[_call_pb2.TurnEnded, _Mapping]] = ..., tool_asked: _Optional[_Union[ToolAsked, _Mapping]] = ..., tool_ended: _Optional[_Union[ToolEnded, _Mapping]] = ..., report_tried: _Optional[_Union[ReportTried, _Mapping]] = ..., expired: _Optional[_Union[CallExpired, _Mapping]] = ...) -> None: ...

class CallStatus(_message.Message):
    __slots__ = ("phase", "ended_reason", "provider_call_sid")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ENDED_REASON_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_CALL_SID_FIELD_NUMBER: _ClassVar[int]
    phase: CallPhase
    ended_reason: str
    provider_call_sid: str
    def __init__(self, phase: _Optional[_Union[CallPhase, str]] = ..., ended_reason: _Optional[str] = ..., provider_call_sid: _Optional[str] = ...) -> None: ...

class HistoryReported(_message.Message):
    __slots__ = ("tail", "user_message_count")
    TAIL_FIELD_NUMBER: _ClassVar[int]
    USER_MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    tail: _containers.RepeatedCompositeFieldContainer[_call_pb2.ChatMessage]
    user_message_count: int
    def __init__(self, tail: _Optional[_Iterable[_Union[_call_pb2.ChatMessage, _Mapping]]] = ..., user_message_count: _Optional[int] = ...) -> None: ...

class AgentSilent(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CallReported(_message.Message):
    __slots__ = ("ended_reason", "duration_ms", "cost_usd")
    ENDED_REASON_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    ended_reason: str
    duration_ms: int
    cost_usd: float
    def __init__(self, ended_reason: _Optional[str] = ..., duration_ms: _Optional[int] = ..., cost_usd: _Optional[float] = ...) -> None: ...

class AnswerRequested(_message.Message):
    __slots__ = ("attachment_id", "ingress_id", "messages", "user_message_count")
    ATTACHMENT_ID_FIELD_NUMBER: _ClassVar[int]
    INGRESS_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    USER_MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    attachment_id: str
    ingress_id: str
    messages: _containers.RepeatedCompositeFieldContainer[_call_pb2.ChatMessage]
    user_message_count: int
    def __init__(self, attachment_id: _Optional[str] = ..., ingress_id: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[_call_pb2.ChatMessage, _Mapping]]] = ..., user_message_count: _Optional[int] = ...) -> None: ...

class GenerationStarted(_message.Message):
    __slots__ = ("generation", "attachment_id")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENT_ID_FIELD_NUMBER: _ClassVar[int]
    generation: int
    attachment_id: str
    def __init__(self, generation: _Optional[int] = ..., attachment_id: _Optional[str] = ...) -> None: ...

class GenerationEnded(_message.Message):
    __slots__ = ("generation", "said_text", "finish", "prompt_tokens", "completion_tokens", "model")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SAID_TEXT_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    generation: int
    said_text: str
    finish: FinishReason
    prompt_tokens: int
    completion_tokens: int
    model: str
    def __init__(self, generation: _Optional[int] = ..., said_text: _Optional[str] = ..., finish: _Optional[_Union[FinishReason, str]] = ..., prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., model: _Optional[str] = ...) -> None: ...

class GenerationCut(_message.Message):
    __slots__ = ("generation", "said_text", "heard_text", "dropped_ms", "reason", "spoken_at_ms", "rule")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SAID_TEXT_FIELD_NUMBER: _ClassVar[int]
    HEARD_TEXT_FIELD_NUMBER: _ClassVar[int]
    DROPPED_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SPOKEN_AT_MS_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    generation: int
    said_text: str
    heard_text: str
    dropped_ms: int
    reason: CutReason
    spoken_at_ms: int
    rule: str
    def __init__(self, generation: _Optional[int] = ..., said_text: _Optional[str] = ..., heard_text: _Optional[str] = ..., dropped_ms: _Optional[int] = ..., reason: _Optional[_Union[CutReason, str]] = ..., spoken_at_ms: _Optional[int] = ..., rule: _Optional[str] = ...) -> None: ...

class AttachmentClosed(_message.Message):
    __slots__ = ("attachment_id",)
    ATTACHMENT_ID_FIELD_NUMBER: _ClassVar[int]
    attachment_id: str
    def __init__(self, attachment_id: _Optional[str] = ...) -> None: ...

class CutRequested(_message.Message):
    __slots__ = ("through_generation", "spoken_at_ms", "rule")
    THROUGH_GENERATION_FIELD_NUMBER: _ClassVar[int]
    SPOKEN_AT_MS_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    through_generation: int
    spoken_at_ms: int
    rule: str
    def __init__(self, through_generation: _Optional[int] = ..., spoken_at_ms: _Optional[int] = ..., rule: _Optional[str] = ...) -> None: ...

class ToolAsked(_message.Message):
    __slots__ = ("key", "ingress_id", "turn", "generation", "name", "arguments_json", "timeout_ms")
    KEY_FIELD_NUMBER: _ClassVar[int]
    INGRESS_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_JSON_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    key: str
    ingress_id: str
    turn: int
    generation: int
    name: str
    arguments_json: str
    timeout_ms: int
    def __init__(self, key: _Optional[str] = ..., ingress_id: _Optional[str] = ..., turn: _Optional[int] = ..., generation: _Optional[int] = ..., name: _Optional[str] = ..., arguments_json: _Optional[str] = ..., timeout_ms: _Optional[int] = ...) -> None: ...

class ToolEnded(_message.Message):
    __slots__ = ("key", "ask_id", "outcome", "text", "duration_ms")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ASK_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    key: str
    ask_id: str
    outcome: ToolOutcome
    text: str
    duration_ms: int
    def __init__(self, key: _Optional[str] = ..., ask_id: _Optional[str] = ..., outcome: _Optional[_Union[ToolOutcome, str]] = ..., text: _Optional[str] = ..., duration_ms: _Optional[int] = ...) -> None: ...

class ReportTried(_message.Message):
    __slots__ = ("attempt", "result", "retry_after_ms", "status")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    result: ReportResult
    retry_after_ms: int
    status: int
    def __init__(self, attempt: _Optional[int] = ..., result: _Optional[_Union[ReportResult, str]] = ..., retry_after_ms: _Optional[int] = ..., status: _Optional[int] = ...) -> None: ...

class CallExpired(_message.Message):
    __slots__ = ("idle_ms",)
    IDLE_MS_FIELD_NUMBER: _ClassVar[int]
    idle_ms: int
    def __init__(self, idle_ms: _Optional[int] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("command_id", "call_id", "trace", "start_generation", "cut_generation", "move_output", "replay_answer", "refuse_answer", "name_agent", "run_tool", "take_tool_result", "take_control", "report_call")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    START_GENERATION_FIELD_NUMBER: _ClassVar[int]
    CUT_GENERATION_FIELD_NUMBER: _ClassVar[int]
    MOVE_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    REPLAY_ANSWER_FIELD_NUMBER: _ClassVar[int]
    REFUSE_ANSWER_FIELD_NUMBER: _ClassVar[int]
    NAME_AGENT_FIELD_NUMBER: _ClassVar[int]
    RUN_TOOL_FIELD_NUMBER: _ClassVar[int]
    TAKE_TOOL_RESULT_FIELD_NUMBER: _ClassVar[int]
    TAKE_CONTROL_FIELD_NUMBER: _ClassVar[int]
    REPORT_CALL_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    call_id: str
    trace: _call_pb2.TraceContext
    start_generation: StartGeneration
    cut_generation: CutGeneration
    move_output: MoveOutput
    replay_answer: ReplayAnswer
    refuse_answer: RefuseAnswer
    name_agent: NameAgent
    run_tool: RunTool
    take_tool_result: TakeToolResult
    take_control: TakeControl
    report_call: ReportCall
    def __init__(self, command_id: _Optional[str] = ..., call_id: _Optional[str] = ..., trace: _Optional[_Union[_call_pb2.TraceContext, _Mapping]] = ..., start_generation: _Optional[_Union[StartGeneration, _Mapping]] = ..., cut_generation: _Optional[_Union[CutGeneration, _Mapping]] = ..., move_output: _Optional[_Union[MoveOutput, _Mapping]] = ..., replay_answer: _Optional[_Union[ReplayAnswer, _Mapping]] = ..., refuse_answer: _Optional[_Union[RefuseAnswer, _Mapping]] = ..., name_agent: _Optional[_Union[NameAgent, _Mapping]] = ..., run_tool: _Optional[_Union[RunTool, _Mapping]] = ..., take_tool_result: _Optional[_Union[TakeToolResult, _Mapping]] = ..., take_control: _Optional[_Union[TakeControl, _Mapping]] = ..., report_call: _Optional[_Union[ReportCall, _Mapping]] = ...) -> None: ...

class StartGeneration(_message.Message):
    __slots__ = ("turn", "generation", "attachment_id", "answers_until_ms", "messages", "agent")
    TURN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENT_ID_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    turn: int
    generation: int
    attachment_id: str
    answers_until_ms: int
    messages: _containers.RepeatedCompositeFieldContainer[_call_pb2.ChatMessage]
    agent: str
    def __init__(self, turn: _Optional[int] = ..., generation: _Optional[int] = ..., attachment_id: _Optional[str] = ..., answers_until_ms: _Optional[int] = ..., messages: _Optional[_Iterable[_Union[_call_pb2.ChatMessage, _Mapping]]] = ..., agent: _Optional[str] = ...) -> None: ...

class RunTool(_message.Message):
    __slots__ = ("key", "ask_id")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ASK_ID_FIELD_NUMBER: _ClassVar[int]
    key: str
    ask_id: str
    def __init__(self, key: _Optional[str] = ..., ask_id: _Optional[str] = ...) -> None: ...

class TakeToolResult(_message.Message):
    __slots__ = ("key", "outcome", "text", "ask_id")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ASK_ID_FIELD_NUMBER: _ClassVar[int]
    key: str
    outcome: ToolOutcome
    text: str
    ask_id: str
    def __init__(self, key: _Optional[str] = ..., outcome: _Optional[_Union[ToolOutcome, str]] = ..., text: _Optional[str] = ..., ask_id: _Optional[str] = ...) -> None: ...

class ReportCall(_message.Message):
    __slots__ = ("attempt", "not_before_ms", "agent", "outcome", "ended_reason", "started_at_ms", "answered_at_ms", "ended_at_ms", "duration_ms", "turns", "turn_count", "cut_count", "tools", "prompt_tokens", "completion_tokens", "cost_usd", "provider_reported")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_MS_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ENDED_REASON_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    TURN_COUNT_FIELD_NUMBER: _ClassVar[int]
    CUT_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_REPORTED_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    not_before_ms: int
    agent: str
    outcome: str
    ended_reason: str
    started_at_ms: int
    answered_at_ms: int
    ended_at_ms: int
    duration_ms: int
    turns: _containers.RepeatedCompositeFieldContainer[ReportedTurn]
    turn_count: int
    cut_count: int
    tools: _containers.RepeatedCompositeFieldContainer[ReportedTool]
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    provider_reported: bool
    def __init__(self, attempt: _Optional[int] = ..., not_before_ms: _Optional[int] = ..., agent: _Optional[str] = ..., outcome: _Optional[str] = ..., ended_reason: _Optional[str] = ..., started_at_ms: _Optional[int] = ..., answered_at_ms: _Optional[int] = ..., ended_at_ms: _Optional[int] = ..., duration_ms: _Optional[int] = ..., turns: _Optional[_Iterable[_Union[ReportedTurn, _Mapping]]] = ..., turn_count: _Optional[int] = ..., cut_count: _Optional[int] = ..., tools: _Optional[_Iterable[_Union[ReportedTool, _Mapping]]] = ..., prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., cost_usd: _Optional[float] = ..., provider_reported: _Optional[bool] = ...) -> None: ...

class ReportedTurn(_message.Message):
    __slots__ = ("party", "at_ms", "text")
    PARTY_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    party: _call_pb2.Party
    at_ms: int
    text: str
    def __init__(self, party: _Optional[_Union[_call_pb2.Party, str]] = ..., at_ms: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class ReportedTool(_message.Message):
    __slots__ = ("name", "turn", "outcome")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    name: str
    turn: int
    outcome: ToolOutcome
    def __init__(self, name: _Optional[str] = ..., turn: _Optional[int] = ..., outcome: _Optional[_Union[ToolOutcome, str]] = ...) -> None: ...

class NameAgent(_message.Message):
    __slots__ = ("agent",)
    AGENT_FIELD_NUMBER: _ClassVar[int]
    agent: str
    def __init__(self, agent: _Optional[str] = ...) -> None: ...

class TakeControl(_message.Message):
    __slots__ = ("control_url",)
    CONTROL_URL_FIELD_NUMBER: _ClassVar[int]
    control_url: str
    def __init__(self, control_url: _Optional[str] = ...) -> None: ...

class CutGeneration(_message.Message):
    __slots__ = ("through_generation", "spoken_at_ms", "reason", "rule")
    THROUGH_GENERATION_FIELD_NUMBER: _ClassVar[int]
    SPOKEN_AT_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    through_generation: int
    spoken_at_ms: int
    reason: CutReason
    rule: str
    def __init__(self, through_generation: _Optional[int] = ..., spoken_at_ms: _Optional[int] = ..., reason: _Optional[_Union[CutReason, str]] = ..., rule: _Optional[str] = ...) -> None: ...

class MoveOutput(_message.Message):
    __slots__ = ("generation", "attachment_id")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENT_ID_FIELD_NUMBER: _ClassVar[int]
    generation: int
    attachment_id: str
    def __init__(self, generation: _Optional[int] = ..., attachment_id: _Optional[str] = ...) -> None: ...

class ReplayAnswer(_message.Message):
    __slots__ = ("generation", "attachment_id", "said_text", "answers_until_ms")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENT_ID_FIELD_NUMBER: _ClassVar[int]
    SAID_TEXT_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    generation: int
    attachment_id: str
    said_text: str
    answers_until_ms: int
    def __init__(self, generation: _Optional[int] = ..., attachment_id: _Optional[str] = ..., said_text: _Optional[str] = ..., answers_until_ms: _Optional[int] = ...) -> None: ...

class RefuseAnswer(_message.Message):
    __slots__ = ("attachment_id", "reason")
    ATTACHMENT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    attachment_id: str
    reason: CutReason
    def __init__(self, attachment_id: _Optional[str] = ..., reason: _Optional[_Union[CutReason, str]] = ...) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("since_cursor", "page_size", "call_id")
    SINCE_CURSOR_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    since_cursor: int
    page_size: int
    call_id: str
    def __init__(self, since_cursor: _Optional[int] = ..., page_size: _Optional[int] = ..., call_id: _Optional[str] = ...) -> None: ...

class ListEventsResponse(_message.Message):
    __slots__ = ("events", "next_cursor")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[LoggedEvent]
    next_cursor: int
    def __init__(self, events: _Optional[_Iterable[_Union[LoggedEvent, _Mapping]]] = ..., next_cursor: _Optional[int] = ...) -> None: ...

class LoggedEvent(_message.Message):
    __slots__ = ("cursor", "call_seq", "event")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    CALL_SEQ_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    call_seq: int
    event: CallEvent
    def __init__(self, cursor: _Optional[int] = ..., call_seq: _Optional[int] = ..., event: _Optional[_Union[CallEvent, _Mapping]] = ...) -> None: ...

class ListCallsRequest(_message.Message):
    __slots__ = ("page_size", "call_id")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    call_id: str
    def __init__(self, page_size: _Optional[int] = ..., call_id: _Optional[str] = ...) -> None: ...

class ListCallsResponse(_message.Message):
    __slots__ = ("calls",)
    CALLS_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[CallSummary]
    def __init__(self, calls: _Optional[_Iterable[_Union[CallSummary, _Mapping]]] = ...) -> None: ...

class CallSummary(_message.Message):
    __slots__ = ("call_id", "started_at_ms", "ended_at_ms", "outcome", "event_count")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    started_at_ms: int
    ended_at_ms: int
    outcome: str
    event_count: int
    def __init__(self, call_id: _Optional[str] = ..., started_at_ms: _Optional[int] = ..., ended_at_ms: _Optional[int] = ..., outcome: _Optional[str] = ..., event_count: _Optional[int] = ...) -> None: ...
