"""The test database is the real one, embedded: one path a process, one database name a test."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import clickhouse_connect
import pytest

from tracetaxa.store.database import ClickHouse
from tracetaxa.store.dsn import Dsn
from tracetaxa.store.migrate import migrate
from tracetaxa_exporter.clickhouse import create_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from clickhouse_connect.driver.client import Client


@pytest.fixture(scope="session")
def chdb_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this process keeps its embedded ClickHouse; a second path in one process is an error."""
    return tmp_path_factory.mktemp("chdb")


@pytest.fixture
def database_name(chdb_path: Path) -> Iterator[str]:
    """A database of this test alone."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = clickhouse_connect.get_client(dsn=f"chdb://{chdb_path}")
    admin.command(f"CREATE DATABASE {name}")
    yield name
    admin.command(f"DROP DATABASE {name} SYNC")
    admin.close()


@pytest.fixture
def connect(chdb_path: Path, database_name: str) -> Iterator[Callable[[], Client]]:
    """Opens clients of this test's database; one client is one lock, several run in parallel."""
    clients: list[Client] = []

    def connect() -> Client:
        clients.append(clickhouse_connect.get_client(dsn=f"chdb://{chdb_path}", database=database_name))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Callable[[], Client]) -> Client:
    """A clickhouse-connect client whose current database is this test's own."""
    return connect()


@pytest.fixture
def store(chdb_path: Path, database_name: str) -> Iterator[ClickHouse]:
    """The product's own store with its schema, in this test's database."""
    opened = ClickHouse.open(Dsn(path=chdb_path), database_name, readers=2)
    client = opened.connect()
    create_tables(client, 3650)
    migrate(client, 3650)
    yield opened
    opened.close()
