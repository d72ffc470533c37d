"""How soon a trace that closed is labelled in ClickHouse and forwarded downstream, while others keep coming.

Traces of ten spans arrive at a set rate. A trace is closed when its last span has been there for
`assembly.idle_seconds`; from then on it is timed until its label's `LabelledAt`, and until its root reaches
the receiver downstream. The sender and that receiver run here, on the same cores as the service. Rates are
tried from the highest down until both 95th percentiles are met.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tracetaxa.demo.child import Service, child_environment
from tracetaxa.testing import OracleModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
LABEL = "tracetaxa.topics.category"
SPANS = 10
"""A trace."""
REQUEST_SECONDS = 0.1
"""Traces of so long go in one request."""
IDLE_SECONDS = 2.0
LABELLED_SECONDS, FORWARDED_SECONDS = 2.0, 3.0
"""What the 95th percentiles are to stay below."""
LEARNED = 300
PATIENCE_SECONDS = 180.0
KINDS = {
    "tracking": "where is my parcel with the {} that I ordered, when will it arrive",
    "refund": "I want my money back for the {} because it came broken",
    "address": "please change the delivery address of my order of the {}",
    "password": "I forgot my password and can not log in to look at the {}",
}
THINGS = (
    *("lamp", "kettle", "chair", "shoes", "table", "phone"),
    *("toaster", "jacket", "mirror", "clock", "carpet", "blender"),
)


def truth(digest: str) -> tuple[str, str] | None:
    """The kind that a digest is of."""
    said = {kind: text.split("{}")[0].strip() for kind, text in KINDS.items()}
    return next(((kind.title(), kind.title()) for kind, text in said.items() if text in digest), None)


class Sink:
    """An OTLP receiver that notes when what came; it is read afterwards."""

    def __init__(self) -> None:
        self.came: list[tuple[int, bytes]] = []
        self._server = grpc.server(
            ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", 64 << 20)]
        )
        handler = grpc.unary_unary_rpc_method_handler(self._take)
        service, method = EXPORT.strip("/").split("/")
        self._server.add_registered_method_handlers(service, {method: handler})
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def _take(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.came.append((time.time_ns(), request))
        return b""

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stop(None).wait()

    def roots(self) -> dict[str, tuple[int, bool]]:
        """When each trace's root came first, and whether with a label."""
        found: dict[str, tuple[int, bool]] = {}
        for at, request in self.came:
            for resource in ExportTraceServiceRequest.FromString(request).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        if span.name == "invoke_agent shop":
                            labelled = any(
                                pair.key == "tracetaxa.topics.category" for pair in span.attributes
                            )
                            found.setdefault(span.trace_id.hex(), (at, labelled))
        return found


