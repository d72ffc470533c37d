"""Sends planned traffic as any instrumented application does: the OpenTelemetry SDK over OTLP/gRPC."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry import trace as otel
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, Status, StatusCode

from tracetaxa import __version__
from tracetaxa.errors import TracetaxaError
from tracetaxa.protocols import no_progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from tracetaxa.demo.traffic import PlannedTrace, Traffic, Truth
    from tracetaxa.protocols import Progress

SCOPE = "tracetaxa.demo"
SPANS_PER_REQUEST = 256
SPANS_PER_FLUSH = 1024
"""The processor drops spans when its queue is full, so it is emptied well before that."""
SEND_TIMEOUT_SECONDS = 60.0
"""For one request with its retries."""
_UNSET = SpanLimits.UNSET
_NO_LIMITS = SpanLimits(_UNSET, _UNSET, _UNSET, _UNSET, _UNSET, _UNSET, _UNSET, _UNSET)
"""Whatever OTEL_*_LIMIT says: a truncated conversation would be another one."""


class SendFailed(TracetaxaError):
    """The receiver did not take the spans."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What the receiver has acknowledged."""

    spans: int
    agent_traces: int
    other_traces: int
    seconds: float
    requests: int
    truth: Mapping[str, Truth]
    """The planted behaviour by trace id."""
    keys: Mapping[str, str]
    """Trace id by the key of the planned trace."""


def send(
    traffic: Traffic,
    endpoint: str,
    *,
    end_ns: int,
    progress: Progress = no_progress,
    expected_traces: int = 0,
    timeout_seconds: float = SEND_TIMEOUT_SECONDS,
) -> Sent:
    """Sends every trace to `endpoint` (host:port, no TLS), so that the traffic ends at `end_ns`.

    Returns when all spans are acknowledged. Raises SendFailed as soon as one request is not, after the
    exporter's own retries.
    """
    exporter = _CountingExporter(
        OTLPSpanExporter(f"http://{endpoint}", insecure=True, timeout=timeout_seconds)
    )
    sender = _Sender(exporter, endpoint)
    started = time.monotonic()
    try:
        for done, trace in enumerate(traffic.traces(), 1):
            sender.send(trace, end_ns)
            progress("sending", done, max(done, expected_traces))
        sender.flush()
    finally:
        sender.close()
    return Sent(
        spans=exporter.acknowledged,
        agent_traces=len(sender.truth),
        other_traces=len(sender.keys) - len(sender.truth),
        seconds=time.monotonic() - started,
        requests=exporter.requests,
        truth=sender.truth,
        keys=sender.keys,
    )


@dataclass(slots=True)
class _CountingExporter(SpanExporter):
    """Knows how many spans were acknowledged: the batch processor does not tell."""

    inner: SpanExporter
    acknowledged: int = 0
    refused: int = 0
    requests: int = 0
    stopped: bool = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.stopped:
            return SpanExportResult.FAILURE
        result = self.inner.export(spans)
        self.requests += 1
        if result is SpanExportResult.SUCCESS:
            self.acknowledged += len(spans)
        else:
            self.refused += len(spans)
        return result

    def shutdown(self) -> None:
        """Ends retries under way as well. Safe twice."""
        if not self.stopped:
            self.stopped = True
            self.inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self.inner.force_flush(timeout_millis)


@dataclass(slots=True)
class _Sender:
    exporter: _CountingExporter
    endpoint: str
    truth: dict[str, Truth] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    _processor: BatchSpanProcessor = field(init=False)
    _providers: dict[tuple[tuple[str, str], ...], TracerProvider] = field(default_factory=dict)
    _waiting: int = 0
    _made: int = 0

    def __post_init__(self) -> None:
        self._processor = BatchSpanProcessor(
            self.exporter,
            max_queue_size=4 * SPANS_PER_FLUSH,
            max_export_batch_size=SPANS_PER_REQUEST,
        )

    def send(self, planned: PlannedTrace, end_ns: int) -> None:
        if self._waiting + len(planned.spans) > SPANS_PER_FLUSH:
            self.flush()
        tracer = self._provider(planned.resource).get_tracer(SCOPE, __version__)
        zero = end_ns + planned.start_ns
        spans: list[otel.Span] = []
        for span in planned.spans:
            parent = otel.set_span_in_context(
                otel.INVALID_SPAN if span.parent is None else spans[span.parent]
            )
            started = tracer.start_span(
                span.name,
                context=parent,
                kind=SpanKind[span.kind],
                attributes=span.attributes,
                start_time=zero + span.start_ns,
            )
            if not started.is_recording():
                raise SendFailed("the OpenTelemetry SDK is switched off: unset OTEL_SDK_DISABLED")
            for event in span.events:
                started.add_event(event.name, event.attributes, timestamp=zero + event.at_ns)
            if span.error:
                started.set_status(Status(StatusCode.ERROR, span.error))
            spans.append(started)
        for span, started in reversed(list(zip(planned.spans, spans, strict=True))):
            started.end(zero + span.start_ns + span.duration_ns)
        self._waiting += len(spans)
        self._made += len(spans)
        trace_id = otel.format_trace_id(spans[0].get_span_context().trace_id)
        self.keys[planned.key] = trace_id
        if planned.truth is not None:
            self.truth[trace_id] = planned.truth

    def flush(self) -> None:
        """Waits until everything so far is acknowledged."""
        self._processor.force_flush()
        self._waiting = 0
        if self.exporter.acknowledged != self._made:
            raise SendFailed(
                f"{self.endpoint} acknowledged {self.exporter.acknowledged} of {self._made} spans "
                f"({self.exporter.refused} refused after retries; the log above says why): "
                "is the service running, and is its disk full?"
            )

    def close(self) -> None:
        """Gives up what is not acknowledged by now: who is interrupted doesn't want to wait for retries."""
        self.exporter.shutdown()
        self._processor.shutdown()  # type: ignore[no-untyped-call]

    def _provider(self, resource: Mapping[str, str]) -> TracerProvider:
        """One provider a resource; all share one processor, as their requests may be shared."""
        key = tuple(sorted(resource.items()))
        if key not in self._providers:
            provider = TracerProvider(
                sampler=ALWAYS_ON,
                resource=Resource(dict(resource)),
                span_limits=_NO_LIMITS,
                shutdown_on_exit=False,
            )
            provider.add_span_processor(self._processor)
            self._providers[key] = provider
        return self._providers[key]
