"""The tools of agent.toml are read or refused as a whole; a refusal names tool and key, and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from llm_svc.agent_tools import read_tools
from llm_svc.domain.builtin_tools import BUILTIN
from llm_svc.domain.tools import AgentTools, HttpSpec, Parameter, PythonSpec
from svc_runtime.config import ConfigError
from svc_runtime.toml_file import TomlFile

SHIPPED = Path(__file__).parents[3] / "agent.toml"
TOKEN = "sesame-3f9a"


def load(tmp_path: Path, text: str) -> AgentTools:
    path = tmp_path / "agent.toml"
    path.write_text(text, encoding="utf-8")
    file = TomlFile.read(path, hint="")
    tools = read_tools(file)
    file.check()
    return tools


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(str(tmp_path / "agent.toml")) for line in lines)
    return [line.partition(": ")[2] for line in lines]


def test_the_shipped_agent_has_no_tools() -> None:
    assert read_tools(TomlFile.read(SHIPPED, hint="")) == AgentTools()


def test_the_tools_in_the_shipped_comments_are_valid(tmp_path: Path) -> None:
    lines = SHIPPED.read_text(encoding="utf-8").partition("# [[tools]]")
    commented = (lines[1] + lines[2]).splitlines()
    tools = load(tmp_path, "\n".join(line.removeprefix("# ").removeprefix("#") for line in commented))
    assert [type(spec) for spec in tools.specs] == [PythonSpec, HttpSpec]


def test_both_kinds_of_tools_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    tools = load(
        tmp_path,
        """
        [agent]
        prompt = "Be kind."
        builtin_tools = ["tell_owner", "end_call"]
        [[tools]]
        name = "free_slots"
        python = "salon.book:Desk.free"
        timeout_s = 2
        speak_while_running = "One moment."
        [[tools]]
        name = "send-offer"
        url = "https://example.org/hooks/offer?a=b"
        description = "Send the offer."
        retries = 0
        [tools.parameters.to]
        type = "string"
        description = "The name."
        one_of = ["Ann", "Bea"]
        [tools.parameters.days]
        type = "array"
        items = "integer"
        required = false
        """,
    )
    assert tools == AgentTools(
        (
            PythonSpec(
                name="free_slots", target="salon.book:Desk.free", timeout_s=2, speak_while_running="One moment."
            ),
            HttpSpec(
                name="send-offer",
                url="https://example.org/hooks/offer?a=b",
                loopback=False,
                description="Send the offer.",
                parameters=(
                    Parameter("to", "string", "The name.", one_of=("Ann", "Bea")),
                    Parameter("days", "array", required=False, items="integer"),
                ),
                timeout_s=5.0,
                retries=0,
            ),
        ),
        ("tell_owner", "end_call"),
    )


def test_every_problem_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    text = f"""
    [agent]
    builtin_tools = ["end_cal"]
    [[tools]]
    python = "salon"
    [[tools]]
    name = "end_call"
    python = "salon:book"
    [[tools]]
    name = "empty"
    [[tools]]
    name = "both"
    python = "salon:book"
    url = "https://example.org"
    [[tools]]
    name = "plain"
    url = "http://example.org/{TOKEN}"
    timeout_s = 0
    retries = 9
    pyton = "salon:book"
    [[tools]]
    name = "offer"
    url = "https://ann:{TOKEN}@example.org"
    description = "Offer."
    [tools.parameters.day]
    type = "text"
    descripton = "The day."
    [tools.parameters.days]
    type = "array"
    [tools.parameters.n]
    type = "integer"
    one_of = ["1"]
    [[tools]]
    name = "offer"
    python = "salon:offer"
    retries = 1
    [[tools]]
    name = "space"
    url = "https://example.org/{TOKEN} x"
    description = "Offer."
    """
    told = problems(tmp_path, text)
    name = f"a name of up to 64 letters, digits, _ or -, and not {', '.join(BUILTIN)}, which are built in"
    function = 'a function of a module, "module:function", for example "salon:free_slots"'
    kinds = 'one of "string", "integer", "number", "boolean", "object"'
    assert told == [
        f"[tools[1]] name is missing; it must be {name}",
        f'[tools[1]] python = "salon" is not {function}',
        f'[tools[2]] name = "end_call" is not {name}',
        '[tools[3]] python is missing, and url too; a tool has one of them: python = "module:function" or a url',
        "[tools[4]] url stands beside python; a tool has one of them",
        "[tools[5]] url is not https://; plain http:// goes to this machine only (127.0.0.1, localhost)",
        "[tools[5]] description is missing; it must be a text that tells the model what it does, and when to use it",
        "[tools[5]] timeout_s = 0 is not a number from 0.1 to 60",
        "[tools[5]] retries = 9 is not a whole number from 0 to 5",
        "[tools[5]] pyton is not known; did you mean python?",
        "[tools[6]] url holds a user or a fragment, which are not sent; leave them out",
        f'[tools[6].parameters.day] type = "text" is not {kinds}, "array"',
        "[tools[6].parameters.day] descripton is not known; did you mean description?",
        f"[tools[6].parameters.days] items is missing; it must be {kinds}",
        '[tools[6].parameters.n] one_of = ["1"] is not a list of texts, beside the type string',
        "[tools[7]] retries is not known; the keys are description, name, python, speak_while_running, timeout_s, url",
        '[tools[7]] name = "offer" is not a name of its own: another tool has it',
        "[tools[8]] url holds spaces or control characters; leave them out or escape them",
        '[agent] builtin_tools = ["end_cal"] is not a list of some of "end_call", "transfer_call", "tell_owner"',
    ]
    assert TOKEN not in "".join(told), "an address may hold a token"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/x", "http://localhost/x", "http://[::1]:8000/x", "https://127.0.0.1"]
)
def test_plain_http_goes_to_this_machine(tmp_path: Path, url: str) -> None:
    tools = load(tmp_path, f'[[tools]]\nname = "x"\nurl = "{url}"\ndescription = "X."')
    assert isinstance(tools.specs[0], HttpSpec)
    assert tools.specs[0].loopback


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1.example.org", "http://10.0.0.1", "ftp://example.org", "example.org", "https://", "https://[x",
     "https://example.org:99999", "http://localhost@example.org", "https://example.org/#x"],
)  # fmt: skip
def test_what_is_no_address_to_send_to_is_refused(tmp_path: Path, url: str) -> None:
    (told,) = problems(tmp_path, f'[[tools]]\nname = "x"\nurl = "{url}"\ndescription = "X."')
    assert told.startswith("[tools[1]] url ")


def test_a_misspelt_builtin_tools_is_told(tmp_path: Path) -> None:
    assert problems(tmp_path, '[agent]\nbuiltin_tool = ["end_call"]\nprompt = "x"') == [
        "[agent] builtin_tool is not known; did you mean builtin_tools?"
    ]


def test_what_a_built_in_tool_wants_is_a_schema_of_the_same_form_as_an_owners() -> None:
    for name, definition in BUILTIN.items():
        assert definition["type"] == "function"
        assert definition["function"]["name"] == name
        parameters = definition["function"]["parameters"]
        assert set(parameters["required"]) <= set(parameters["properties"])
        assert parameters["additionalProperties"] is False