def bench(rates: Sequence[int], seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Down the rates (traces a second) until one meets both limits."""
    results = []
    for rate in rates:
        found = _at_rate(rate, seconds)
        say(_line(found))
        results.append(found)
        if found["met"]:
            break
    return {"spans_per_trace": SPANS, "seconds": seconds, "rates": results}


def _at_rate(rate: int, seconds: float) -> dict[str, Any]:
    random_ = random.Random(0)
    with (
        tempfile.TemporaryDirectory(prefix="bench-live-") as directory,
        OracleModel(truth) as model,
        Sink() as sink,
    ):
        path = Path(directory) / "tracetaxa.yaml"
        path.write_text(json.dumps(_config(Path(directory), model.base_url, sink.endpoint)), "utf-8")
        os.environ.setdefault("OPENAI_API_KEY", "none")
        with Service(path, Path(directory) / "serve.log") as service:
            sql = f"http://{service.endpoints['sql']}/"
            learned = _requests(random_, LEARNED, 50)
            with grpc.insecure_channel(service.endpoints["grpc"]) as channel:
                send = channel.unary_unary(EXPORT)
                for _, request in learned:
                    send(request, timeout=60)
                _until(lambda: _number(sql, "SELECT count() FROM otel.traces FINAL") >= LEARNED)
                _analyse(path)
                _until(lambda: _number(sql, "SELECT count() FROM otel.classifiers") > 0)
                _until(lambda: service.status().get("unlabelled", 0) == 0)
                size = max(1, int(rate * REQUEST_SECONDS))
                requests = _requests(random_, int(rate * seconds), size)
                late = _send_paced(send, requests, size / rate)
            ids = [trace_id for made, _ in requests for trace_id in made]
            times = _wait_labelled(sql, len(ids), ids)
            _until(lambda: _forwarded(sink) >= len(ids) + LEARNED, PATIENCE_SECONDS)
        roots = sink.roots()
    labelled = [times[i][1] - times[i][0] for i in ids if i in times]
    forwarded = [(roots[i][0] - times[i][0]) / 1e9 for i in ids if i in roots and i in times]
    figures = {
        "traces_per_second": rate,
        "traces": len(ids),
        "labelled": len(labelled),
        "forwarded": len(forwarded),
        "forwarded_with_label": sum(roots[i][1] for i in ids if i in roots),
        "sender_late_p95_seconds": _percentile(late, 95),
        **_percentiles("labelled", [value / 1e9 for value in labelled]),
        **_percentiles("forwarded", forwarded),
    }
    met = (
        figures["labelled_p95_seconds"] < LABELLED_SECONDS
        and figures["forwarded_p95_seconds"] < FORWARDED_SECONDS
        and figures["sender_late_p95_seconds"] < 1
        and len(labelled) == len(forwarded) == len(ids)
    )
    return figures | {"met": met}


def _config(directory: Path, model: str, sink: str) -> dict[str, Any]:
    any_port = {"endpoint": "127.0.0.1:0"}
    return {
        "store": {"dsn": f"chdb://{directory / 'data'}"},
        "receiver": {"grpc": any_port, "http": any_port},
        "assembly": {"idle_seconds": IDLE_SECONDS},
        "llm": {"engine": "openai", "base_url": model},
        "scheduler": {"enabled": False},
        "analyses": [{"name": "topics", "label_all": True, "audit": {"size": 0}}],
        "label": {"ask_model": False, "learn_seconds": 1, "estimate_traces": 0},
        "exporter": {"otlp": {"endpoint": f"http://{sink}"}},
        **dict.fromkeys(("api", "sql", "health", "metrics"), any_port),
    }


def _requests(random_: random.Random, traces: int, size: int) -> list[tuple[list[str], bytes]]:
    made = []
    for start in range(0, traces, size):
        ids, spans = [], []
        for _ in range(min(size, traces - start)):
            one = _trace(random_)
            ids.append(one[0].trace_id.hex())
            spans += one
        resource = Resource(attributes=_attributes({"service.name": "shop"}))
        message = ExportTraceServiceRequest(
            resource_spans=[ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=spans)])]
        )
        made.append((ids, message.SerializeToString()))
    return made


def _trace(random_: random.Random) -> list[Span]:
    trace_id, root = random_.randbytes(16), random_.randbytes(8)
    text = random_.choice(list(KINDS.values())).format(random_.choice(THINGS))
    asked = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])
    answered = json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "Let me look."}]}])
    chat = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.usage.input_tokens": str(random_.randrange(5000)),
        "gen_ai.input.messages": asked,
        "gen_ai.output.messages": answered,
    }
    tool = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": random_.choice(("find_order", "get_customer")),
        "gen_ai.tool.call.result": json.dumps({"status": "shipped", "note": " ".join(THINGS)}),
    }
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "shop"}
    now, spans = time.time_ns() - 10**9, []
    for number in range(SPANS):
        name, own = ("chat gpt-5-mini", chat) if number % 2 else ("execute_tool", tool)
        if number == 0:
            name, own = "invoke_agent shop", agent
        spans.append(
            Span(
                trace_id=trace_id,
                span_id=root if number == 0 else random_.randbytes(8),
                parent_span_id=b"" if number == 0 else root,
                name=name,
                start_time_unix_nano=now + number * 10**6,
                end_time_unix_nano=now + number * 10**6 + 10**7,
                attributes=_attributes(own),
            )
        )
    return spans


def _attributes(values: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in values.items()]


def _send_paced(
    send: grpc.UnaryUnaryMultiCallable, requests: Sequence[tuple[list[str], bytes]], pause: float
) -> list[float]:
    """How late each request's answer was against when it was due."""
    late: list[float] = []
    lock = threading.Lock()
    began = time.perf_counter()
    with ThreadPoolExecutor(16) as pool:

        def one(request: bytes, due: float) -> None:
            send(request, timeout=60, wait_for_ready=True)
            with lock:
                late.append(time.perf_counter() - due)

        for number, (_, request) in enumerate(requests):
            due = began + number * pause
            time.sleep(max(0.0, due - time.perf_counter()))
            pool.submit(one, request, due)
    return late


def _wait_labelled(sql: str, count: int, ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """When each trace was closed, and labelled; nanoseconds."""
    wanted = set(ids)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        rows = _rows(
            sql,
            "SELECT t.TraceId AS id, toUnixTimestamp64Nano(t.LastSeen) AS seen, "
            "toUnixTimestamp64Nano(l.LabelledAt) AS labelled FROM otel.traces AS t FINAL "
            "INNER JOIN (SELECT TraceId, min(LabelledAt) AS LabelledAt FROM otel.trace_labels "
            "GROUP BY TraceId) AS l ON l.TraceId = t.TraceId",
        )
        found = {
            row["id"]: (int(row["seen"]) + int(IDLE_SECONDS * 1e9), int(row["labelled"]))
            for row in rows
            if row["id"] in wanted
        }
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(1)


def _forwarded(sink: Sink) -> int:
    return sum(request.count(b"invoke_agent shop") for _, request in list(sink.came))


def _analyse(config: Path) -> None:
    command = [sys.executable, "-m", "tracetaxa.cli", "analyze", "topics", "--config", str(config)]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])


