"""A callable of the owner's: found, and run on the loop when it is async, else in a thread."""

from __future__ import annotations

import asyncio
import difflib
import importlib
import inspect
import operator
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import msgspec
from svc_runtime import logs
from voicemesh_tools import ToolContext, ToolError

from llm_svc.adapters import tool_schema
from llm_svc.adapters.tool_threads import Threads
from llm_svc.domain.tools import (
    Ask,
    Outcome,
    PythonSpec,
    Reason,
    failed,
    returned_json,
    returned_text,
)


class NoCallable(Exception):
    """What agent.toml names cannot be a tool; the text says why."""


def found(target: str) -> Callable[..., Any]:
    """Import ``module:function`` and return the function. Raises NoCallable."""
    module_name, _, path = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        right = "VOICEMESH_TOOLS_PATH names the folder of your modules"
        raise NoCallable(f"cannot be imported: there is no module {error.name}; {right}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may fail in any way, or even exit
        raise NoCallable(f"cannot be imported: {_where(error)}") from None
    try:
        function = operator.attrgetter(path)(module)
    except AttributeError:
        raise NoCallable(f"names nothing in {module.__file__}; {_near(path, module)}") from None
    if not callable(function) or inspect.isclass(function):
        raise NoCallable("is not a function")
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise NoCallable("yields; a tool returns its result")
    return function  # type: ignore[no-any-return]  # an attribute of somebody's module


def _near(path: str, module: ModuleType) -> str:
    every = inspect.getmembers(module, inspect.isfunction)
    functions = [name for name, function in every if function.__module__ == module.__name__]
    near = difflib.get_close_matches(path, functions, n=1)
    return f"did you mean {near[0]}?" if near else f"the functions there are {', '.join(functions) or 'none'}"


def _where(error: BaseException) -> str:
    """Return the error and the line that it came from; its text only where Python wrote it."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {error.msg}"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    text = f": {error}" if isinstance(error, ImportError) else ""
    return f"{type(error).__name__}{place}{text}"


class PythonTool:
    """Implements `llm_svc.adapters.tool.Tool`."""

    kind = "python"

    def __init__(self, spec: PythonSpec, threads: Threads) -> None:
        """Raises NoCallable and NoSchema."""
        self.name = spec.name
        self.timeout_s = spec.timeout_s
        self.speak_while_running = spec.speak_while_running
        self._function = found(spec.target)
        signature = tool_schema.of_callable(self._function)
        self.description = spec.description or signature.description
        if not self.description:
            raise NoCallable("has no docstring, and a model chooses by what it is told; write one, or a description")
        self.arguments = signature.arguments
        self._context_names = signature.context_names
        self._threads = threads
        called = self._function if inspect.isroutine(self._function) else type(self._function).__call__
        self._on_loop = inspect.iscoroutinefunction(called)
        self._left: set[asyncio.Task[Outcome]] = set()

    async def run(self, arguments: dict[str, Any], ask: Ask) -> Outcome:
        context = ToolContext(ask.call_id, ask.turn, ask.generation, ask.idempotency_key, ask.agent)
        given = arguments | dict.fromkeys(self._context_names, context)
        run = _Run(self.name, lambda: self._function(**given))
        work = asyncio.create_task(run.on_loop() if self._on_loop else run.in_thread(self._threads), name="tool")
        self._left.add(work)
        work.add_done_callback(self._left.discard)
        try:
            # Not `asyncio.timeout`: a coroutine that swallows its cancellation would be waited for.
            await asyncio.wait({work}, timeout=self.timeout_s)
        except asyncio.CancelledError:
            work.cancel()
            raise
        if work.done() and not work.cancelled():
            return work.result()
        work.cancel()
        if not run.began:
            return failed(Reason.TIMEOUT, "The tool could not be started: too much else is running.")
        return failed(Reason.TIMEOUT, "The tool took too long.", effect_unknown=True)


class _Run:
    """One run of a callable, whose every end is an outcome."""

    def __init__(self, name: str, call: Callable[[], Any]) -> None:
        self._name = name
        self._call = call
        self.began = False

    async def on_loop(self) -> Outcome:
        self._begin()
        return await self._awaited(self._call)

    async def in_thread(self, threads: Threads) -> Outcome:
        value = await threads.run(self._called, self._begin)
        return value if isinstance(value, Outcome) else await self._awaited(lambda: value)

    def _begin(self) -> None:
        self.began = True

    def _called(self) -> Outcome | Awaitable[Any]:
        """Call it, in a thread. A wrapper around a coroutine function looks plain and returns what must be awaited."""
        try:
            value = self._call()
            return value if inspect.isawaitable(value) else _outcome_of(value)
        except BaseException as error:  # noqa: BLE001 - nothing that an owner's code does may end the process
            return self._raised(error)

    async def _awaited(self, call: Callable[[], Awaitable[Any]]) -> Outcome:
        try:
            return _outcome_of(await call())
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return self._raised(error)
        except BaseException as error:  # noqa: BLE001 - the same
            return self._raised(error)

    def _raised(self, error: BaseException) -> Outcome:
        if isinstance(error, ToolError):
            return failed(Reason.REFUSED, str(error) or "The tool refused.")
        logs.get().exception("tool.defect", error, tool=self._name)
        return failed(Reason.DEFECT, f"The tool is broken ({type(error).__name__}).", effect_unknown=True)


def _outcome_of(value: object) -> Outcome:
    if value is None:
        return returned_text("")
    if isinstance(value, str):
        return returned_text(value)
    try:
        return returned_json(msgspec.json.encode(value).decode())
    except (TypeError, ValueError, OverflowError, RecursionError):
        return failed(
            Reason.DEFECT,
            f"The tool has done its work, but returned what does not go into JSON ({type(value).__name__}).",
        )
