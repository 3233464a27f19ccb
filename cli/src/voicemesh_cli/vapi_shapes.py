"""What Vapi puts on the wire around an event: the call, the assistant, the number, and the whole conversation twice."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_ORGANISATION = "3f0b6d0e-6a55-4a55-9d52-0d6f3c8d6a01"
_ASSISTANT = "9c2f7a10-5b1e-4c3d-8a77-1f0e2d3c4b5a"
_NUMBER = "2d8e6f4c-3a1b-4e5d-9c70-6b5a4f3e2d1c"
_SERVER_MESSAGES = [
    "assistant.started",
    "conversation-update",
    "end-of-call-report",
    "hang",
    "speech-update",
    "status-update",
    "transcript",
    "tool-calls",
    "transfer-destination-request",
    "handoff-destination-request",
    "user-interrupted",
]
_ACKNOWLEDGING = (
    "i understand,i see,i got it,i hear you,im listening,im with you,right,okay,ok,sure,alright,got it,understood,"
    "yeah,yes,uh-huh,mm-hmm,gotcha,mhmm,ah,yeah okay,yeah sure"
)
ACKNOWLEDGEMENTS = _ACKNOWLEDGING.split(",")
"""Vapi's own list: as a whole utterance these never interrupt the assistant."""
_INTERRUPTING = (
    "stop,shut,up,enough,quiet,silence,but,dont,not,no,hold,wait,cut,pause,nope,nah,nevermind,never,bad,actually"
)
_INTERRUPTIONS = _INTERRUPTING.split(",")


@dataclass(slots=True)
class Message:
    """One message of the history as Vapi keeps it. Times are epoch milliseconds."""

    role: str
    """system, bot or user."""
    text: str
    start_ms: int
    end_ms: int


