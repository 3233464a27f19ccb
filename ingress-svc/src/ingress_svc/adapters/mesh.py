"""The services behind ingress: one stream to each replica, and which replica a call belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
from svc_runtime import logs, stream
from svc_runtime.config import ConfigError
from svc_runtime.link import Link, LinkLimits
from svc_runtime.replicas import Discovery
from voicemesh.bargein.v1 import bargein_pb2, bargein_pb2_grpc
from voicemesh.llm.v1 import llm_pb2, llm_pb2_grpc
from voicemesh.session.v1 import session_pb2, session_pb2_grpc

from ingress_svc.adapters.replicas import OpenLink, Replicas, Spread

MAY_COME_AGAIN = {stream.MOVED, stream.STORE_UNAVAILABLE, stream.OVERLOADED, stream.INTERNAL}
"""Answers after which the same event may be sent again."""
LEAST_WAIT_S = 0.05
LEAST_DISCOVERY_S = 0.1
TELL_TRIES = 1_000
"""How often a report of our own is sent again: for minutes, for without it session-svc's picture stays wrong."""
NO_ANSWER = stream.Outcome(stream.PEER_LOST, "session-svc did not answer in time")

SESSION = stream.StreamShape.of(session_pb2.ConverseRequest, session_pb2.ConverseResponse)
BARGEIN = stream.StreamShape.of(bargein_pb2.WatchRequest, bargein_pb2.WatchResponse)
LLM = stream.StreamShape.of(llm_pb2.FollowTurnsRequest, llm_pb2.FollowTurnsResponse)


