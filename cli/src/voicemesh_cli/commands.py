"""What the commands do, beside `up`: play a call, and read calls back from the durable log."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.status import Status
from svc_runtime.config import ConfigError, is_set, secret_in
from voicemesh.session.v1 import session_pb2 as pb

from voicemesh_cli import call_list, render, timeline
from voicemesh_cli.config import SECRET, Config
from voicemesh_cli.log_source import LogSource, LogUnavailable, full_call_id
from voicemesh_cli.play import Played, PlayFailed, Target, play
from voicemesh_cli.recording import BadRecording, RecordedCall, parse
from voicemesh_cli.redact import redacted
from voicemesh_cli.state_dir import Run, StateDir
from voicemesh_cli.words import printable

SAMPLE = Path(__file__).parent / "samples" / "restaurant.jsonl"
_SETTLE_S = 5.0
"""How long a timeline waits for the end of a call to reach the log."""


class NotFound(Exception):
    """What was asked for does not exist."""


def read_recording(path: str | Path) -> RecordedCall:
    """Return the recorded call in a file. Raises PlayFailed."""
    try:
        return parse(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise PlayFailed(f"{path} cannot be read: {error.strerror}") from error
    except (BadRecording, UnicodeDecodeError) as error:
        raise PlayFailed(f"{path} is no recorded call: {error}") from error


def secret_of(env: Mapping[str, str], variable: str, default_file: str = "") -> str:
    """Return the first secret that ``variable`` or its file holds, else that of ``default_file``; "" for none.

    Read as the services read it: where one of the two is set, also to nothing, no default stands in. Raises
    ConfigError.
    """
    if default_file and not is_set(variable, env):
        env = {f"{variable}_FILE": default_file}
    return secret_in(variable, env).split(",")[0].strip()


def target_of(run: Run | None, env: Mapping[str, str], *, url: str = "", secret_file: str = "") -> Target:
    """Return where to play to: what was given, else the mesh that runs here. Raises PlayFailed."""
    if not url and run is None:
        raise PlayFailed("no mesh runs here: start one with `voicemesh up`, or name one with --url")
    if secret_file:
        env = {name: value for name, value in env.items() if name != SECRET} | {f"{SECRET}_FILE": secret_file}
    secret = secret_of(env, SECRET, run.secret_file if run else "")
    if not secret:
        raise PlayFailed(f"no secret to sign with: set {SECRET}, or name a file with --secret-file")
    return Target(url.rstrip("/") or (run.url if run else ""), secret, secret_of(env, "VOICEMESH_VAPI_LLM_KEY"))


def source_of(config: Config, run: Run | None) -> LogSource:
    """Return where to read calls from."""
    target = config.session_targets[0] if config.session_targets else (run.targets["session-svc"] if run else "")
    store = config.store or (run.store if run else str(StateDir(config.state_dir).store))
    return LogSource(target=target, store=store)


async def play_and_show(
    recorded: RecordedCall,
    target: Target,
    source: LogSource,
    *,
    speed: float,
    call_id: str | None,
    out: Console,
) -> Played:
    """Play a call, then print its timeline from the durable log. Raises PlayFailed, LogUnavailable."""
    with out.status("") as status:
        watch = _Watch(status)
        played = await play(recorded, target, speed=speed, call_id=call_id, on_message=watch.take)
    if refused := played.refused:
        first = refused[0]
        how = f"status {first.status}" if first.status else "no answer"
        raise PlayFailed(f"{len(refused)} of {len(played.deliveries)} webhooks were refused; {first.kind}: {how}")
    if all(delivery.status == 0 for delivery in played.deliveries):
        raise PlayFailed("the call has nothing that could be sent")
    await show_call(source, full_call_id(played.call_id), out, settle_s=_SETTLE_S)
    return played


async def play_sample(run: Run, env: Mapping[str, str]) -> None:
    """Play the call that comes with the command. What goes wrong is said; the mesh serves on."""
    out = render.console()
    out.print("playing the sample call: a restaurant booking, interrupted twice (takes about 25 s)")
    source = LogSource(target=run.targets["session-svc"], store=run.store)
    try:
        target = target_of(run, env)
        await play_and_show(read_recording(SAMPLE), target, source, speed=1.0, call_id=None, out=out)
    except (PlayFailed, LogUnavailable, NotFound, ConfigError) as error:
        print(f"voicemesh: the sample call failed: {error}", file=sys.stderr, flush=True)
    finally:
        await source.close()


async def show_call(source: LogSource, call_id: str, out: Console, *, settle_s: float = 0.0) -> None:
    """Print the timeline of a call, after waiting at most ``settle_s`` for its end. Raises NotFound."""
    summary = await _summary(source, call_id)
    loop = asyncio.get_running_loop()
    until_s = loop.time() + settle_s
    while loop.time() < until_s and not (summary and summary.ended_at_ms and await _is_reported(source, call_id)):
        await asyncio.sleep(0.1)
        summary = await _summary(source, call_id)
    if summary is None:
        raise NotFound(f"there is no call {call_id}; `voicemesh calls` lists them")
    events = [event async for page in source.pages(call_id=call_id) for event in page]
    told = timeline.build(events)
    length_ms = call_list.length_ms(summary)
    render.show_timeline(out, told, call_id=call_id, outcome=summary.outcome, length_ms=length_ms)


async def show_calls(source: LogSource, out: Console, *, limit: int, as_json: bool, file: TextIO) -> None:
    """List calls, newest first."""
    calls = await source.calls(limit)
    if not as_json:
        call_list.show_calls(out, calls)
        return
    for call in calls:
        print(json.dumps(_plain(call)), file=file)


async def show_summary(source: LogSource, call_id: str, file: TextIO) -> None:
    """Print what the store knows of one call as JSON. Raises NotFound."""
    summary = await _summary(source, call_id)
    if summary is None:
        raise NotFound(f"there is no call {call_id}; `voicemesh calls` lists them")
    print(json.dumps(_plain(summary)), file=file)


async def show_events(source: LogSource, since: int, *, call_id: str, follow: bool, file: TextIO) -> None:
    """Print the durable log as JSON lines, without private texts."""
    async for page in source.pages(since, call_id=call_id, follow=follow):
        for logged in page:
            print(json.dumps(redacted(logged), ensure_ascii=False), file=file)
        file.flush()


async def _summary(source: LogSource, call_id: str) -> pb.CallSummary | None:
    return next(iter(await source.calls(1, call_id=call_id)), None)


async def _is_reported(source: LogSource, call_id: str) -> bool:
    """Whether the log holds all that follows the end: the report, and the judgement of the last turn."""
    events = [event async for page in source.pages(call_id=call_id) for event in page]
    return any(logged.event.WhichOneof("kind") == "report" for logged in events)


def _plain(call: pb.CallSummary) -> dict[str, Any]:
    return {field.name: getattr(call, field.name) for field in pb.CallSummary.DESCRIPTOR.fields}


class _Watch:
    """Shows the words of a call while it is being played."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def take(self, message: Mapping[str, Any]) -> None:
        if message.get("type") == "transcript":
            who = "caller" if message.get("role") == "user" else "agent"
            words = printable(str(message.get("transcript", "")))
            self._status.update(render.heard_now(who, words))
