"""A service that has nothing yet: its endpoints, and the commands beside it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import grpc
import pytest

from http_get import get
from product import Product, Served, served
from shapes import assert_shape

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
REFUSED = ("SELECT file('/etc/passwd')", "SELECT 1; DROP TABLE otel_traces")


@dataclass(frozen=True)
class Empty(Served):
    first_status: dict[str, Any]
    """When nothing had been asked yet."""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Empty]:
    with served(Product(tmp_path_factory.mktemp("empty")).configure()) as running:
        yield Empty(running.product, running.service, running.service.status())


def test_ready_status_and_pages(empty: Empty) -> None:
    endpoints = empty.service.endpoints
    assert set(endpoints) == {"grpc", "http", "api", "sql", "health", "metrics"}
    status = empty.first_status
    assert_shape("status", status)
    assert {
        k: status[k] for k in ("open_traces", "closed_traces", "unlabelled", "unforwarded", "last_error")
    } == {"open_traces": 0, "closed_traces": 0, "unlabelled": 0, "unforwarded": 0, "last_error": None}
    assert get(endpoints["health"], "/")[0] == 200
    assert get(endpoints["api"], "/reports/none")[0] == 404
    assert get(endpoints["api"], "/v1/runs/none")[0] == 404
    assert get(endpoints["api"], "/nowhere")[0] == 404


def test_an_empty_window_is_an_empty_report(empty: Empty) -> None:
    code, page = get(empty.service.endpoints["api"], "/")
    assert (code, "tracetaxa analyze" in page) == (200, True)
    result = empty.product.json("analyze", "topics", "--engine", "local", "--format", "json")
    assert (result["status"], result["selected"], result["error"]) == ("complete", 0, None)
    report = empty.product.run("report", result["run_id"])
    assert (report.returncode, "nothing to report" in " ".join(report.stdout.split())) == (0, True)
    done = empty.product.run("report", "--format", "html", "--output", "/nonexistent/report.html")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "/nonexistent/report.html" in done.stderr


def test_query_json_is_clickhouses_shape(empty: Empty) -> None:
    answer = empty.product.json(
        "query", "SELECT toUInt64(18446744073709551615) AS n, 'x' AS s", "--format", "json"
    )
    assert answer["meta"] == [{"name": "n", "type": "UInt64"}, {"name": "s", "type": "String"}]
    assert answer["data"] == [{"n": 18446744073709551615, "s": "x"}]
    assert answer["rows"] == 1
    assert_shape("query", answer)


def refuses_what_is_no_harmless_select(product: Product) -> None:
    for sql in REFUSED:
        refused = product.run("query", sql)
        assert (refused.returncode, refused.stdout) == (2, "")
    answer = product.json("query", "SELECT count() AS n FROM otel_traces", "--format", "json")
    assert answer["data"] == [{"n": 0}]


def test_query_through_the_service(empty: Empty) -> None:
    """test_guard.py has the long list."""
    refuses_what_is_no_harmless_select(empty.product)


def test_without_a_service(product: Product) -> None:
    """On the database itself."""
    assert product.run("migrate").returncode == 0
    refuses_what_is_no_harmless_select(product)
    assert product.json("backfill", "--format", "json")["traces"] == 0
    findings = product.json("check", "--format", "json")
    assert all(finding["ok"] for finding in findings)


def test_check_beside_a_service(empty: Empty) -> None:
    serving = empty.product.json("check", "--format", "json")
    assert any("open in process" in finding["detail"] for finding in serving)


def test_the_sql_endpoint_is_for_any_client(empty: Empty) -> None:
    host, _, port = empty.service.endpoints["sql"].partition(":")
    client = clickhouse_connect.get_client(host=host, port=int(port), database="otel")
    assert client.query("SELECT count() FROM traces").result_rows == [(0,)]
    with pytest.raises(clickhouse_connect.driver.exceptions.DatabaseError, match="file"):
        client.query("SELECT file('/etc/passwd')")


def test_malformed_requests_are_refused_and_nothing_is_stored(empty: Empty) -> None:
    with grpc.insecure_channel(empty.service.endpoints["grpc"]) as channel:
        call = channel.unary_unary(EXPORT)
        with pytest.raises(grpc.RpcError) as refused:
            call(b"\xff\xff not protobuf", timeout=20)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert empty.product.rows("SELECT count() AS n FROM otel_traces") == [{"n": 0}]


def test_a_database_that_is_open_elsewhere(empty: Empty) -> None:
    done = empty.product.run("serve")
    assert done.returncode == 1
    assert "open in process" in done.stderr
    assert "(serve)" in done.stderr
    done = empty.product.run("backfill")
    assert done.returncode == 1
    assert "(serve) owns this embedded database" in done.stderr
    assert "nothing to backfill" in done.stderr


def test_no_engine_to_ask(empty: Empty) -> None:
    done = empty.product.run("analyze", "topics", "--engine", "openai")
    assert (done.returncode, "OPENAI_API_KEY" in done.stderr) == (2, True)


def test_requests_for_other_hosts_are_refused(empty: Empty) -> None:
    assert get(empty.service.endpoints["api"], "/v1/status", {"Host": "evil.example"})[0] == 403


def test_a_token_is_asked_for(product: Product, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-long-enough-token\n")
    product.configure(api={"endpoint": "127.0.0.1:0", "token_file": str(token)})
    with product.serve() as service:
        assert get(service.endpoints["api"], "/v1/status")[0] == 401
        bearer = {"Authorization": "Bearer a-long-enough-token"}
        assert get(service.endpoints["api"], "/v1/status", bearer)[0] == 200
        password = base64.b64encode(b"me:a-long-enough-token").decode()
        assert get(service.endpoints["api"], "/", {"Authorization": f"Basic {password}"})[0] == 200
        assert get(service.endpoints["api"], "/", {"Authorization": "Basic bWU6eA=="})[0] == 401
        answer = product.json("query", "SELECT 1 AS n", "--format", "json")
        assert answer["data"] == [{"n": 1}]
        assert product.json("analyze", "x", "--engine", "local", "--format", "json")["status"] == "complete"
