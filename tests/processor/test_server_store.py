"""The store on a ClickHouse server: what works embedded works over HTTP, and a server that goes away loses nothing.

The server is the real engine behind a test's HTTP interface, see clickhouse_http.py.
"""

from __future__ import annotations

import asyncio
import dataclasses
import http.server
import json
import threading
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from clickhouse_http import PASSWORD, ClickHouseServer
from factories import START_NS, trace_row
from otlp import CHAT, request, span
from tracetaxa.analyze.digests.digest import digest
from tracetaxa.analyze.job import Job
from tracetaxa.analyze.run import run_analysis
from tracetaxa.analyze.sampling.plan import SamplePlan
from tracetaxa.assemble.assembler import Assembler, ClosingRules
from tracetaxa.assemble.rows import ToRow
from tracetaxa.dialects import read_trace
from tracetaxa.errors import NotFound, Overloaded, QueryFailed, QueryRefused, StoreUnavailable
from tracetaxa.protocols import no_progress
from tracetaxa.receive import GroupCommit
from tracetaxa.records import (
    Assignment,
    Brief,
    Category,
    LabelRow,
    ReportRow,
    Selection,
    Spend,
    Taxonomy,
    TraceRow,
)
from tracetaxa.store.database import ClickHouse
from tracetaxa.store.dsn import Dsn, parse_dsn
from tracetaxa.store.migrate import migrate
from tracetaxa_exporter.clickhouse import Rejected, SpanWriter, WriteFailed, create_tables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from tracetaxa.protocols import Progress

DEADLINE_SECONDS = 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    with ClickHouseServer(tmp_path_factory.mktemp("server")) as server:
        yield server


def opened(server: ClickHouseServer, database: str = "") -> ClickHouse:
    """The product's own store with its schema, in a database of this test alone."""
    store = ClickHouse.open(parse_dsn(server.dsn()), database or f"test_{uuid.uuid4().hex[:12]}", readers=2)
    client = store.connect()
    create_tables(client, 3650)
    migrate(client, 3650)
    return store


@pytest.fixture(scope="module")
def remote(server: ClickHouseServer) -> Iterator[ClickHouse]:
    """One for all tests that don't mind each other's rows."""
    store = opened(server)
    yield store
    store.close()


def read(store: ClickHouse, sql: str) -> list[tuple[Any, ...]]:
    with store.reader() as client:
        return [tuple(row) for row in client.query(sql).result_rows]


# ------------------------------------------------------------------------------------------------- the same results


class ScriptedEngine:
    """Refunds are traces whose request says refund."""

    name = "local"
    models = ("scripted",)
    prompt_fingerprints: dict[str, str] = {}  # noqa: RUF012
    prices_known = True
    spend = Spend(calls=2, input_tokens=1000, output_tokens=100, cost_usd=0.5)

    async def discover(self, traces: Sequence[TraceRow], brief: Brief, progress: Progress) -> Taxonomy:
        names = {"tracking": "Order tracking", "refunds": "Refunds", "other": "Other"}
        return Taxonomy(tuple(Category(identity, name, "") for identity, name in names.items()))

    async def assign(
        self, traces: Sequence[TraceRow], taxonomy: Taxonomy, brief: Brief, progress: Progress
    ) -> AsyncIterator[list[Assignment]]:
        for row in traces:
            kind = "refunds" if "refund" in row.input else "tracking"
            yield [Assignment(row.trace_id, kind, "", 0.9, "", row.input, "aa", {"angry": "true"})]

    async def close(self) -> None: ...


def assembler(store: ClickHouse) -> Assembler:
    rules = ClosingRules(idle_seconds=0, orphan_idle_seconds=0, max_trace_seconds=10**6)
    return Assembler(
        store, read_trace, ToRow(partial(digest, max_tokens=400), lambda usage: 0.5), rules, batch_traces=120
    )


def chats(count: int) -> list[ExportTraceServiceRequest]:
    """Requests whose text needs every kind of escaping on its way; every fifth wants a refund."""
    made = []
    for number in range(1, count + 1):
        text = (
            f"{'refund' if number % 5 == 0 else 'order'} {number} 'quoted' \\ back\tslash\nüñ☃ {{x:String}}"
        )
        said = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])
        root = span(number, 2 * number, name="invoke_agent")
        chat = span(number, 2 * number + 1, 2 * number, attributes=CHAT | {"gen_ai.input.messages": said})
        made.append(request(root, chat))
    return made


