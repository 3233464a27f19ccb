"""The directory of a running mesh: who runs it (a lock), where it listens (run.json), its secret and its log files."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path


class StateDirError(Exception):
    """The directory cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Run:
    """What `run.json` tells the other commands about the mesh that runs."""

    pid: int
    url: str
    targets: dict[str, str]
    """host:port of each inner service, by its name (`session-svc`)."""
    store: str
    secret_file: str = ""
    """Empty where the secret came from the environment."""
    pids: dict[str, int] = field(default_factory=dict)
    """Process ids of the services."""
    side_ports: dict[str, str] = field(default_factory=dict)
    """host:port at which each inner service answers /metrics, /healthz and /readyz; empty where that is off."""


class StateDir:
    """One state directory."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock_fd: int | None = None

    @property
    def store(self) -> Path:
        """The durable log. One that an older version has left is used further, where there is no other."""
        return self._older_store if self._older_store.exists() and not self._store.exists() else self._store

    @property
    def unread_store(self) -> Path | None:
        """A log that an older version has left beside the one in use: nothing reads it."""
        return self._older_store if self._older_store.exists() and self._store.exists() else None

    @property
    def _store(self) -> Path:
        return self.path / "voicemesh.sqlite"

    @property
    def _older_store(self) -> Path:
        return self.path / "voicemesh.db"

    @property
    def agent_versions(self) -> Path:
        return self.path / "agent-versions"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def claim(self) -> None:
        """Make the directory and hold it while this process lives. Raises StateDirError where another mesh runs."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateDirError(f"VOICEMESH_STATE_DIR={str(self.path)!r} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            what_helps = "stop it, or set VOICEMESH_STATE_DIR to another directory"
            raise StateDirError(f"another `voicemesh up` runs in {str(self.path)!r}; {what_helps}") from None
        self._lock_fd = fd

    def release(self) -> None:
        """Let another mesh run here."""
        if self._lock_fd is not None:
            (self.path / "run.json").unlink(missing_ok=True)
            os.close(self._lock_fd)
            self._lock_fd = None

    def dev_secret_file(self) -> Path:
        """Return the file with this directory's generated secret; made at the first call, mode 0600."""
        path = self.path / "vapi-secret"
        if not path.exists():
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(secrets.token_hex(32) + "\n")
        return path

    def write_run(self, run: Run) -> None:
        """Tell the other commands. They see the old text or the new, never half of one."""
        fresh = self.path / "run.json.new"
        fresh.write_text(json.dumps(asdict(run), indent=1) + "\n", encoding="utf-8")
        fresh.replace(self.path / "run.json")

    def read_run(self) -> Run | None:
        """Return what runs here, or ran here and was killed; None where nothing does."""
        try:
            told = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
            known = {one.name for one in fields(Run)}
            # Of another version's mesh, which may have more to tell.
            return Run(**{name: value for name, value in told.items() if name in known})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise StateDirError(f"{self.path / 'run.json'} cannot be read: {error}") from error
