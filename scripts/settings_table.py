"""Write docs/settings.md from the settings that the code declares, or check that it says what the code says.

Usage: python scripts/settings_table.py --write | --check
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from svc_runtime.config import Setting, describe

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/settings.md"

COMMAND = "voicemesh"
PROCESSES = {
    "ingress-svc": "ingress_svc.config",
    "session-svc": "session_svc.config",
    "bargein-svc": "bargein_svc.config",
    "llm-svc": "llm_svc.config",
    COMMAND: "voicemesh_cli.config",
}
"""Who reads settings: the services, then the command."""


class Key(NamedTuple):
    """A key of a TOML file."""

    name: str
    default: str
    readers: str
    meaning: str


_MODEL = "model.fallback has the same keys."
AGENT = (
    Key(
        "agent.prompt", "none", "session-svc", "The system prompt. Without it the telephone provider's stays in force."
    ),
    Key("agent.apology", "a sentence", "ingress-svc", "What the agent says when its model fails."),
    Key(
        "agent.builtin_tools",
        "none",
        "llm-svc",
        "A list of tools that come with voicemesh: `end_call`, `transfer_call`, `tell_owner`.",
    ),
    Key(
        "owner.url",
        "none",
        "ingress-svc, session-svc",
        "The owner's system, which is told of each call that has ended. https, or http on loopback. See "
        "[call-report.md](call-report.md).",
    ),
    Key("owner.reports", "`true`", "session-svc", "Whether it is."),
    Key("owner.transcript", "`true`", "session-svc", "Whether what was said is in the report."),
    Key("owner.internal", "`false`", "ingress-svc", "Whether the system may be in a private network."),
    Key("tools", "none", "llm-svc", "Tables `[[tools]]`: functions and endpoints of your own ([tools.md](tools.md))."),
    Key(
        "match.numbers",
        "none",
        "ingress-svc",
        "Numbers that are called, E.164. `match` is in the files of the folder only, with one of its keys at least.",
    ),
    Key("match.assistant_ids", "none", "ingress-svc", "Vapi's assistant ids."),
    Key(
        "match.metadata",
        "none",
        "ingress-svc",
        "A table of a call's metadata: texts, numbers, true or false. All of it must fit.",
    ),
    Key(
        "slow_turn.after_ms",
        "off",
        "ingress-svc",
        "Milliseconds from a request to its filler, unless the model has begun by then; 100 to 15000. The answer is "
        "then said by live call control.",
    ),
    Key("slow_turn.filler", "a sentence", "ingress-svc", "What is said then: a text, or a list that take turns."),
    Key(
        "model.provider",
        "required",
        "llm-svc",
        f"`scripted`, or `openai` for any server that speaks its chat completions. {_MODEL}",
    ),
    Key("model.name", "`booking` if scripted", "llm-svc", "The model as its server calls it."),
    Key("model.base_url", "`https://api.openai.com/v1`", "llm-svc", "The server, up to and with `/v1`."),
    Key("model.temperature", "the server's", "llm-svc", "0 to 2. What the telephone provider sends wins."),
    Key("model.max_tokens", "the server's", "llm-svc", "Longest answer. What the telephone provider sends wins."),
    Key(
        "model.first_token_timeout_s",
        "`VOICEMESH_LLM_FIRST_TOKEN_S`",
        "llm-svc",
        "Seconds to the first token before the fallback is asked, 0.1 to 60.",
    ),
    Key("model.include_usage", "`false`", "llm-svc", "Ask for token counts; some servers refuse the request over it."),
    Key(
        "model.fallback", "none", "llm-svc", "The model that is asked once when the first fails before its first token."
    ),
    Key(
        "barge_in.language",
        "`en`",
        "bargein-svc",
        "The packs of stop phrases, corrections, acknowledgements: `en`, `es` or a list.",
    ),
    Key(
        "barge_in.min_words",
        "`2`",
        "bargein-svc",
        "More words than these cut the agent off whatever they are, unless all of them only acknowledge.",
    ),
    Key("barge_in.greeting_interruptible", "`true`", "bargein-svc", "Whether words may cut the greeting off."),
    Key("barge_in.stop_phrases", "none", "bargein-svc", "A list of phrases that cut, besides the pack's."),
    Key("barge_in.correction_phrases", "none", "bargein-svc", "The same for corrections."),
    Key("barge_in.acknowledgement_phrases", "none", "bargein-svc", "The same for words that only acknowledge."),
)
_ONE = "One of assistant_id, squad_id, assistant, forward_to and error is set."
_URL = (
    "The owner's server, which is asked instead; the rest of the table answers where it does not. "
    "https, or http on loopback. See docs/answering.md."
)
VAPI = (
    Key("vapi.assistant_request.assistant_id", "none", "ingress-svc", f"Which assistant takes an inbound call. {_ONE}"),
    Key("vapi.assistant_request.squad_id", "none", "ingress-svc", "Which squad does."),
    Key("vapi.assistant_request.assistant", "none", "ingress-svc", "A table: an assistant as Vapi's API has it."),
    Key(
        "vapi.assistant_request.overrides",
        "none",
        "ingress-svc",
        "A table: assistantOverrides, beside assistant_id or assistant.",
    ),
    Key("vapi.assistant_request.forward_to", "none", "ingress-svc", "A number or SIP address that takes it instead."),
    Key("vapi.assistant_request.forward_message", "none", "ingress-svc", "What the caller hears before that."),
    Key("vapi.assistant_request.error", "a sentence", "ingress-svc", "What the caller hears before the call ends."),
    Key("vapi.transfer.say", "none", "ingress-svc", "What the caller hears before a transfer."),
    Key(
        "vapi.transfer.destinations",
        "none",
        "ingress-svc",
        "Tables [[…]] with `to` (a number or SIP address) or `assistant` (a name in the squad), `say`, and `words`: "
        "the first whose words are in the caller's last sentence, else the first without words.",
    ),
    Key(
        "vapi.handoff.destinations",
        "none",
        "ingress-svc",
        "The same for a handoff: `assistant_id` or `assistant`, `result` for the model, and `words`, which are looked "
        "for in the model's parameters first.",
    ),
    Key("vapi.knowledge_base.folder", "none", "ingress-svc", "Folder of .md and .txt files, searched by words."),
    Key("vapi.knowledge_base.most", "`3`", "ingress-svc", "Passages in an answer, 1 to 10."),
    Key(
        "vapi.knowledge_base.least_similarity",
        "`0.2`",
        "ingress-svc",
        "0 to 1: how much of the question's known words, by their weight, a passage must have.",
    ),
    Key("vapi.endpointing.timeout_seconds", "none", "ingress-svc", "One wait for everything, 0 to 15, not these four."),
    Key("vapi.endpointing.after_sentence", "`0.2`", "ingress-svc", "Seconds to wait after words that end a sentence."),
    Key("vapi.endpointing.after_number", "`0.6`", "ingress-svc", "After a number, of which more may come."),
    Key("vapi.endpointing.unfinished", "`1.6`", "ingress-svc", 'After "and", a comma, an ellipsis.'),
    Key("vapi.endpointing.otherwise", "`0.9`", "ingress-svc", "After any other words."),
    Key("vapi.endpointing.unfinished_words", "none", "ingress-svc", 'Words like "and", besides those we know.'),
    Key("vapi.predial.eligible", "`false`", "ingress-svc", "Whether calls of a campaign are placed."),
    Key("vapi.predial.block_list", "none", "ingress-svc", "File of numbers that are never called, one a line."),
    Key(
        "vapi.*.url",
        "none",
        "ingress-svc",
        f"In each table, and in vapi.tool_calls and vapi.voice: {_URL[0].lower()}{_URL[1:]}",
    ),
)
BUDGET = (
    Key("version", "required", "", "A whole number that rises with every change of a figure."),
    Key("hops.*.from", "required", "", "Where the measured time begins, in words."),
    Key("hops.*.to", "required", "", "Where it ends, in words."),
    Key("hops.*.budget_ms", "required", "ingress-svc", "What the hop may cost at the 99th percentile."),
    Key("hops.*.aim_ms", "none", "", "What we work towards on a quiet machine; at most the budget."),
)
_HMAC = "HMAC only."
AUTH = (
    Key(
        "scheme.*.preset", "`vapi-default`", "ingress-svc", "The preset whose values hold where the table says nothing."
    ),
    Key(
        "scheme.*.secret_file",
        "`VOICEMESH_VAPI_SECRET`",
        "ingress-svc",
        "File with the secret of this scheme (commas as above), seen from the folder of this one.",
    ),
    Key("scheme.*.header", "none", "ingress-svc", "The header that carries the secret itself, instead of a signature."),
    Key(
        "scheme.*.prefix", "none", "ingress-svc", "What may stand before the secret in that header, such as `Bearer `."
    ),
    Key("scheme.*.algorithm", "the preset's", "ingress-svc", f"{_HMAC} `sha256`, `sha512` or `sha1`."),
    Key("scheme.*.signature_header", "the preset's", "ingress-svc", f"{_HMAC} The header with the signature."),
    Key("scheme.*.signature_prefix", "the preset's", "ingress-svc", f"{_HMAC} What stands before it, as `sha256=`."),
    Key("scheme.*.signature_encoding", "the preset's", "ingress-svc", f"{_HMAC} `hex` or `base64`."),
    Key("scheme.*.payload_format", "the preset's", "ingress-svc", f"{_HMAC} The text that is signed, with {{body}}."),
    Key("scheme.*.include_timestamp", "the preset's", "ingress-svc", f"{_HMAC} Whether a timestamp is sent."),
    Key("scheme.*.timestamp_header", "the preset's", "ingress-svc", f"{_HMAC} The header with the timestamp."),
    Key("scheme.*.message_id_header", "the preset's", "ingress-svc", f"{_HMAC} The header whose value is {{svix-id}}."),
    Key("scheme.*.secret_is_base64", "the preset's", "ingress-svc", f"{_HMAC} Whether the key is the decoded secret."),
)

HEAD = """# Settings

