"""Commands, exit codes and contracts, on an empty service and on bad input."""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from otlp import CHAT, request, span
from shapes import assert_shape
from tracetaxa.demo.child import wait_until_assembled
from tracetaxa.testing import Failure, OracleModel, ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from product import Product

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def get(endpoint: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    asked = urllib.request.Request(f"http://{endpoint}{path}", headers=headers or {})
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def export(endpoint: str, message: ExportTraceServiceRequest) -> None:
    with grpc.insecure_channel(endpoint) as channel:
        TraceServiceStub(channel).Export(message, timeout=20)


REQUESTS = (
    "Where is my parcel with the red shoes",
    "I want a refund for the blue kettle",
    "Where is the lamp I ordered",
    "I want a refund for the toaster",
)
"""Every second one fails."""


def send_chats(endpoint: str, count: int = 8) -> None:
    """Traces 1 to `count`."""
    for number in range(1, count + 1):
        text = REQUESTS[number % 4 - 1]
        said = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])
        root, chat = number * 10, number * 10 + 1
        attributes = CHAT | {"gen_ai.input.messages": said}
        failed = 2 if "refund" in text else 0
        spans = (
            span(number, root, name="invoke_agent", status=failed, start=recently()),
            span(number, chat, root, start=recently(), attributes=attributes),
        )
        export(endpoint, request(*spans))


def recently() -> int:
    return time.time_ns() - 60 * 10**9


def assembled(service: Any, traces: int) -> None:
    wait_until_assembled(service, traces, seconds=60)


# ------------------------------------------------------------------------------------------------- contracts


def test_ready_status_and_pages(product: Product) -> None:
    with product.serve() as service:
        assert set(service.endpoints) == {"grpc", "http", "api", "sql", "health"}
        status = service.status()
        assert_shape("status", status)
        assert {
            k: status[k] for k in ("open_traces", "closed_traces", "unlabelled", "unforwarded", "last_error")
        } == {
            "open_traces": 0,
            "closed_traces": 0,
            "unlabelled": 0,
            "unforwarded": 0,
            "last_error": None,
        }
        assert get(service.endpoints["health"], "/")[0] == 200
        code, page = get(service.endpoints["api"], "/")
        assert (code, "tracetaxa analyze" in page) == (200, True)
        assert get(service.endpoints["api"], "/reports/none")[0] == 404
        assert get(service.endpoints["api"], "/v1/runs/none")[0] == 404
        assert get(service.endpoints["api"], "/nowhere")[0] == 404
    assert service.stop() == 0


def test_an_empty_window_is_an_empty_report(product: Product) -> None:
    with product.serve():
        result = product.json("analyze", "topics", "--engine", "local", "--format", "json")
        assert (result["status"], result["selected"], result["error"]) == ("complete", 0, None)
        report = product.run("report", result["run_id"])
        assert (report.returncode, "nothing to report" in " ".join(report.stdout.split())) == (0, True)


