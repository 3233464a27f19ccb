"""The table [vapi] is read or refused as a whole, and every problem says what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.ingress import ROOT
from ingress_svc.agent_file import agents
from ingress_svc.config import Config
from ingress_svc.domain.answers import NOT_SET_UP, Plan, planned
from ingress_svc.domain.asks import AssistantRequest, HandoffRequest, Kind, KnowledgeRequest, PredialRequest
from ingress_svc.domain.asks import TransferRequest as Transfer
from ingress_svc.domain.chat import ChatMessage
from ingress_svc.vapi_settings import MOST_FILE_BYTES, read_plan
from svc_runtime.config import ConfigError
from svc_runtime.metrics import Counters
from svc_runtime.toml_file import TomlFile

SAID = (ChatMessage("user", "the bill, please"),)


def read(text: str, folder: Path = Path()) -> Plan:
    file = TomlFile.parse(text, name="agent.toml")
    found = read_plan(file.root, folder)
    file.check()
    return found


def plan(config: Config) -> Plan:
    return agents(config, Counters()).of("").value.plan


def problems(text: str, folder: Path = Path()) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(text, folder)
    return [line.partition(": ")[2] for line in str(raised.value).splitlines()]


def test_without_the_table_everything_is_as_safe_as_can_be() -> None:
    assert read("") == Plan()
    assert plan(Config(vapi_secrets="s", agent_file=str(ROOT / "agent.toml"))) == Plan()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('assistant_id = "a"', {"assistantId": "a"}),
        (
            'assistant_id = "a"\n[vapi.assistant_request.overrides]\nfirstMessage = "Hi"',
            {"assistantId": "a", "assistantOverrides": {"firstMessage": "Hi"}},
        ),
        ('squad_id = "s"', {"squadId": "s"}),
        ('[vapi.assistant_request.assistant.model]\nprovider = "x"', {"assistant": {"model": {"provider": "x"}}}),
        (
            'forward_to = "+15005550199"\nforward_message = "One moment."',
            {"destination": {"type": "number", "number": "+15005550199", "message": "One moment."}},
        ),
        (
            'forward_to = "sip:desk@example.com"',
            {"destination": {"type": "sip", "sipUri": "sip:desk@example.com", "message": ""}},
        ),
        ('error = "We are closed."', {"error": "We are closed."}),
        ("", {"error": NOT_SET_UP}),
    ],
)
def test_an_inbound_call_is_answered_by_one_of_what_vapi_takes(text: str, answer: object) -> None:
    assert planned(AssistantRequest(), read(f"[vapi.assistant_request]\n{text}")) == answer


def test_destinations_are_chosen_by_words_and_say_something_of_their_own() -> None:
    found = read(
        """
        [vapi.transfer]
        say = "One moment."
        [[vapi.transfer.destinations]]
        to = "+15005550199"
        words = ["bill"]
        say = "To accounting."
        [[vapi.transfer.destinations]]
        assistant = "Robin"
        [[vapi.handoff.destinations]]
        assistant_id = "a"
        result = "done"
        """
    )
    assert planned(Transfer(SAID), found) == {
        "destination": {"type": "number", "number": "+15005550199"},
        "message": {"type": "request-start", "content": "To accounting."},
    }
    assert planned(Transfer(), found) == {
        "destination": {"type": "assistant", "assistantName": "Robin"},
        "message": {"type": "request-start", "content": "One moment."},
    }
    assert planned(HandoffRequest(), found) == {
        "destination": {"type": "assistant", "assistantId": "a"},
        "result": "done",
    }


def test_a_folder_of_text_is_searched(tmp_path: Path) -> None:
    (tmp_path / "know" / "deep").mkdir(parents=True)
    (tmp_path / "know" / "deep" / "bills.md").write_text("# Bills\n\nThe bill is paid at the desk.", encoding="utf-8")
    (tmp_path / "know" / "hours.txt").write_text("We are open from 17:00 to 23:00.", encoding="utf-8")
    (tmp_path / "know" / "ignored.pdf").write_bytes(b"\xff the bill")
    found = read('[vapi.knowledge_base]\nfolder = "know"', tmp_path)
    answer: Any = planned(KnowledgeRequest(SAID), found)
    [document] = answer["documents"]
    assert (document["uuid"], document["content"]) == ("deep/bills.md#1", "Bills\nThe bill is paid at the desk.")


def test_numbers_of_the_block_list_are_not_called_however_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "blocked.txt").write_text("# asked to be left alone\n+1 (500) 555-0101  # Ada\n\n", encoding="utf-8")
    found = read('[vapi.predial]\neligible = true\nblock_list = "blocked.txt"', tmp_path)
    assert planned(PredialRequest(number="+15005550101"), found) == {"eligible": False}
    assert planned(PredialRequest(number="+15005550199"), found) == {"eligible": True}


def test_a_url_may_stand_in_every_table() -> None:
    names = ("assistant_request", "tool_calls", "transfer", "handoff", "knowledge_base", "endpointing", "predial")
    found = read("\n".join(f'[vapi.{name}]\nurl = "https://example.com/{name}"' for name in (*names, "voice")))
    assert set(found.urls) == set(Kind)
    assert found.urls[Kind.FUNCTION] == found.urls[Kind.TOOLS] == "https://example.com/tool_calls"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9000/x", "http://localhost/x", "http://[::1]:1/x", "https://a/b?c=d"]
)
def test_a_url_is_https_or_stays_on_this_machine(url: str) -> None:
    assert read(f'[vapi.voice]\nurl = "{url}"').urls == {Kind.VOICE: url}


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x",
        "http://10.0.0.1/x",
        "http://localhost.example.com/x",
        "ftp://localhost/x",
        "https:///x",
        "https://user:pass@example.com/",
        "https://example.com/#x",
        "https://example.com:99999/",
        "https://[::1/",
        "https://exa mple.com/",
        "example.com",
        "",
        "file:///etc/passwd",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    [problem] = problems(f'[vapi.voice]\nurl = "{url}"')
    assert problem.startswith("[vapi.voice] url = ")
    assert problem.endswith("is not an https:// URL; http:// is for this machine only (localhost, 127.0.0.1, ::1)")


def test_a_url_needs_the_secret_that_signs_what_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('[vapi.predial]\nurl = "https://example.com/x"', encoding="utf-8")
    with pytest.raises(ConfigError, match="VOICEMESH_OWNER_SECRET is not set"):
        plan(Config(vapi_secrets="s", agent_file=str(path)))
    assert plan(Config(vapi_secrets="s", agent_file=str(path), owner_secret="o")).urls == {
        Kind.PREDIAL: "https://example.com/x"
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[vapi.asistant_request]\n", "[vapi] asistant_request is not known; did you mean assistant_request?"),
        (
            '[vapi.assistant_request]\nasistant_id = "a"',
            "[vapi.assistant_request] asistant_id is not known; did you mean assistant_id?",
        ),
        (
            '[vapi.assistant_request]\nassistant_id = "a"\nerror = "b"',
            '[vapi.assistant_request] error = "b" is not to stand beside assistant_id: one answer is given',
        ),
        (
            '[vapi.assistant_request]\nerror = "b"\noverrides = {a = 1}',
            "[vapi.assistant_request] overrides = {…} is not of use without assistant_id or assistant",
        ),
        (
            "[vapi.assistant_request]\nassistant = {since = 2026-01-01}",
            "[vapi.assistant_request] assistant = {…} is not a table of what JSON can carry: no dates, no inf, no nan",
        ),
        (
            '[vapi.assistant_request]\nforward_to = "5550199"',
            '[vapi.assistant_request] forward_to = "5550199" is not a number such as "+15005550199" or '
            '"sip:desk@example.com"',
        ),
        (
            "[vapi.transfer]\ndestinations = 3",
            "[vapi.transfer] destinations = 3 is not a list of tables; write [[vapi.transfer.destinations]]",
        ),
        (
            '[[vapi.transfer.destinations]]\nwords = ["a"]',
            '[vapi.transfer.destinations[1]] needs "to" or "assistant"',
        ),
        (
            '[[vapi.transfer.destinations]]\nto = "+15005550199"\nwrods = ["a"]',
            "[vapi.transfer.destinations[1]] wrods is not known; did you mean words?",
        ),
        (
            '[[vapi.transfer.destinations]]\nto = "+15005550199"\nassistant = "a"',
            '[vapi.transfer.destinations[1]] assistant = "a" is not to stand beside to: a destination is one or the '
            "other",
        ),
        (
            '[[vapi.handoff.destinations]]\nassistant = "a"\nassistant_id = "b"',
            '[vapi.handoff.destinations[1]] assistant = "a" is not to stand beside assistant_id: a destination is one '
            "or the other",
        ),
        (
            '[[vapi.handoff.destinations]]\nassistant = "a"\nwords = ["?"]',
            '[vapi.handoff.destinations[1]] words = ["?"] is not a list of words or phrases in quotes',
        ),
        (
            "[vapi.endpointing]\ntimeout_seconds = 20",
            "[vapi.endpointing] timeout_seconds = 20 is not a number from 0 to 15",
        ),
        ("[vapi.predial]\neligible = 1", "[vapi.predial] eligible = 1 is not true or false"),
    ],
)
def test_a_slip_is_told_with_what_would_be_right(text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "know").mkdir()
    (tmp_path / "know" / "bad.txt").write_bytes(b"\xff")
    (tmp_path / "know" / "big.txt").write_bytes(b"x" * (MOST_FILE_BYTES + 1))
    (tmp_path / "empty").mkdir()
    (tmp_path / "blocked.txt").write_text("nobody", encoding="utf-8")
    for text, end in (
        ('[vapi.knowledge_base]\nfolder = "know"', f"{tmp_path}/know/bad.txt is not UTF-8 text"),
        ('[vapi.knowledge_base]\nfolder = "empty"', f"(it is looked for at {tmp_path}/empty)"),
        ('[vapi.knowledge_base]\nfolder = "none"', f"(it is looked for at {tmp_path}/none)"),
        ('[vapi.predial]\nblock_list = "none.txt"', f"{tmp_path}/none.txt (No such file or directory)"),
        ('[vapi.predial]\nblock_list = "blocked.txt"', 'a file with a number such as "+15005550199" on each line'),
    ):
        assert problems(text, tmp_path)[0].endswith(end)
    assert f"larger than {MOST_FILE_BYTES} bytes" in problems('[vapi.knowledge_base]\nfolder = "know"', tmp_path)[1]
