from __future__ import annotations

from pathlib import Path

import pytest
from svc_runtime.config import load
from voicemesh_cli.config import Config
from voicemesh_cli.state_dir import StateDir
from voicemesh_cli.up import Plan, plan


def _plan(tmp_path: Path, **env: str) -> Plan:
    env["VOICEMESH_STATE_DIR"] = str(tmp_path)
    state = StateDir(tmp_path)
    state.claim()
    try:
        return plan(load(Config, env), env, state)
    finally:
        state.release()


def _env(planned: Plan, service: str) -> dict[str, str]:
    return dict(next(s.env for s in planned.services if s.name == service))


def test_ingress_looks_for_each_service_where_it_listens(tmp_path: Path) -> None:
    planned = _plan(tmp_path)
    for name, variable in (("session-svc", "SESSION"), ("bargein-svc", "BARGEIN"), ("llm-svc", "LLM")):
        listen = _env(planned, name)[f"VOICEMESH_{variable}_LISTEN"]
        assert _env(planned, "ingress-svc")[f"VOICEMESH_{variable}_TARGETS"] == listen
        assert planned.run.targets[name] == listen
    assert len({*planned.run.targets.values(), *planned.run.side_ports.values()}) == 6
    for name, variable in (("session-svc", "SESSION"), ("bargein-svc", "BARGEIN"), ("llm-svc", "LLM")):
        assert _env(planned, name)[f"VOICEMESH_{variable}_HTTP"] == planned.run.side_ports[name]


def test_a_side_port_that_was_switched_off_stays_off(tmp_path: Path) -> None:
    planned = _plan(tmp_path, VOICEMESH_LLM_HTTP="")
    assert planned.run.side_ports["llm-svc"] == _env(planned, "llm-svc")["VOICEMESH_LLM_HTTP"] == ""


def test_inner_ports_are_none_that_the_system_gives_to_outgoing_connections(tmp_path: Path) -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(int(target.rpartition(":")[2]) < lowest for target in _plan(tmp_path).run.targets.values())


def test_what_the_user_has_set_stays_as_it_is(tmp_path: Path) -> None:
    planned = _plan(
        tmp_path, VOICEMESH_SESSION_LISTEN="127.0.0.1:7001", VOICEMESH_STORE="/x/y.db", VOICEMESH_HTTP_PORT="9000"
    )
    assert planned.run.targets["session-svc"] == "127.0.0.1:7001"
    assert planned.run.store == _env(planned, "session-svc")["VOICEMESH_STORE"] == "/x/y.db"
    assert planned.run.url == "http://127.0.0.1:9000"


def test_without_a_secret_one_is_made_and_ingress_reads_it_from_its_file(tmp_path: Path) -> None:
    planned = _plan(tmp_path)
    assert Path(planned.run.secret_file).read_text().strip()
    assert _env(planned, "ingress-svc")["VOICEMESH_VAPI_SECRET_FILE"] == planned.run.secret_file


@pytest.mark.parametrize("secret", ["", "mine"])
def test_d8_a_secret_that_was_set_is_passed_on_even_when_it_is_empty(tmp_path: Path, secret: str) -> None:
    planned = _plan(tmp_path, VOICEMESH_VAPI_SECRET=secret)
    assert _env(planned, "ingress-svc")["VOICEMESH_VAPI_SECRET"] == secret
    assert "VOICEMESH_VAPI_SECRET_FILE" not in _env(planned, "ingress-svc")
    assert not (tmp_path / "vapi-secret").exists()


def test_a_service_sees_no_secret_of_another(tmp_path: Path) -> None:
    planned = _plan(
        tmp_path,
        VOICEMESH_VAPI_SECRET="a",
        VOICEMESH_VAPI_LLM_KEY="b",
        VOICEMESH_OPENAI_API_KEY="c",
        VAPI_API_KEY="d",
        VAPI_API_KEY_FILE="d",
        VOICEMESH_OWNER_SECRET_FILE="e",
        VOICEMESH_CONTROL_TOKEN="f",
    )
    seen = {s.name: set(s.env.values()) & {"a", "b", "c", "d", "e", "f"} for s in planned.services}
    assert seen == {
        "session-svc": set(),
        "bargein-svc": set(),
        "llm-svc": {"c", "e"},
        "ingress-svc": {"a", "b", "e", "f"},
    }


def test_a_wildcard_address_is_reached_over_loopback(tmp_path: Path) -> None:
    assert _plan(tmp_path, VOICEMESH_HTTP_HOST="0.0.0.0").run.url == "http://127.0.0.1:8080"
