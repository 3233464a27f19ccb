"""Where ingress is asked. Whoever prints or fills in one of our URLs takes its path from here."""

WEBHOOK_PATHS = ("/vapi/webhook", "/webhook/vapi")
"""Ours, and the article's."""
LLM_PATHS = ("/vapi/llm", "/vapi/llm/chat/completions", "/vapi/llm/chat/completions/chat/completions")
"""As a base URL, completed by the client, and completed although it was complete: all three occur."""
TOKEN_PATH = "/oauth/token"

WEBHOOK_PATH = WEBHOOK_PATHS[0]
LLM_PATH = LLM_PATHS[0]
"""What Vapi is given; it completes the URL itself."""
COMPLETIONS_PATH = LLM_PATHS[1]
