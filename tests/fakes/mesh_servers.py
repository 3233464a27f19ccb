"""session-svc, bargein-svc and llm-svc as gRPC servers in this process, with streams that are real and scripts behind.

Session and barge-in decide with their real cores and keep nothing; what they do wrong, a test switches on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import grpc
import grpc.aio
from bargein_svc.adapters import wire as bargein_wire
from bargein_svc.domain.verdict import NEW
from bargein_svc.domain.verdict import Policy as BargeInPolicy
from bargein_svc.domain.verdict import step as judge_words
from session_svc.adapters import wire as session_wire
from session_svc.domain.call import Call, Policy
from session_svc.domain.fold import step as fold_event
from svc_runtime.channel import SERVER
from svc_runtime.feed import Feed, Peer
from svc_runtime.stream import StreamShape
from voicemesh.bargein.v1 import bargein_pb2, bargein_pb2_grpc
from voicemesh.llm.v1 import llm_pb2, llm_pb2_grpc
from voicemesh.session.v1 import session_pb2, session_pb2_grpc


class FakeSession(session_pb2_grpc.SessionServiceServicer):
    """Folds, commands and acknowledges at once, unless it is told to be stuck."""

    def __init__(self) -> None:
        self.stuck = False
        """The store takes nothing: no event is answered."""
        self.calls: dict[str, Call] = {}
        self.events: list[session_pb2.CallEvent] = []
        self._seen: set[tuple[str, str]] = set()
        self._feed = Feed(StreamShape.of(session_pb2.ConverseRequest, session_pb2.ConverseResponse), self._handle)

    def kinds(self, call_id: str) -> list[str]:
        """What happened on a call, partials left out."""
        return [str(event.WhichOneof("kind")) for event in self.events if event.call_id == call_id]

    def of(self, kind: str) -> list[Any]:
        return [getattr(event, kind) for event in self.events if event.WhichOneof("kind") == kind]

    def _handle(self, peer: Peer, event: session_pb2.CallEvent) -> None:
        if self.stuck:
            return
        if (event.call_id, event.event_id) not in self._seen:
            self._seen.add((event.call_id, event.event_id))
            self.events.append(event)
            known = self.calls.get(event.call_id, Call(event.call_id))
            self.calls[event.call_id], commands = fold_event(known, session_wire.event_from(event), Policy())
            for command in commands:
                self.order(command.ingress_id, session_wire.command_to(event.call_id, command, ""))
        has_it = self.calls[event.call_id].agent
        if event.agent and event.agent != has_it:
            self.order(peer.client_id, session_wire.name_agent(event.call_id, has_it, ""))
        peer.ack(event.seq)

    def order(self, ingress_id: str, command: session_pb2.Command) -> None:
        self._feed.peers[ingress_id].send(command)

    async def Converse(self, request_iterator: Any, context: Any) -> None:
        await self._feed.serve(context)


class FakeBargeIn(bargein_pb2_grpc.BargeInServiceServicer):
    """Judges words, and remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[bargein_pb2.WatchEvent] = []
        self._states: dict[str, Any] = {}
        self._feed = Feed(StreamShape.of(bargein_pb2.WatchRequest, bargein_pb2.WatchResponse), self._handle)

    def _handle(self, peer: Peer, message: bargein_pb2.WatchEvent) -> None:
        self.events.append(message)
        if message.WhichOneof("kind") != "turn_ended":
            event = bargein_wire.event_of(message)
            state = self._states.get(message.call_id, NEW)
            self._states[message.call_id], verdict = judge_words(state, event, BargeInPolicy())
            if verdict is not None:
                peer.send(bargein_wire.verdict_message(verdict, call_id=message.call_id))
        peer.ack(message.seq)

    async def Watch(self, request_iterator: Any, context: Any) -> None:
        await self._feed.serve(context)


@dataclass
class Script:
    """What one generation says. ``gate`` holds it back before the piece of that number."""

    pieces: Sequence[str] = ("Four, ", "then. ", "For when?")
    gate: int = -1
    fails: grpc.StatusCode | None = None
    """With this status, once the pieces are out."""
    finish: Any = llm_pb2.FINISH_STOP
    tool_calls: Sequence[llm_pb2.ToolCall] = ()
    model: str = "openai/gpt-x"
    counts: tuple[int, int] = (0, 0)
    """Tokens in the prompt and in the answer."""


@dataclass
class Generation:
    """A Generate call as llm-svc sees it."""

    request: llm_pb2.GenerateRequest
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    """Lets it pass its gate."""
    cancelled: bool = False
    ended: bool = False


