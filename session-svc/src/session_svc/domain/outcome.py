"""How a call ended, in one word."""

from __future__ import annotations

OUTCOMES = (
    "completed",
    "caller_hung_up",
    "agent_ended",
    "transferred",
    "voicemail",
    "silence",
    "too_long",
    "failed_provider",
    "failed_mesh",
    "rejected",
    "abandoned",
)
"""The closed set."""

# Vapi names 627 reasons and adds more, so reasons are read by what they contain, the most telling part first.
_SIGNS = (
    ("custom-llm", "failed_mesh"),  # the custom LLM of a call is this mesh
    ("customer-did-not-answer", "rejected"),
    ("customer-busy", "rejected"),
    ("rejected", "rejected"),
    ("voicemail", "voicemail"),
    ("silence-timed-out", "silence"),
    ("exceeded-max-duration", "too_long"),
    ("forward", "transferred"),
    ("transfer", "transferred"),
    ("customer-ended-call", "caller_hung_up"),
    ("error", "failed_provider"),
    ("failed", "failed_provider"),
    ("fault", "failed_provider"),
    ("assistant-ended-call", "agent_ended"),
    ("assistant-said-end-call", "agent_ended"),
)


def outcome_of(reason: str) -> str:
    """Return the outcome for a provider's reason. An unknown or empty one means that the call ran to its end."""
    folded = reason.casefold()
    return next((outcome for sign, outcome in _SIGNS if sign in folded), "completed")
