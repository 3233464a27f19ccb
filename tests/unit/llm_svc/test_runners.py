"""Agents share models; one lives as long as an agent's version can ask for it, or somebody is asking."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from fakes.models import WELL, PlannedModel
from llm_svc.adapters.generation import Contender
from llm_svc.adapters.outbox import Outbox
from llm_svc.adapters.runners import Lent, Runners
from llm_svc.agent_model import ModelSpec
from llm_svc.config import Settings
from llm_svc.domain.breaker import Breaker
from llm_svc.domain.chat import Message, Prompt
from llm_svc.tool_wiring import Workshop
from llm_svc.wiring import Keyed, agents, runners
from svc_runtime.metrics import Counters


class Model(PlannedModel):
    def __init__(self, label: str) -> None:
        super().__init__(label, WELL)
        self.made_in = threading.current_thread()
        self.warmed = self.closed = False

    async def warm_up(self) -> None:
        self.warmed = True

    async def close(self) -> None:
        self.closed = True


class House:
    """Agents whose models are named by letters, the fallback second."""

    def __init__(self, **lineups: str) -> None:
        self.lineups = lineups
        self.kept = [tuple(lineup) for lineup in lineups.values()]
        self.made: list[Model] = []
        self.runners: Runners[str] = Runners(
            lambda agent: tuple(self.lineups[agent]), lambda: self.kept, self._make, token_gap_s=1.0, total_s=1.0
        )

    def _make(self, letter: str) -> Contender:
        self.made.append(Model(letter))
        return Contender(self.made[-1], Breaker(), 1.0)

    @property
    def open(self) -> list[str]:
        return [model.label for model in self.made if not model.closed]

    async def set(self, **lineups: str) -> None:
        """The files say this now, and no older version is kept."""
        self.lineups = lineups
        self.kept = [tuple(lineup) for lineup in lineups.values()]
        await self.runners.ready()


async def answer(lent: Lent) -> str:
    tries: list[object] = []
    return (await lent.runner.run(Prompt((Message("user", "Hi"),)), Outbox(), tries)).model  # type: ignore[arg-type]


async def test_agents_that_ask_for_the_same_model_share_it() -> None:
    house = House(one="ab", two="ab", three="cb")
    await house.runners.ready()
    assert sorted(house.open) == ["a", "b", "c"]
    assert all(model.made_in is not threading.main_thread() for model in house.made)
    assert [await answer(await house.runners.borrow(agent)) for agent in ("one", "two", "three")] == ["a", "a", "c"]
    await asyncio.sleep(0)
    assert all(model.warmed for model in house.made)


async def test_a_change_makes_what_is_new_and_closes_what_nobody_asks_for() -> None:
    house = House(one="ab")
    await house.runners.ready()
    await house.set(one="cb")
    assert sorted(house.open) == ["b", "c"]
    await house.set(one="c")
    assert house.open == ["c"]


async def test_an_older_version_that_is_kept_keeps_its_models() -> None:
    house = House(one="a")
    await house.runners.ready()
    house.lineups["older"] = "a"
    house.lineups["one"] = "b"
    house.kept = [("a",), ("b",)]
    await house.runners.ready()
    assert sorted(house.open) == ["a", "b"]
    assert await answer(await house.runners.borrow("older")) == "a"


async def test_a_model_in_use_is_closed_when_it_has_answered() -> None:
    house = House(one="a")
    keeping = asyncio.ensure_future(house.runners.keep_ready())
    first = await house.runners.borrow("one")
    second = await house.runners.borrow("one")
    await house.set(one="b")
    house.runners.give_back(first)
    await asyncio.sleep(0)
    assert sorted(house.open) == ["a", "b"]
    assert await answer(second) == "a"
    house.runners.give_back(second)
    async with asyncio.timeout(5):
        while house.open != ["b"]:  # noqa: ASYNC110 - the house tells nobody
            await asyncio.sleep(0.002)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_two_who_need_a_new_model_at_once_get_the_same_one() -> None:
    house = House(one="a")
    lent = await asyncio.gather(*(house.runners.borrow("one") for _ in range(5)))
    assert len({id(one.runner) for one in lent}) == 1
    assert len(house.made) == 1


async def test_a_hosted_model_can_be_made_while_others_talk(tmp_path: Path) -> None:
    """In a thread, as a reload does it: the client must not be bound to a loop when it is made."""
    (tmp_path / "agent.toml").write_text('[model]\nprovider = "openai"\nname = "m"\nbase_url = "http://127.0.0.1:1/v1"')
    settings = Settings(agent_file=str(tmp_path / "agent.toml"), agents_dir=str(tmp_path / "agents"))
    ready = runners(settings, agents(settings, Workshop(settings), Counters()))
    await ready.ready()
    lent = await ready.borrow("")
    assert lent.models == (Keyed(ModelSpec("openai", "m", base_url="http://127.0.0.1:1/v1")),)
    await ready.close()
