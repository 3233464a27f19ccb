"""Runs one generation: asks the model, falls back once before the first token, and keeps the deadlines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import NamedTuple

from svc_runtime import logs

from llm_svc.adapters.deadline import deadline_at
from llm_svc.adapters.model import Model
from llm_svc.adapters.outbox import Outbox
from llm_svc.domain.breaker import Breaker, Permit
from llm_svc.domain.chat import End, Finish, Prompt
from llm_svc.domain.choice import Failure, Kind, ProviderError, Role, counts_against, is_fatal, next_try


@dataclass(frozen=True, slots=True)
class Contender:
    """A model that may be asked."""

    model: Model
    breaker: Breaker
    first_token_s: float


@dataclass(slots=True)
class Try:
    """What became of one request to a provider; for its span."""

    model: str
    role: Role
    start_ns: int
    end_ns: int = 0
    first_token_us: int = 0
    """From the request to the first token; 0 when none came."""
    failure: Failure | None = None


class Ended(NamedTuple):
    """A generation that said something, or had nothing to say."""

    end: End
    model: str
    fell_back: bool
    first_token_us: int
    """From the first request to any provider, failed ones included: what of the caller's wait is not ours."""


class NoAnswer(Exception):
    """No model gave a first token."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        super().__init__("; ".join(f"{failure.model} {failure.reason}" for failure in failures))
        self.failures = tuple(failures)


class Runner:
    """Asks the agent's models."""

    def __init__(
        self, primary: Contender, fallback: Contender | None = None, *, token_gap_s: float, total_s: float
    ) -> None:
        self._contenders = {Role.PRIMARY: primary} | ({Role.FALLBACK: fallback} if fallback else {})
        self._token_gap_s = token_gap_s
        self._total_s = total_s

    async def run(self, prompt: Prompt, out: Outbox, tries: list[Try]) -> Ended:
        """Put the answer to ``prompt`` into ``out`` and return how it ended; ``tries`` gets every request made.

        Raises NoAnswer. Cancelling it cancels the provider's request.
        """
        begin_s = asyncio.get_running_loop().time()
        failures: list[Failure] = []
        try:
            while role := next_try(failures, has_fallback=Role.FALLBACK in self._contenders):
                attempt = Try(self._contenders[role].model.label, role, time.time_ns())
                tries.append(attempt)
                end = await self._ask(self._contenders[role], prompt, out, attempt, begin_s + self._total_s)
                if end is not None:
                    waited_us = attempt.first_token_us and (
                        attempt.first_token_us + (attempt.start_ns - tries[0].start_ns) // 1_000
                    )
                    return Ended(end, attempt.model, role is Role.FALLBACK, waited_us)
                assert attempt.failure is not None
                failures.append(attempt.failure)
            raise NoAnswer(failures)
        finally:
            out.close()

    async def _ask(
        self, contender: Contender, prompt: Prompt, out: Outbox, attempt: Try, end_at_s: float
    ) -> End | None:
        """Return the end of the answer, or None after a failure before the first token."""
        breaker = contender.breaker
        permit = breaker.enter(time.monotonic())
        if permit is None:
            attempt.end_ns = attempt.start_ns
            attempt.failure = Failure(attempt.model, Kind.BREAKER_OPEN, "is left alone for now: it kept failing")
            return None
        settled = False
        try:
            end = await self._stream(contender, prompt, out, attempt, end_at_s)
            breaker.succeeded(permit)
            settled = True
            return end
        except ProviderError as error:
            settled = True
            self._note_failure(contender, permit, attempt, error)
            return End(Finish.FAILED) if attempt.first_token_us else None
        finally:
            attempt.end_ns = time.time_ns()
            if not settled:
                # Cancelled: a provider that was already talking was well, one that was not may have been or not.
                breaker.succeeded(permit) if attempt.first_token_us else breaker.abandoned(permit)

    async def _stream(self, contender: Contender, prompt: Prompt, out: Outbox, attempt: Try, end_at_s: float) -> End:
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        try:
            async with (
                deadline_at(min(begin_s + contender.first_token_s, end_at_s)) as deadline,
                aclosing(contender.model.stream(prompt)) as pieces,
            ):
                async for piece in pieces:
                    if isinstance(piece, End):
                        return piece
                    now_s = loop.time()
                    if not attempt.first_token_us:
                        attempt.first_token_us = max(1, round((now_s - begin_s) * 1e6))
                    out.put(piece)
                    if out.full:
                        deadline.move(end_at_s)
                        await out.room()
                        now_s = loop.time()
                    deadline.move(min(now_s + self._token_gap_s, end_at_s))
        except TimeoutError:
            raise ProviderError(Kind.TIMEOUT, self._late(contender, attempt, loop.time() >= end_at_s)) from None
        raise ProviderError(Kind.BAD_STREAM, "ended its stream without a reason")

    def _late(self, contender: Contender, attempt: Try, total: bool) -> str:
        if total:
            return f"was not done after {self._total_s:g} s"
        if attempt.first_token_us:
            return f"fell silent for {self._token_gap_s:g} s"
        return f"gave no token within {contender.first_token_s:g} s"

    def _note_failure(self, contender: Contender, permit: Permit, attempt: Try, error: ProviderError) -> None:
        kind = error.kind
        attempt.failure = Failure(attempt.model, kind, error.reason)
        opened = False
        if counts_against(kind):
            opened = contender.breaker.failed(permit, time.monotonic(), fatal=is_fatal(kind))
        else:
            contender.breaker.abandoned(permit)
        fields = {"model": attempt.model, "kind": kind.value, "reason": error.reason}
        if kind in (Kind.MISCONFIGURED, Kind.REJECTED):
            # Somebody has to mend these; the others pass, or show in the breaker.
            logs.get().error("llm.provider.failed", **fields, after_first_token=attempt.first_token_us > 0)
        else:
            logs.get().warning("llm.provider.failed", **fields, after_first_token=attempt.first_token_us > 0)
        if opened:
            logs.get().error("llm.breaker.opened", **fields)
