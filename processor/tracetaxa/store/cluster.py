"""The schema on a ClickHouse cluster, derived from the same files as on one server.

    name          a Distributed table: what everything reads and writes
    name_local    the rows of one shard, replicated; or, for a view, the view of one shard's rows

Materialized views stand between `_local` tables: a trace is on one shard, and so is what follows from it.
Rules over the text of our own DDL do this, not a parser: each file holds one statement in one style, and what
no rule fits is refused, by a test before anybody else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tracetaxa.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOCAL: Final = "_local"
REPLICA_PATH: Final = "/clickhouse/tables/{shard}/{database}/{table}"
"""In Keeper. Of the server's macros: `{shard}` here, and `{replica}` beside it; `{database}` and `{table}`
are ClickHouse's own. Without `{uuid}`, so that a server that joins later finds the others of its shard."""

SETTINGS: Final[Mapping[str, int | str]] = {
    # An insert is answered when the shards have it, not when it waits on this server's disk to be sent.
    "distributed_foreground_insert": 1,
    # Subqueries over Distributed tables are evaluated once, for all shards.
    "distributed_product_mode": "global",
    # A block that was stored, but whose views failed, must go through the views when it is sent again.
    "insert_deduplicate": 0,
}
"""What every client needs on a cluster."""

_SHARDED_BY: Final = ("TraceId", "SessionId")
"""The first of these in a table's sorting key says which shard has a row, else the first that is a column,
else the first column of the sorting key. Rows that replace each other share it, so FINAL finds them on one
shard."""
_SHARDED_OTHERWISE: Final = {
    # Most log records have no trace: they must not all be on one shard.
    "otel_logs": "cityHash64(TraceId, if(TraceId = '', toUnixTimestamp64Nano(Timestamp), 0))",
    # On a trace, or else on a session.
    "feedback": "cityHash64(if(TraceId = '', SessionId, TraceId))",
}

_COMMENT = re.compile(r"^\s*--.*\n", re.MULTILINE)
_CREATE_TABLE = re.compile(
    r"CREATE TABLE IF NOT EXISTS (?P<name>\w+)\s*(?P<columns>\(\n.*?\n\))\s*"
    r"ENGINE = (?P<engine>\w*MergeTree)(?:\((?P<arguments>[^()]*)\))?\n(?P<rest>.*)",
    re.DOTALL,
)
_ORDER_BY = re.compile(r"\bORDER BY\s*(\((?:[^()]|\([^()]*\)|\((?:[^()]|\([^()]*\))*\))*\)|\w+)")
_CREATE_VIEW = re.compile(
    r"CREATE (?P<how>OR REPLACE )?(?P<kind>VIEW|MATERIALIZED VIEW) (?(how)|IF NOT EXISTS )(?P<name>\w+)"
    r"(?: TO (?P<target>\w+))? AS\n"
    r"(?P<query>.*)",
    re.DOTALL,
)
_ALTER = re.compile(r"ALTER TABLE (?P<name>\w+)\s(?P<change>.*)", re.DOTALL)
_DROP = re.compile(r"DROP (?P<kind>TABLE|VIEW) IF EXISTS (?P<name>\w+)(?P<rest>.*)", re.DOTALL)
_SOURCE = re.compile(r"\b(?P<verb>FROM|JOIN)\s+(?P<name>[a-z]\w*)\b(?P<alias>\s+AS\b)?")


