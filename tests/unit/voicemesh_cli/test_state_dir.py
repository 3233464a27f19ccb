from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import pytest
from session_svc.config import Config as SessionConfig
from voicemesh_cli.state_dir import Run, StateDir, StateDirError


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directory_and_the_secret_are_nobody_elses(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "a" / "state")
    state.claim()
    secret = state.dev_secret_file()
    assert (_mode(state.path), _mode(secret)) == (0o700, 0o600)
    assert len(secret.read_text().strip()) == 64
    assert state.dev_secret_file().read_text() == secret.read_text()
    state.release()


def test_a_directory_in_which_a_mesh_runs_is_not_claimed_twice(tmp_path: Path) -> None:
    first, second = StateDir(tmp_path), StateDir(tmp_path)
    first.claim()
    with pytest.raises(StateDirError, match="another `voicemesh up` runs"):
        second.claim()
    first.release()
    second.claim()
    second.release()


def test_what_runs_is_told_to_other_commands_until_it_ends(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    assert state.read_run() is None
    state.claim()
    run = Run(7, "http://127.0.0.1:8080", {"session-svc": "127.0.0.1:1"}, "x.db", "secret", {"session-svc": 8})
    state.write_run(run)
    assert StateDir(tmp_path).read_run() == run
    state.release()
    assert StateDir(tmp_path).read_run() is None


def test_the_log_is_where_session_svc_alone_would_keep_it(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    [default] = (field.default for field in dataclasses.fields(SessionConfig) if field.name == "store")
    assert state.store == tmp_path / Path(str(default)).name
    assert state.unread_store is None


def test_a_log_of_an_older_version_is_used_further_and_never_left_unread_in_silence(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    older, newer = tmp_path / "voicemesh.db", state.store
    older.touch()
    assert (state.store, state.unread_store) == (older, None)
    newer.touch()
    assert (state.store, state.unread_store) == (newer, older)


def test_a_run_of_another_version_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"pid": 7, "url": "u", "targets": {}, "store": "s", "model": "a/b"}')
    assert StateDir(tmp_path).read_run() == Run(7, "u", {}, "s")


def test_a_damaged_run_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(StateDirError, match=r"run\.json"):
        StateDir(tmp_path).read_run()
