"""Test databases. Making one with its schema takes half a second, so it is emptied and lent again, and so is the
product's store on it, whose clients take as long to open as a test does.

The embedded engine ends with its last client and begins anew with the next; one client stays, so that it does not.
A test that leaves another schema than it found, or other migrations in the ledger, uses its database up.
"""

from __future__ import annotations

import uuid
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import clickhouse_connect

from tracetaxa.store.database import ClickHouse
from tracetaxa.store.migrate import migrate
from tracetaxa.store.owner import Ownership
from tracetaxa_exporter.clickhouse import create_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clickhouse_connect.driver.client import Client

    from tracetaxa.store.dsn import Dsn

RETENTION_DAYS = 3650
LEDGER = "tracetaxa_migrations"
_TABLES = """
    SELECT name, create_table_query, total_rows FROM system.tables WHERE database = {name:String} ORDER BY name
"""


def get_client(dsn: Dsn, database: str | None = None) -> Client:
    """A client as anybody would open it."""
    options = dict(dsn.arguments()) | ({"database": database} if database else {})
    if not dsn.embedded:
        options["autogenerate_session_id"] = False
    return clickhouse_connect.get_client(**options)


def create_schema(store: ClickHouse) -> None:
    """As the product does when it opens its database."""
    with closing(store.connect()) as client:
        create_tables(client, RETENTION_DAYS)
        migrate(client, RETENTION_DAYS)


@dataclass
class Databases:
    """Those of one engine. `make` gives an empty one, `lend` one with the product's schema and no rows."""

    dsn: Dsn
    _admin: Client = field(init=False)
    _idle: list[str] = field(default_factory=list)
    _stores: dict[str, ClickHouse] = field(default_factory=dict)
    _schema: Sequence[Any] = ()
    _ledger: int = 0

    def __post_init__(self) -> None:
        self._admin = get_client(self.dsn)

    def make(self) -> str:
        name = f"test_{uuid.uuid4().hex[:12]}"
        self._admin.command(f"CREATE DATABASE {name}")
        return name

    def drop(self, name: str) -> None:
        if name in self._stores:
            self._stores.pop(name).close()
        self._admin.command(f"DROP DATABASE IF EXISTS {name} SYNC")

    def lend(self) -> str:
        if self._idle:
            return self._idle.pop()
        name = self.make()
        with closing(ClickHouse.open(self.dsn, name, readers=1)) as store:
            create_schema(store)
        self._schema, rows = self._look(name)
        self._ledger = rows[LEDGER]
        return name

    @contextmanager
    def store(self, name: str) -> Iterator[ClickHouse]:
        """The product's store on a database that is lent. Between tests it is open and owns nothing."""
        store = self._stores.pop(name, None)
        if store is None:
            store = ClickHouse.open(self.dsn, name, readers=2)
        elif self.dsn.path is not None:
            store.ownership = Ownership.claim(self.dsn.path, "tracetaxa")
        try:
            yield store
        except BaseException:
            store.close()
            raise
        if store.closed:
            return
        if store.ownership is not None:
            store.ownership.release()
        self._stores[name] = store

    def take_back(self, name: str) -> None:
        schema, rows = self._look(name)
        if schema != self._schema or rows.pop(LEDGER) != self._ledger:
            self.drop(name)
            return
        for table in (table for table, count in rows.items() if count):
            self._admin.command(f"TRUNCATE TABLE {name}.`{table}`")
        self._idle.append(name)

    def close(self) -> None:
        while self._idle:
            self.drop(self._idle.pop())
        self._admin.close()

    def _look(self, name: str) -> tuple[list[tuple[str, str]], dict[str, int]]:
        """Tables with their definitions, and the rows of those that keep any."""
        found = self._admin.query(_TABLES, parameters={"name": name}).result_rows
        schema = [(table, made.replace(name, "")) for table, made, _ in found]
        return schema, {table: rows for table, _, rows in found if rows is not None}
