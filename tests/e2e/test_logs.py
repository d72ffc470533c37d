"""Logs through the whole process: sent over OTLP, read back over SQL, and what late ones do to their trace."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from otlp import log, log_request, request, span
from tracetaxa.demo.child import wait_until_assembled

if TYPE_CHECKING:
    from product import Product

DEADLINE_SECONDS = 60


def test_logs_are_stored_and_late_ones_make_a_revision(product: Product) -> None:
    now_ns = time.time_ns()
    with product.serve() as service, grpc.insecure_channel(service.endpoints["grpc"]) as channel:
        spans, logs = TraceServiceStub(channel), LogsServiceStub(channel)
        spans.Export(request(span(1, 1, start=now_ns - 10**9)), timeout=20)
        wait_until_assembled(service, 1, seconds=DEADLINE_SECONDS)
        bad = log(1, 1, time=1)
        answer = logs.Export(log_request(log(1, 1, time=now_ns), bad), timeout=20)
        assert answer.partial_success.rejected_log_records == 1
        assert "before the year 2000" in service.status()["last_error"]
        assert product.rows("SELECT TraceId, ServiceName, EventName FROM otel_logs") == [
            {"TraceId": f"{1:032x}", "ServiceName": "shop", "EventName": "gen_ai.user.message"}
        ]
        deadline = time.monotonic() + DEADLINE_SECONDS
        while product.rows("SELECT Revision FROM traces FINAL") != [{"Revision": 2}]:
            assert time.monotonic() < deadline
        logs.Export(log_request(log(2, 2, time=now_ns)), timeout=20)
        assert service.status()["last_error"] is None
        # Without spans it makes no trace, and nothing waits for them.
        while service.status()["open_traces"]:
            assert time.monotonic() < deadline
        assert product.rows("SELECT count() AS n FROM traces FINAL") == [{"n": 1}]
    assert service.stop() == 0
