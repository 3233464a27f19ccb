"""Which agent a call gets, from the files as they are now; and what ingress itself does in each agent's name."""

from __future__ import annotations

from collections.abc import Callable

from svc_runtime.file_shelf import FileShelf, Version

from ingress_svc.agent_file import Agent
from ingress_svc.domain.agents import DEFAULT, Choice, facts_of
from ingress_svc.domain.answers import Destination, Plan
from ingress_svc.domain.owner_post import OwnersSystem
from ingress_svc.domain.slow_turn import SlowTurn


class Agents:
    """Asked once a call: what it chooses travels on as NAME@VERSION."""

    def __init__(self, shelf: FileShelf[Agent]) -> None:
        self._shelf = shelf
        self._current = shelf.current
        self._choice = _choice_of(shelf)

    def choose(self, body: Callable[[], object]) -> str:
        """Return the reference of the agent for the call that ``body`` is about.

        ``body`` is called only where there is a choice: it may have to be parsed first.
        """
        return self._chosen(body).reference

    def apology(self, reference: str) -> str:
        return self._shelf.of(reference).value.apology

    def slow_turn(self, reference: str) -> SlowTurn:
        return self._shelf.of(reference).value.slow_turn

    def owners_system(self, reference: str) -> OwnersSystem:
        """Return where the agent's owner is told of things."""
        return self._shelf.of(reference).value.owner

    def owners_system_now(self, reference: str) -> OwnersSystem:
        """Return the same by the newest version of the agent's file, while that names one: an address may have been
        put right after the call."""
        newest = self._shelf.current.get(reference.partition("@")[0])
        if newest is not None and newest.value.owner.url:
            return newest.value.owner
        return self.owners_system(reference)

    def transfers(self, reference: str) -> tuple[Destination, ...]:
        """Return where the agent may hand a call over."""
        return self._shelf.of(reference).value.plan.transfer

    def plan(self, reference: str, body: object) -> tuple[str, Plan]:
        """Return who answers when Vapi asks about a call, and what: the agent that has it or, where none has, the one
        that ``body``, parsed whole, leads to."""
        if reference:
            return reference, self._shelf.of(reference).value.plan
        version = self._chosen(lambda: body)
        return version.reference, version.value.plan

    def _chosen(self, body: Callable[[], object]) -> Version[Agent]:
        if self._current is not self._shelf.current:
            self._current, self._choice = self._shelf.current, _choice_of(self._shelf)
        name = DEFAULT if self._choice.is_trivial else self._choice.name_for(facts_of(body()))
        return self._current[name]


def _choice_of(shelf: FileShelf[Agent]) -> Choice:
    return Choice({name: version.value.match for name, version in shelf.current.items()})
