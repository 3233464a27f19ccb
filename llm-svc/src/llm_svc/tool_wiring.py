"""From settings and agent files to tools that can be run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from svc_runtime.config import ConfigError
from svc_runtime.toml_file import TomlFile

from llm_svc.adapters.python_tool import NoCallable, PythonTool
from llm_svc.adapters.tool import Tool, Toolset
from llm_svc.adapters.tool_schema import NoSchema
from llm_svc.adapters.tool_threads import Threads
from llm_svc.config import Settings
from llm_svc.domain.tools import AgentTools, HttpSpec, PythonSpec

if TYPE_CHECKING:
    from llm_svc.adapters.http_tool import HttpTools


class Workshop:
    """Makes the tools of every agent; they share threads and connections. Made on the loop that they use."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError when the folder of the owner's modules is none."""
        self._settings = settings
        self.threads = Threads(settings.tool_threads)
        self._http: HttpTools | None = None
        if settings.tools_path:
            folder = Path(settings.tools_path)
            if not folder.is_dir():
                raise ConfigError(f"VOICEMESH_TOOLS_PATH={settings.tools_path!r} is not a folder")
            # Last, so that a module of the owner's called like one of ours or of Python's takes nothing away.
            sys.path.append(str(folder.resolve()))

    def toolset(self, agent: AgentTools, file: TomlFile) -> Toolset:
        """Import and describe every tool of ``file``; what cannot be one is noted there.

        A module is imported once: its functions stay those of the start.
        """
        tools: dict[str, Tool] = {}
        for number, spec in enumerate(agent.specs, start=1):
            try:
                tools[spec.name] = self._tool(spec)
            except (NoCallable, NoSchema) as error:
                target = spec.target if isinstance(spec, PythonSpec) else ""
                entry = f"tools[{number}]"
                file.add_problem(f'[{entry}] python = "{target}" {_joined(error)}', entry, "python")
            except ConfigError as error:
                file.add_problem(f"[tools[{number}]] {error}", f"tools[{number}]", "url")
        return Toolset(tools, agent.builtin)

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    def _tool(self, spec: PythonSpec | HttpSpec) -> Tool:
        if isinstance(spec, PythonSpec):
            return PythonTool(spec, self.threads)
        if not spec.loopback and not self._settings.owner_secret:
            raise ConfigError(
                "url leads to another machine, which must be able to tell us from anybody else; set "
                "VOICEMESH_OWNER_SECRET, and give the endpoint the same"
            )
        # The import takes a quarter of a second, which an agent without endpoints is spared.
        from llm_svc.adapters.http_tool import HttpTool, HttpTools

        self._http = self._http or HttpTools()
        return HttpTool(spec, self._http, secret=self._settings.owner_secret)


def _joined(error: Exception) -> str:
    """Return what is wrong as it goes on after the key: of a schema, with what has none."""
    return f"has no schema: {error}" if isinstance(error, NoSchema) else str(error)