def _until(true: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"it did not happen within {seconds:g} seconds")
        time.sleep(0.2)


def _rows(sql: str, question: str) -> list[dict[str, Any]]:
    query = urllib.parse.urlencode({"default_format": "JSON", "output_format_json_quote_64bit_integers": 1})
    with urllib.request.urlopen(f"{sql}?{query}", question.encode(), timeout=60) as answer:
        rows: list[dict[str, Any]] = json.load(answer)["data"]
        return rows


def _number(sql: str, question: str) -> int:
    return int(next(iter(_rows(sql, question)[0].values())))


def _percentile(values: Sequence[float], percent: int) -> float:
    if len(values) < 2:
        return float("inf")
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _percentiles(name: str, values: Sequence[float]) -> dict[str, float]:
    return {f"{name}_p{percent}_seconds": _percentile(values, percent) for percent in (50, 95, 99)}


def _line(found: Mapping[str, Any]) -> str:
    return (
        f"{found['traces_per_second']:>4} traces/s: labelled p50 {found['labelled_p50_seconds']:.2f} s, "
        f"p95 {found['labelled_p95_seconds']:.2f} s; forwarded p50 {found['forwarded_p50_seconds']:.2f} s, "
        f"p95 {found['forwarded_p95_seconds']:.2f} s; {found['forwarded_with_label']} of {found['traces']} "
        f"with a label; sender late p95 {found['sender_late_p95_seconds']:.2f} s"
    )


def report(result: Mapping[str, Any]) -> str:
    """What was reached, in one sentence."""
    best = next((found for found in result["rates"] if found["met"]), None)
    limits = f"labelled within {LABELLED_SECONDS:g} s and forwarded within {FORWARDED_SECONDS:g} s (p95)"
    if best is None:
        return f"no rate that was tried is {limits}"
    return f"{best['traces_per_second']} traces of {SPANS} spans a second are {limits}"
