"""The SQL endpoint as its clients see it: a real server, the real engine, one database for all files here."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import clickhouse_connect
import pytest

from sql_serving import KEEP_DAYS, LABELS, SECRET, SPANS, TRACES, Server, serving
from tracetaxa.store.migrate import migrate
from tracetaxa_exporter.clickhouse import create_tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def database(chdb_path: Path) -> Iterator[str]:
    name = f"sql_{uuid.uuid4().hex[:8]}"
    admin = clickhouse_connect.get_client(dsn=f"chdb://{chdb_path}")
    admin.command(f"CREATE DATABASE {name}")
    admin.database = name
    create_tables(admin, KEEP_DAYS)
    migrate(admin, KEEP_DAYS)
    for insert in (SPANS, TRACES, LABELS):
        admin.command(insert)
    admin.command("CREATE TABLE canary (secret String) ENGINE = MergeTree ORDER BY secret")
    admin.command("INSERT INTO canary VALUES", data=f"('{SECRET.replace(chr(39), chr(92) + chr(39))}')")
    yield name
    admin.command(f"DROP DATABASE {name} SYNC")
    admin.close()


@pytest.fixture(scope="module")
def server(chdb_path: Path, database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("canary")
    (folder / "in.csv").write_text(f"1,{SECRET}\n")
    with serving(chdb_path, database, folder) as running:
        yield running