class Mesh:
    """Everything ingress says to the other services, and hears from them."""

    def __init__(
        self,
        *,
        client_id: str,
        session_targets: Sequence[str],
        bargein_targets: Sequence[str],
        llm_targets: Sequence[str],
        on_command: Callable[[session_pb2.Command], None],
        on_verdict: Callable[[bargein_pb2.Verdict], None],
        discovery_s: float,
        generate_timeout_s: float,
        limits: LinkLimits | None = None,
    ) -> None:
        """The names among the targets are looked up every ``discovery_s``. Raises ConfigError for what is no target."""
        limits = limits or LinkLimits()
        # Kept: Python 3.11 asks the kernel for the process id whenever it is asked for the loop.
        self._loop = asyncio.get_running_loop()
        self.client_id = client_id

        def linked(shape: stream.StreamShape, method: Callable[[grpc.aio.Channel], Any], on_item: Any) -> OpenLink:
            def open_link(channel: grpc.aio.Channel, target: str, after_seq: int) -> Link:
                open_stream = method(channel)
                name = f"{shape.request.DESCRIPTOR.full_name}@{target}"
                # Without wait_for_ready a stream fails at once while its server restarts, and a backoff adds to it.
                return Link(
                    name,
                    shape,
                    lambda: open_stream(wait_for_ready=True),
                    client_id=client_id,
                    on_item=on_item,
                    limits=limits,
                    after_seq=after_seq,
                )

            return open_link

        self.sessions = Replicas(
            "session-svc", linked(SESSION, lambda c: session_pb2_grpc.SessionServiceStub(c).Converse, on_command)
        )
        # A replica that has not seen a call's playout judges by words alone: better than one that does not answer.
        self.bargeins = Replicas(
            "bargein-svc",
            linked(BARGEIN, lambda c: bargein_pb2_grpc.BargeInServiceStub(c).Watch, on_verdict),
            forsake_lost=True,
        )
        self.llms = Replicas("llm-svc", linked(LLM, lambda c: llm_pb2_grpc.LlmServiceStub(c).FollowTurns, _no_items))
        self._spread = Spread(llm_targets[0], longest_s=generate_timeout_s)
        self._llm = llm_pb2_grpc.LlmServiceStub(self._spread.channel)
        self._discoveries = [
            _discovery("VOICEMESH_SESSION_TARGETS", "session-svc", session_targets, self.sessions.update, discovery_s),
            _discovery("VOICEMESH_BARGEIN_TARGETS", "bargein-svc", bargein_targets, self.bargeins.update, discovery_s),
            _discovery("VOICEMESH_LLM_TARGETS", "llm-svc", llm_targets, self._update_llms, discovery_s),
        ]

    async def start(self) -> None:
        """Connect to the replicas that are known by now; `keep_found` finds the others."""
        await asyncio.gather(*(discovery.refresh() for discovery in self._discoveries))

    async def keep_found(self) -> None:
        """Follow the replicas that come and go."""
        async with asyncio.TaskGroup() as following:
            for discovery in self._discoveries:
                following.create_task(discovery.keep_fresh())

    @property
    def missing(self) -> list[str]:
        """Return the services that no stream reaches at the moment."""
        named = {"session-svc": self.sessions, "bargein-svc": self.bargeins, "llm-svc": self.llms}
        return [name for name, replicas in named.items() if not any(link.connected for link in replicas.all())]

    @property
    def waiting(self) -> int:
        """How many events have no answer of session-svc yet, at the replica with most of them."""
        return max((link.backlog for link in self.sessions.all()), default=0)

    def generate(self, request: llm_pb2.GenerateRequest, timeout_s: float) -> Any:
        """Open a Generate call. The caller cancels it in a `finally`."""
        return self._llm.Generate(request, timeout=timeout_s, wait_for_ready=True)

    async def reaches_llm(self, within_s: float) -> bool:
        """Whether a replica of llm-svc can be asked at once, or within this time."""
        channel = self._spread.channel
        try:
            async with asyncio.timeout(within_s):
                while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                    await channel.wait_for_state_change(state)
        except TimeoutError:
            return False
        return True

    async def run_tool(self, request: llm_pb2.RunToolRequest, timeout_s: float) -> llm_pb2.RunToolResponse:
        response: llm_pb2.RunToolResponse = await self._llm.RunTool(request, timeout=timeout_s, wait_for_ready=True)
        return response

    async def list_tools(self, request: llm_pb2.ListToolsRequest, timeout_s: float) -> llm_pb2.ListToolsResponse:
        response: llm_pb2.ListToolsResponse = await self._llm.ListTools(request, timeout=timeout_s, wait_for_ready=True)
        return response

    def tell(
        self,
        event: session_pb2.CallEvent,
        *,
        urgent: bool = True,
        tries: int = TELL_TRIES,
        taken: Callable[[], object] | None = None,
    ) -> None:
        """Send a report of our own to session-svc, again and again until it is taken; ``taken`` is called then."""

        def answered(outcome: stream.Outcome) -> None:
            if outcome.code == stream.OK:
                if taken is not None:
                    taken()
                return
            if outcome.code in MAY_COME_AGAIN and tries > 1:
                self.sessions.moved(event.call_id, outcome)
                wait_s = max(outcome.retry_after_ms / 1000, LEAST_WAIT_S)
                self._loop.call_later(wait_s, lambda: self.tell(event, urgent=urgent, tries=tries - 1, taken=taken))
            else:
                logs.get().warning("mesh.report_lost", kind=event.WhichOneof("kind"), code=outcome.code)

        try:
            self.sessions.of(event.call_id).submit(event, answered, urgent=urgent)
        except stream.Overloaded:
            answered(stream.Outcome(stream.OVERLOADED, retry_after_ms=200))
        except stream.EventTooLarge as error:
            logs.get().warning("mesh.report_lost", kind=event.WhichOneof("kind"), reason=str(error))

    def deliver(
        self,
        event: session_pb2.CallEvent,
        within_s: float,
        done: Callable[[stream.Outcome], object],
        *,
        share: float = 1.0,
    ) -> None:
        """Send a durable event now; ``done`` gets its answer. ``share`` as in `Link.submit`.

        That is PEER_LOST when none has come ``within_s``; refusals that may pass are tried again until then. Raises
        Overloaded or EventTooLarge when nothing was sent.
        """
        _Delivery(self, event, done, share).start(within_s)

    def watch(
        self,
        event: bargein_pb2.WatchEvent,
        on_outcome: Callable[[stream.Outcome], object] | None = None,
        *,
        urgent: bool = True,
        share: float = 1.0,
    ) -> bool:
        """Send something that bears on barge-in; False when the queue in front of bargein-svc is full."""
        try:
            self.bargeins.of(event.call_id).submit(event, on_outcome, urgent=urgent, share=share)
        except (stream.Overloaded, stream.EventTooLarge):
            return False
        return True

    def judged(self, event: session_pb2.CallEvent) -> None:
        """Tell those who keep light records, but no log, what session-svc is told of a turn."""
        watched = bargein_pb2.WatchEvent(
            event_id=event.event_id,
            call_id=event.call_id,
            at_ms=event.at_ms,
            received_at_ms=event.received_at_ms,
            turn_ended=event.turn_ended,
        )
        try:
            self.bargeins.of(event.call_id).submit(watched, urgent=False)
            for link in self.llms.all():
                link.submit(llm_pb2.TurnNote(turn_ended=event.turn_ended), urgent=False)
        except stream.Overloaded:
            return  # a record without a verdict is kept after 30 s

    async def caught_up(self, call_id: str, timeout_s: float) -> None:
        """Return when all that session-svc and bargein-svc had to say of a call by now has been handled.

        A service that cannot be reached within ``timeout_s`` has nothing to say: its stream is gone, and what it
        decides after its return comes as a command of its own.
        """
        try:
            links = (self.sessions.of(call_id), self.bargeins.of(call_id))
        except stream.Overloaded:
            return
        results = await asyncio.gather(*(link.barrier(timeout_s) for link in links), return_exceptions=True)
        for link, result in zip(links, results, strict=True):
            if isinstance(result, TimeoutError):
                logs.get().warning("mesh.not_caught_up", link=link.name)
            elif isinstance(result, BaseException):
                raise result

    async def close(self, grace_s: float) -> None:
        closing: list[Awaitable[None]] = [
            replicas.close(grace_s) for replicas in (self.sessions, self.bargeins, self.llms)
        ]
        await asyncio.gather(*closing, self._spread.close())

    def _update_llms(self, targets: Sequence[str]) -> None:
        self.llms.update(targets)
        self._spread.update(targets)
        self._llm = llm_pb2_grpc.LlmServiceStub(self._spread.channel)