class Envelope:
    """Wraps the events of one call. Deterministic: the same call and time give the same bytes."""

    def __init__(self, call_id: str, epoch_ms: int, call: Mapping[str, Any], assistant: Mapping[str, Any]) -> None:
        self.call_id = call_id
        self._epoch_ms = epoch_ms
        self._call = _merge(_call(call_id, epoch_ms), call)
        self.assistant = _assistant(assistant)

    @property
    def first_message(self) -> str:
        return str(self.assistant.get("firstMessage") or "")

    @property
    def system_prompt(self) -> str:
        messages = self.assistant["model"].get("messages") or []
        return str(messages[0]["content"]) if messages else ""

    def webhook(self, kind: str, at_ms: int, history: Sequence[Message], **own: Any) -> dict[str, Any]:
        """Return the body of one server message; ``own`` are the fields of its type."""
        artifact = {"messages": self.messages(history), "messagesOpenAIFormatted": openai_messages(history)}
        message = {"timestamp": at_ms, "type": kind, **own}
        message["artifact"] = {**artifact, **own.get("artifact", {})}
        return {"message": {**message, **self._around(), "assistant": self.assistant, "assistantVersion": None}}

    def filled(self, body: Mapping[str, Any], at_ms: int) -> dict[str, Any]:
        """Return a recorded webhook with this call's id and the time, where it has none."""
        message = body.get("message")
        if not isinstance(message, Mapping):
            return dict(body)
        call = message.get("call")
        call = call if isinstance(call, Mapping) else {}
        return {**body, "message": {"timestamp": at_ms, **message, "call": {"id": self.call_id, **call}}}

    def llm_request(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        """Return the body of a custom-LLM request, as Vapi's OpenAI client sends it."""
        model = self.assistant["model"]
        body: dict[str, Any] = {
            "model": model["model"],
            "messages": messages,
            "temperature": model.get("temperature", 0.5),
            "max_tokens": model.get("maxTokens", 250),
            "stream": True,
        }
        if model.get("tools"):
            body["tools"] = [{"type": "function", "function": tool["function"]} for tool in model["tools"]]
        return {**body, **self._around(), "metadata": self.assistant.get("metadata", {})}

    def messages(self, history: Sequence[Message]) -> list[dict[str, Any]]:
        """Return the history in Vapi's own form."""
        return [self._message(message) for message in history]

    def _message(self, message: Message) -> dict[str, Any]:
        shown: dict[str, Any] = {"role": message.role, "message": message.text, "time": message.start_ms}
        if message.role != "system":
            shown["endTime"] = message.end_ms
            # Milliseconds on the wire, whatever Vapi's schema says.
            shown["duration"] = message.end_ms - message.start_ms
        shown["secondsFromStart"] = round((message.start_ms - self._epoch_ms) / 1000, 3)
        return shown

    def _around(self) -> dict[str, Any]:
        return {"call": self._call, "phoneNumber": _phone_number(), "customer": self._call["customer"]}


def openai_messages(history: Sequence[Message]) -> list[dict[str, str]]:
    """Return the history in the form of OpenAI's chat API."""
    return [{"role": "assistant" if m.role == "bot" else m.role, "content": m.text} for m in history]


def spoken_lines(history: Sequence[Message]) -> str:
    """Return the history as the report prints it."""
    return "".join(f"{'AI' if m.role == 'bot' else 'User'}: {m.text}\n" for m in history if m.role != "system")


def iso(epoch_ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch_ms // 1000)) + f".{epoch_ms % 1000:03d}Z"


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        old = merged.get(name)
        merged[name] = _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def _call(call_id: str, epoch_ms: int) -> dict[str, Any]:
    host = f"phone-call-websocket.aws-us-west-2-backend-production1.vapi.ai/{call_id}"
    sid = "CA" + uuid.uuid5(uuid.NAMESPACE_URL, call_id).hex
    return {
        "id": call_id,
        "orgId": _ORGANISATION,
        "createdAt": iso(epoch_ms - 1500),
        "updatedAt": iso(epoch_ms),
        "type": "inboundPhoneCall",
        "status": "in-progress",
        "monitor": {"listenUrl": f"wss://{host}/listen", "controlUrl": f"https://{host}/control"},
        "transport": {
            "provider": "twilio",
            "conversationType": "voice",
            "accountSid": "AC" + "0" * 32,
            "callSid": sid,
            "callToken": "simulated-call-token",
        },
        "phoneCallProvider": "twilio",
        "phoneCallProviderId": sid,
        "phoneCallTransport": "pstn",
        "assistantId": _ASSISTANT,
        "phoneNumberId": _NUMBER,
        "customer": {"number": "+15005550101"},
    }


def _phone_number() -> dict[str, Any]:
    return {
        "id": _NUMBER,
        "orgId": _ORGANISATION,
        "assistantId": _ASSISTANT,
        "number": "+15005550006",
        "createdAt": "2026-08-01T10:00:00.000Z",
        "updatedAt": "2026-08-01T10:00:00.000Z",
        "twilioAccountSid": "AC" + "0" * 32,
        # Real bodies carry live credentials here; ours must not leave ingress either.
        "twilioAuthToken": "simulated-twilio-auth-token",
        "name": "Main line",
        "provider": "twilio",
        "status": "active",
    }


def _assistant(given: Mapping[str, Any]) -> dict[str, Any]:
    over = dict(given)
    prompt = over.pop("system_prompt", "You answer the telephone. Keep answers short.")
    base = {
        "id": _ASSISTANT,
        "orgId": _ORGANISATION,
        "createdAt": "2026-08-01T10:00:00.000Z",
        "updatedAt": "2026-08-20T10:00:00.000Z",
        "name": "Agent",
        "firstMessage": over.pop("first_message", ""),
        "firstMessageMode": "assistant-speaks-first",
        "firstMessageInterruptionsEnabled": True,
        "model": {
            "provider": "custom-llm",
            "model": "voice-backend",
            "url": "https://voice.example.com/vapi/llm",
            "temperature": 0.5,
            "maxTokens": 250,
            "timeoutSeconds": 20,
            "metadataSendMode": "variable",
            "messages": [{"role": "system", "content": prompt}],
        },
        "voice": {"provider": "vapi", "voiceId": "Elliot", "version": "2", "chunkPlan": {"minCharacters": 30}},
        "transcriber": {"provider": "deepgram", "model": "nova-3", "language": "en", "smartFormat": True},
        "serverMessages": _SERVER_MESSAGES,
        "server": {
            "url": "https://voice.example.com/vapi/webhook",
            "timeoutSeconds": 20,
            "credentialId": "7d1c0a52-8f0e-4a55-a6f5-0f5f8e1c2b33",
            "backoffPlan": {"type": "exponential", "maxRetries": 3, "baseDelaySeconds": 1},
        },
        "startSpeakingPlan": {
            "waitSeconds": 0.4,
            "smartEndpointingPlan": {"provider": "livekit", "waitFunction": "20 + 500 * sqrt(x) + 2500 * x^3"},
            "transcriptionEndpointingPlan": {
                "onPunctuationSeconds": 0.1,
                "onNoPunctuationSeconds": 1.5,
                "onNumberSeconds": 0.5,
            },
        },
        "stopSpeakingPlan": {
            "numWords": 0,
            "voiceSeconds": 0.2,
            "backoffSeconds": 1,
            "acknowledgementPhrases": ACKNOWLEDGEMENTS,
            "interruptionPhrases": _INTERRUPTIONS,
        },
        "monitorPlan": {"listenEnabled": True, "controlEnabled": True},
        "artifactPlan": {"recordingEnabled": True, "transcriptPlan": {"enabled": True}},
        "silenceTimeoutSeconds": 30,
        "maxDurationSeconds": 600,
        "metadata": {},
    }
    return _merge(base, over)
