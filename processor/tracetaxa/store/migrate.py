"""Ordered schema changes with a ledger: `store/sql/migrations/NNNN_name.sql`, one statement a file.

Each is applied once, in order. One that has been applied must never change: its checksum is kept. What a
process that is killed on the way has applied is applied again, so each must bear to come twice.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from tracetaxa.errors import StoreError
from tracetaxa.store.database import statement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from tracetaxa.store.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All of them, oldest first."""
    files = resources.files("tracetaxa.store").joinpath("sql", "migrations").iterdir()
    found = []
    for file in sorted(files, key=lambda f: f.name):
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, file.read_text("utf-8")))
    return found


def applied(client: Client, cluster: Cluster | None = None) -> dict[int, str]:
    """Version → checksum of what this database has; makes the ledger."""
    _run(client, cluster, statement("schema/create_ledger"), 0)
    return {row[0]: row[1] for row in client.query(statement("schema/select_ledger")).result_rows}


def migrate(client: Client, retention_days: int, cluster: Cluster | None = None) -> list[Migration]:
    """Apply what is missing; returns it. Raises StoreError when the ledger and these files disagree.

    On a cluster every server gets it, by its own ON CLUSTER statements; the ledger is one for all of them.
    """
    ledger = applied(client, cluster)
    known = {m.version: m for m in migrations()}
    for version, checksum in ledger.items():
        if version not in known:
            raise StoreError(
                f"the database is at schema version {version}, newer than this one knows: upgrade tracetaxa"
            )
        if known[version].checksum != checksum:
            raise StoreError(
                f"migration {version:04d}_{known[version].name} differs from the one that made this database"
            )
    missing = [m for v, m in sorted(known.items()) if v not in ledger]
    done = []
    try:
        for migration in missing:
            _run(client, cluster, migration.sql, retention_days)
            done.append([migration.version, migration.name, migration.checksum])
    finally:
        # At once, since on a new database the ledger would take as long as the schema.
        if done:
            client.insert("tracetaxa_migrations", done, column_names=["Version", "Name", "Checksum"])
    return missing


def restore_views(client: Client, cluster: Cluster | None = None) -> None:
    """Make the materialized views that somebody dropped, as when one failed the inserts of a collector."""
    made: dict[str, str] = {}
    for migration in migrations():
        if found := re.search(r"^CREATE MATERIALIZED VIEW IF NOT EXISTS (\w+)", migration.sql, re.MULTILINE):
            made[found[1]] = migration.sql
        elif found := re.search(r"^DROP VIEW IF EXISTS (\w+)", migration.sql, re.MULTILINE):
            made.pop(found[1], None)
    for sql in made.values():
        _run(client, cluster, sql, 0)


def _run(client: Client, cluster: Cluster | None, sql: str, retention_days: int) -> None:
    for text in cluster.statements(sql) if cluster else (sql,):
        parameters = {"retention_days": retention_days} if "{retention_days:" in text else None
        client.command(text, parameters=parameters)
