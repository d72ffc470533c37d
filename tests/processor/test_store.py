"""The store against the real engine: DSNs, ownership, migrations, records, precedence of labels."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tracetaxa import records
from tracetaxa.errors import ConfigError, DatabaseInUse, QueryFailed, StoreError
from tracetaxa.records import (
    AuditRow,
    CategoryRow,
    Feedback,
    LabelRow,
    ModelReplyRow,
    ReportRow,
    RunRow,
    RunSampleRow,
    SessionRow,
    TaxonomyRow,
    TraceRow,
)
from tracetaxa.store.database import statement
from tracetaxa.store.dsn import parse_dsn
from tracetaxa.store.migrate import applied, migrate, migrations
from tracetaxa.store.owner import Ownership, find_owner
from tracetaxa.store.rows import columns_of
from tracetaxa_exporter.clickhouse import create_tables

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from tracetaxa.store.database import ClickHouse

TABLES = {
    Feedback: "feedback",
    ModelReplyRow: "model_replies",
    TraceRow: "traces",
    SessionRow: "sessions",
    TaxonomyRow: "taxonomies",
    LabelRow: "trace_labels",
    RunSampleRow: "run_samples",
    AuditRow: "run_audits",
    RunRow: "analysis_runs",
    CategoryRow: "report_categories",
    ReportRow: "reports",
}


# ------------------------------------------------------------------------------------------------- DSN


@pytest.mark.parametrize(
    ("text", "embedded", "host", "port", "secure", "user"),
    [
        ("chdb://./data", True, "", 0, False, "default"),
        ("chdb:///var/lib/data", True, "", 0, False, "default"),
        ("clickhouse://db", False, "db", 8123, False, "default"),
        ("clickhouse://me:p%40ss@db:9999", False, "db", 9999, False, "me"),
        ("clickhouses://me@db", False, "db", 8443, True, "me"),
        ("clickhouse://[::1]:8123", False, "::1", 8123, False, "default"),
    ],
)
def test_dsn(text: str, embedded: bool, host: str, port: int, secure: bool, user: str) -> None:
    dsn = parse_dsn(text)
    assert (dsn.embedded, dsn.host, dsn.port, dsn.secure, dsn.user) == (embedded, host, port, secure, user)


def test_dsn_paths_are_absolute() -> None:
    assert parse_dsn("chdb://./data").path == Path.cwd() / "data"
    assert parse_dsn("chdb:///x/y").path == Path("/x/y")


def test_dsn_hides_the_password() -> None:
    dsn = parse_dsn("clickhouse://me:hunter2@db")
    assert dsn.password == "hunter2"
    assert "hunter2" not in repr(dsn) + str(dsn)


@pytest.mark.parametrize(
    "text",
    ["", "data", "postgres://x", "chdb://", "clickhouse://", "clickhouse://h:x", "clickhouse://h/otel"],
)
def test_dsn_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.dsn"):
        parse_dsn(text)


# ------------------------------------------------------------------------------------------------- ownership


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    first = Ownership.claim(tmp_path, "serve")
    first.publish("serve", {"api": "127.0.0.1:1"})
    with pytest.raises(DatabaseInUse, match=str(os.getpid())):
        Ownership.claim(tmp_path, "analyze")
    owner = find_owner(tmp_path)
    assert owner is not None
    assert (owner.pid, owner.command, owner.endpoints) == (os.getpid(), "serve", {"api": "127.0.0.1:1"})
    first.release()
    first.release()
    assert find_owner(tmp_path) is None
    Ownership.claim(tmp_path, "analyze").release()


def test_a_directory_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else"):
        Ownership.claim(tmp_path, "serve")
    with pytest.raises(ConfigError, match="is a file"):
        Ownership.claim(tmp_path / "notes.txt", "serve")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_dead_owner_owns_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib; from tracetaxa.store.owner import Ownership; "
        "Ownership.claim(pathlib.Path(sys.argv[1]), 'serve'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert (tmp_path / "tracetaxa-owner.json").read_text()
    assert find_owner(tmp_path) is None
    Ownership.claim(tmp_path, "analyze").release()


# ------------------------------------------------------------------------------------------------- schema


def test_records_mirror_their_tables(store: ClickHouse) -> None:
    with store.reader() as client:
        for record, table in TABLES.items():
            rows = client.query(
                f"SELECT name FROM system.columns WHERE database = currentDatabase() AND table = '{table}'"
            )
            assert list(columns_of(record)) == [row[0] for row in rows.result_rows], table


def test_the_labelled_view_has_the_columns_of_the_spans(store: ClickHouse) -> None:
    with store.reader() as client:
        columns = [
            client.query(
                f"SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = '{table}'"
            ).result_rows
            for table in ("otel_traces", "otel_traces_labelled")
        ]
    assert columns[0] == columns[1]


def test_winning_labels_have_the_columns_of_all_labels(store: ClickHouse) -> None:
    with store.reader() as client:
        columns = [
            client.query(
                f"SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = '{table}'"
            ).result_rows
            for table in ("trace_labels", "trace_labels_current")
        ]
        winners = client.query("SELECT * FROM trace_label_winners LIMIT 0").column_names
    assert columns[0] == columns[1]
    assert [name for name, _ in columns[0]] == list(winners)[:-1]


def test_what_is_counted_is_what_is_sampled() -> None:
    """One selection, and one idea of strata, in two statements."""
    texts = [statement(name) for name in ("analysis/count_selected", "analysis/sample_selected")]
    selections = [text.partition("FINAL")[2].partition("/* where */")[0].split() for text in texts]
    assert selections[0] == selections[1] != []
    strata = [text.partition("arrayStringConcat")[2].partition("' · ')")[0].split() for text in texts]
    assert strata[0] == strata[1] != []


def test_migrations_apply_once(store: ClickHouse) -> None:
    assert migrate(store.connect(), 30) == []
    assert [m.version for m in migrations()] == list(range(1, len(migrations()) + 1))


def test_migrations_bear_to_come_twice(store: ClickHouse) -> None:
    """As after a process that was killed before it could write down what it had applied."""
    client = store.connect()
    client.command("TRUNCATE TABLE tracetaxa_migrations")
    assert migrate(client, 30) == migrations()
    assert migrate(client, 30) == []


def test_a_migration_that_fails_leaves_those_before_it_written_down(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = migrations()
    broken = dataclasses.replace(whole[1], sql="CREATE TABLE IF NOT EXISTS nothing")
    monkeypatch.setattr("tracetaxa.store.migrate.migrations", lambda: [whole[0], broken, *whole[2:]])
    create_tables(client, 30)
    with pytest.raises(DatabaseError):
        migrate(client, 30)
    assert set(applied(client)) == {1}
    monkeypatch.undo()
    assert migrate(client, 30) == whole[1:]


def test_a_changed_migration_is_refused(store: ClickHouse) -> None:
    client = store.connect()
    client.command("INSERT INTO tracetaxa_migrations (Version, Name, Checksum) VALUES (3, 'traces', 'else')")
    with pytest.raises(StoreError, match="0003_traces differs"):
        migrate(client, 30)


def test_a_newer_database_is_refused(store: ClickHouse) -> None:
    client = store.connect()
    client.command("INSERT INTO tracetaxa_migrations (Version, Name, Checksum) VALUES (9999, 'x', 'y')")
    with pytest.raises(StoreError, match="upgrade tracetaxa"):
        migrate(client, 30)


# ------------------------------------------------------------------------------------------------- records


def label(**changes: object) -> LabelRow:
    values: dict[str, object] = {
        "analysis": "topics",
        "run_id": "r1",
        "taxonomy_version": 1,
        "trace_id": "t1",
        "revision": 1,
        "trace_start_ns": 1_795_337_071_513_365_483,
        "service_name": "shop",
        "session_id": "s",
        "category_id": "a",
        "category": "A",
        "subcategory_id": "a__b",
        "subcategory": "B",
        "confidence": 0.5,
        "labeller": "llm",
        "classifier_version": "",
        "reason": "it's a \\ 'quote'",
        "evidence": "where is 📦?",
        "evidence_span_id": "ab",
        "attributes": {"frustrated": "true"},
        "labelled_at_ns": 1_795_337_071_513_365_483,
    }
    return LabelRow(**(values | changes))  # type: ignore[arg-type]


def test_records_come_back_as_they_went(store: ClickHouse) -> None:
    given = label()

    async def trip() -> list[LabelRow]:
        await store.insert("trace_labels", [given])
        return await store.records("reading/labels_of_trace", LabelRow, trace_id="t1")

    assert asyncio.run(trip()) == [given]


LATER = 1_795_337_071_513_365_483 + 10**9


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        (
            {"labeller": "human", "taxonomy_version": 1},
            {"labeller": "llm", "taxonomy_version": 9, "revision": 9},
        ),
        ({"taxonomy_version": 2, "labeller": "distilled"}, {"taxonomy_version": 1, "revision": 5}),
        ({"revision": 2, "labeller": "distilled"}, {"revision": 1}),
        ({"labeller": "llm"}, {"labeller": "distilled", "labelled_at_ns": LATER}),
        ({"labeller": "local"}, {"labeller": "distilled", "labelled_at_ns": LATER}),
        ({"labelled_at_ns": LATER}, {}),
    ],
)
@pytest.mark.parametrize("winner_first", [True, False])
def test_which_label_wins(store: ClickHouse, winner: dict, loser: dict, winner_first: bool) -> None:
    pair = [label(reason="winner", **winner), label(reason="loser", **loser)]

    async def current() -> list[LabelRow]:
        for row in pair if winner_first else reversed(pair):
            await store.insert("trace_labels", [row])
        return await store.records("reading/labels_of_trace", LabelRow, trace_id="t1")

    assert [row.reason for row in asyncio.run(current())] == ["winner"]


def test_a_refused_statement_names_the_reason(store: ClickHouse) -> None:
    with pytest.raises(QueryFailed, match="nonsense"), store.reader() as client:
        client.query("SELECT nonsense")


def test_every_row_record_is_covered() -> None:
    mirrored = {
        value
        for value in vars(records).values()
        if dataclasses.is_dataclass(value)
        and (value.__doc__ or "").startswith("Row of `")
        and "otel_traces" not in (value.__doc__ or "")
    }
    assert mirrored == set(TABLES)


def test_an_open_database_names_its_owner(tmp_path: Path) -> None:
    """Another process, since one process can open one embedded path only."""
    code = (
        "import sys; from tracetaxa.store.database import ClickHouse; from tracetaxa.store.dsn import parse_dsn; "
        "ClickHouse.open(parse_dsn(sys.argv[1]), 'otel', 1)"
    )
    ownership = Ownership.claim(tmp_path, "serve")
    try:
        result = subprocess.run(
            [sys.executable, "-c", code, f"chdb://{tmp_path}"], capture_output=True, text=True, check=False
        )
    finally:
        ownership.release()
    assert result.returncode != 0
    assert f"process {os.getpid()} (serve)" in result.stderr
    assert json.loads((tmp_path / "tracetaxa-owner.json").read_text() or "{}") == {}


def test_a_failed_query_leaves_nothing_behind(store: ClickHouse) -> None:
    """The embedded engine would prefix the next answer of a client with what the failed query wrote."""
    for _ in range(4):
        with pytest.raises(QueryFailed), store.reader() as client:
            client.raw_query("SELECT throwIf(number = 900000) FROM numbers(1000000)", fmt="TSV")
        with store.reader() as client:
            assert client.raw_query("SELECT 7", fmt="TSV") == b"7\n"
