"""What is built: one image for one edit, and the command in an image of its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from compose.stack import OURS, REPOSITORY, Stack, stack


def test_an_edit_in_one_service_makes_one_image_anew(built: None, tmp_path: Path) -> None:
    files = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in files.splitlines():
        if (REPOSITORY / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, tmp_path / name)
    with stack("edit", root=tmp_path, IMAGES="voicemesh-edited") as house:
        house.compose("build", *OURS)
        before = ids(house)
        with (tmp_path / "llm-svc/src/llm_svc/domain/chunker.py").open("a") as source:
            source.write("# edited\n")
        house.compose("build", *OURS)
        after = ids(house)
        for service in OURS:
            house.engine.images.remove(f"voicemesh-edited/{service}:latest", force=True)
    assert {service for service in OURS if before[service] != after[service]} == {"llm-svc"}


def ids(house: Stack) -> dict[str, str]:
    return {service: house.engine.images.get(f"voicemesh-edited/{service}:latest").id for service in OURS}


def test_the_command_plays_a_call_and_reads_it_back_without_any_python_here(house: Stack) -> None:
    said = house.compose("run", "--rm", "-T", "voicemesh")
    assert "hears the caller barge in" in said
    assert "caller hung up" in said
    listed = house.compose("run", "--rm", "-T", "voicemesh", "calls")
    assert "vapi:" in listed
