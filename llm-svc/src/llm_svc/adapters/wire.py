"""Protobuf to domain and back."""

from __future__ import annotations

import json
from typing import Any

from voicemesh.llm.v1 import llm_pb2
from voicemesh.type.v1 import call_pb2

from llm_svc.adapters.generation import Ended
from llm_svc.domain.chat import Finish, Message, Piece, Prompt, Text

_FINISH = {
    Finish.STOP: llm_pb2.FINISH_STOP,
    Finish.LENGTH: llm_pb2.FINISH_LENGTH,
    Finish.TOOL_CALLS: llm_pb2.FINISH_TOOL_CALLS,
    Finish.FAILED: llm_pb2.FINISH_FAILED,
}


def prompt_of(request: llm_pb2.GenerateRequest) -> Prompt:
    """Return what ``request`` asks. Raises ValueError, whose text quotes nothing private."""
    if not request.messages:
        raise ValueError("messages is empty; a generation needs at least one message")
    return Prompt(
        messages=tuple(_message(message, index) for index, message in enumerate(request.messages)),
        temperature=request.temperature if request.HasField("temperature") else None,
        max_tokens=request.max_tokens if request.HasField("max_tokens") and request.max_tokens > 0 else None,
        tools=_objects(request.tools_json, "tools_json"),
    )


def piece_of(piece: Piece) -> llm_pb2.GenerateResponse:
    """Return ``piece`` as it goes to ingress."""
    if isinstance(piece, Text):
        # Built in place: a token handed to the constructor would be copied.
        response = llm_pb2.GenerateResponse()
        response.token.text = piece.text
        return response
    call = llm_pb2.ToolCall(index=piece.index, id=piece.id, name=piece.name, arguments=piece.arguments)
    return llm_pb2.GenerateResponse(tool_call=call)


def finished_of(ended: Ended) -> llm_pb2.GenerateResponse:
    """Return the last piece of a generation."""
    return llm_pb2.GenerateResponse(
        finished=llm_pb2.Finished(
            finish=_FINISH[ended.end.finish],
            model=ended.model,
            fell_back=ended.fell_back,
            prompt_tokens=ended.end.prompt_tokens,
            completion_tokens=ended.end.completion_tokens,
            provider_first_token_us=ended.first_token_us,
        )
    )


def _message(message: call_pb2.ChatMessage, index: int) -> Message:
    return Message(
        role=message.role,
        content=message.content,
        tool_calls=_objects(message.tool_calls_json, f"messages[{index}].tool_calls_json"),
        tool_call_id=message.tool_call_id,
    )


def _objects(text: str, where: str) -> tuple[dict[str, Any], ...]:
    if not text:
        return ()
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError(f"{where} is not a JSON array of objects")
    return tuple(value)
