"""The `voicemesh` command."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from svc_runtime.config import ConfigError, load

from voicemesh_cli import checks_here, commands, doctor, render, vapi_commands
from voicemesh_cli.config import Config
from voicemesh_cli.log_source import LogUnavailable, full_call_id
from voicemesh_cli.play import PlayFailed
from voicemesh_cli.state_dir import StateDir, StateDirError
from voicemesh_cli.up import up
from voicemesh_cli.vapi_api import VapiError
from voicemesh_cli.vapi_connect import ConnectFailed

_EXPECTED = (PlayFailed, LogUnavailable, StateDirError, commands.NotFound, VapiError, ConnectFailed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 well, 1 it failed, 2 the command line or the settings are wrong."""
    given = _parser().parse_args(arguments)
    try:
        config = load(Config, os.environ)
        return asyncio.run(_run(given, config))
    except ConfigError as error:
        if given.command == "doctor":
            return doctor.show(render.console(), checks_here.settings(os.environ))
        print(f"voicemesh: {error}", file=sys.stderr)
        return 2
    except _EXPECTED as error:
        print(f"voicemesh: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our output has enough of it. The interpreter must not try to flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


async def _run(given: argparse.Namespace, config: Config) -> int:
    if given.command == "up":
        return await up(config, os.environ)
    if given.command == "doctor":
        return doctor.show(render.console(), await doctor.examine(doctor.asked_of(given), config, os.environ))
    if given.command == "vapi":
        await vapi_commands.run(given, config, os.environ, render.console())
        return 0
    run = StateDir(config.state_dir).read_run()
    source = commands.source_of(config, run)
    try:
        match given.command:
            case "play":
                target = commands.target_of(run, os.environ, url=given.url, secret_file=given.secret_file)
                recorded = commands.read_recording(given.file)
                await commands.play_and_show(
                    recorded, target, source, speed=given.speed, call_id=given.call_id, out=render.console()
                )
            case "events":
                call_id = full_call_id(given.call) if given.call else ""
                await commands.show_events(source, given.since, call_id=call_id, follow=given.follow, file=sys.stdout)
            case "calls" if given.id and given.json:
                await commands.show_summary(source, full_call_id(given.id), sys.stdout)
            case "calls" if given.id:
                await commands.show_call(source, full_call_id(given.id), render.console())
            case "calls":
                await commands.show_calls(
                    source, render.console(), limit=given.limit, as_json=given.json, file=sys.stdout
                )
    finally:
        await source.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="voicemesh",
        description="Run a voicemesh on this machine, play calls to it, and read what happened on them.",
        epilog="Settings come from VOICEMESH_* variables; docs/settings.md lists them.",
    )
    parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers.add_parser(
        "up",
        help="start every service, play the sample call, serve until Ctrl-C",
        description="Start every service as a process on this machine, play the sample call and print its timeline, "
        "then serve until Ctrl-C. A service that dies is started again.",
    )
    _play_parser(
        parsers.add_parser(
            "play",
            help="play a recorded call and print its timeline",
            description="Play a recorded call as Vapi would: signed webhooks and custom-LLM requests. "
            "docs/recorded-calls.md describes the file.",
        )
    )
    calls = parsers.add_parser("calls", help="list calls, or print the timeline of one")
    calls.add_argument("id", nargs="?", help="the call to print, with or without the leading vapi:")
    calls.add_argument("--json", action="store_true", help="print one JSON object a call")
    calls.add_argument("--limit", type=_whole, default=50, metavar="N", help="list the newest N calls (default: 50)")
    events = parsers.add_parser(
        "events",
        help="print the durable log as JSON lines",
        description="Print the durable log as JSON lines, oldest first, without what people said.",
    )
    events.add_argument("--since", type=_whole, default=0, metavar="CURSOR", help="only what is above this cursor")
    events.add_argument("--follow", action="store_true", help="wait for more when the end is reached")
    events.add_argument("--call", metavar="ID", help="only this call")
    doctor.add_parser(parsers)
    vapi_commands.add_parser(parsers)
    return parser


def _play_parser(play: argparse.ArgumentParser) -> None:
    play.add_argument("file", help="the recorded call, JSON lines")
    play.add_argument("--url", default="", help="where to play to (default: the mesh that runs in VOICEMESH_STATE_DIR)")
    play.add_argument("--secret-file", default="", metavar="FILE", help="file with the secret to sign with")
    play.add_argument("--call-id", metavar="ID", help="play under this call id (default: the file's, or a new one)")
    play.add_argument("--speed", type=_speed, default=1.0, metavar="X", help="play X times as fast (default: 1)")


def _whole(text: str) -> int:
    value = int(text) if text.isdigit() else -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return value


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.01 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0.01 to 1000")
    return value


if __name__ == "__main__":
    sys.exit(main())