def test_spans_in_labels_out_while_serving(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """The main job on a handful of traces, with a model, everything asked while the service runs."""

    def truth(digest: str) -> tuple[str, str] | None:
        if "refund" in digest:
            return "Refunds", "Kettle refund" if "kettle" in digest else "Toaster refund"
        return "Tracking", "Shoes search" if "shoes" in digest else "Lamp search"

    with OracleModel(truth) as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        with product.serve() as service:
            send_chats(service.endpoints["grpc"])
            assembled(service, 8)
            result = product.json("analyze", "topics", "--format", "json")
            assert_shape("analyze", result)
            assert (result["status"], result["engine"], result["labelled"]) == ("complete", "openai", 8)
            assert result["input_tokens"] == model.usage.input_tokens > 0
            labels = product.rows(
                "SELECT Category, Subcategory, toString(Labeller) AS Labeller, count() AS n "
                "FROM trace_labels_current GROUP BY ALL ORDER BY Category, Subcategory"
            )
            assert labels == [
                {"Category": "Refunds", "Subcategory": "Kettle refund", "Labeller": "llm", "n": 2},
                {"Category": "Refunds", "Subcategory": "Toaster refund", "Labeller": "llm", "n": 2},
                {"Category": "Tracking", "Subcategory": "Lamp search", "Labeller": "llm", "n": 2},
                {"Category": "Tracking", "Subcategory": "Shoes search", "Labeller": "llm", "n": 2},
            ]
            view = product.rows(
                "SELECT SpanAttributes['tracetaxa.topics.category'] AS category, count() AS spans "
                "FROM otel_traces_labelled GROUP BY category ORDER BY category"
            )
            assert view == [{"category": "Refunds", "spans": 8}, {"category": "Tracking", "spans": 8}]
            document = product.json("report", "--format", "json")
            assert_shape("report", document)
            assert [c["name"] for c in document["categories"]] == ["Refunds", "Tracking"]
            assert document["categories"][0]["error_rate"] == 1.0
            code, page = get(service.endpoints["api"], result["report_path"])
            assert (code, "Kettle refund" in page) == (200, True)
            assert json.loads(get(service.endpoints["api"], f"/v1/runs/{result['run_id']}")[1]) == result
            assert (
                json.loads(get(service.endpoints["api"], f"/v1/runs/{result['run_id']}/report")[1])
                == document
            )
            shown = product.json("trace", "2".zfill(32), "--format", "json")
            assert_shape("trace", shown)
            assert shown["labels"][0]["category"] == "Refunds"
            text = product.run("trace", "0000000000000000000000000000000a1"[:32])
            assert text.returncode == 1
            again = product.json(
                "analyze",
                "topics",
                "--from",
                result["window_start"],
                "--to",
                result["window_end"],
                "--format",
                "json",
            )
            assert again["labelled"] == 8
            assert service.status()["unlabelled"] == 0


def test_query_json_is_clickhouses_shape(product: Product) -> None:
    with product.serve():
        answer = product.json(
            "query", "SELECT toUInt64(18446744073709551615) AS n, 'x' AS s", "--format", "json"
        )
    assert answer["meta"] == [{"name": "n", "type": "UInt64"}, {"name": "s", "type": "String"}]
    assert answer["data"] == [{"n": 18446744073709551615, "s": "x"}]
    assert answer["rows"] == 1
    assert_shape("query", answer)


REFUSED = ("SELECT file('/etc/passwd')", "SELECT 1; DROP TABLE otel_traces")


@pytest.mark.parametrize("serving", [True, False])
def test_query_refuses_what_is_not_a_harmless_select(product: Product, serving: bool) -> None:
    """Through the service and on the database itself; test_guard.py has the long list."""
    assert product.run("migrate").returncode == 0
    with product.serve() if serving else contextlib.nullcontext():
        for sql in REFUSED:
            refused = product.run("query", sql)
            assert (refused.returncode, refused.stdout) == (2, "")
        assert product.rows("SELECT count() AS n FROM otel_traces") == [{"n": 0}]


def test_the_sql_endpoint_is_for_any_client(product: Product) -> None:
    with product.serve() as service:
        host, _, port = service.endpoints["sql"].partition(":")
        client = clickhouse_connect.get_client(host=host, port=int(port), database="otel")
        assert client.query("SELECT count() FROM traces").result_rows == [(0,)]
        with pytest.raises(clickhouse_connect.driver.exceptions.DatabaseError, match="file"):
            client.query("SELECT file('/etc/passwd')")


# ------------------------------------------------------------------------------------------------- bad input


def test_malformed_requests_are_refused_and_nothing_is_stored(product: Product) -> None:
    with product.serve() as service:
        with grpc.insecure_channel(service.endpoints["grpc"]) as channel:
            call = channel.unary_unary(EXPORT)
            with pytest.raises(grpc.RpcError) as refused:
                call(b"\xff\xff not protobuf", timeout=20)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert product.rows("SELECT count() AS n FROM otel_traces") == [{"n": 0}]


def test_a_wrong_key_in_the_configuration(product: Product) -> None:
    product.config.write_text("recever: {}\n", "utf-8")
    for command in (["serve"], ["report"], ["analyze", "topics"], ["check"]):
        done = product.run(*command)
        assert (done.returncode, done.stdout) == (2, "")
        assert "did you mean 'receiver'?" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["analyze"], ["analyze", "Bad Name"], ["analyze", "x", "--window", "24x"], ["analyze", "x", "--from", "yesterday"],
     ["analyze", "x", "--from", "2026-01-02", "--to", "2026-01-01"], ["nonsense"], ["report", "--format", "pdf"]],
)  # fmt: skip
def test_wrong_usage(product: Product, arguments: list[str]) -> None:
    done = product.run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_is_open_elsewhere(product: Product) -> None:
    with product.serve():
        done = product.run("serve")
    assert done.returncode == 1
    assert "open in process" in done.stderr
    assert "(serve)" in done.stderr


def test_a_port_that_is_taken(product: Product) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        for section in (
            {"api": {"endpoint": endpoint}},
            {"receiver": {"grpc": {"endpoint": endpoint}}},
            {"receiver": {"http": {"endpoint": endpoint}}},
        ):
            done = product.configure(**section).run("serve")
            assert done.returncode in (1, 2)
            assert endpoint in done.stderr
            assert "Traceback" not in done.stderr


