from __future__ import annotations

from typing import Any

import pytest
from fakes import vapi_api
from hypothesis import given, settings
from hypothesis import strategies as st
from ingress_svc.domain.schemes import VAPI_DEFAULT
from voicemesh_cli import vapi_merge
from voicemesh_cli.vapi_diff import changed, changes, not_kept
from voicemesh_cli.vapi_merge import CannotMerge, Connection, Credential, merged, notes
from voicemesh_cli.vapi_proof import Proof

URL = "https://voice.example.com"
TO = Connection(
    URL,
    webhook_credential="hook",
    llm_credential="llm",
    known=(Credential("voice", "11labs"), Credential("rival", "custom-llm", "other"), Credential("hook", "custom")),
)
INLINE = Connection(URL, header=("X-Vapi-Secret", "s" * 32), llm_key="k" * 32)


def _merged(to: Connection = TO, **over: Any) -> dict[str, Any]:
    assistant = {**vapi_api.assistant(), **over}
    return merged({name: value for name, value in assistant.items() if value is not None}, to)


def test_the_model_becomes_ours_and_keeps_what_the_owner_wrote() -> None:
    old = vapi_api.assistant()["model"]
    model = _merged()["model"]
    assert (model["provider"], model["url"]) == ("custom-llm", f"{URL}/vapi/llm")
    assert {name: model[name] for name in ("messages", "tools", "toolIds", "temperature")} == {
        name: old[name] for name in ("messages", "tools", "toolIds", "temperature")
    }
    assert "fallbackModels" not in model
    assert model["model"] == "voicemesh"


def test_an_assistant_without_anything_gets_all_that_it_needs() -> None:
    fields = merged({"id": "a"}, TO)
    assert fields["server"]["credentialId"] == "hook"
    assert fields["model"]["metadataSendMode"] == "variable"
    assert set(fields["serverMessages"]) == set(vapi_merge.SERVER_MESSAGES)
    assert fields["firstMessageInterruptionsEnabled"] is True


def test_merging_what_was_merged_changes_nothing() -> None:
    once = {**vapi_api.assistant(), **_merged()}
    assert {name: once[name] for name in merged(once, TO)} == merged(once, TO)
    inline = {**vapi_api.assistant(), **_merged(INLINE)}
    assert {name: inline[name] for name in merged(inline, INLINE)} == merged(inline, INLINE)


_WORD = st.text("ab.*_", max_size=5)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | _WORD,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(_WORD, below, max_size=3),
    max_leaves=8,
)
_FIELDS = ("headers", "messages", "tools", "secret", "numWords", "credentialId", "fallbackModels", "metadataSendMode")
_TABLE = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "url": st.sampled_from([f"{URL}/x", "https://old.example.com", "not a url"]),
        "provider": st.sampled_from(["custom-llm", "openai"]),
        **dict.fromkeys(_FIELDS, _JSON),
    },
)
_NAMES = st.none() | st.lists(
    st.sampled_from(["transcript", "model-output", "rival", "voice", "llm"]), unique=True, max_size=4
)
_ASSISTANT = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("server", "model", "monitorPlan", "stopSpeakingPlan", "startSpeakingPlan"), _TABLE),
        **dict.fromkeys(("serverMessages", "credentialIds"), _NAMES),
        "transcriber": _TABLE,
        "firstMessageInterruptionsEnabled": st.none() | st.booleans(),
    },
)


@settings(max_examples=300)
@given(_ASSISTANT, st.sampled_from([TO, INLINE]))
def test_whatever_vapi_holds_connecting_twice_changes_nothing_more(assistant: dict[str, Any], to: Connection) -> None:
    fields = merged(assistant, to)
    assert (changed(assistant, fields) == {}) == (changes(assistant, fields) == [])
    once = {**assistant, **fields}
    assert changed(once, merged(once, to)) == {}
    assert not_kept(fields, once) == []
    notes(assistant, to)


def test_metadata_is_never_off_because_then_vapi_would_not_name_the_call() -> None:
    model = {"provider": "custom-llm", "url": f"{URL}/vapi/llm", "model": "m", "metadataSendMode": "off"}
    assert _merged(model=model)["model"]["metadataSendMode"] == "variable"
    assert any("metadataSendMode was off" in note for note in notes({"model": model}, TO))
    assert _merged(model={**model, "metadataSendMode": "destructured"})["model"]["metadataSendMode"] == "destructured"


