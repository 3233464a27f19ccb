"""From settings to an ingress that serves."""

from __future__ import annotations

import asyncio
import secrets
import time

from svc_runtime import logs, telemetry
from svc_runtime.background import Background
from svc_runtime.budget import Budget
from svc_runtime.clock import SystemClock
from svc_runtime.kept_versions import KeptVersions
from svc_runtime.loop_watch import LoopWatch
from svc_runtime.metrics import Counters, Gauge
from svc_runtime.server import Health
from voicemesh.session.v1 import session_pb2

from ingress_svc.adapters.agents import Agents
from ingress_svc.adapters.answering import Answering
from ingress_svc.adapters.call_reporter import CallReporter
from ingress_svc.adapters.calls import Calls
from ingress_svc.adapters.control import CallControl
from ingress_svc.adapters.control_lines import ControlLines
from ingress_svc.adapters.custom_llm import CustomLlm
from ingress_svc.adapters.generate import Generate
from ingress_svc.adapters.guard import Door, Guard
from ingress_svc.adapters.http import Draining, HttpServer, routes
from ingress_svc.adapters.mesh import Mesh
from ingress_svc.adapters.owner import OwnerServer
from ingress_svc.adapters.owner_post import OwnerPost
from ingress_svc.adapters.phone_control import PhoneControls
from ingress_svc.adapters.refusals import Refusals
from ingress_svc.adapters.tell_owner import TellOwner
from ingress_svc.adapters.tokens import Tokens
from ingress_svc.adapters.tool_desk import ToolDesk
from ingress_svc.adapters.tool_lists import ToolLists
from ingress_svc.adapters.tool_rounds import ToolRounds
from ingress_svc.adapters.tool_runner import LlmTools
from ingress_svc.adapters.turns import Turns
from ingress_svc.adapters.webhook import VapiWebhook
from ingress_svc.adapters.webhook_tools import WebhookTools
from ingress_svc.agent_file import agents
from ingress_svc.auth import auth
from ingress_svc.config import Config
from ingress_svc.control_settings import control_hosts, control_token
from ingress_svc.domain.auth_doctor import Doctor
from ingress_svc.domain.body_room import BodyRoom
from ingress_svc.domain.lateness import TICK_S, Lateness
from ingress_svc.domain.signatures import Unsigned, Verifier
from ingress_svc.owner_settings import owner_timeout_s

_SERVICES = ("session-svc", "bargein-svc", "llm-svc")


