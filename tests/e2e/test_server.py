"""`store.dsn: clickhouse://…`: the whole product on a ClickHouse server, several replicas, a server that goes away.

The server is the real engine behind a test's HTTP interface, see tests/clickhouse_http.py.
"""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from chats import chat, truth
from clickhouse_http import PASSWORD, ClickHouseServer
from http_get import get
from otlp import request
from product import Product
from tracetaxa.demo.child import wait_until_assembled
from tracetaxa.testing import OracleModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tracetaxa.demo.child import Service

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


@contextlib.contextmanager
def sending_to(service: Service) -> Iterator[Callable[..., None]]:
    """A function that sends spans in one request."""
    with grpc.insecure_channel(service.endpoints["grpc"]) as channel:
        stub = TraceServiceStub(channel)
        yield lambda *spans: stub.Export(request(*spans), timeout=DEADLINE_SECONDS)


def counted(server: ClickHouseServer) -> tuple[int, ...]:
    """Asked on the server itself."""
    with clickhouse_connect.get_client(
        host="127.0.0.1", port=server.port, password=PASSWORD, database="otel", autogenerate_session_id=False
    ) as client:
        return tuple(client.query(COUNTED).result_rows[0])


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

    with OracleModel(truth) as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        with product.serve() as service:
            assert set(service.endpoints) == {"grpc", "http", "api", "health", "metrics"}
            with sending_to(service) as send:
                for number in range(1, 9):
                    send(*chat(number))
            wait_until_assembled(service, 8, seconds=DEADLINE_SECONDS)
            result = product.json("analyze", "topics", "--engine", "openai", "--format", "json")
            assert (result["status"], result["engine"], result["labelled"]) == ("complete", "openai", 8)
            assert result["input_tokens"] == model.usage.input_tokens > 0
            code, page = get(service.endpoints["api"], result["report_path"])
            assert (code, "Kettle refund" in page) == (200, True)
            assert service.status()["unlabelled"] == 0
        assert service.stop() == 0
    with ThreadPoolExecutor() as at_once:
        reported = at_once.submit(product.json, "report", "--format", "json")
        asked = at_once.submit(product.rows, COUNTED)
        refused = at_once.submit(product.run, "query", "DROP TABLE traces")
    categories = reported.result()["categories"]
    assert {(c["name"], c["error_rate"]) for c in categories} == {("Tracking", 0.0), ("Refunds", 1.0)}
    assert {s["name"] for c in categories for s in c["subcategories"]} == {
        "Kettle refund",
        "Lamp search",
        "Shoes search",
        "Toaster refund",
    }
    assert asked.result() == [{"traces": 8, "spans_of_traces": 16, "llm_calls": 8, "spans": 16}]
    assert (refused.result().returncode, refused.result().stdout) == (2, "")


def test_two_replicas_count_everything_once(server: ClickHouseServer, tmp_path: Path) -> None:
    """Spans of one trace go to different replicas, and half of the requests are sent to both."""
    products = [replica(tmp_path / name, server) for name in ("one", "two")]
    with (
        products[0].serve() as one,
        products[1].serve() as two,
        sending_to(one) as to_one,
        sending_to(two) as to_two,
    ):

        def send(numbers: range, here: Callable[..., None], there: Callable[..., None]) -> None:
            for number in numbers:
                root, call = chat(number)
                here(call)
                there(root)
                if number % 2:
                    here(root, call)
                    there(call)

        senders = [
            threading.Thread(target=send, args=(range(1, 16), to_one, to_two)),
            threading.Thread(target=send, args=(range(16, 31), to_two, to_one)),
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        soon(lambda: counted(server), (30, 60, 30, 60))
        for service in (one, two):
            status = wait_until_assembled(service, 30, seconds=DEADLINE_SECONDS)
            assert (status["closed_traces"], status["last_error"]) == (30, None)


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
                message = request(*chat(number))
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
        done = product.run("serve")
        assert (done.returncode, "Connection refused" in done.stderr) == (1, True)
        assert f"clickhouse://default@127.0.0.1:{server.port}" in done.stderr
        assert PASSWORD not in done.stderr
        assert "Traceback" not in done.stderr
        server.start()
        back.set()
        for sender in senders:
            sender.join(DEADLINE_SECONDS)
        assert len(acknowledged) == 150 > before
        soon(lambda: get(service.endpoints["health"], "/")[0], 200)
        soon(lambda: counted(server), (150, 300, 150, 300))
        assert wait_until_assembled(service, 150, seconds=DEADLINE_SECONDS)["closed_traces"] == 150
        server.kill()
        assert service.stop() == 0
    log = (product.directory / "serve.log").read_text()
    assert "spans are stored again" in log
    assert PASSWORD not in log
    assert "param_" not in log
    assert "urllib3" not in log
    assert "Traceback" not in log
