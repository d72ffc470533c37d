"""`store.cluster`: what the schema becomes on a cluster, as text, as ClickHouse parses it, and as it runs on a shard.

A cluster itself is not here. One shard of it is: the generated statements run on the embedded engine, without ON
CLUSTER and replication, and with each Distributed table as a Merge table over the one `_local` table that it has
on this shard.
"""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from assembling import assemble, read, traces
from collector import SPANS, Collector
from otlp import CHAT, log, span
from tracetaxa.errors import ConfigError, StoreError
from tracetaxa.store.cluster import SETTINGS, Cluster
from tracetaxa.store.database import ClickHouse, statement
from tracetaxa.store.dsn import Dsn, parse_dsn
from tracetaxa.store.migrate import migrate, migrations
from tracetaxa_exporter.clickhouse import TableMismatch, create_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from clickhouse_connect.driver.client import Client

GOLDEN = Path(__file__).parents[1] / "data" / "cluster.sql"
CLUSTER = Cluster("agents", "otel")
RETENTION = "{retention_days:UInt16}"


def schema() -> list[str]:
    """Every statement that makes or changes a table, in the order in which they run."""
    exporter = resources.files("tracetaxa_exporter.clickhouse").joinpath("sql")
    tables = sorted(
        (file.name, file.read_text("utf-8"))
        for file in exporter.iterdir()
        if file.name.startswith("otel_") and file.name != "otel_traces_once.sql"
    )
    return [
        statement("schema/create_database"),
        statement("schema/create_ledger"),
        *(text for _, text in tables),
        *(migration.sql for migration in migrations()),
    ]


# ------------------------------------------------------------------------------------------------- the rules


@pytest.mark.parametrize(
    ("sql", "statements"),
    [
        (
            (
                "-- A comment.\nCREATE TABLE IF NOT EXISTS t\n(\n    TraceId String\n)\n"
                "ENGINE = ReplacingMergeTree(Revision)\nORDER BY TraceId\nCOMMENT 'Ours'"
            ),
            [
                (
                    "CREATE TABLE IF NOT EXISTS otel.t_local ON CLUSTER 'agents'\n(\n    TraceId String\n)\n"
                    "ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', "
                    "'{replica}', Revision)\nORDER BY TraceId\nCOMMENT 'Ours'"
                ),
                (
                    "CREATE TABLE IF NOT EXISTS otel.t ON CLUSTER 'agents' AS otel.t_local\n"
                    "ENGINE = Distributed('agents', 'otel', 't_local', cityHash64(TraceId))"
                ),
            ],
        ),
        (
            "CREATE MATERIALIZED VIEW IF NOT EXISTS v TO t AS\nSELECT max(s.LastSeen) AS L\nFROM s\nWHERE 1",
            [
                (
                    "CREATE MATERIALIZED VIEW IF NOT EXISTS otel.v ON CLUSTER 'agents' TO otel.t_local AS\n"
                    "SELECT max(s.LastSeen) AS L\nFROM otel.s_local AS s\nWHERE 1"
                )
            ],
        ),
        (
            "CREATE VIEW IF NOT EXISTS v AS\nSELECT 1 FROM s AS x FINAL LEFT ANY JOIN\n(\n    SELECT 1 FROM r\n) AS y USING a",
            [
                (
                    "CREATE VIEW IF NOT EXISTS otel.v_local ON CLUSTER 'agents' AS\nSELECT 1 FROM otel.s_local AS x FINAL "
                    "LEFT ANY JOIN\n(\n    SELECT 1 FROM otel.r_local AS r\n) AS y USING a"
                ),
                (
                    "CREATE TABLE IF NOT EXISTS otel.v ON CLUSTER 'agents' AS otel.v_local\n"
                    "ENGINE = Distributed('agents', 'otel', 'v_local')"
                ),
            ],
        ),
        (
            "CREATE OR REPLACE VIEW v AS\nSELECT 1\nFROM s",
            [
                "CREATE OR REPLACE VIEW otel.v_local ON CLUSTER 'agents' AS\nSELECT 1\nFROM otel.s_local AS s",
                (
                    "CREATE TABLE IF NOT EXISTS otel.v ON CLUSTER 'agents' AS otel.v_local\n"
                    "ENGINE = Distributed('agents', 'otel', 'v_local')"
                ),
            ],
        ),
        (
            f"ALTER TABLE t\nMODIFY TTL toDateTime(Start) + toIntervalDay({RETENTION})",
            [
                (
                    "ALTER TABLE otel.t_local ON CLUSTER 'agents'\n"
                    f"MODIFY TTL toDateTime(Start) + toIntervalDay({RETENTION})"
                )
            ],
        ),
        (
            "ALTER TABLE t\nADD COLUMN IF NOT EXISTS A Bool",
            [
                "ALTER TABLE otel.t_local ON CLUSTER 'agents'\nADD COLUMN IF NOT EXISTS A Bool",
                "ALTER TABLE otel.t ON CLUSTER 'agents'\nADD COLUMN IF NOT EXISTS A Bool",
            ],
        ),
        (
            "DROP VIEW IF EXISTS v SYNC",
            [
                "DROP TABLE IF EXISTS otel.v ON CLUSTER 'agents' SYNC",
                "DROP VIEW IF EXISTS otel.v_local ON CLUSTER 'agents' SYNC",
            ],
        ),
        (
            "CREATE DATABASE IF NOT EXISTS {name:Identifier}",
            ["CREATE DATABASE IF NOT EXISTS {name:Identifier} ON CLUSTER 'agents'"],
        ),
        ("INSERT INTO t\nSELECT 1 FROM s", ["INSERT INTO t\nSELECT 1 FROM s"]),
    ],
)
def test_rules(sql: str, statements: list[str]) -> None:
    assert list(CLUSTER.statements(sql)) == statements


