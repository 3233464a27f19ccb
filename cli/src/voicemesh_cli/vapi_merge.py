"""What connecting makes of an assistant: its configuration at Vapi in, ours laid into it, nothing of the owner's lost.

Vapi replaces every nested object and list that it is sent, so each value here is whole: what stood there, and ours.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ingress_svc.domain.paths import LLM_PATH, WEBHOOK_PATH

from voicemesh_cli.vapi_proof import Proof, mark_of, plan

CUSTOM_LLM = "custom-llm"
CUSTOM_CREDENTIAL = "custom-credential"

SERVER_MESSAGES = (
    "status-update",
    "speech-update",
    "transcript",
    "user-interrupted",
    "conversation-update",
    "tool-calls",
    "hang",
    "end-of-call-report",
    "transfer-destination-request",
    "handoff-destination-request",
    "assistant.started",
)
"""What we read, and what Vapi waits for an answer to. `transcript` is in none of Vapi's defaults."""
UNWANTED_MESSAGES: Mapping[str, str] = {
    "phone-call-control": "whoever asks for it must hang up and transfer himself",
    "model-output": "one webhook for each token of our own answer",
    "voice-input": "one webhook for each piece of our own answer",
    'transcript[transcriptType="final"]': "transcript brings each final already",
}
BACKOFF = {
    "type": "exponential",
    "maxRetries": 3,
    "baseDelaySeconds": 1,
    # What does not get better by being sent again.
    "excludedStatusCodes": [400, 401, 403, 404, 413, 422],
}
TIMEOUT_S = 20
"""Of a webhook and of the first token; Vapi's own default."""
STOP_SPEAKING = {"numWords": 0, "voiceSeconds": 0.2, "backoffSeconds": 1}
"""Vapi's documented defaults: the caller's voice alone stops the agent. Written out because its staff name another
default of numWords, and because two words take 500 ms longer."""
START_SPEAKING = {
    "waitSeconds": 0.4,
    "smartEndpointingPlan": {"provider": "livekit", "waitFunction": "20 + 500 * sqrt(x) + 2500 * x^3"},
}
"""Without a smart plan Vapi waits 1.5 s where the transcriber writes no punctuation."""
_MODEL_KEPT = (
    "messages",
    "tools",
    "toolIds",
    "toolRefs",
    "knowledgeBase",
    "temperature",
    "maxTokens",
    "emotionRecognitionEnabled",
    "numFastTurns",
    "wordLevelConfidenceEnabled",
)
"""What a custom LLM can have of another provider's model; the rest (fallback models, say) Vapi would refuse."""
TOUCHED = (
    "server",
    "serverMessages",
    "model",
    "credentialIds",
    "credentials",
    "firstMessageInterruptionsEnabled",
    "stopSpeakingPlan",
    "startSpeakingPlan",
    "monitorPlan",
)
"""All that connecting may change of an assistant, and so what restoring puts back."""


@dataclass(frozen=True, slots=True)
class Credential:
    """One of the organisation's credentials, as Vapi lists them: without the secret."""

    id: str
    provider: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where Vapi finds us, and how it proves itself."""

    url: str
    """The public address, without a slash at its end."""
    webhook_credential: str = ""
    """Id; empty where Vapi makes no credentials: then ``header`` is sent."""
    llm_credential: str = ""
    """Id; empty where ``llm_key`` stands in the assistant itself."""
    header: tuple[str, str] = field(default=("", ""), repr=False)
    """Name, and value with the secret."""
    llm_key: str = field(default="", repr=False)
    known: tuple[Credential, ...] = ()
    """All credentials of the organisation."""


class CannotMerge(Exception):
    """This assistant cannot be connected without losing something; the message says what to do."""


def credential_name(purpose: str, secret: str, plan: bytes = b"") -> str:
    """Return the name of our credential: a new secret has another name, since Vapi never shows which one it holds.

    ``plan`` tells credentials of one secret apart.
    """
    mark = hmac.new(secret.encode(), b"voicemesh credential name" + plan, hashlib.sha256).hexdigest()[:8]
    return f"voicemesh {purpose} {mark}"


def webhook_credential(proof: Proof, url: str) -> dict[str, Any]:
    """Return the body that makes the webhooks' credential, as ingress asks for it. Raises NoProof."""
    return {
        "provider": CUSTOM_CREDENTIAL,
        "name": credential_name("webhooks", proof.secret, mark_of(proof, url)),
        "authenticationPlan": plan(proof, url),
    }


def llm_credential(key: str) -> dict[str, Any]:
    """Return the body that makes the custom LLM's credential; it stands inside an assistant as well."""
    return {"provider": CUSTOM_LLM, "name": credential_name("llm", key), "apiKey": key}


def find(credentials: Iterable[Credential], body: Mapping[str, Any]) -> str:
    """Return the id of the credential that ``body`` would make a second time; empty for none."""
    same = (c.id for c in credentials if (c.provider, c.name) == (body["provider"], body["name"]))
    return next(same, "")


def merged(assistant: Mapping[str, Any], to: Connection) -> dict[str, Any]:
    """Return every field that connecting sets, whole. Raises CannotMerge."""
    fields: dict[str, Any] = {
        "server": _server(_table(assistant, "server"), to),
        "serverMessages": _server_messages(_list(assistant, "serverMessages")),
        "model": _model(_table(assistant, "model"), to),
        "firstMessageInterruptionsEnabled": True,
        "stopSpeakingPlan": {**STOP_SPEAKING, **_set(_table(assistant, "stopSpeakingPlan"))},
        "monitorPlan": {"listenEnabled": True, **_set(_table(assistant, "monitorPlan")), "controlEnabled": True},
    }
    if not assistant.get("startSpeakingPlan") and _suits_livekit(_table(assistant, "transcriber")):
        fields["startSpeakingPlan"] = START_SPEAKING
    if to.llm_credential:
        fields["credentialIds"] = _credential_ids(_list(assistant, "credentialIds"), to)
    else:
        fields["credentials"] = _inline_credentials(_list(assistant, "credentials"), to.llm_key)
    return fields


