"""What an agent file says of the apology and of the calls that it claims, and what two of them must not both claim."""

from __future__ import annotations

from pathlib import Path

import pytest
from ingress_svc.adapters.agents import Agents
from ingress_svc.agent_file import Agent, agent_in, agents
from ingress_svc.config import APOLOGY, Config
from ingress_svc.domain.agents import Match
from ingress_svc.domain.owner_post import OwnersSystem
from svc_runtime.config import ConfigError
from svc_runtime.metrics import Counters
from svc_runtime.toml_file import TomlFile


def of(text: str, name: str = "default") -> Agent:
    file = TomlFile.parse(text, name="a.toml")
    agent = agent_in(name, file)
    file.check()
    return agent


def told(text: str, name: str = "sales") -> list[str]:
    with pytest.raises(ConfigError) as raised:
        of(text, name)
    return str(raised.value).splitlines()


def test_the_apology_is_the_files_or_ours() -> None:
    assert of('[agent]\napology = "One moment."\nprompt = "Be brief."').apology == "One moment."
    assert of("[model]\n[barge_in]").apology == of("").apology == APOLOGY


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[agent]\napology = " "', '2: [agent] apology = " " is not a text in quotes, not an empty one'),
        ('[agent]\napologies = "x"', "2: [agent] apologies is not known; did you mean apology?"),
        ("[bargein]", "1: [bargein] is not known; did you mean barge_in?"),
        ("[match]", "1: [match] is not for the default agent, which takes what no other claims"),
    ],
)
def test_a_mistake_is_told_with_file_line_key_and_what_is_right(text: str, problem: str) -> None:
    assert told(text, "default") == [f"a.toml:{problem}"]


def test_what_an_agent_claims_is_read() -> None:
    text = """
    [match]
    numbers = ["+15005550006", "+1 (500) 555-0007"]
    assistant_ids = ["9c2f7a10-5b1e"]
    metadata = { tenant = "trattoria", tier = 2, vip = true }
    """
    assert of(text, "sales").match == Match(
        frozenset({"+15005550006", "+15005550007"}),
        frozenset({"9c2f7a10-5b1e"}),
        {"tenant": "trattoria", "tier": 2, "vip": True},
    )
    assert of('[match.metadata]\ntenant = "x"', "sales").match.metadata == {"tenant": "x"}


NO_NUMBERS = "[match] numbers is not a list of numbers in E.164, such as +15005550006"
NO_METADATA = "[match] metadata is not a table with at least one pair, each a text, a number, true or false"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", [" [match] claims no call; give it one of numbers, assistant_ids, metadata"]),
        ("[match]", ["1: [match] claims no call; give it one of numbers, assistant_ids, metadata"]),
        ('[match]\nnumbers = ["5550006"]', [f"2: {NO_NUMBERS}"]),
        ('[match]\nnumbers = "+15005550006"', [f"2: {NO_NUMBERS}"]),
        ("[match]\nnumbers = []", [f"2: {NO_NUMBERS}"]),
        (
            '[match]\n\nassistant_ids = ["two words"]',
            ["3: [match] assistant_ids is not a list of assistant ids as Vapi shows them"],
        ),
        ("[match]\nmetadata = {}", [f"2: {NO_METADATA}"]),
        ("[match.metadata]\ntenant = ['x']", [f"1: {NO_METADATA}"]),
        (
            '[match]\nnumber = ["+15005550006"]\nmetadata = {a = 1}',
            ["2: [match] number is not known; did you mean numbers?"],
        ),
    ],
)
def test_a_claim_that_cannot_be_met_is_refused_and_no_number_is_repeated(text: str, problems: list[str]) -> None:
    assert told(text) == [f"a.toml:{problem}" for problem in problems]


def shelf_of(tmp_path: Path, **files: str) -> None:
    folder = tmp_path / "agents"
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    agents(Config(agent_file=str(tmp_path / "agent.toml"), agents_dir=str(folder)), Counters())


@pytest.mark.parametrize(
    ("one", "other", "problem"),
    [
        (
            '[match]\nnumbers = ["+15005550006"]',
            '[agent]\n\n[match]\nnumbers = [\n"+15005550007", "+1-500-555-0006"]',
            "{other}:4: [match] numbers names one that is claimed at {one}:2; leave it to one of the two agents",
        ),
        (
            '[match]\nassistant_ids = ["a", "b"]',
            '[match]\nassistant_ids = ["b"]',
            "{other}:2: [match] assistant_ids names one that is claimed at {one}:2; leave it to one of the two agents",
        ),
        (
            '[match]\nmetadata = {tenant = "x"}',
            '[match.metadata]\nlanguage = "es"',
            "{other}:1: [match] metadata could be asked for by the same call as {one}:2; add a pair to one of them",
        ),
    ],
)
def test_two_agents_that_claim_the_same_call_stop_the_start(tmp_path: Path, one: str, other: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        shelf_of(tmp_path, one=one, other=other)
    folder = tmp_path / "agents"
    assert str(raised.value) == problem.format(one=folder / "one.toml", other=folder / "other.toml")


def test_claims_that_no_call_can_make_both_are_no_trouble(tmp_path: Path) -> None:
    shelf_of(
        tmp_path,
        one='[match]\nmetadata = {tenant = "x"}',
        two='[match]\nmetadata = {tenant = "y"}',
        three='[match]\nmetadata = {tenant = "x", language = "es"}',
        four='[match]\nnumbers = ["+15005550006"]',
    )


def test_where_the_owner_is_told_is_read_and_session_svc_reads_the_rest() -> None:
    text = '[owner]\nurl = "https://crm.example.com/v"\ninternal = true\ntranscript = false\nreports = true'
    assert of(text).owner == OwnersSystem("https://crm.example.com/v", internal=True)
    assert of("").owner == OwnersSystem()
    assert told("[owner]\ninternal = true", "default") == ["a.toml:1: [owner] needs a url"]


def test_an_owners_system_cannot_be_told_without_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('[owner]\nurl = "https://crm.example.com/v"')
    with pytest.raises(ConfigError, match="VOICEMESH_OWNER_SECRET is not set"):
        agents(Config(agent_file=str(path), agents_dir=str(tmp_path / "none")), Counters())


def test_a_report_goes_where_the_file_says_now_and_without_that_where_it_said_of_the_call(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('[owner]\nurl = "https://wrong.example.com/v"')
    shelf = agents(Config(agent_file=str(path), agents_dir=str(tmp_path / "none"), owner_secret="s"), Counters())
    chooser, reference = Agents(shelf), shelf.current["default"].reference
    for text, url in [
        ('[owner]\nurl = "https://right.example.com/v"', "https://right.example.com/v"),
        ("", "https://wrong.example.com/v"),
    ]:
        path.write_text(text)
        shelf.look()
        assert chooser.owners_system_now(reference).url == url
        assert chooser.owners_system(reference).url == "https://wrong.example.com/v"
