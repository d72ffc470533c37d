"""`receiver.enabled: false`: the product beside a collector that fills its own tables on a ClickHouse server."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest

from chats import truth
from clickhouse_http import PASSWORD, ClickHouseServer
from collector import Collector
from otlp import CHAT, span
from product import Product
from tracetaxa.demo.child import wait_until_assembled
from tracetaxa.testing import OracleModel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEADLINE_SECONDS = 60
HOUR_NS = 3600 * 10**9


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClickHouseServer]:
    with ClickHouseServer(tmp_path / "clickhouse") as server:
        yield server


@pytest.fixture
def collector(server: ClickHouseServer) -> Iterator[Collector]:
    """It was here first, and has stored a day of traces."""
    with clickhouse_connect.get_client(
        host="127.0.0.1", port=server.port, password=PASSWORD, autogenerate_session_id=False
    ) as client:
        client.command("CREATE DATABASE otel")
        client.database = "otel"
        collector = Collector(client).create_schema()
        for number in range(1, 25):
            collector.send(*agent_trace(number, ago_ns=number * HOUR_NS))
        yield collector


def agent_trace(number: int, ago_ns: int = 60 * 10**9) -> tuple[Any, Any]:
    start = time.time_ns() - ago_ns
    return (
        span(number, number * 10, name="invoke_agent", start=start),
        span(number, number * 10 + 1, number * 10, start=start, attributes=CHAT),
    )


@pytest.fixture
def product(tmp_path: Path, server: ClickHouseServer) -> Product:
    directory = tmp_path / "product"
    directory.mkdir()
    return Product(directory).configure(store={"dsn": server.dsn()}, receiver={"enabled": False})


@pytest.mark.slow
def test_what_a_collector_stores_is_assembled_and_analysed(product: Product, collector: Collector) -> None:
    before = collector.definitions()
    with product.serve() as service, OracleModel(truth) as model:
        assert set(service.endpoints) == {"api", "health", "metrics"}
        batch = (*agent_trace(101), *agent_trace(102))
        for _ in range(2):  # its answer was lost, so it came again
            collector.send(*batch)
        wait_until_assembled(service, 2, seconds=DEADLINE_SECONDS)
        # Beside the service; and again, which does no harm.
        assert product.json("backfill", "--window", "12h", "--format", "json")["traces"] == 11
        wait_until_assembled(service, 13, seconds=DEADLINE_SECONDS)
        done = product.run("backfill")
        assert (done.returncode, done.stdout) == (0, "13 traces to assemble\n")
        assert "tracetaxa serve" in done.stderr
        assert wait_until_assembled(service, 26, seconds=DEADLINE_SECONDS)["last_error"] is None
        done = product.run("backfill")
        assert (done.returncode, done.stdout) == (0, "nothing to do\n")
        asking = replace(product, environment={"OPENAI_BASE_URL": model.base_url})
        result = asking.json("analyze", "topics", "--window", "2d", "--format", "json")
        assert (result["status"], result["selected"]) == ("complete", 26)
        assert product.rows("SELECT sum(SpanCount) AS n, sum(LlmCalls) AS calls FROM traces FINAL") == [
            {"n": 52, "calls": 26}
        ]
        labelled = "countIf(mapContains(SpanAttributes, 'tracetaxa.topics.category'))"
        assert product.rows(f"SELECT count() AS n, {labelled} AS l FROM otel_traces_labelled") == [
            {"n": 52, "l": 52}
        ]
    assert service.stop() == 0
    assert collector.definitions() == before