def main_job(store: ClickHouse) -> dict[str, Any]:
    """Spans in, traces, labels and a report out; everything that was kept, without times of this run."""
    # More traces than fit into a URL as parameters, and each sent twice.
    for _ in range(2):
        SpanWriter(store.connect()).write(chats(120))

    async def go() -> tuple[int, str]:
        made = assembler(store)
        closed = await made.tick()
        assert await made.open_traces() == 0
        job = Job(
            brief=Brief("topics", "What do users want? 'quoted' \\ {x:String}"),
            selection=Selection(START_NS, START_NS + 10**12, service=("shop",), where="LlmCalls > 0"),
            plan=SamplePlan(size=50),
            config="{}",
            labeller="local",
        )
        run = await run_analysis(
            store, ScriptedEngine(), job, redact=lambda row: row, still_open=0, progress=no_progress
        )
        assert (run.status, run.error) == ("complete", "")
        return closed, run.run_id

    closed, run_id = asyncio.run(go())
    traces = [
        asyncio.run(store.records("trace_row", TraceRow, trace_id=f"{number:032x}"))[0]
        for number in (1, 5, 120)
    ]
    (label,) = asyncio.run(store.records("reading/labels_of_trace", LabelRow, trace_id=read(store, "SELECT min(TraceId) FROM trace_labels")[0][0]))  # fmt: skip
    (report,) = asyncio.run(store.records("reading/report_by_run", ReportRow, run_id=run_id))
    document = json.loads(report.document)
    return {
        "closed": closed,
        "traces": [dataclasses.replace(row, last_seen_ns=0) for row in traces],
        "label": dataclasses.replace(label, labelled_at_ns=0, run_id=""),
        "categories": document["categories"],
        "summary": document["summary"],
        "population": document["population"],
        "statuses": read(store, "SELECT toString(Status), TracesSampled, CostUsd FROM analysis_runs"),
        "shares": read(store, "SELECT CategoryId, Traces, Share, ShareLow FROM report_categories ORDER BY 1"),
        "view": read(
            store,
            "SELECT SpanAttributes['tracetaxa.topics.category'] AS c, count() FROM otel_traces_labelled "
            "GROUP BY c ORDER BY c",
        ),
    }


def test_the_main_job_has_the_same_results_as_embedded(server: ClickHouseServer, store: ClickHouse) -> None:
    remote = opened(server)
    over_http, embedded = main_job(remote), main_job(store)
    remote.close()
    assert over_http == embedded
    assert over_http["closed"] == 120
    assert over_http["traces"][0].input == "order 1 'quoted' \\ back\tslash\nüñ☃ {x:String}"


def test_migrations_apply_once_and_by_several_at_once(server: ClickHouseServer) -> None:
    database = f"test_{uuid.uuid4().hex[:12]}"
    failures: list[BaseException] = []

    def start() -> None:
        try:
            opened(server, database).close()
        except BaseException as error:
            failures.append(error)

    replicas = [threading.Thread(target=start) for _ in range(3)]
    for replica in replicas:
        replica.start()
    for replica in replicas:
        replica.join()
    assert failures == []
    store = opened(server, database)
    assert migrate(store.connect(), 3650) == []
    assert read(
        store, "SELECT min(Version), max(Version) = uniqExact(Version) FROM tracetaxa_migrations"
    ) == [(1, 1)]
    store.close()


def test_threads_share_the_readers(remote: ClickHouse) -> None:
    async def go() -> list[list[dict[str, Any]]]:
        await remote.insert("traces", [trace_row(f"t{n}") for n in range(20)])
        return await asyncio.gather(*(remote.rows("trace_row", trace_id=f"t{n}") for n in range(10, 20)))

    assert [[row["TraceId"] for row in rows] for rows in asyncio.run(go())] == [
        [f"t{n}"] for n in range(10, 20)
    ]


# ------------------------------------------------------------------------------------------------- who may do what


def test_a_user_who_may_only_read(server: ClickHouseServer, remote: ClickHouse) -> None:
    dsn = parse_dsn(server.dsn("reader"))
    reader = ClickHouse.open_for_reading(dsn, remote.database)
    assert read(reader, "SELECT count() FROM reports") == [(0,)]
    with pytest.raises(QueryRefused, match="readonly"):
        asyncio.run(reader.insert("traces", [trace_row()]))
    reader.close()
    with pytest.raises(QueryRefused, match="readonly"):
        ClickHouse.open(dsn, "another")


def test_reading_makes_no_database(server: ClickHouseServer, remote: ClickHouse) -> None:
    with pytest.raises(
        NotFound, match=r"no database nowhere at clickhouse://default@127\.0\.0\.1.*tracetaxa serve"
    ):
        ClickHouse.open_for_reading(parse_dsn(server.dsn()), "nowhere")
    assert read(remote, "SELECT count() FROM system.databases WHERE name = 'nowhere'") == [(0,)]


