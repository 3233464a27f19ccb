"""The conversation as Vapi keeps it: what the caller said, and what was heard of the agent."""

from __future__ import annotations

from typing import Any

from voicemesh_cli import speech
from voicemesh_cli.vapi_shapes import Envelope, Message, iso, openai_messages, spoken_lines


class Conversation:
    """The history of one call, and the fields of the messages that tell it. Times are epoch milliseconds."""

    def __init__(self, envelope: Envelope, epoch_ms: int, *, retranscribed: bool) -> None:
        self._envelope = envelope
        self._epoch_ms = epoch_ms
        self._retranscribed = retranscribed
        self._history = [Message("system", envelope.system_prompt, epoch_ms, epoch_ms)]

    def caller_said(self, text: str, from_ms: int, to_ms: int) -> None:
        """Enter the caller's turn. Without an answer in between it takes the place of the one before, as the longer."""
        last = self._history[-1]
        if last.role == "user":
            last.text, last.end_ms = text, to_ms
        else:
            self._history.append(Message("user", text, from_ms, to_ms))

    def agent_heard(self, text: str, from_ms: int, to_ms: int) -> None:
        """Enter what was heard of the agent. What follows without a word of the caller is one message with it."""
        last = self._history[-1]
        if last.role == "bot":
            last.text, last.end_ms = f"{last.text} {self._as_kept(text)}", to_ms
        else:
            self._history.append(Message("bot", self._as_kept(text), from_ms, to_ms))

    def with_caller(self, words: str) -> list[dict[str, str]]:
        """Return the history for the model, ending with the caller's ``words``."""
        messages = openai_messages(self._history)
        if messages[-1]["role"] == "user":
            messages.pop()
        return [*messages, {"role": "user", "content": words}]

    def webhook(self, kind: str, at_ms: int, **own: Any) -> dict[str, Any]:
        return self._envelope.webhook(kind, at_ms, self._history, **own)

    def update(self) -> dict[str, Any]:
        """Return the fields of a conversation-update."""
        formatted = openai_messages(self._history)
        messages = self._envelope.messages(self._history)
        return {"messages": messages, "messagesOpenAIFormatted": formatted, "conversation": formatted}

    def agent_transcript(self, kind: str, text: str) -> dict[str, Any]:
        """Return the fields of a transcript of the agent."""
        return {
            "role": "assistant",
            "transcriptType": kind,
            "transcript": self._as_kept(text),
            "assistantId": self._envelope.assistant["id"],
            "assistantName": self._envelope.assistant["name"],
        }

    def report(self, reason: str, ended_ms: int, interruptions: int) -> dict[str, Any]:
        """Return the fields of an end-of-call-report, as it comes when nothing is analysed."""
        duration_ms = ended_ms - self._epoch_ms
        lines = spoken_lines(self._history)
        return {
            "endedReason": reason,
            "analysis": {},
            "summary": "",
            "transcript": lines,
            "messages": self._envelope.messages(self._history),
            "startedAt": iso(self._epoch_ms),
            "endedAt": iso(ended_ms),
            "durationMs": duration_ms,
            "durationSeconds": round(duration_ms / 1000, 3),
            "durationMinutes": round(duration_ms / 60_000, 4),
            "cost": 0,
            "costs": [],
            "costBreakdown": {"transport": 0, "stt": 0, "llm": 0, "tts": 0, "vapi": 0, "chat": 0, "total": 0},
            "artifact": {
                "transcript": lines,
                "performanceMetrics": {"numUserInterrupted": 0, "numAssistantInterrupted": interruptions},
            },
        }

    def _as_kept(self, text: str) -> str:
        return speech.retranscribed(text) if self._retranscribed else text
