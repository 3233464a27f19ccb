"""The settings of whoever reads agent files."""

from __future__ import annotations

from dataclasses import dataclass

from svc_runtime.config import setting


@dataclass(frozen=True, slots=True)
class ShelfSettings:
    """Where the files are, for `svc_runtime.file_shelf`."""

    agent_file: str = setting(
        "VOICEMESH_AGENT_FILE", "agent.toml", meaning="The default agent: prompt, model, barge-in; read as the others."
    )
    agents_dir: str = setting(
        "VOICEMESH_AGENTS_DIR",
        "agents",
        meaning="Folder of further agents, NAME.toml each, read again when they change; it may be absent.",
    )
    agent_versions: str = setting(
        "VOICEMESH_AGENT_VERSIONS",
        "",
        meaning="Folder in which the versions of agent files that were in force are kept for a restart; the services "
        "may share it. Empty: none are kept. `voicemesh up` sets it to agent-versions in its state directory.",
    )
