"""How a call ended, in one word."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_svc.domain.outcome import OUTCOMES, outcome_of

REASONS = {
    "completed": ["", "call.in-progress.sip-completed-call", "manually-canceled", "a-reason-of-next-year"],
    "caller_hung_up": [
        "customer-ended-call",
        "customer-ended-call-before-warm-transfer",
        "customer-ended-call-during-transfer",
        "call.ringing.sip-inbound-caller-hungup-before-call-connect",
    ],
    "agent_ended": [
        "assistant-ended-call",
        "assistant-ended-call-after-message-spoken",
        "assistant-said-end-call-phrase",
    ],
    "transferred": ["assistant-forwarded-call", "assistant-request-returned-forwarding-phone-number"],
    "voicemail": ["voicemail"],
    "silence": ["silence-timed-out"],
    "too_long": ["exceeded-max-duration"],
    "failed_provider": [
        "call.in-progress.error-vapifault-worker-died",
        "call.in-progress.error-transfer-failed",
        "call.in-progress.error-warm-transfer-silence-timeout",
        "call.in-progress.error-providerfault-outbound-sip-403-forbidden",
        "pipeline-error-openai-llm-failed",
        "twilio-failed-to-connect-call",
        "phone-call-provider-closed-websocket",
        "vonage-disconnected",
        "worker-shutdown",
        "assistant-join-timed-out",
        "assistant-not-found",
    ],
    "failed_mesh": [
        "pipeline-error-custom-llm-500-server-error",
        "call.in-progress.error-vapifault-custom-llm-llm-failed",
        "assistant-request-failed",
        "assistant-request-returned-no-assistant",
    ],
    "rejected": [
        "customer-did-not-answer",
        "customer-did-not-give-microphone-permission",
        "customer-busy",
        "vonage-rejected",
        "twilio-reported-customer-misdialed",
    ],
}
"""Vapi's reasons, a few of each sort."""


@pytest.mark.parametrize(
    ("reason", "outcome"), [(reason, outcome) for outcome, reasons in REASONS.items() for reason in reasons]
)
def test_a_reason_is_told_in_one_word(reason: str, outcome: str) -> None:
    assert outcome_of(reason) == outcome
    assert outcome_of(reason.upper()) == outcome


@settings(deadline=None)
@given(st.text())
def test_every_reason_ends_in_the_closed_set(reason: str) -> None:
    assert outcome_of(reason) in OUTCOMES


def test_every_word_of_the_closed_set_has_a_reason_but_the_one_that_is_ours() -> None:
    assert set(OUTCOMES) == {*REASONS, "abandoned"}
