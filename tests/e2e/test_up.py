"""`voicemesh up` and `voicemesh play`, as a person at a terminal meets them."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fakes import mesh

SAMPLE = mesh.REPOSITORY / "cli/src/voicemesh_cli/samples/restaurant.jsonl"
PLAYED_S = 90.0
"""The sample takes 25 s on a quiet machine."""


@contextmanager
def _refused(directory: Path, **settings: str) -> Iterator[mesh.Mesh]:
    """Run a mesh that is not to come up, and hold it to leave nothing behind."""
    house = mesh.Mesh(directory, **settings)
    try:
        house.launch()
        house.ended(mesh.READY_S)
        yield house
    finally:
        left = house.clear()
    assert left == []


def test_up_says_once_that_it_is_ready_serves_and_leaves_with_0_on_ctrl_c(tmp_path: Path) -> None:
    with mesh.running(tmp_path) as house:
        ready = [line for line in house.said().splitlines() if "ready" in line]
        assert len(ready) == 1
        assert house.url in ready[0]
        assert mesh.get(house.url + "/healthz") == (200, "ok\n")
        status, body = mesh.get(house.url + "/readyz")
        assert (status, json.loads(body)) == (200, {"ready": True, "waits_for": []})
        house.interrupt()
        assert house.ended() == 0
        assert house.said().splitlines() == ready
        assert "Traceback" not in house.all_logs()
        assert not (house.state / "run.json").exists()
        for service in mesh.SERVICES:
            assert _life(house.service_log(service)) == ["server.started", "drain.began", "drain.ended", "server.ended"]


def _life(log: str) -> list[str]:
    """Return what a service's log tells of its life."""
    events = [json.loads(line)["event"] for line in log.splitlines()]
    return [event for event in events if re.fullmatch(r"server\..*|drain\.(began|ended|failed)", event)]


def test_d8_an_empty_secret_ends_the_start_with_one_clear_line(tmp_path: Path) -> None:
    with _refused(tmp_path, VAPI_SECRET="") as house:
        assert house.exit_code not in (0, None)
        lines = house.said().splitlines()
        assert len(lines) == 1
        assert "VOICEMESH_VAPI_SECRET" in lines[0]


def test_a_taken_port_ends_the_start_with_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        with _refused(tmp_path, HTTP_PORT=port) as house:
            assert house.exit_code not in (0, None)
            lines = house.said().splitlines()
            assert len(lines) == 1
            assert f"127.0.0.1:{port}" in lines[0]
            assert "VOICEMESH_HTTP_PORT" in lines[0]


def test_the_sample_call_is_played_and_told_and_another_call_is_told_otherwise(tmp_path: Path) -> None:
    with mesh.running(tmp_path, DEMO="on", COLUMNS="100") as house:
        mesh.Mesh.until(lambda: len(re.findall(r"(?m)^ turn \d", house.said())) >= 4, PLAYED_S)
        sample = _story(house.said())
        other = house.command("play", str(_another_call(tmp_path)), within_s=PLAYED_S)
        assert other.returncode == 0, other.stderr
        told = _story(other.stdout)
        # It goes on serving, until it is told to end.
        assert mesh.get(house.url + "/readyz")[0] == 200
        house.tell(signal.SIGTERM)
        assert house.ended() == 0

    assert "caller I need a table for four tonight at 7pm." in sample
    assert re.search(r"cuts generation \d: rule correction on \"Actually - no wait - make that 8pm\.\"", sample)
    assert re.search(r"\d generations, [1-9] cut by the caller", sample)
    assert re.search(r"heard \d+ of \d+ words", sample)
    assert "table for four tonight at 8 pm" in sample
    assert "caller hung up after" in sample
    assert "bargein.verdict" in sample
    assert "llm.first_token" in sample

    for story in (sample, told):
        assert "model: scripted/booking (plays a restaurant, no LLM)" in story
    assert "caller A table for six tomorrow at 6pm, please." in told
    assert "table for six tomorrow at 6 pm" in told
    assert "silence" in told
    for words in ("Actually", "four", "8 pm", "caller hung up", "cut by the caller", "cuts generation"):
        assert words not in told


def _another_call(directory: Path) -> Path:
    """Return a recorded call made of the sample with other words, times and order, and nobody cutting in."""
    header, *_ = SAMPLE.read_text().splitlines()
    lines: list[dict[str, Any]] = [
        {"at_ms": 200, "caller": "partial", "text": "A table"},
        {"at_ms": 900, "caller": "final", "text": "A table for six tomorrow at 6pm, please."},
        {"after": "agent_done", "ms": 100, "hangup": True, "reason": "silence-timed-out"},
    ]
    own = json.loads(header) | {"speech_words_per_s": 6.0}
    own["assistant"].pop("first_message")
    file = directory / "another.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in (own, *lines)))
    return file


def _story(printed: str) -> str:
    """Return what was printed of a call, without the line breaks of a terminal."""
    return " ".join(printed[printed.index(" call vapi:") :].split())
