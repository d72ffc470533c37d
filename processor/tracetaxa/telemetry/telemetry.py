"""Where the signals go: a registry for Prometheus, and OTLP when that is configured."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from tracetaxa import __version__

if TYPE_CHECKING:
    from opentelemetry._logs import Logger
    from opentelemetry.metrics import Meter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk.metrics.export import MetricReader
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from tracetaxa.config.serving import MetricsOtlpConfig

SCOPE = "tracetaxa"


class Telemetry:
    """One meter for all that there is to measure, and `emit` for events. `close` sends what is left."""

    def __init__(self, otlp: MetricsOtlpConfig | None, headers: dict[str, str] | None = None) -> None:
        """headers: sent with each request over OTLP, names in lower case."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        resource = Resource.create({"service.name": "tracetaxa", "service.version": __version__})
        readers: list[MetricReader] = [
            PrometheusMetricReader(registry=self._registry, scope_info_enabled=False)
        ]
        self._logs: LoggerProvider | None = None
        self._logger: Logger | None = None
        if otlp is not None:
            readers.append(_otlp_metrics(otlp, headers or {}))
            self._logs = _otlp_logs(otlp, headers or {}, resource)
            self._logger = self._logs.get_logger(SCOPE, __version__)
        self._metrics = MeterProvider(readers, resource, shutdown_on_exit=False)
        self.meter: Meter = self._metrics.get_meter(SCOPE, __version__)

    def app(self) -> ASGIApp:
        """`/metrics` in the format that is asked for: Prometheus' text, or OpenMetrics."""
        return Starlette(routes=[Route("/metrics", self._scraped)])

    async def _scraped(self, request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        # Off the loop: some thousand series take a while.
        body = await asyncio.to_thread(encode, self._registry)
        return Response(body, headers={"Content-Type": content_type})

    def emit(self, name: str, text: str, attributes: dict[str, Any], time_ns: int) -> None:
        """An event, over OTLP; nothing where there is no OTLP."""
        if self._logger is not None:
            self._logger.emit(
                LogRecord(
                    timestamp=time_ns,
                    severity_number=SeverityNumber.INFO,
                    severity_text="INFO",
                    body=text,
                    attributes=attributes,
                    event_name=name,
                )
            )

    def close(self) -> None:
        """Blocks for as long as an attempt to send may take."""
        self._metrics.shutdown()
        if self._logs is not None:
            self._logs.shutdown()


def _otlp_metrics(otlp: MetricsOtlpConfig, headers: dict[str, str]) -> MetricReader:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    exporter = OTLPMetricExporter(
        otlp.endpoint,
        insecure=otlp.endpoint.startswith("http://"),
        headers=headers,
        timeout=otlp.timeout_seconds,
    )
    return PeriodicExportingMetricReader(exporter, otlp.interval_seconds * 1000, otlp.timeout_seconds * 1000)


def _otlp_logs(otlp: MetricsOtlpConfig, headers: dict[str, str], resource: Resource) -> LoggerProvider:
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    exporter = OTLPLogExporter(
        otlp.endpoint,
        insecure=otlp.endpoint.startswith("http://"),
        headers=headers,
        timeout=otlp.timeout_seconds,
    )
    provider = LoggerProvider(resource, shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    return provider
