"""`store.dsn: clickhouse://…`: the whole product on a ClickHouse server, several replicas, a server that goes away.

The server is the real engine behind a test's HTTP interface, see tests/clickhouse_http.py.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from clickhouse_http import PASSWORD, ClickHouseServer
from otlp import CHAT, request, span
from product import Product
from tracetaxa.demo.child import wait_until_assembled
from tracetaxa.testing import OracleModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

DEADLINE_SECONDS = 60
COUNTED = """
SELECT
    (SELECT count() FROM traces FINAL) AS traces,
    (SELECT sum(SpanCount) FROM traces FINAL) AS spans_of_traces,
    (SELECT sum(LlmCalls) FROM traces FINAL) AS llm_calls,
    (SELECT count() FROM otel_traces_labelled) AS spans
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClickHouseServer]:
    with ClickHouseServer(tmp_path / "clickhouse") as server:
        yield server


def replica(directory: Path, server: ClickHouseServer, **store: Any) -> Product:
    """An installation with its own directory and nothing in it but configuration."""
    directory.mkdir(exist_ok=True)
    return Product(directory).configure(store={"dsn": server.dsn(), **store})


def recently() -> int:
    return time.time_ns() - 60 * 10**9


def trace(number: int, text: str = "Where is my parcel?") -> tuple[Span, Span]:
    """Its root and the chat below it; every refund fails."""
    said = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])
    root, chat, start = number * 10, number * 10 + 1, recently()
    return (
        span(number, root, name="invoke_agent", status=2 if "refund" in text else 0, start=start),
        span(number, chat, root, start=start, attributes=CHAT | {"gen_ai.input.messages": said}),
    )


def export(endpoint: str, *spans: Span) -> None:
    with grpc.insecure_channel(endpoint) as channel:
        TraceServiceStub(channel).Export(request(*spans), timeout=DEADLINE_SECONDS)


