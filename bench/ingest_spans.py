"""GenAI spans of about 1.3 kB as serialized OTLP requests, the same for every contestant."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

SPANS_PER_TRACE = 5
_TEXT = (
    "the customer asked where parcel number is and wants a refund because order arrived broken please check "
    "address change invoice payment card shipped warehouse today tomorrow tool call status returns thanks"
)
_WORDS = _TEXT.split()


def requests(count: int, spans: int, seed: int = 0) -> list[bytes]:
    """`count` requests of `spans` spans each; every span is another one."""
    random_ = random.Random(seed)
    now_ns = time.time_ns()
    return [_request(random_, spans, number, now_ns).SerializeToString() for number in range(count)]


def _request(random_: random.Random, spans: int, number: int, now_ns: int) -> ExportTraceServiceRequest:
    made: list[Span] = []
    while len(made) < spans:
        made += _trace(random_, now_ns - random_.randrange(3600) * 10**9)
    resource = {
        "service.name": f"shop-{number % 4}",
        "service.version": "1.2.3",
        "deployment.environment.name": "production",
        "telemetry.sdk.language": "python",
        "host.name": f"node-{number % 7}",
    }
    scope = InstrumentationScope(name="opentelemetry.instrumentation.openai_v2", version="2.3")
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(attributes=_attributes(resource)),
                scope_spans=[ScopeSpans(scope=scope, spans=made[:spans])],
            )
        ]
    )


def _trace(random_: random.Random, start_ns: int) -> list[Span]:
    """An agent that calls a model and a tool in turn."""
    trace_id, root_id = random_.randbytes(16), random_.randbytes(8)
    shared = {
        "gen_ai.provider.name": "openai",
        "gen_ai.conversation.id": f"conv_{random_.getrandbits(64):x}",
        "user.id": f"user-{random_.randrange(500)}",
        "server.address": "api.openai.com",
    }
    spans = []
    for number in range(SPANS_PER_TRACE):
        name, own = _step(random_, number)
        start = start_ns + number * 10**8
        failed = random_.random() < 0.05
        spans.append(
            Span(
                trace_id=trace_id,
                span_id=root_id if number == 0 else random_.randbytes(8),
                parent_span_id=b"" if number == 0 else root_id,
                flags=0x101,
                name=name,
                kind=Span.SPAN_KIND_CLIENT if name.startswith("chat") else Span.SPAN_KIND_INTERNAL,
                start_time_unix_nano=start,
                end_time_unix_nano=start + random_.randrange(10**9),
                attributes=_attributes(shared | own),
                status=Status(code=Status.STATUS_CODE_ERROR if failed else Status.STATUS_CODE_UNSET),
            )
        )
    return spans


def _step(random_: random.Random, number: int) -> tuple[str, dict[str, Any]]:
    texts = {
        "gen_ai.input.messages": _message(random_, "user", 55),
        "gen_ai.output.messages": _message(random_, "assistant", 35),
    }
    tokens = {
        "gen_ai.usage.input_tokens": random_.randrange(5000),
        "gen_ai.usage.output_tokens": random_.randrange(500),
    }
    if number == 0:
        agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "shop"}
        return "invoke_agent shop", agent | tokens | texts
    if number % 2:
        return "chat gpt-5-mini", {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-5-mini",
            "gen_ai.response.model": "gpt-5-mini-2026-08-07",
            "gen_ai.response.id": f"resp_{random_.getrandbits(96):x}",
            "gen_ai.request.temperature": 0.2,
            "gen_ai.response.finish_reasons": ["stop"],
        } | tokens | texts
    return "execute_tool find_order", {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "find_order",
        "gen_ai.tool.call.id": f"call_{random_.getrandbits(96):x}",
        "gen_ai.tool.call.arguments": json.dumps({"order": random_.getrandbits(32)}),
        "gen_ai.tool.call.result": _message(random_, "tool", 80),
    }  # fmt: skip


def _message(random_: random.Random, role: str, words: int) -> str:
    text = " ".join(random_.choices(_WORDS, k=words))
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def _attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in values.items()]


def _value(value: Any) -> AnyValue:
    match value:
        case str():
            return AnyValue(string_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case _:
            return AnyValue(array_value=ArrayValue(values=[_value(item) for item in value]))