def test_what_proves_vapi_to_the_old_server_is_not_sent_to_ours() -> None:
    server = _merged(server={"url": "https://old/", "secret": "x", "credentialId": "o", "headers": {"A": "b"}})[
        "server"
    ]
    assert "secret" not in server
    assert "headers" not in server
    assert server["credentialId"] == "hook"
    model = {"provider": "custom-llm", "url": "https://old/v1", "model": "m", "headers": {"x-key": "b"}}
    assert "headers" not in _merged(model=model)["model"]


def test_what_the_owner_set_for_our_own_server_stays() -> None:
    plan = {"type": "fixed", "maxRetries": 1, "baseDelaySeconds": 2}
    server = {"url": f"{URL}/old/path", "timeoutSeconds": 9, "headers": {"x-tenant": "t"}, "backoffPlan": plan}
    assert _merged(server=server)["server"] == {**server, "url": f"{URL}/vapi/webhook", "credentialId": "hook"}


def test_the_plans_are_filled_only_where_nothing_is_set() -> None:
    assert _merged()["stopSpeakingPlan"] == {"numWords": 2, "voiceSeconds": 0.2, "backoffSeconds": 1}
    assert _merged(stopSpeakingPlan=None)["stopSpeakingPlan"] == vapi_merge.STOP_SPEAKING
    assert "startSpeakingPlan" not in _merged(startSpeakingPlan={"waitSeconds": 1})
    assert _merged()["startSpeakingPlan"] == vapi_merge.START_SPEAKING


@pytest.mark.parametrize(
    "transcriber", [{"provider": "deepgram", "model": "flux-general-en"}, {"provider": "deepgram", "language": "es"}]
)
def test_endpointing_of_its_own_or_of_another_language_is_left_alone(transcriber: dict[str, str]) -> None:
    assert "startSpeakingPlan" not in _merged(transcriber=transcriber)


def test_calls_can_be_controlled_and_whether_they_can_be_listened_to_is_the_owners_word() -> None:
    assert _merged(monitorPlan={"listenEnabled": False, "controlEnabled": False})["monitorPlan"] == {
        "listenEnabled": False,
        "controlEnabled": True,
    }
    assert _merged()["monitorPlan"] == {"listenEnabled": True, "controlEnabled": True}


def test_an_assistant_that_could_use_every_credential_still_can_and_asks_only_us_for_words() -> None:
    assert _merged()["credentialIds"] == ["voice", "llm"]
    assert _merged(credentialIds=["rival", "voice"])["credentialIds"] == ["voice", "llm"]
    assert _merged(credentialIds=["llm", "voice"])["credentialIds"] == ["voice", "llm"]


def test_messages_that_would_hurt_are_dropped_and_the_owners_others_stay() -> None:
    messages = ["phone-call-control", "model-output", "assistant.speechStarted", "speech-update"]
    kept = _merged(serverMessages=messages)["serverMessages"]
    assert kept[:2] == ["assistant.speechStarted", "speech-update"]
    assert "transcript" in kept
    assert not {"phone-call-control", "model-output"} & set(kept)
    assert any("hang up" in note for note in notes({"serverMessages": messages}, TO))


def test_without_credentials_the_secrets_stand_in_the_assistant() -> None:
    fields = _merged(INLINE)
    assert fields["server"]["headers"] == {"X-Vapi-Secret": "s" * 32}
    assert [(c["provider"], c["apiKey"]) for c in fields["credentials"]] == [("custom-llm", "k" * 32)]
    assert "credentialIds" not in fields


def test_inline_credentials_of_others_are_never_emptied() -> None:
    with pytest.raises(CannotMerge, match="--llm-credential-id"):
        _merged(INLINE, credentials=[{"provider": "11labs"}])


def test_a_tool_without_a_server_is_told() -> None:
    tools = [{"type": "function", "function": {"name": "book"}}, {"type": "endCall"}]
    assert any(note.startswith("book: without a server") for note in notes({"model": {"tools": tools}}, TO))


def test_names_of_credentials_fit_and_change_with_the_secret() -> None:
    names = {vapi_merge.credential_name("webhooks", secret) for secret in ("a", "b")}
    assert len(names) == 2
    assert all(len(name) <= 40 for name in names)


def test_vapi_signs_as_ingress_verifies() -> None:
    plan = vapi_merge.webhook_credential(Proof(VAPI_DEFAULT, "s"), URL)["authenticationPlan"]
    assert plan["algorithm"] == VAPI_DEFAULT.algorithm
    assert plan["signatureHeader"] == VAPI_DEFAULT.signature_header
    assert plan["timestampHeader"] == VAPI_DEFAULT.timestamp_header
    assert plan["payloadFormat"] == VAPI_DEFAULT.payload_format
    assert plan["signatureEncoding"] == VAPI_DEFAULT.encoding
