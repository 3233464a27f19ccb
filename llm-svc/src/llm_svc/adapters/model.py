"""What every provider's adapter looks like from outside."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from llm_svc.domain.chat import End, Piece, Prompt


class Model(Protocol):
    """One model of one provider. ``tests/contract/test_llm_conformance.py`` says what it must keep."""

    label: str
    """Provider and name, for example ``openai/gpt-4.1-mini``."""

    def stream(self, prompt: Prompt) -> AsyncGenerator[Piece | End]:
        """Yield the answer piece by piece as it comes, then exactly one `End`.

        Raises ProviderError when the provider fails, before or after pieces. Cancelling the task that iterates, or
        closing the generator, closes the provider's request at once.
        """

    async def warm_up(self) -> None:
        """Open a connection, so that the first caller does not wait for it. Failing is only logged."""

    async def close(self) -> None:
        """Close the connections that are kept open."""
