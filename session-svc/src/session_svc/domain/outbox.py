"""The commands of a call whose effect is not recorded yet."""

from __future__ import annotations

from collections.abc import Iterable

from session_svc.domain.call import Call
from session_svc.domain.commands import Command, Pending


def added(
    call: Call,
    command: Command,
    *,
    generation: int = 0,
    attachment_id: str = "",
    apart: bool = False,
    outlives: bool = False,
) -> Call:
    """Return the call with ``command`` to be done; for the rest see `Pending`."""
    entry = Pending(command.order.command_id, command.ingress_id, generation, attachment_id, apart, outlives)
    return call if entry in call.pending else call._replace(pending=(*call.pending, entry))


def settled(call: Call, *command_ids: str) -> Call:
    """Return the call without these."""
    return kept(call, [entry for entry in call.pending if entry.command_id not in command_ids])


def kept(call: Call, pending: Iterable[Pending]) -> Call:
    """Return the call with no others than ``pending``, which are some of its own."""
    rest = tuple(pending)
    return call if len(rest) == len(call.pending) else call._replace(pending=rest)
