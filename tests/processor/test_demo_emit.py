from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from otlp_recorder import OtlpRecorder, attributes
from tracetaxa.demo.emit import SPANS_PER_FLUSH, SPANS_PER_REQUEST, SendFailed, Sent, send
from tracetaxa.demo.shop import shop_traffic

if TYPE_CHECKING:
    from tracetaxa.demo.traffic import Traffic

END_NS = 1_790_000_000_000_000_000


def sent_to(recorder: OtlpRecorder, traffic: Traffic) -> Sent:
    return send(traffic, recorder.endpoint, end_ns=END_NS)


def test_every_span_arrives_as_planned() -> None:
    traffic = shop_traffic(150, seed=1)
    planned = list(traffic.traces())
    with OtlpRecorder() as recorder:
        sent = sent_to(recorder, traffic)
    assert sent.spans == len(recorder.spans) == sum(len(trace.spans) for trace in planned)
    assert sent.spans > SPANS_PER_FLUSH
    assert sent.requests == len(recorder.requests)
    assert (sent.agent_traces, sent.other_traces) == (150, len(planned) - 150)
    arrived = recorder.by_trace()
    assert len(arrived) == len(planned)
    for trace in planned:
        trace_id = sent.keys[trace.key]
        assert sent.truth.get(trace_id) == trace.truth
        by_start = sorted(arrived[trace_id], key=lambda span: (span.start_time_unix_nano, -len(span.span_id)))
        root = next(span for span in by_start if not span.parent_span_id)
        assert {span.parent_span_id for span in by_start if span is not root} <= {root.span_id}
        start_ns = END_NS + trace.start_ns
        wanted = sorted(
            (
                s.name,
                start_ns + s.start_ns,
                start_ns + s.start_ns + s.duration_ns,
                f"SPAN_KIND_{s.kind}",
                s.error,
            )
            for s in trace.spans
        )
        assert wanted == sorted(
            (
                s.name,
                s.start_time_unix_nano,
                s.end_time_unix_nano,
                OtlpSpan.SpanKind.Name(s.kind),
                s.status.message,
            )
            for s in by_start
        )
        assert attributes(root) == dict(trace.spans[0].attributes)
        assert [(e.name, e.time_unix_nano, attributes(e)) for e in root.events] == [
            (e.name, start_ns + e.at_ns, dict(e.attributes)) for e in trace.spans[0].events
        ]


def test_failed_spans_have_an_error_status() -> None:
    with OtlpRecorder() as recorder:
        sent_to(recorder, shop_traffic(60, seed=2))
    failed = [span for span in recorder.spans if span.status.message]
    assert failed
    assert {span.status.code for span in failed} == {Status.STATUS_CODE_ERROR}
    assert {span.status.code for span in recorder.spans if not span.status.message} == {
        Status.STATUS_CODE_UNSET
    }


def test_resources_and_scope_are_told() -> None:
    with OtlpRecorder() as recorder:
        sent_to(recorder, shop_traffic(60, seed=2))
    services = {attributes(r.resource)["service.name"] for r in recorder.resource_spans}
    assert services == {"shop-assistant", "shop-web"}
    assert {scope.scope.name for r in recorder.resource_spans for scope in r.scope_spans} == {
        "tracetaxa.demo"
    }


def test_a_receiver_that_is_busy_gets_the_spans_again(caplog: pytest.LogCaptureFixture) -> None:
    with OtlpRecorder(failures=(grpc.StatusCode.UNAVAILABLE,) * 2) as recorder:
        sent = sent_to(recorder, shop_traffic(20, seed=0))
    assert recorder.refused == 2
    assert sent.spans == len(recorder.spans)
    assert "retrying" in caplog.text


def test_a_refusal_is_an_error_that_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with (
        OtlpRecorder(failures=(grpc.StatusCode.INVALID_ARGUMENT,)) as recorder,
        pytest.raises(SendFailed, match=rf"acknowledged \d+ of \d+ spans \({SPANS_PER_REQUEST} refused"),
    ):
        sent_to(recorder, shop_traffic(100, seed=0))


def test_limits_and_samplers_of_the_environment_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "10")
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    traffic = shop_traffic(5, seed=0)
    with OtlpRecorder() as recorder:
        sent_to(recorder, traffic)
    longest = max(len(str(v)) for span in recorder.spans for v in attributes(span).values())
    planned = [v for trace in traffic.traces() for span in trace.spans for v in span.attributes.values()]
    assert longest == max(len(str(v)) for v in planned)


def test_a_disabled_sdk_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with OtlpRecorder() as recorder, pytest.raises(SendFailed, match="OTEL_SDK_DISABLED"):
        sent_to(recorder, shop_traffic(5, seed=0))
    assert recorder.requests == []