def notes(assistant: Mapping[str, Any], to: Connection) -> list[str]:
    """Return what the owner should know of the change, beside the change itself."""
    found = []
    model = _table(assistant, "model")
    if model.get("metadataSendMode") == "off":
        found.append("metadataSendMode was off: Vapi would not name the call to the model; it becomes variable")
    for message in _list(assistant, "serverMessages"):
        if message in UNWANTED_MESSAGES:
            found.append(f"serverMessages loses {message}: {UNWANTED_MESSAGES[message]}")
    if not to.webhook_credential:
        name, _ = to.header
        found.append(f"Vapi makes no credential here: the secret travels in the header {name}, not as a signature")
    elif not assistant.get("credentialIds") and to.known:
        found.append("credentialIds now lists what the assistant may use; a credential made later must be added there")
    nameless = [_tool_name(tool) for tool in _list(model, "tools") if _asks_the_assistants_server(tool)]
    if nameless:
        found.append(f"{', '.join(nameless)}: without a server of its own, so Vapi asks this one to run it")
    if assistant.get("latestVersion"):
        found.append("this assistant has versions: see in the dashboard that calls use the one that is now changed")
    return found


def _server(old: Mapping[str, Any], to: Connection) -> dict[str, Any]:
    kept = dict(old)
    if not _is_same_host(old.get("url"), to.url):
        # What proves Vapi to the old server is nobody else's business.
        kept = {name: value for name, value in old.items() if name not in ("headers", "secret", "credentialId")}
    server = {"timeoutSeconds": TIMEOUT_S, "backoffPlan": BACKOFF, **_set(kept), "url": to.url + WEBHOOK_PATH}
    if to.webhook_credential:
        return {**server, "credentialId": to.webhook_credential}
    name, value = to.header
    return {**server, "headers": {**_table(server, "headers"), name: value}}


def _server_messages(old: Sequence[str]) -> list[str]:
    kept = [message for message in old if message not in UNWANTED_MESSAGES]
    return kept + [message for message in SERVER_MESSAGES if message not in kept]


def _model(old: Mapping[str, Any], to: Connection) -> dict[str, Any]:
    if old.get("provider") == CUSTOM_LLM:
        kept = _set(old)
        if not _is_same_host(old.get("url"), to.url):
            kept.pop("headers", None)
    else:
        # The name of another provider's model means nothing to ours.
        kept = {name: old[name] for name in _MODEL_KEPT if old.get(name) is not None}
    if kept.get("metadataSendMode") == "off":
        del kept["metadataSendMode"]
    ours = {"model": "voicemesh", "timeoutSeconds": TIMEOUT_S, "metadataSendMode": "variable"}
    return {**ours, **kept, "provider": CUSTOM_LLM, "url": to.url + LLM_PATH}


def _credential_ids(old: Sequence[str], to: Connection) -> list[str]:
    """Return what the assistant may use: the custom LLM's credential is ours, the others stay.

    An assistant without a list may use all that the organisation has; a list of ours alone would take its voice's key.
    """
    rivals = {known.id for known in to.known if known.provider == CUSTOM_LLM} | {to.llm_credential}
    # The webhooks' credential is named by the server itself.
    allowed = old if old else [known.id for known in to.known if known.id != to.webhook_credential]
    return [*(id_ for id_ in allowed if id_ not in rivals), to.llm_credential]


def _inline_credentials(old: Sequence[Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
    ours = llm_credential(key)
    others = [dict(inline) for inline in old if inline.get("provider") != CUSTOM_LLM]
    if any(inline.get("name") == ours["name"] for inline in old):
        return [dict(inline) for inline in old]
    if others:
        # Vapi shows them without their secrets, and sent back like that they would be emptied.
        raise CannotMerge(
            "this assistant holds credentials of its own, which would be lost; make a custom-llm credential in Vapi's "
            "dashboard and name it with --llm-credential-id"
        )
    return [ours]


def _set(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has a value: Vapi writes null for what is not set."""
    return {name: value for name, value in table.items() if value is not None}


def _table(assistant: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = assistant.get(name)
    return value if isinstance(value, Mapping) else {}


def _list(table: Mapping[str, Any], name: str) -> list[Any]:
    value = table.get(name)
    return value if isinstance(value, list) else []


def _is_same_host(old: object, new: str) -> bool:
    return isinstance(old, str) and urlsplit(old).netloc.lower() == urlsplit(new).netloc.lower()


def _suits_livekit(transcriber: Mapping[str, Any]) -> bool:
    """Livekit's endpointing reads English; with it set, Deepgram Flux stops using its own."""
    language = str(transcriber.get("language") or "en").lower()
    return language.startswith("en") and not str(transcriber.get("model") or "").lower().startswith("flux")


def _asks_the_assistants_server(tool: object) -> bool:
    return isinstance(tool, Mapping) and tool.get("type") == "function" and not tool.get("server")


def _tool_name(tool: Mapping[str, Any]) -> str:
    function = tool.get("function")
    return str(function.get("name") or "a tool") if isinstance(function, Mapping) else "a tool"