def test_a_wrong_password(server: ClickHouseServer) -> None:
    with pytest.raises(QueryFailed, match="refuses this login") as refused:
        ClickHouse.open(parse_dsn(server.dsn(password="wr0ng-pass")), "otel")
    assert f"default@127.0.0.1:{server.port}" in str(refused.value)
    assert "wr0ng-pass" not in str(refused.value)


def test_a_database_that_was_dropped(server: ClickHouseServer) -> None:
    store = opened(server)
    writer = SpanWriter(store.connect())
    with store.reader() as client:
        client.command(f"DROP DATABASE {store.database} SYNC")
    with pytest.raises(QueryFailed, match="does not exist"):
        asyncio.run(store.rows("ping"))
    with pytest.raises(WriteFailed) as failed:
        writer.write(chats(1))
    assert failed.value.retryable
    store.close()


# ------------------------------------------------------------------------------------------------- going away


@pytest.mark.parametrize("reading", [True, False])
def test_no_server_there(reading: bool) -> None:
    dsn = parse_dsn(f"clickhouse://me:{PASSWORD}@127.0.0.1:1")
    with pytest.raises(StoreUnavailable) as error:
        (ClickHouse.open_for_reading if reading else ClickHouse.open)(dsn, "otel")
    assert (
        str(error.value)
        == "ClickHouse at clickhouse://me@127.0.0.1:1 does not answer now: Connection refused"
    )


def test_a_proxy_without_a_server_behind_it() -> None:
    class BadGateway(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(502)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), BadGateway) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        with pytest.raises(StoreUnavailable, match="502"):
            ClickHouse.open(Dsn(host="127.0.0.1", port=proxy.server_port), "otel")
        proxy.shutdown()


def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    """As after a lost network: no answer and no reset."""
    with ClickHouseServer(tmp_path) as server:
        opened(server, "otel").close()
        store = ClickHouse(parse_dsn(server.dsn()), "otel", silence_timeout_seconds=1)
        writer = SpanWriter(store.connect())
        server.freeze()
        with pytest.raises(WriteFailed) as failed:
            writer.write(chats(1))
        assert failed.value.retryable
        with pytest.raises(StoreUnavailable, match="does not answer now: timed out"):
            store.connect()
        store.close()
        server.kill()


def test_a_server_that_goes_away_while_it_writes(tmp_path: Path) -> None:
    """Senders are told to come back, and what they send again counts once, also what was stored already."""
    with ClickHouseServer(tmp_path) as server:
        store = opened(server, "otel")
        writer = SpanWriter(store.connect())
        with store.reader() as client:
            client.command("CREATE TABLE slow (x UInt8) ENGINE = Null")
            # Holds each insert up for seconds, after its spans have arrived.
            client.command(
                "CREATE MATERIALIZED VIEW slow_mv TO slow AS SELECT sleep(3) AS x FROM otel_traces"
            )

        def kill_while_writing() -> None:
            deadline = time.monotonic() + DEADLINE_SECONDS
            while not read(store, "SELECT 1 FROM system.processes WHERE startsWith(query, 'INSERT INTO')"):
                assert time.monotonic() < deadline
            server.kill()

        async def send() -> list[Rejected | BaseException]:
            commit: GroupCommit[ExportTraceServiceRequest, Rejected] = GroupCommit(writer.write, linger_ms=5)
            sent = [commit.submit(one, items=2, size_bytes=100) for one in chats(5)]
            answers, _ = await asyncio.gather(
                asyncio.gather(*sent, return_exceptions=True), asyncio.to_thread(kill_while_writing)
            )
            await commit.drain(DEADLINE_SECONDS)
            return answers

        for answer in asyncio.run(send()):
            assert isinstance(answer, Overloaded)
            assert isinstance(answer.__cause__, WriteFailed)
            assert answer.__cause__.retryable
        with pytest.raises(StoreUnavailable):
            asyncio.run(store.rows("ping"))

        server.start()
        with store.reader() as client:  # the same clients go on
            client.command("DROP TABLE slow_mv SYNC")
        assert [rejected.count for rejected in writer.write(chats(5))] == [0] * 5
        assert asyncio.run(assembler(store).tick()) == 5
        assert read(store, "SELECT count(), sum(SpanCount) FROM traces FINAL") == [(5, 10)]
        assert read(store, "SELECT count() FROM otel_traces_labelled") == [(10,)]
        store.close()
