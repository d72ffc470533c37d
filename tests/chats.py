"""Two kinds of chats to send to a running service, and what a model that knows them says of them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from otlp import CHAT, request, span
from tracetaxa.demo.child import wait_until_assembled

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tracetaxa.demo.child import Service

SECONDS = 60
TEXTS = (
    "Where is my parcel with the red shoes",
    "I want a refund for the blue kettle",
    "Where is the lamp I ordered",
    "I want a refund for the toaster",
)


def truth(digest: str) -> tuple[str, str]:
    """Category and subcategory of a chat."""
    if "refund" in digest:
        return "Refunds", "Kettle refund" if "kettle" in digest else "Toaster refund"
    return "Tracking", "Shoes search" if "shoes" in digest else "Lamp search"


def chat(number: int) -> tuple[Span, Span]:
    """Trace `number`: its root and the call of a model below it. Every refund fails, which is every second one."""
    text = TEXTS[number % 4 - 1]
    said = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])
    root, call, start = number * 10, number * 10 + 1, recently()
    return (
        span(number, root, name="invoke_agent", status=2 if "refund" in text else 0, start=start),
        span(number, call, root, start=start, attributes=CHAT | {"gen_ai.input.messages": said}),
    )


def recently() -> int:
    """A minute ago, in nanoseconds."""
    return time.time_ns() - 60 * 10**9


def export(endpoint: str, message: ExportTraceServiceRequest) -> None:
    with grpc.insecure_channel(endpoint) as channel:
        TraceServiceStub(channel).Export(message, timeout=SECONDS)


def send_chats(service: Service, count: int = 8) -> None:
    """Chats 1 to `count`; returns when they are assembled."""
    export(service.endpoints["grpc"], request(*(one for i in range(1, count + 1) for one in chat(i))))
    wait_until_assembled(service, count, seconds=SECONDS)