class Cluster:
    """The layout on the cluster `name`: as in ClickHouse's `remote_servers`, or a macro, `{cluster}`."""

    def __init__(self, name: str, database: str) -> None:
        self.name = name
        self._database = database
        self._on_cluster = f"ON CLUSTER '{name}'"

    def statements(self, sql: str) -> Sequence[str]:
        """What to run, in order, for one statement of the schema. Raises StoreError for an unknown form."""
        text = _COMMENT.sub("", sql).strip()
        if found := _CREATE_TABLE.fullmatch(text):
            return (self._table(found), self._distributed(found["name"], _sharding(found)))
        if found := _CREATE_VIEW.fullmatch(text):
            if found["kind"] == "VIEW":
                return (self._view(found), self._distributed(found["name"]))
            if not found["how"]:  # replacing it would lose what is inserted meanwhile
                return (self._materialized_view(found),)
        if found := _ALTER.fullmatch(text):
            return self._alter(found)
        if found := _DROP.fullmatch(text):
            return self._drop(found)
        if text.startswith("CREATE DATABASE IF NOT EXISTS "):
            return (f"{text} {self._on_cluster}",)
        if text.startswith("INSERT INTO "):
            return (text,)  # reads and writes Distributed tables
        raise StoreError(f"no rule says how to do this on a cluster: {text.splitlines()[0]}")

    def stored(self, table: str) -> str:
        return f"{table}{LOCAL}"

    def _table(self, found: re.Match[str]) -> str:
        arguments = ", ".join(
            part for part in (f"'{REPLICA_PATH}', '{{replica}}'", (found["arguments"] or "").strip()) if part
        )
        return (
            f"CREATE TABLE IF NOT EXISTS {self._local(found['name'])} {self._on_cluster}\n"
            f"{found['columns']}\n"
            f"ENGINE = Replicated{found['engine']}({arguments})\n{found['rest']}"
        )

    def _view(self, found: re.Match[str]) -> str:
        create = "CREATE OR REPLACE VIEW" if found["how"] else "CREATE VIEW IF NOT EXISTS"
        return (
            f"{create} {self._local(found['name'])} {self._on_cluster} AS\n"
            f"{self._of_this_shard(found['query'])}"
        )

    def _materialized_view(self, found: re.Match[str]) -> str:
        return (
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {self._database}.{found['name']} {self._on_cluster} "
            f"TO {self._local(found['target'])} AS\n{self._of_this_shard(found['query'])}"
        )

    def _distributed(self, name: str, sharding: str = "") -> str:
        key = f", {sharding}" if sharding else ""
        return (
            f"CREATE TABLE IF NOT EXISTS {self._database}.{name} {self._on_cluster} AS {self._local(name)}\n"
            f"ENGINE = Distributed('{self.name}', '{self._database}', '{name}{LOCAL}'{key})"
        )

    def _alter(self, found: re.Match[str]) -> tuple[str, ...]:
        change = found["change"]
        local = f"ALTER TABLE {self._local(found['name'])} {self._on_cluster}\n{change}"
        if re.match(r"(MODIFY TTL|DROP PARTITION)\b", change):
            return (local,)  # a Distributed table has none
        if re.match(r"(ADD|DROP) COLUMN\b", change):
            return (local, f"ALTER TABLE {self._database}.{found['name']} {self._on_cluster}\n{change}")
        raise StoreError(f"no rule says how to do this on a cluster: {found[0]}")

    def _drop(self, found: re.Match[str]) -> tuple[str, ...]:
        """A materialized view has no `_local` beside it, and IF EXISTS is content with that."""
        kind, name = found["kind"], found["name"]
        return (
            f"DROP TABLE IF EXISTS {self._database}.{name} {self._on_cluster}{found['rest']}",
            f"DROP {kind} IF EXISTS {self._local(name)} {self._on_cluster}{found['rest']}",
        )

    def _of_this_shard(self, query: str) -> str:
        """`query` over `_local` tables; each keeps its name, by which its columns may be called."""

        def local(source: re.Match[str]) -> str:
            alias = source["alias"] or f" AS {source['name']}"
            return f"{source['verb']} {self._local(source['name'])}{alias}"

        return _SOURCE.sub(local, query)

    def _local(self, name: str) -> str:
        return f"{self._database}.{name}{LOCAL}"


def _sharding(found: re.Match[str]) -> str:
    """The sharding key of a table, as an expression."""
    if found["name"] in _SHARDED_OTHERWISE:
        return _SHARDED_OTHERWISE[found["name"]]
    order = _ORDER_BY.search(found["rest"])
    key = order[1] if order else ""
    for text in (key, found["columns"]):
        for column in _SHARDED_BY:
            if re.search(rf"\b{column}\b", text):
                return f"cityHash64({column})"
    if first := re.match(r"\(?([A-Z]\w*)\b(?!\()", key):
        return f"cityHash64({first[1]})"
    raise StoreError(f"no rule says which shard has a row of {found['name']}")