@pytest.mark.parametrize(
    "sql",
    [
        *(
            "TRUNCATE TABLE traces",
            "ALTER TABLE traces\nMODIFY ORDER BY (a, b)",
            "CREATE TABLE t ENGINE = Null",
        ),
        "CREATE OR REPLACE MATERIALIZED VIEW v TO t AS\nSELECT 1",
    ],
)
def test_what_no_rule_fits_is_refused(sql: str) -> None:
    with pytest.raises(StoreError, match="no rule says how to do this on a cluster: " + sql.split("\n")[0]):
        CLUSTER.statements(sql)


def outline(text: str) -> list[str]:
    """Where rows are and go: the lines that name tables and engines."""
    return re.findall(
        r"^(?:CREATE|ALTER|DROP|INSERT|ENGINE|MODIFY|ADD)\b.*|\b(?:FROM|JOIN) \w.*", text, re.MULTILINE
    )


def test_the_whole_schema() -> None:
    """`TRACETAXA_UPDATE_GOLDENS=1` writes it anew, after a change that is meant."""
    lines = [line for sql in schema() for text in CLUSTER.statements(sql) for line in outline(text)]
    rendered = "\n".join(lines) + "\n"
    if os.environ.get("TRACETAXA_UPDATE_GOLDENS"):
        GOLDEN.write_text(rendered, "utf-8")
    assert rendered == GOLDEN.read_text("utf-8")


def test_clickhouse_parses_all_of_it(client: Client) -> None:
    for sql in schema():
        for text in CLUSTER.statements(sql):
            formatted = client.query("SELECT formatQuery({sql:String})", {"sql": text}).result_rows[0][0]
            assert formatted.startswith(text.split(" ")[0])


def test_rows_that_replace_each_other_are_on_one_shard() -> None:
    """What says the shard is part of the key by which rows replace each other."""
    checked = 0
    for sql in schema():
        texts = CLUSTER.statements(sql)
        if "ENGINE = ReplicatedReplacing" not in texts[0]:
            continue
        key = texts[0][texts[0].index("ORDER BY") :]
        sharding = re.search(r"_local', (.*)\)$", texts[1])
        assert sharding is not None
        name = texts[1].split()[5]
        columns = set(re.findall(r"\b[A-Z]\w*[a-z]\w*\b", sharding[1]))
        # A FeedbackId, in the key of feedback, belongs to one target.
        assert all(
            column in key for column in columns - ({"SessionId"} if name == "otel.feedback" else set())
        )
        checked += 1
    assert checked > 5


def test_settings_are_known_to_clickhouse(client: Client) -> None:
    known = client.query(
        "SELECT count() FROM system.settings WHERE name IN {names:Array(String)}", {"names": list(SETTINGS)}
    )
    assert known.result_rows == [(len(SETTINGS),)]


# ------------------------------------------------------------------------------------------------- one shard of it