Written by `make docs` from what the code declares; do not edit it by hand.

Every process reads its settings from environment variables, once, when it starts, and reports all that are wrong at
once. Lists are separated by commas; switches are `on` or `off`. A secret may stand in a file instead: set the variable
with `_FILE` to its path.
"""

AGENTS = """The default agent; `VOICEMESH_AGENT_FILE` names the file. Files of the folder `VOICEMESH_AGENTS_DIR` have
the same tables ([agents.md](agents.md)). They are read again when they change; a key that is not known is an error."""

ANSWERING = """What an agent answers when Vapi asks. Everything is optional: without it each question gets a safe answer
([answering.md](answering.md)). Paths start at the file's folder."""


def page() -> str:
    """Return docs/settings.md as it should be."""
    lines = [HEAD, "| variable | default | read by | meaning |", "|---|---|---|---|"]
    lines += [_variable_row(variable, uses) for variable, uses in sorted(_variables().items())]
    lines += ["", "## agent.toml", "", AGENTS, "", *_key_table(AGENT)]
    lines += ["", ANSWERING, "", *_key_table(VAPI)]
    lines += ["", "## budget.toml", "", "The latency budget; `VOICEMESH_BUDGET_FILE` names the file. One table a hop,"]
    lines += ['such as `[hops."session.fold"]`.', "", *_key_table(BUDGET)]
    lines += ["", "## The file of VOICEMESH_VAPI_AUTH_FILE", "", "Further ways to prove a webhook, one table a scheme,"]
    lines += [
        "such as `[scheme.billing]`; [authentication.md](authentication.md) has examples.",
        "",
        *_key_table(AUTH),
        "",
    ]
    return "\n".join(lines)


