"""Ordered schema changes with a ledger: `store/sql/migrations/NNNN_name.sql`, one statement a file.

Each is applied once, in order. One that has been applied must never change: its checksum is kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from tracetaxa.errors import StoreError
from tracetaxa.store.database import statement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


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


def applied(client: Client) -> dict[int, str]:
    """Version → checksum of what this database has."""
    client.command(statement("create_ledger"))
    return {row[0]: row[1] for row in client.query(statement("select_ledger")).result_rows}


def migrate(client: Client, retention_days: int) -> list[Migration]:
    """Apply what is missing; returns it. Raises StoreError when the ledger and these files disagree."""
    ledger = applied(client)
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
    for migration in missing:
        parameters: dict[str, Any] = {}
        if "{retention_days:" in migration.sql:
            parameters["retention_days"] = retention_days
        client.command(migration.sql, parameters=parameters)
        client.insert(
            "tracetaxa_migrations",
            [[migration.version, migration.name, migration.checksum]],
            column_names=["Version", "Name", "Checksum"],
        )
    return missing
