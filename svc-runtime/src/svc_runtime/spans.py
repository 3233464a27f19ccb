"""Light records as spans of the OpenTelemetry SDK, and their way out. Imported only when spans are wanted at all."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from svc_runtime import logs
from svc_runtime.telemetry import Kind, Record, Sink, SpanRef, Value

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

PRIVATE_MARK = ".pii."
EXPORT_TIMEOUT_S = 2.0
"""One try and one retry of a chunk; longer only keeps the thread busy while the receiver is away."""

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET = Status(StatusCode.UNSET)
_KINDS = {kind: SpanKind(kind.value) for kind in Kind}


class SpanOutlet:
    """Turns records into spans and hands them to the OTLP exporter, to a sink in this process, or to both.

    Attributes whose key contains ``.pii.`` stay behind unless ``private`` is set. Both conversion and export run in a
    thread of their own, for the exporter's call blocks until the receiver has answered.
    """

    def __init__(
        self,
        service_name: str,
        *,
        endpoint: str,
        sink: Sink | None,
        instance_id: str,
        service_version: str,
        private: bool,
    ) -> None:
        self._resource = Resource.create(
            {
                SERVICE_NAME: service_name,
                SERVICE_INSTANCE_ID: instance_id or str(uuid.uuid4()),
                SERVICE_VERSION: service_version or _installed_version(),
            }
        )
        self._scope = InstrumentationScope("svc_runtime.telemetry")
        self._private = private
        self._sink = sink
        self._exporter = _exporter(endpoint) if endpoint else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="otlp") if endpoint else None

    async def send(self, records: Sequence[Record]) -> bool:
        """Return whether the spans of ``records`` were taken by the receiver, or by the sink when there is no other."""
        try:
            if self._thread is None:
                spans, taken = self.convert(records), True
            else:
                spans, taken = await asyncio.get_running_loop().run_in_executor(self._thread, self._export, records)
            if self._sink is not None:
                self._sink(spans)
        except Exception as error:  # noqa: BLE001 - a record, exporter or sink that fails must not end the sending
            logs.get().exception("telemetry.export.defect", error)
            return False
        return taken

    def shutdown(self) -> None:
        """Abort an export that is under way, so that its thread ends."""
        if self._exporter is not None:
            self._exporter.shutdown()
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def convert(self, records: Sequence[Record]) -> list[ReadableSpan]:
        """Return the records as finished spans."""
        return [self._span(record) for record in records]

    def _export(self, records: Sequence[Record]) -> tuple[list[ReadableSpan], bool]:
        assert self._exporter is not None
        spans = self.convert(records)
        return spans, self._exporter.export(spans) is SpanExportResult.SUCCESS

    def _span(self, record: Record) -> ReadableSpan:
        attributes = self._attributes(record.attributes)
        if record.error:
            attributes["error.type"] = record.error
        parent_id, remote = record.parent_id, record.kind is Kind.SERVER
        return ReadableSpan(
            name=record.name,
            context=_context(record.span.trace_id, record.span.span_id),
            parent=_context(record.span.trace_id, parent_id, remote=remote) if parent_id else None,
            resource=self._resource,
            attributes=attributes,
            links=[_link(span) for span in record.links],
            kind=_KINDS[record.kind],
            status=Status(StatusCode.ERROR, record.error) if record.error else _UNSET,
            start_time=record.start_ns,
            end_time=record.end_ns,
            instrumentation_scope=self._scope,
        )

    def _attributes(self, attributes: Mapping[str, Value]) -> dict[str, AttributeValue]:
        if self._private:
            return dict(attributes)
        return {key: value for key, value in attributes.items() if PRIVATE_MARK not in key}


def _exporter(endpoint: str) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    # The exporter logs every retry. An outage is told once, by the recorder.
    logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").setLevel(logging.CRITICAL)
    # Given "host:port" without a scheme, the exporter would choose TLS.
    return OTLPSpanExporter(endpoint, insecure=not endpoint.startswith("https://"), timeout=EXPORT_TIMEOUT_S)


def _context(trace_id: int, span_id: int, *, remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, span_id, remote, _SAMPLED)


def _link(span: SpanRef) -> Link:
    return Link(_context(span.trace_id, span.span_id))


def _installed_version() -> str:
    try:
        return version("voicemesh")
    except PackageNotFoundError:
        return "unknown"