class Ingress:
    """All of ingress-svc but the life of its process. Raises ConfigError for what cannot work."""

    def __init__(self, config: Config) -> None:
        self._auth = auth(config)
        budget = Budget.load(config.budget_file)
        clock = SystemClock()
        self.counters = Counters()
        self._draining = Draining()
        self._drain_s = config.drain_s
        self._recorder = telemetry.recorder("ingress-svc", config.otlp_endpoint, counters=self.counters)
        self._controls = ControlLines(
            CallControl(counters=self.counters, timeout_s=config.control_timeout_s, token=control_token(config)),
            control_hosts(config),
            self.counters,
        )
        self._shelf = agents(config, self.counters, KeptVersions(config.agent_versions, "ingress-svc"))
        chooser = Agents(self._shelf)
        self.calls = Calls(
            clock=clock,
            counters=self.counters,
            lateness=Lateness(clock.monotonic_s()),
            controls=self._controls,
            agents=chooser,
            most_calls=config.most_calls,
            idle_s=config.idle_s,
        )
        self._mesh = Mesh(
            client_id=f"ingress-{secrets.token_hex(6)}",
            session_targets=config.session_targets,
            bargein_targets=config.bargein_targets,
            llm_targets=config.llm_targets,
            on_command=self._on_command,
            discovery_s=config.discovery_s,
            generate_timeout_s=config.generate_timeout_s,
            on_verdict=self.calls.on_verdict,
        )
        turns = Turns(self._recorder, budget, self.calls.announce, config.trace_one_in)
        # Without a secret no agent's file may name a system, so nothing is posted unsigned.
        self._owner_post = OwnerPost(config.owner_secret, timeout_s=owner_timeout_s(config))
        owner_of = chooser.owners_system
        self._tool_lists = ToolLists(self._mesh.list_tools, self.counters, owner_of=owner_of)
        run_now = TellOwner(self._owner_post, owner_of, clock, others=LlmTools(self._mesh).run).run
        self._tools = ToolDesk(self._mesh, turns, clock, self.counters, run_now=run_now, hold_s=config.hold_s)
        rounds = ToolRounds(self._tool_lists, self._tools)
        generate = Generate(self._mesh, turns, rounds, config.generate_timeout_s, config.first_piece_s)
        self.calls.connect(self._mesh, turns, generate, self._tools)
        self._reporter = CallReporter(self._mesh, self._owner_post, chooser.owners_system_now, clock, self.counters)
        self._background = Background()
        self._health = Health(degraded=lambda: self._shelf.degraded)
        self._watch = LoopWatch(lambda ok: self._health.set("loop", ok))
        self.room = BodyRoom()
        guard = Guard(
            webhooks=_door("webhook", self._auth.webhooks, self._auth.webhook_doctor),
            llm=_door("llm", self._auth.llm, self._auth.llm_doctor),
            room=self.room,
            max_body_bytes=config.max_body_bytes,
            counters=self.counters,
        )
        self.answering = Answering(
            server=OwnerServer(config.owner_secret) if config.owner_secret else None,
            counters=self.counters,
            tools=WebhookTools(self._tool_lists, self._tools, run_now, self.calls.turn_going_on),
        )
        self.webhook = webhook = VapiWebhook(
            guard=guard,
            calls=self.calls,
            mesh=self._mesh,
            answering=self.answering,
            plan_of=lambda call, body: chooser.plan(call.agent if call is not None else "", body),
            phone=PhoneControls(self.calls, clock, self.counters),
            counters=self.counters,
            hold_s=config.hold_s,
        )
        self.routes = routes(
            webhook=webhook,
            llm=CustomLlm(guard=guard, calls=self.calls, counters=self.counters),
            tokens=Tokens(self._auth.tokens, self.counters) if self._auth.tokens is not None else None,
            waits_for=lambda: self.missing,
            degraded=lambda: self._health.degraded,
            draining=self._draining,
            counters=self.counters,
            gauges=[
                Gauge(
                    "voicemesh.loop.lag",
                    "How late the event loop ran at worst.",
                    lambda: self._watch.lag_ms / 1000,
                    "s",
                ),
                Gauge("voicemesh.call.active", "Calls that this ingress knows.", lambda: len(self.calls)),
            ],
            max_body_bytes=config.max_body_bytes,
        )
        self._http = HttpServer(
            self.routes,
            webhook.receive,
            draining=self._draining,
            max_body_bytes=config.max_body_bytes,
            room=self.room,
            host=config.host,
            port=config.port,
            drain_s=config.drain_s,
        )

    @property
    def host(self) -> str:
        """The address that it listens on."""
        return self._http.host

    @property
    def port(self) -> int:
        """The port that it listens on, also where the setting was 0."""
        return self._http.port

    @property
    def draining(self) -> bool:
        """Whether it is being stopped."""
        return self._draining.begun

    @property
    def missing(self) -> list[str]:
        """What it waits for: services without a stream, what of itself does not run, and its own end."""
        self._health.probe()
        return self._health.waits_for

    async def start(self) -> None:
        """Connect to the other services, and listen. Raises CannotListen."""
        if self._auth.unsigned:
            logs.get().warning("auth.unsigned", endpoints=self._auth.unsigned)
        await self._mesh.start()
        self._recorder.start()
        self._watch.start()
        self._health.set("loop", True)
        for name in _SERVICES:
            self._health.watch(name, lambda name=name: name not in self._mesh.missing)  # type: ignore[misc]
        self._health.watch("background", lambda: self._background.ok)
        self._health.watch("drain", lambda: not self.draining)
        self._background.keep("tick", self._keep_ticking)
        self._background.keep("agents", self._shelf.keep_fresh)
        self._background.keep("health", self._health.keep_probing)
        self._background.keep("replicas", self._mesh.keep_found)
        await self._http.start()

    async def drain(self, hurry: asyncio.Event) -> None:
        """Stop taking work in, and let the answers that are on their way end."""
        logs.get().info("drain.began", drain_s=self._drain_s)
        began_s = time.monotonic()
        self._draining.begun = True
        self._health.probe()
        await self._http.stop_listening()
        finished, _ = await asyncio.gather(
            self.calls.drain(self._drain_s, hurry), self.answering.drain(self._drain_s, hurry)
        )
        # Nobody waits for these any more, so they get what is left.
        left_s = max(0.0, self._drain_s - (time.monotonic() - began_s))
        await asyncio.gather(
            self._tools.drain(left_s, hurry),
            self._reporter.drain(left_s, hurry),
            self._draining.quiet(self._http.has_connections, left_s, hurry),
        )
        logs.get().info("drain.ended", finished=finished)

    async def close(self) -> None:
        await self._background.close()
        self._watch.stop()
        # Those that still wait are answered before their connections close.
        await self.answering.close()
        await self._http.close()
        await self._controls.close(grace_s=1.0)
        await self._tool_lists.close()
        await self._owner_post.close()
        await self._mesh.close(grace_s=1.0)
        await self._recorder.close()

    def _on_command(self, command: session_pb2.Command) -> None:
        # A call that is reported is over: it must not become known again.
        if command.HasField("report_call"):
            self._reporter.obey(command)
        else:
            self.calls.on_command(command)

    async def _keep_ticking(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.calls.tick()


def _door(endpoint: str, verifier: Verifier | Unsigned, doctor: Doctor | None) -> Door:
    return Door(verifier, Refusals(doctor, endpoint=endpoint) if doctor is not None else None)