def test_a_wrong_api_key_fails_the_run_with_the_providers_message(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "Incorrect API key provided: sk-wrong."

    with ScriptedModel(lambda messages, schema: Failure(401, message, code="invalid_api_key")) as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-secret-secret")
        with product.serve() as service:
            send_chats(service.endpoints["grpc"])
            assembled(service, 8)
            done = product.run("analyze", "topics", "--format", "json")
            result = json.loads(done.stdout)
            assert (done.returncode, result["status"]) == (1, "failed")
            assert "Incorrect API key provided" in result["error"]
            assert product.rows("SELECT toString(Status) AS s FROM analysis_runs") == [{"s": "failed"}]
            report = product.run("report", result["run_id"])
            assert "Incorrect API key provided" in " ".join(report.stdout.split())
        log = (product.directory / "serve.log").read_text()
    assert "sk-secret" not in done.stdout + done.stderr + log + report.stdout


def test_no_engine_to_ask(product: Product) -> None:
    with product.serve():
        done = product.run("analyze", "topics", "--engine", "openai")
    assert (done.returncode, "OPENAI_API_KEY" in done.stderr) == (2, True)


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
        assert product.rows("SELECT 1 AS n") == [{"n": 1}]
        assert product.json("analyze", "x", "--engine", "local", "--format", "json")["status"] == "complete"


def test_exposed_without_a_token_is_refused(product: Product) -> None:
    done = product.configure(api={"endpoint": "0.0.0.0:0"}).run("serve")
    assert (done.returncode, "api.token_file" in done.stderr) == (2, True)


def test_requests_for_other_hosts_are_refused(product: Product) -> None:
    with product.serve() as service:
        assert get(service.endpoints["api"], "/v1/status", {"Host": "evil.example"})[0] == 403


def test_the_service_runs_what_the_caller_has_configured(product: Product) -> None:
    """Also when the file was edited after the service began."""
    with product.serve() as service:
        send_chats(service.endpoints["grpc"])
        assembled(service, 8)
        product.configure(
            analyses=[{"name": "refunds", "filter": {"status": "Error"}}], llm={"max_attempts": 1}
        )
        done = product.run("analyze", "refunds", "--engine", "local", "--format", "json")
        assert json.loads(done.stdout)["selected"] == 4
        assert "other llm or privacy settings" in done.stderr
        product.configure(analyses=[{"name": "refunds", "filter": {"where": "nope = 1"}}])
        done = product.run("analyze", "refunds", "--engine", "local")
        assert (done.returncode, "filter.where" in done.stderr, "nope" in done.stderr) == (2, True, True)
        done = product.run("analyze", "mistyped", "--engine", "local")
        assert "no analysis 'mistyped' is configured" in done.stderr


def test_files_that_can_not_be_written(product: Product) -> None:
    with product.serve():
        product.json("analyze", "x", "--engine", "local", "--format", "json")
        done = product.run("report", "--format", "html", "--output", "/nonexistent/report.html")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "/nonexistent/report.html" in done.stderr


# ------------------------------------------------------------------------------------------------- stopping


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


def test_an_interrupted_analysis_is_cancelled_and_kept(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def never(messages: Any, schema: Any) -> Any:
        asked.set()
        return Failure(503, retry_after="30")

    with ScriptedModel(never) as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        with product.serve() as service:
            send_chats(service.endpoints["grpc"])
            assembled(service, 8)
            command = subprocess.Popen(
                [sys.executable, "-m", "tracetaxa.cli", "analyze", "topics", "--config", str(product.config)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            assert asked.wait(60)
            command.send_signal(signal.SIGINT)
            command.communicate(timeout=60)
            assert command.returncode == 130
            for _ in range(200):
                states = product.rows("SELECT toString(Status) AS s FROM analysis_runs")
                if states != [{"s": "running"}]:
                    break
            assert states == [{"s": "cancelled"}]


# ------------------------------------------------------------------------------------------------- upkeep


def test_check_before_and_while_serving(product: Product) -> None:
    findings = product.json("check", "--format", "json")
    assert all(finding["ok"] for finding in findings)
    with product.serve():
        serving = product.json("check", "--format", "json")
        assert any("open in process" in finding["detail"] for finding in serving)


def test_check_tells_what_is_wrong(product: Product) -> None:
    product.configure(
        store={"dsn": "clickhouse://127.0.0.1:1"},
        llm={"engine": "openai", "base_url": "http://127.0.0.1:1/v1"},
    )
    done = product.run("check")
    assert done.returncode == 1
    assert "FAIL database" in done.stdout
    assert "FAIL model endpoint" in done.stdout


def test_help_fits_and_names_every_command(product: Product) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tracetaxa.cli", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("serve", "analyze", "report", "trace", "query", "migrate", "check", "demo"):
        assert command in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