class OneShard(Cluster):
    """The statements as one shard without replicas runs them."""

    def statements(self, sql: str) -> Sequence[str]:
        return [_on_this_shard(text) for text in super().statements(sql)]


def _on_this_shard(text: str) -> str:
    """Buffer tables that hold nothing back pass rows both ways, as Distributed tables do; Merge tables read."""
    text = text.replace(" ON CLUSTER 'agents'", "")
    text = re.sub(r"ENGINE = Replicated(\w+)\('[^']*', '[^']*'(?:, )?", r"ENGINE = \1(", text)
    text = re.sub(
        r"ENGINE = Distributed\('agents', '(\w+)', '(\w+)', .*",
        r"ENGINE = Buffer('\1', '\2', 1, 0, 0, 0, 0, 0, 0)",
        text,
    )
    return re.sub(
        r"ENGINE = Distributed\('agents', '(\w+)', '(\w+)'\)", r"ENGINE = Merge('\1', '^\2$')", text
    )


@pytest.fixture
def shard(chdb_path: Path, database_name: str) -> Iterator[ClickHouse]:
    store = ClickHouse.open(Dsn(path=chdb_path), database_name, readers=2)
    cluster = OneShard("agents", database_name)
    client = store.connect()
    try:
        for _ in range(2):  # a second start changes nothing
            create_tables(client, 3650, cluster)
            migrate(client, 3650, cluster)
        yield store
    finally:
        store.close()


def test_the_generated_schema_does_its_work(shard: ClickHouse) -> None:
    """Spans in, traces and labels out, through what stands for Distributed tables, `_local` tables and views."""
    collector = Collector(shard.connect())
    for _ in range(2):
        collector.send(
            span(1, 1, name="invoke_agent", duration=10**9), span(1, 2, 1, attributes=CHAT), span(2, 3)
        )
    collector.send_logs(log(1, 2, body="a log event is an arrival too"))
    assert assemble(shard) == 2
    collector.send(span(1, 4, 1))
    assert assemble(shard) == 1
    assert [(row.revision, row.span_count, row.llm_calls) for row in traces(shard)] == [(2, 3, 1), (1, 1, 0)]
    with shard.reader() as client:
        client.command(
            "INSERT INTO trace_labels (Analysis, RunId, TaxonomyVersion, TraceId, TraceStart, CategoryId, Category, "
            f"Labeller) VALUES ('topics', 'r', 1, '{1:032x}', now(), 'c', 'Orders', 'llm')"
        )
    assert read(
        shard,
        "SELECT SpanAttributes['tracetaxa.topics.category'] AS c, count() FROM otel_traces_labelled "
        "GROUP BY c ORDER BY c",
    ) == [("", 1), ("Orders", 3)]
    assert read(shard, "SELECT Category FROM trace_labels_current") == [("Orders",)]
    assert read(shard, "SELECT SessionId FROM session_activity LIMIT 1 BY SessionId") == [("c1",)]
    assert read(shard, "SELECT count() = max(Version) OR count() > 20 FROM tracetaxa_migrations") == [(True,)]


def test_retention_follows_the_configuration_on_each_shard(shard: ClickHouse, database_name: str) -> None:
    create_tables(shard.connect(), 7, OneShard("agents", database_name))
    ttl = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = 'otel_traces_local'"
    assert "toIntervalDay(" in read(shard, ttl)[0][0]
    assert re.search(r"toIntervalDay\((_CAST\()?7", read(shard, ttl)[0][0])


# ------------------------------------------------------------------------------------------------- what can't be


def test_a_table_of_a_collector_is_not_spread(client: Client, database_name: str) -> None:
    client.command(SPANS)
    with pytest.raises(TableMismatch, match="otel_traces is there already with the engine MergeTree"):
        create_tables(client, 30, Cluster("agents", database_name))
    tables = "SELECT name FROM system.tables WHERE database = currentDatabase()"
    assert client.query(tables).result_rows == [("otel_traces",)]


@pytest.mark.parametrize("open_", [ClickHouse.open, ClickHouse.open_for_reading])
def test_the_embedded_engine_is_in_no_cluster(tmp_path: Path, open_: Callable[..., ClickHouse]) -> None:
    with pytest.raises(ConfigError, match=r"store\.cluster needs ClickHouse servers"):
        open_(parse_dsn(f"chdb://{tmp_path}/data"), "otel", cluster="agents")
