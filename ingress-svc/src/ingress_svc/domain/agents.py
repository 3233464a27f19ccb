"""Which agent takes a call: by what is said of the call, against what each agent's file claims.

Metadata comes first, for it was given to this one call; then the assistant's id; then the number, which many share. Of
several agents whose metadata fits, the one that asks for most of it takes the call. An agent that none of this names
leaves the call to the default one. Numbers and metadata stay here: nothing else learns more than the agent's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

from ingress_svc.domain.fields import visible

DEFAULT = "default"

Scalar = str | int | float | bool
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_SPACING = re.compile(r"[\s().-]+")
_NUMBERS = ("number", "twilioPhoneNumber")
"""Where a phone number's object has its number; the second in one that was given with the call."""


@dataclass(frozen=True, slots=True)
class Match:
    """What an agent claims: any one of its numbers or assistant ids, or all of its metadata."""

    numbers: frozenset[str] = field(default=frozenset(), repr=False)
    """E.164: those that are called."""
    assistant_ids: frozenset[str] = frozenset()
    metadata: Mapping[str, Scalar] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class Facts:
    """What a webhook or a request says of its call, as far as an agent may claim it. Private, so it is not printed."""

    metadata: Mapping[str, object]
    assistant_ids: tuple[str, ...]
    numbers: tuple[str, ...]


class Clash(NamedTuple):
    """Two agents that claim the same call."""

    one: str
    other: str
    key: str
    """numbers, assistant_ids or metadata."""


class Choice:
    """The claims of all agents, ready to be asked. They must not clash."""

    def __init__(self, matches: Mapping[str, Match]) -> None:
        self._by_id = {claimed: name for name, match in matches.items() for claimed in match.assistant_ids}
        self._by_number = {claimed: name for name, match in matches.items() for claimed in match.numbers}
        by_metadata = [(name, match.metadata) for name, match in matches.items() if match.metadata]
        self._by_metadata = sorted(by_metadata, key=lambda claim: -len(claim[1]))

    @property
    def is_trivial(self) -> bool:
        """Whether every call goes to the default agent."""
        return not (self._by_id or self._by_number or self._by_metadata)

    def name_for(self, facts: Facts) -> str:
        """Return the name of the agent that takes the call."""
        for name, wanted in self._by_metadata:
            if all(_same(facts.metadata.get(key), value) for key, value in wanted.items()):
                return name
        by_id = (self._by_id[one] for one in facts.assistant_ids if one in self._by_id)
        by_number = (self._by_number[one] for one in facts.numbers if one in self._by_number)
        return next(by_id, None) or next(by_number, DEFAULT)


def facts_of(body: object) -> Facts:
    """Return what a webhook or a custom-LLM request, parsed whole, says of its call. Never fails.

    Of metadata that is given twice, what was given to the call holds.
    """
    body = _object(body)
    inner = body.get("message")
    fields = inner if isinstance(inner, dict) else body
    call = _object(fields.get("call") or body.get("call"))
    assistant = _object(fields.get("assistant"))
    metadata = {
        **_object(assistant.get("metadata")),
        **_object(fields.get("metadata")),
        **_object(_object(call.get("assistantOverrides")).get("metadata")),
        **_object(call.get("metadata")),
    }
    ids = (visible(value) for value in (call.get("assistantId"), assistant.get("id")))
    phones = (_object(fields.get("phoneNumber")), _object(call.get("phoneNumber")))
    numbers = (e164(phone.get(key)) for phone in phones for key in _NUMBERS)
    return Facts(metadata, tuple(filter(None, ids)), tuple(filter(None, numbers)))


def e164(value: object) -> str:
    """Return a phone number without spaces, dots, dashes and brackets; "" for what is none."""
    bare = _SPACING.sub("", value) if isinstance(value, str) else ""
    return bare if _E164.fullmatch(bare) else ""


def clashes(matches: Mapping[str, Match]) -> Iterator[Clash]:
    """Yield the agents of which no rule says who comes first."""
    for (one, left), (other, right) in combinations(matches.items(), 2):
        if left.numbers & right.numbers:
            yield Clash(one, other, "numbers")
        if left.assistant_ids & right.assistant_ids:
            yield Clash(one, other, "assistant_ids")
        if left.metadata and len(left.metadata) == len(right.metadata) and _may_meet(left.metadata, right.metadata):
            yield Clash(one, other, "metadata")


def _may_meet(one: Mapping[str, Scalar], other: Mapping[str, Scalar]) -> bool:
    """Whether a call can have all of both."""
    return all(_same(other[key], value) for key, value in one.items() if key in other)


def _same(found: object, wanted: Scalar) -> bool:
    # True == 1 in Python, and in no JSON.
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