class _Delivery:
    """A durable event on its way to its answer."""

    __slots__ = ("_done", "_event", "_late", "_loop", "_sessions", "_share", "_until_s")

    def __init__(
        self, mesh: Mesh, event: session_pb2.CallEvent, done: Callable[[stream.Outcome], object], share: float
    ) -> None:
        self._share = share
        self._sessions = mesh.sessions
        self._loop = mesh._loop
        self._event = event
        self._done: Callable[[stream.Outcome], object] | None = done

    def start(self, within_s: float) -> None:
        self._send()
        self._until_s = self._loop.time() + within_s
        self._late = self._loop.call_at(self._until_s, self._finish, NO_ANSWER)

    def _send(self) -> None:
        self._sessions.of(self._event.call_id).submit(self._event, self._answered, share=self._share)

    def _answered(self, outcome: stream.Outcome) -> None:
        if outcome.code in MAY_COME_AGAIN and self._done is not None:
            self._sessions.moved(self._event.call_id, outcome)
            wait_s = max(outcome.retry_after_ms / 1000, LEAST_WAIT_S)
            if self._loop.time() + wait_s < self._until_s:
                self._loop.call_later(wait_s, self._again, outcome)
                return
        self._finish(outcome)

    def _again(self, before: stream.Outcome) -> None:
        try:
            self._send()
        except stream.Overloaded:
            self._finish(before)

    def _finish(self, outcome: stream.Outcome) -> None:
        done, self._done = self._done, None
        if done is not None:
            self._late.cancel()
            done(outcome)


def _no_items(item: object) -> None:
    logs.get().warning("mesh.unexpected_item", kind=type(item).__name__)


def _discovery(
    variable: str, service: str, targets: Sequence[str], on_change: Callable[[Sequence[str]], None], every_s: float
) -> Discovery:
    if not targets:
        raise ConfigError(f"{variable} is empty; name a replica of {service} at least, host:port")
    if not every_s >= LEAST_DISCOVERY_S:
        raise ConfigError(f"VOICEMESH_DISCOVERY_S={every_s} is below {LEAST_DISCOVERY_S}; 2 is usual")
    try:
        return Discovery(service, targets, on_change, every_s=every_s)
    except ValueError as error:
        raise ConfigError(f"{variable}: {error}") from error
