"""A service that is stopped or killed while spans come in."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from chats import recently
from otlp import request, span

if TYPE_CHECKING:
    from product import Product


@pytest.mark.parametrize(
    "how", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM, signal.SIGKILL]
)
def test_nothing_acknowledged_is_lost(product: Product, how: signal.Signals) -> None:
    """Senders run until the service is gone; what it acknowledged is there when it is back."""
    acknowledged: list[int] = []
    service = product.serve()

    def send(first: int) -> None:
        with grpc.insecure_channel(service.endpoints["grpc"]) as channel:
            stub = TraceServiceStub(channel)
            for number in range(first, first + 100_000):
                try:
                    stub.Export(request(span(number, number, start=recently())), timeout=10)
                except grpc.RpcError:
                    return
                acknowledged.append(number)

    with service:
        senders = [threading.Thread(target=send, args=(first,)) for first in (1, 1_000_000, 2_000_000)]
        for sender in senders:
            sender.start()
        while len(acknowledged) < 60 and any(s.is_alive() for s in senders):
            senders[0].join(0.01)
        assert service._process is not None
        service._process.send_signal(how)
        for sender in senders:
            sender.join(60)
        code = service.stop()
    assert code == (-signal.SIGKILL if how is signal.SIGKILL else 0)
    assert len(acknowledged) >= 60
    with product.serve():
        stored = {int(row["id"], 16) for row in product.rows("SELECT TraceId AS id FROM otel_traces FINAL")}
    assert set(acknowledged) <= stored