def problems() -> list[str]:
    """Return the keys of the shipped files that the page does not explain."""
    explained = {"agent.toml": {key.name for key in AGENT + VAPI}, "budget.toml": {key.name for key in BUDGET}}
    found = []
    for name, keys in explained.items():
        content = tomllib.loads((ROOT / name).read_text(encoding="utf-8"))
        for key in _keys(content):
            plain = key.replace("model.fallback.", "model.")
            if name == "budget.toml" and key.startswith("hops."):
                plain = "hops.*." + key.rpartition(".")[2]
            if plain not in keys:
                found.append(f"{name}: {key} is not explained in {Path(__file__).name}; add it there")
    return found


def _keys(content: dict[str, object], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _variables() -> dict[str, dict[str, Setting]]:
    """Return every variable with its declaration in each process that reads it."""
    variables: dict[str, dict[str, Setting]] = {}
    for process, module in PROCESSES.items():
        for config in _configs(module):
            for row in describe(config):
                variables.setdefault(row.variable, {})[process] = row
    return variables


def _configs(module: str) -> Iterator[type]:
    for _, member in inspect.getmembers(importlib.import_module(module), inspect.isclass):
        if member.__module__ == module and dataclasses.is_dataclass(member):
            fields = dataclasses.fields(member)
            if fields and all("variable" in field.metadata for field in fields):
                yield member


def _variable_row(variable: str, uses: dict[str, Setting]) -> str:
    secret = any(row.secret for row in uses.values())
    name = f"`{variable}`" + (f", `{variable}_FILE`" if secret else "")
    return _row((name, _joint_default(uses), ", ".join(uses), ("Secret. " if secret else "") + _joint_meaning(uses)))


def _joint_default(uses: dict[str, Setting]) -> str:
    readers: dict[str, list[str]] = {}
    for process, row in uses.items():
        readers.setdefault(_default(row), []).append(process)
    if len(readers) == 1:
        return next(iter(readers))
    return ", ".join(f"{default} ({', '.join(who)})" for default, who in readers.items())


def _joint_meaning(uses: dict[str, Setting]) -> str:
    """Return the first service's words, and the command's where it says something else of the same variable."""
    meanings = [row.meaning.rstrip(".") + "." for row in uses.values()]
    if len(uses) > 1 and COMMAND in uses and meanings[-1] != meanings[0]:
        return f"{meanings[0]} In `{COMMAND}`: {meanings[-1][0].lower()}{meanings[-1][1:]}"
    return meanings[0]


def _default(row: Setting) -> str:
    return row.default if row.default == "required" else f"`{row.default}`" if row.default else "empty"


def _key_table(keys: Iterable[Key]) -> list[str]:
    rows = [_row((f"`{key.name}`", key.default, key.readers or "nobody", key.meaning)) for key in keys]
    return ["| key | default | read by | meaning |", "|---|---|---|---|", *rows]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write docs/settings.md")
    mode.add_argument("--check", action="store_true", help="fail when docs/settings.md is out of date")
    write = parser.parse_args().write
    found = problems()
    if write:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        found.append("docs/settings.md is out of date; run: make docs")
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
