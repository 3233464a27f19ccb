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
    ("assistant-request-returned-forwarding", "transferred"),
    ("assistant-request", "failed_mesh"),  # and so is the server that is asked for an assistant
    ("customer-did-not", "rejected"),
    ("customer-busy", "rejected"),
    ("misdialed", "rejected"),
    ("rejected", "rejected"),
    ("voicemail", "voicemail"),
    ("silence-timed-out", "silence"),
    ("exceeded-max-duration", "too_long"),
    ("customer-ended-call", "caller_hung_up"),  # also before, during and after a transfer
    ("caller-hungup", "caller_hung_up"),
    ("error", "failed_provider"),  # also of a transfer
    ("failed", "failed_provider"),
    ("fault", "failed_provider"),
    ("shutdown", "failed_provider"),
    ("timed-out", "failed_provider"),
    ("closed-websocket", "failed_provider"),
    ("disconnected", "failed_provider"),
    ("no-server-available", "failed_provider"),
    ("not-found", "failed_provider"),
    ("forward", "transferred"),
    ("transfer", "transferred"),
    ("assistant-ended-call", "agent_ended"),
    ("assistant-said-end-call", "agent_ended"),
)


def outcome_of(reason: str) -> str:
    """Return the outcome for a provider's reason. An unknown or empty one means that the call ran to its end."""
    folded = reason.casefold()
    return next((outcome for sign, outcome in _SIGNS if sign in folded), "completed")
