"""Delivery: a busy service is asked again, and what is refused is told for its own line only."""

from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING

import grpc
import pytest

from imported import AT_NS
from otlp_recorder import OtlpRecorder
from tracetaxa.errors import MalformedRequest, StoreUnavailable
from tracetaxa.imports.run import Import, Options, Summary
from tracetaxa.imports.sinks import Refusal, ServiceSink, TableSink
from tracetaxa.imports.source import Source
from tracetaxa_exporter.clickhouse import LogWriter, SpanWriter

if TYPE_CHECKING:
    from tracetaxa.imports.sinks import Request, Sink
    from tracetaxa.store.database import ClickHouse

CHATS = [[{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a"}] for i in range(5)]


def imported(sink: Sink, at_ns: int = AT_NS) -> Summary:
    run = Import(Options(at_ns=at_ns), sink)
    run.read(Source("chats.jsonl", io.BytesIO("\n".join(map(json.dumps, CHATS)).encode())))
    return run.finish()


def test_a_busy_service_gets_the_spans_again() -> None:
    with OtlpRecorder((grpc.StatusCode.UNAVAILABLE,) * 3) as service, ServiceSink(service.endpoint) as sink:
        summary = imported(sink)
        assert (service.refused, len(service.by_trace()), summary.imported_traces) == (3, 5, 5)


def test_a_service_that_stays_busy_ends_the_import() -> None:
    with (
        OtlpRecorder((grpc.StatusCode.UNAVAILABLE,) * 100) as service,
        ServiceSink(service.endpoint, give_up_seconds=0.05) as sink,
        pytest.raises(StoreUnavailable, match="import the same files again later"),
    ):
        imported(sink)


def test_a_service_that_refuses_for_good() -> None:
    refusals = (grpc.StatusCode.INVALID_ARGUMENT,) * 2
    with OtlpRecorder(refusals) as service, ServiceSink(service.endpoint) as sink:
        summary = imported(sink)
        # The batch was refused, then its first chat; the others are good.
        assert (summary.imported_traces, summary.refused, len(service.by_trace())) == (4, 1, 4)
        assert (summary.problems[0].line, "as the test asks" in summary.problems[0].reason) == (1, True)


class Picky:
    """Refuses the spans of one chat, as a store with a shorter retention does."""

    def __init__(self, *, outright: bool) -> None:
        self.outright = outright

    def send(self, request: Request) -> Refusal:
        refused = sum(
            b"q3" in span.SerializeToString()
            for r in request.resource_spans
            for s in r.scope_spans
            for span in s.spans
        )  # type: ignore[union-attr]
        if refused and self.outright:
            raise MalformedRequest("never")
        return Refusal(refused, "too old" if refused else "")


@pytest.mark.parametrize("outright", [False, True])
def test_a_refusal_is_told_for_its_line(outright: bool) -> None:
    summary = imported(Picky(outright=outright))
    assert [(p.line, p.reason) for p in summary.problems] == [(4, "never" if outright else "too old")]
    assert (summary.refused, summary.spans, summary.imported_traces) == (
        1,
        8 if outright else 9,
        4 if outright else 5,
    )


def test_into_the_tables(store: ClickHouse) -> None:
    sink = TableSink(SpanWriter(store.connect(), max_age_seconds=86_400), LogWriter(store.connect()))
    now_ns = time.time_ns()
    assert imported(sink, now_ns).imported_traces == 5
    assert imported(sink, now_ns).imported_traces == 5
    with store.reader() as client:
        counts = client.query("SELECT count(), uniqExact(TraceId) FROM otel_traces FINAL").result_rows
    assert counts == [(10, 5)]
    summary = imported(sink, now_ns - 5 * 86_400 * 10**9)
    assert (summary.imported_traces, summary.refused) == (0, 5)
    assert "older than" in summary.problems[0].reason