def get(endpoint: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{endpoint}{path}", timeout=DEADLINE_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def soon(ask: Callable[[], Any], wanted: Any) -> None:
    """Asks until the answer is what is wanted, within the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (answer := ask()) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    assert answer == wanted


def test_spans_in_labels_out(
    server: ClickHouseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands work on the server themselves, also when no service runs."""
    product = replica(tmp_path / "one", server, database="agents")
    texts = (
        "Where are the red shoes",
        "I want a refund for the kettle",
        "Where is the lamp",
        "I want a refund for the toaster",
    )
    missing = product.run("report")
    assert (missing.returncode, "tracetaxa serve" in missing.stderr) == (1, True)

    def truth(digest: str) -> tuple[str, str] | None:
        if "refund" in digest:
            return "Refunds", "Kettle refund" if "kettle" in digest else "Toaster refund"
        return "Tracking", "Shoes search" if "shoes" in digest else "Lamp search"

    with OracleModel(truth) as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        with product.serve() as service:
            assert set(service.endpoints) == {"grpc", "api", "health"}
            for number in range(1, 9):
                export(service.endpoints["grpc"], *trace(number, texts[number % 4]))
            wait_until_assembled(service, 8, seconds=DEADLINE_SECONDS)
            result = product.json("analyze", "topics", "--engine", "openai", "--format", "json")
            assert (result["status"], result["engine"], result["labelled"]) == ("complete", "openai", 8)
            assert result["input_tokens"] == model.usage.input_tokens > 0
            code, page = get(service.endpoints["api"], result["report_path"])
            assert (code, "Kettle refund" in page) == (200, True)
            assert service.status()["unlabelled"] == 0
        assert service.stop() == 0
    document = product.json("report", "--format", "json")
    assert {(c["name"], c["error_rate"]) for c in document["categories"]} == {
        ("Tracking", 0.0),
        ("Refunds", 1.0),
    }
    labels = (
        "SELECT Subcategory, toString(Labeller) AS labeller, count() AS n FROM trace_labels_current "
        "GROUP BY ALL ORDER BY Subcategory"
    )
    assert product.rows(labels) == [
        {"Subcategory": name, "labeller": "llm", "n": 2}
        for name in ("Kettle refund", "Lamp search", "Shoes search", "Toaster refund")
    ]
    refused = product.run("query", "DROP TABLE traces")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert product.rows(COUNTED) == [{"traces": 8, "spans_of_traces": 16, "llm_calls": 8, "spans": 16}]


def test_two_replicas_count_everything_once(server: ClickHouseServer, tmp_path: Path) -> None:
    """Spans of one trace go to different replicas, and half of the requests are sent to both."""
    products = [replica(tmp_path / name, server) for name in ("one", "two")]
    with products[0].serve() as one, products[1].serve() as two:
        endpoints = (one.endpoints["grpc"], two.endpoints["grpc"])

        def send(first: int) -> None:
            for number in range(first, first + 20):
                root, chat = trace(number)
                export(endpoints[number % 2], chat)
                export(endpoints[1 - number % 2], root)
                if number % 2:
                    export(endpoints[0], root, chat)
                    export(endpoints[1], chat)

        senders = [threading.Thread(target=send, args=(first,)) for first in (1, 21)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        for service in (one, two):
            soon(
                lambda service=service: (service.status()["open_traces"], service.status()["closed_traces"]),
                (0, 40),
            )
        counted = [{"traces": 40, "spans_of_traces": 80, "llm_calls": 40, "spans": 80}]
        soon(lambda: products[1].rows(COUNTED), counted)


def test_an_outage_loses_nothing(server: ClickHouseServer, tmp_path: Path) -> None:
    """Senders are told to come back while ClickHouse is gone; what they were told is stored, is stored once."""
    product = replica(tmp_path / "one", server)
    acknowledged: list[int] = []
    refusals: list[grpc.RpcError] = []
    back = threading.Event()

    def send(endpoint: str, first: int) -> None:
        with grpc.insecure_channel(endpoint) as channel:
            stub = TraceServiceStub(channel)
            for number in range(first, first + 50):
                message = request(*trace(number))
                while True:
                    try:
                        stub.Export(message, timeout=DEADLINE_SECONDS)
                        acknowledged.append(number)
                        break
                    except grpc.RpcError as error:
                        refusals.append(error)
                        back.wait(DEADLINE_SECONDS)

    with product.serve() as service:
        senders = [
            threading.Thread(target=send, args=(service.endpoints["grpc"], first)) for first in (1, 101, 201)
        ]
        for sender in senders:
            sender.start()
        while len(acknowledged) < 30 and any(sender.is_alive() for sender in senders):
            senders[0].join(0.01)
        server.kill()
        before = len(acknowledged)
        soon(lambda: len(refusals), 3)
        for refusal in refusals:
            assert refusal.code() is grpc.StatusCode.UNAVAILABLE
            (detail,) = rpc_status.from_call(refusal).details
            retry = RetryInfo()
            assert detail.Unpack(retry)
            assert retry.retry_delay.ToMilliseconds() > 0
        assert get(service.endpoints["health"], "/")[0] == 503
        assert get(service.endpoints["api"], "/v1/status")[0] == 503
        for command in (["report"], ["serve"]):
            done = product.run(*command)
            told = done.stdout + done.stderr
            assert (done.returncode, "Connection refused" in told) == (1, True)
            assert f"127.0.0.1:{server.port}" in told
            assert PASSWORD not in told
            assert "Traceback" not in told
        server.start()
        back.set()
        for sender in senders:
            sender.join(DEADLINE_SECONDS)
        assert len(acknowledged) == 150 > before
        soon(lambda: get(service.endpoints["health"], "/")[0], 200)
        soon(lambda: (service.status()["open_traces"], service.status()["closed_traces"]), (0, 150))
        counted = [{"traces": 150, "spans_of_traces": 300, "llm_calls": 150, "spans": 300}]
        assert product.rows(COUNTED) == counted
        server.kill()
        assert service.stop() == 0
    assert PASSWORD not in (product.directory / "serve.log").read_text()
