"""The services behind ingress: one stream to each replica, and which replica a call belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from svc_runtime import logs, stream
from svc_runtime.channel import HEALTHY_ROUND_ROBIN, open_channel
from svc_runtime.config import ConfigError
from svc_runtime.link import Link, LinkLimits
from svc_runtime.slots import rendezvous, slot_of
from voicemesh.bargein.v1 import bargein_pb2, bargein_pb2_grpc
from voicemesh.llm.v1 import llm_pb2, llm_pb2_grpc
from voicemesh.session.v1 import session_pb2, session_pb2_grpc

MAY_COME_AGAIN = {stream.MOVED, stream.STORE_UNAVAILABLE, stream.OVERLOADED, stream.INTERNAL}
"""Answers after which the same event may be sent again."""
LEAST_WAIT_S = 0.05
TELL_TRIES = 1_000
"""How often a report of our own is sent again: for minutes, for without it session-svc's picture stays wrong."""
NO_ANSWER = stream.Outcome(stream.PEER_LOST, "session-svc did not answer in time")

SESSION = stream.StreamShape.of(session_pb2.ConverseRequest, session_pb2.ConverseResponse)
BARGEIN = stream.StreamShape.of(bargein_pb2.WatchRequest, bargein_pb2.WatchResponse)
LLM = stream.StreamShape.of(llm_pb2.FollowTurnsRequest, llm_pb2.FollowTurnsResponse)


@dataclass(slots=True)
class _Override:
    address: str
    epoch: int


class Replicas:
    """The links to all replicas of one service. The slot map is a hint; `moved` answers correct it."""

    def __init__(self, name: str, targets: Sequence[str], open_link: Callable[[str], Link]) -> None:
        self._name = name
        self._targets = list(targets)
        self._open_link = open_link
        self._links: dict[str, Link] = {}
        self._overrides: dict[int, _Override] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        for target in self._targets:
            self._link(target)

    def all(self) -> Iterable[Link]:
        return self._links.values()

    def of(self, call_id: str) -> Link:
        """Return the link to the replica that is expected to hold the call's slot."""
        if len(self._links) == 1 and not self._overrides:
            return next(iter(self._links.values()))
        slot = slot_of(call_id)
        override = self._overrides.get(slot)
        if override is not None:
            return self._link(override.address)
        # A replica that drains asks to be left; a lone one is better than none.
        staying = [target for target in self._targets if not self._link(target).draining]
        return self._link(rendezvous(slot, staying or self._targets))

    def moved(self, call_id: str, outcome: stream.Outcome) -> None:
        """Follow a `moved` answer, unless a newer one was followed before."""
        slot = slot_of(call_id)
        known = self._overrides.get(slot)
        if outcome.moved_to and (known is None or known.epoch < outcome.moved_epoch):
            self._overrides[slot] = _Override(outcome.moved_to, outcome.moved_epoch)
            logs.get().info("mesh.slot_moved", service=self._name, slot=slot, address=outcome.moved_to)

    async def close(self, grace_s: float) -> None:
        await asyncio.gather(*(link.close(grace_s) for link in self._links.values()))
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _link(self, target: str) -> Link:
        link = self._links.get(target)
        if link is None:
            link = self._links[target] = self._open_link(target)
            self._tasks[target] = asyncio.get_running_loop().create_task(link.run())
        return link


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
        limits: LinkLimits | None = None,
    ) -> None:
        limits = limits or LinkLimits()
        # Kept: Python 3.11 asks the kernel for the process id whenever it is asked for the loop.
        self._loop = asyncio.get_running_loop()
        self.client_id = client_id
        self._channels: list[grpc.aio.Channel] = []

        def linked(shape: stream.StreamShape, method: Callable[[grpc.aio.Channel], Any], on_item: Any) -> Any:
            def open_link(target: str) -> Link:
                open_stream = method(self._channel(target))
                name = f"{shape.request.DESCRIPTOR.full_name}@{target}"
                # Without wait_for_ready a stream fails at once while its server restarts, and a backoff adds to it.
                return Link(
                    name,
                    shape,
                    lambda: open_stream(wait_for_ready=True),
                    client_id=client_id,
                    on_item=on_item,
                    limits=limits,
                )

            return open_link

        self.sessions = Replicas(
            "session-svc",
            session_targets,
            linked(SESSION, lambda c: session_pb2_grpc.SessionServiceStub(c).Converse, on_command),
        )
        self.bargeins = Replicas(
            "bargein-svc",
            bargein_targets,
            linked(BARGEIN, lambda c: bargein_pb2_grpc.BargeInServiceStub(c).Watch, on_verdict),
        )
        self.llms = Replicas(
            "llm-svc", llm_targets, linked(LLM, lambda c: llm_pb2_grpc.LlmServiceStub(c).FollowTurns, _no_items)
        )
        spread = open_channel(_one_target(llm_targets), service_config=HEALTHY_ROUND_ROBIN)
        self._channels.append(spread)
        llm = llm_pb2_grpc.LlmServiceStub(spread)
        self._generate, self._run_tool, self._list_tools = llm.Generate, llm.RunTool, llm.ListTools

    def start(self) -> None:
        for replicas in (self.sessions, self.bargeins, self.llms):
            replicas.start()

    @property
    def missing(self) -> list[str]:
        """Return the services that no stream reaches at the moment."""
        named = {"session-svc": self.sessions, "bargein-svc": self.bargeins, "llm-svc": self.llms}
        return [name for name, replicas in named.items() if not any(link.connected for link in replicas.all())]

    @property
    def waiting(self) -> int:
        """How many events have no answer of session-svc yet, at the replica with most of them."""
        return max(link.backlog for link in self.sessions.all())

    def generate(self, request: llm_pb2.GenerateRequest, timeout_s: float) -> Any:
        """Open a Generate call. The caller cancels it in a `finally`."""
        return self._generate(request, timeout=timeout_s, wait_for_ready=True)

    async def run_tool(self, request: llm_pb2.RunToolRequest, timeout_s: float) -> llm_pb2.RunToolResponse:
        response: llm_pb2.RunToolResponse = await self._run_tool(request, timeout=timeout_s, wait_for_ready=True)
        return response

    async def list_tools(self, request: llm_pb2.ListToolsRequest, timeout_s: float) -> llm_pb2.ListToolsResponse:
        response: llm_pb2.ListToolsResponse = await self._list_tools(request, timeout=timeout_s, wait_for_ready=True)
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
        links = (self.sessions.of(call_id), self.bargeins.of(call_id))
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
        await asyncio.gather(*closing)
        for channel in self._channels:
            await channel.close()

    def _channel(self, target: str) -> grpc.aio.Channel:
        channel = open_channel(target)
        self._channels.append(channel)
        return channel


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


def _one_target(targets: Sequence[str]) -> str:
    """Return a gRPC target that stands for all replicas: a list of addresses, or a name that DNS resolves to all.

    Raises ConfigError for several names: gRPC resolves one.
    """
    numeric = all(target.rsplit(":", 1)[0].replace(".", "").isdigit() for target in targets)
    if not numeric and len(targets) > 1:
        raise ConfigError(
            f"VOICEMESH_LLM_TARGETS={','.join(targets)!r} names several hosts; give one name that DNS resolves to "
            "every replica, or their numeric addresses"
        )
    return f"ipv4:{','.join(targets)}" if numeric else f"dns:///{targets[0]}"
