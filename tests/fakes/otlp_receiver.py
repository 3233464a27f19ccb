"""An OTLP/gRPC receiver: the collector's trace service as its proto has it, keeping what arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True, slots=True)
class Arrived:
    """One span as it came over the wire."""

    span: Span
    resource: dict[str, object]
    scope: str

    @property
    def attributes(self) -> dict[str, object]:
        return _plain(self.span.attributes)

    @property
    def trace_id(self) -> int:
        return int.from_bytes(self.span.trace_id, "big")

    @property
    def span_id(self) -> int:
        return int.from_bytes(self.span.span_id, "big")

    @property
    def parent_id(self) -> int:
        return int.from_bytes(self.span.parent_span_id, "big")


@dataclass
class OtlpReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Listens on loopback while entered. With ``silent`` it takes requests and never answers them."""

    silent: bool = False
    port: int = 0
    arrived: list[Arrived] = field(default_factory=list)
    request_sizes: list[int] = field(default_factory=list)
    _server: grpc.aio.Server | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> OtlpReceiver:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            await self._server.stop(None)

    async def Export(
        self,
        request: ExportTraceServiceRequest,
        context: grpc.aio.ServicerContext[ExportTraceServiceRequest, ExportTraceServiceResponse],
    ) -> ExportTraceServiceResponse:
        if self.silent:
            await asyncio.Event().wait()
        before = len(self.arrived)
        for resource_spans in request.resource_spans:
            resource = _plain(resource_spans.resource.attributes)
            for scope_spans in resource_spans.scope_spans:
                self.arrived += [Arrived(span, resource, scope_spans.scope.name) for span in scope_spans.spans]
        self.request_sizes.append(len(self.arrived) - before)
        self._changed.set()
        return ExportTraceServiceResponse()

    async def wait_for(self, count: int, timeout_s: float = 20.0) -> list[Arrived]:
        """Return what has arrived once it is at least ``count`` spans. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while len(self.arrived) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.arrived


def _plain(attributes: Iterable[KeyValue]) -> dict[str, object]:
    return {pair.key: _value(pair.value) for pair in attributes}


def _value(value: AnyValue) -> object:
    which = value.WhichOneof("value")
    return getattr(value, which) if which else None
