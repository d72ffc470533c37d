"""`exporter.otlp`: spans in at one end of the service come out labelled at the other, over gRPC and HTTP."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

from otlp import CHAT, request, span
from otlp_receiver import Sender
from otlp_recorder import attributes
from otlp_sink import GrpcSink, HttpSink, Recorded
from product import Product

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tracetaxa.demo.child import Service

DEADLINE = 60.0
SPANS = 5


def now_span(trace: int, number: int, **changes: Any) -> Any:
    return span(trace, number, int(number > 1), start=time.time_ns() - 10**9, **changes)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def configured(directory: Path, endpoint: str, protocol: str, **otlp: Any) -> Product:
    return Product(directory).configure(
        exporter={
            "otlp": {
                "endpoint": endpoint,
                "protocol": protocol,
                "tick_seconds": 0.05,
                "retry": {"initial_seconds": 0.05, "max_seconds": 0.2},
                **otlp,
            }
        }
    )


def send(service: Service, traces: range) -> None:
    sender = Sender(service.endpoints["grpc"])
    for trace in traces:
        spans = [now_span(trace, number, attributes=CHAT) for number in range(1, SPANS + 1)]
        sender.send(request(*spans))
    sender.channel.close()


def test_spans_go_through_the_service(tmp_path: Path) -> None:
    with HttpSink() as sink:
        product = configured(tmp_path, sink.endpoint, "http", headers={"x-api-key": "secret"})
        with product.serve() as service:
            send(service, range(1, 21))
            until(lambda: len(sink.spans) >= 20 * SPANS, "they did not all arrive")
            until(lambda: service.status()["unforwarded"] == 0, "the service knows that they did")
            assert service.stop() == 0
        assert_once(sink, range(1, 21))
        assert {headers["x-api-key"] for headers in sink.headers} == {"secret"}
        assert {attributes(r.resource)["service.name"] for r in sink.resource_spans} == {"shop"}
        assert "secret" not in (tmp_path / "serve.log").read_text()


def test_a_service_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    with GrpcSink() as away:
        port = away.port
    product = configured(tmp_path, away.endpoint, "grpc")
    with product.serve() as service:  # nobody is there
        send(service, range(1, 11))
        until(lambda: service.status()["unforwarded"] == 10, "they are closed and wait")
        until(lambda: bool(service.status()["last_error"]), "and the status says why")
        assert "forwarding to downstream" in service.status()["last_error"]
        os.kill(service.pid, signal.SIGKILL)
    with GrpcSink(port=port) as sink, product.serve() as service:
        until(lambda: len(sink.spans) >= 10 * SPANS, "they did not all arrive")
        until(lambda: service.status()["unforwarded"] == 0, "the service knows that they did")
        assert service.status()["last_error"] is None
        assert service.stop() == 0
        assert_once(sink, range(1, 11))


def assert_once(sink: Recorded, traces: range) -> None:
    found = sink.by_trace()
    assert sorted(found) == list(traces)
    for spans in found.values():
        assert sorted(int.from_bytes(s.span_id) for s in spans) == list(range(1, SPANS + 1))
        assert all("tracetaxa.instance" in attributes(one) for one in spans)
