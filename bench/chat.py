"""Custom-LLM requests as Vapi sends them."""

from __future__ import annotations

import json
from collections.abc import Sequence

Message = dict[str, str]

SYSTEM: Message = {"role": "system", "content": "You book tables. Keep answers short."}


def request(messages: Sequence[Message], *, call_id: str, secret: str) -> bytes:
    """Return the whole HTTP request for a streamed answer."""
    body = json.dumps({"model": "bench", "stream": True, "messages": list(messages), "call": {"id": call_id}}).encode()
    head = (
        "POST /vapi/llm/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {secret}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