class Refusal(NamedTuple):
    """A tool that is not answered."""

    code: grpc.StatusCode
    begun: bool


class FakeLlm(llm_pb2_grpc.LlmServiceServicer):
    """Says its script, or what `choose` gives for a request."""

    def __init__(self) -> None:
        self.script = Script()
        self.choose: Callable[[llm_pb2.GenerateRequest], Script] = lambda _: self.script
        self.generations: list[Generation] = []
        self.tools: list[llm_pb2.Tool] = []
        """Of every agent."""
        self.unlisted = 0
        """So many questions for the tools have no answer."""
        self.tool_answers: list[llm_pb2.RunToolResponse | Refusal] = []
        """What the next runs come to; those behind them are done."""
        self.tools_run: list[llm_pb2.RunToolRequest] = []
        self.tools_go_on = asyncio.Event()
        """A run waits for it."""
        self.tools_go_on.set()
        self._feed = Feed(
            StreamShape.of(llm_pb2.FollowTurnsRequest, llm_pb2.FollowTurnsResponse),
            lambda peer, note: peer.ack(note.seq),
        )

    @property
    def running(self) -> list[Generation]:
        return [generation for generation in self.generations if not generation.ended]

    async def Generate(self, request: llm_pb2.GenerateRequest, context: Any) -> None:
        generation = Generation(request)
        self.generations.append(generation)
        script = self.choose(request)
        done = False
        try:
            await self._say(script, generation, context)
            done = True
        finally:
            generation.ended = True
            generation.cancelled = not done
        if script.fails is not None:
            await context.abort(script.fails, "scripted/none: scripted failure")
        prompt, completion = script.counts
        done = llm_pb2.Finished(
            finish=script.finish, model=script.model, prompt_tokens=prompt, completion_tokens=completion
        )
        await context.write(llm_pb2.GenerateResponse(finished=done))

    async def _say(self, script: Script, generation: Generation, context: Any) -> None:
        for number, text in enumerate(script.pieces):
            if number == script.gate:
                await generation.opened.wait()
            await context.write(llm_pb2.GenerateResponse(token=llm_pb2.Token(text=text)))
        if script.gate == len(script.pieces):
            await generation.opened.wait()
        for call in script.tool_calls:
            await context.write(llm_pb2.GenerateResponse(tool_call=call))

    async def FollowTurns(self, request_iterator: Any, context: Any) -> None:
        await self._feed.serve(context)

    async def ListTools(self, request: llm_pb2.ListToolsRequest, context: Any) -> llm_pb2.ListToolsResponse:
        if self.unlisted:
            self.unlisted -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return llm_pb2.ListToolsResponse(tools=self.tools)

    async def RunTool(self, request: llm_pb2.RunToolRequest, context: Any) -> llm_pb2.RunToolResponse:
        self.tools_run.append(request)
        await self.tools_go_on.wait()
        answer = self.tool_answers.pop(0) if self.tool_answers else llm_pb2.RunToolResponse(result="done")
        if isinstance(answer, Refusal):
            begun = () if answer.begun else (("voicemesh-not-begun", "1"),)
            await context.abort(answer.code, "no", trailing_metadata=begun)
        return answer


class Served:
    """A server that can go down and come back on its port."""

    def __init__(self, register: Callable[[grpc.aio.Server], None]) -> None:
        self._register = register
        self._server: grpc.aio.Server | None = None
        self.port = 0

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def up(self) -> None:
        self._server = grpc.aio.server(options=SERVER)
        self._register(self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def down(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None


class FakeMesh:
    """The three services behind an ingress."""

    def __init__(self) -> None:
        self.session = FakeSession()
        self.bargein = FakeBargeIn()
        self.llm = FakeLlm()
        add_session: Any = session_pb2_grpc.add_SessionServiceServicer_to_server
        add_bargein: Any = bargein_pb2_grpc.add_BargeInServiceServicer_to_server
        add_llm: Any = llm_pb2_grpc.add_LlmServiceServicer_to_server
        self.session_server = Served(lambda server: add_session(self.session, server))
        self.bargein_server = Served(lambda server: add_bargein(self.bargein, server))
        self.llm_server = Served(lambda server: add_llm(self.llm, server))

    @property
    def servers(self) -> tuple[Served, ...]:
        return self.session_server, self.bargein_server, self.llm_server


@asynccontextmanager
async def fake_mesh() -> AsyncIterator[FakeMesh]:
    mesh = FakeMesh()
    for server in mesh.servers:
        await server.up()
    try:
        yield mesh
    finally:
        for server in mesh.servers:
            await server.down()
