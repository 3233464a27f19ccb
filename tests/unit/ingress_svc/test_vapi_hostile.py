"""A thousand mutations of every message: none is a defect of ours, and none changes what the next "stop" does.

They are made with dice of a fixed seed instead of hypothesis, which would spend minutes on so many; the properties of
test_vapi_torn.py look for the smallest case.
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from fakes.ingress import Answer, Edge, edge, signed
from fakes.streams import until
from fakes.vapi_samples import CALL, NAMES, sample, seed_shape
from ingress_svc.adapters import lean_json
from ingress_svc.domain.answers import Destination, Plan, planned
from ingress_svc.domain.asks import KIND, Ask, Kind
from ingress_svc.domain.chat import json_text
from ingress_svc.domain.knowledge import KnowledgeBase, Passage
from ingress_svc.domain.owner import question
from ingress_svc.domain.vapi import BadWebhook, decode

MUTATIONS = 1_000
PLAN = Plan(
    transfer=(Destination({"type": "number", "number": "+15005550199"}, words=("table",)),),
    handoff=(Destination({"type": "assistant", "assistantId": "a"}),),
    may_dial=True,
    blocked=frozenset({"15005550101"}),
    knowledge=KnowledgeBase([Passage("p", "a table for four")]),
)


def nested(depth: int, made_of: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = made_of(value)
    return value


HOSTILE: list[Any] = [
    *[
        None,
        True,
        False,
        0,
        -1,
        1 << 53,
        -(1 << 63),
        1e308,
        0.1,
        "",
        " ",
        "\x00",
        "a\nb\r\u2028",
        "é" * 300,
        "x" * 70_000,
    ],
    *[
        "\ufffe\U0010ffff",
        "${jndi:ldap://x}",
        "'; drop table calls; --",
        "{",
        '{"a": 1}',
        "[[[[",
        "null",
        "NaN",
        "9" * 400,
    ],
    *[
        [],
        {},
        [[]],
        [None],
        [{}],
        {"": ""},
        {"id": {}},
        {"role": "user"},
        [{"role": "user", "content": ["x"]}],
        list(range(500)),
    ],
    *[nested(200, lambda inner: [inner]), nested(200, lambda inner: {"a": inner}), {"__proto__": {"a": 1}}],
    *["user", "assistant", "started", "stopped", "ended", "final", "partial", "forward", "hang-up", "+15005550101"],
]
TYPES = sorted({sample(name)["message"].get("type") or sample(name)["type"] for name in NAMES})


def mutated(name: str, dice: random.Random, *, keeps_type: bool = False) -> Iterator[bytes]:
    original = orjson.dumps(sample(name))
    while True:
        body = orjson.loads(original)
        for _ in range(dice.choice([1, 1, 1, 2, 3, 6])):
            body = one_change(body, dice, keeps_type=keeps_type)
        yield orjson.dumps(seed_shape(body) if dice.random() < 0.2 and inner_is_whole(body) else body)


def inner_is_whole(body: Any) -> bool:
    return isinstance(body, dict) and isinstance(body.get("message"), dict)


def one_change(body: Any, dice: random.Random, *, keeps_type: bool) -> Any:
    """Drop, replace, retarget or repeat one field; mostly near the top, where the fields are that count."""
    holder, key = body, None
    for _ in range(dice.choice([1, 2, 2, 2, 3, 3, 4, 5, 8])):
        inner = holder[key] if key is not None else holder
        if not isinstance(inner, dict | list) or not inner:
            break
        holder, key = inner, dice.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
    if key is None:
        return dice.choice(HOSTILE)
    change = dice.random()
    if keeps_type and key == "type":
        return body
    if change < 0.25:
        del holder[key]
    elif change < 0.35 and not keeps_type and isinstance(holder, dict):
        holder["type"] = dice.choice(TYPES)
    elif change < 0.45 and isinstance(holder, dict):
        holder[dice.choice(["call", "messages", "role", "toolCallList", "id", "turn"])] = holder[key]
    else:
        holder[key] = copy.deepcopy(dice.choice(HOSTILE))
    return body


@pytest.mark.parametrize("name", NAMES)
def test_d11_a_thousand_mutations_of_each_message_are_read_answered_or_refused(name: str) -> None:
    dice = random.Random(name)
    mutations = mutated(name, dice)
    answered = 0
    for _ in range(MUTATIONS):
        raw = next(mutations)
        try:
            webhook = decode(lean_json.parse(raw), received_at_ms=1_787_428_900_000, header_call_id=None, raw=raw)
        except (BadWebhook, ValueError):
            continue
        answered += 1
        if isinstance(webhook.body, Ask):
            answer = planned(webhook.body, PLAN)
            # Whatever came in, what goes out is JSON in ASCII that any parser reads.
            assert answer is None or isinstance(orjson.loads(json_text(answer)), dict)
            kind = KIND[type(webhook.body)]
            raw = question(webhook.body, kind, event_id="e", call_id=webhook.call_id, at_ms=webhook.at_ms)
            assert orjson.loads(raw)["type"] == kind
    assert answered > MUTATIONS / 20


async def answers_to(at: Edge, names: list[str], times: int, *, keeps_type: bool) -> Counter[int]:
    dice = random.Random(11)
    answers: Counter[int] = Counter()
    for name in names:
        mutations = mutated(name, dice, keeps_type=keeps_type)
        for _ in range(times):
            raw = next(mutations)
            status, text, _ = await at.provider.post("/vapi/webhook", raw, signed(raw))
            assert status in (200, 400, 404), (name, raw[:300], text)
            answers[status] += 1
    return answers


async def test_d11_mutations_of_every_message_are_no_defect_and_other_calls_go_on() -> None:
    async with edge(control_hosts=()) as at:
        answers = await answers_to(at, NAMES, 25, keeps_type=False)
        await is_cut_by_stop(at, await begun(at, "call-1"), "call-1")
    assert answers[200] > answers[400] > 0


async def test_d11_mutated_asks_change_nothing_and_a_stop_on_their_call_still_cuts() -> None:
    asks = [name for name in NAMES if sample(name)["message"].get("type") in set(Kind)]
    async with edge(control_hosts=()) as at:
        answer = await begun(at, CALL)
        known = list(at.mesh.session.events)
        answers = await answers_to(at, asks, 50, keeps_type=True)
        assert list(at.mesh.session.events) == known
        assert len(at.ingress.calls) == 1
        await is_cut_by_stop(at, answer, CALL)
    assert answers[200] > answers[400] > 0


async def begun(at: Edge, call: str) -> Answer:
    at.mesh.llm.script.gate = 1
    answer = await at.provider.ask("a table for four", call={"id": call})
    await answer.some("Four, ")
    await until(lambda: "generation_started" in at.mesh.session.kinds(f"vapi:{call}"))
    return answer


async def is_cut_by_stop(at: Edge, answer: Answer, call: str) -> None:
    assert (await at.provider.partial("stop", call=call))[0] == 200
    assert (await answer.all()).text == "Four, "
