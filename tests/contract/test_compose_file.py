"""compose.yaml hands on every setting, and .env.example tells of every value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bargein_svc.config import Settings as BargeIn
from ingress_svc.config import Config as Ingress
from llm_svc.config import Settings as Llm
from session_svc.config import Config as Session
from svc_runtime.config import describe

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "compose.yaml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
NGINX = (ROOT / "deploy/nginx.conf").read_text()
CONFIGS = {"ingress-svc": Ingress, "session-svc": Session, "bargein-svc": BargeIn, "llm-svc": Llm}


def section(name: str) -> str:
    """Return the lines below a key, which are indented further."""
    found = re.search(rf"(?m)^(  |){re.escape(name)}:.*\n((?:\1 .*\n|\n)+)", COMPOSE)
    assert found, f"compose.yaml has no {name}"
    return found[2]


@pytest.mark.parametrize("service", CONFIGS)
def test_each_setting_of_a_service_is_handed_on(service: str) -> None:
    handed = set(re.findall(r"^ +(VOICEMESH_\w+):", section(service) + section("x-settings"), re.MULTILINE))
    wanted = set()
    for row in describe(CONFIGS[service]):
        # The webhook secret comes by a file alone, which setup writes.
        if row.variable == "VOICEMESH_VAPI_SECRET":
            continue
        wanted |= {row.variable, f"{row.variable}_FILE"} if row.secret else {row.variable}
    assert wanted - handed == set(), f"{service} of compose.yaml lacks them"


@pytest.mark.parametrize("service", CONFIGS)
def test_no_service_is_handed_what_it_does_not_read(service: str) -> None:
    handed = set(re.findall(r"^ +(VOICEMESH_\w+):", section(service), re.MULTILINE))
    read = {row.variable for row in describe(CONFIGS[service])}
    assert {name for name in handed if name.removesuffix("_FILE") not in read and name not in read} == set()


def test_each_value_of_the_compose_file_stands_in_the_example_with_its_default() -> None:
    values = dict(re.findall(r"\$\{(VOICEMESH_\w+):?-([^}]*)\}", COMPOSE))
    known = dict(re.findall(r"^# (VOICEMESH_\w+)=(.*)$", EXAMPLE, re.MULTILINE))
    inside = {"VOICEMESH_SESSION_TARGETS", "VOICEMESH_BARGEIN_TARGETS", "VOICEMESH_LLM_TARGETS"}
    assert set(values) - inside - set(known) == set()
    folders = {"VOICEMESH_INGRESS_SECRETS", "VOICEMESH_LLM_SECRETS"}
    assert {name: known[name] for name in values if name not in inside | folders} == {
        name: value for name, value in values.items() if name not in inside | folders
    }


def test_a_stop_is_granted_longer_than_a_drain_takes() -> None:
    grace_s = int(re.findall(r"VOICEMESH_STOP_GRACE:-(\d+)s", COMPOSE)[0])
    drain_s = {row.variable: row.default for row in describe(Ingress)}["VOICEMESH_DRAIN_S"]
    assert grace_s > 2 * float(drain_s)


def test_nginx_waits_longer_than_an_answer_may_take_and_takes_bodies_as_large_as_ingress() -> None:
    defaults = {row.variable: row.default for row in describe(Ingress)}
    assert float(re.findall(r"proxy_read_timeout (\d+)s", NGINX)[0]) > float(defaults["VOICEMESH_GENERATE_TIMEOUT_S"])
    assert int(re.findall(r"client_max_body_size (\d+)m", NGINX)[0]) << 20 == int(defaults["VOICEMESH_MAX_BODY_BYTES"])
    assert "non_idempotent;" not in NGINX.replace("`non_idempotent`", "")
