"""Closed traces now, without waiting: every rule of closing is met at once."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.digests.digest import digest
from tracetaxa.assemble.assembler import Assembler, ClosingRules
from tracetaxa.assemble.rows import ToRow
from tracetaxa.dialects import read_trace
from tracetaxa.records import TraceRow

if TYPE_CHECKING:
    from tracetaxa.store.database import ClickHouse

_AT_ONCE = ClosingRules(idle_seconds=0, orphan_idle_seconds=0, max_trace_seconds=10**6)


def assemble(store: ClickHouse) -> int:
    """One tick of a new assembler; a call of a model costs half a dollar."""
    to_row = ToRow(partial(digest, max_tokens=400), lambda usage: 0.5)
    return asyncio.run(Assembler(store, read_trace, to_row, _AT_ONCE).tick())


def traces(store: ClickHouse) -> list[TraceRow]:
    """Rows of `traces`, each trace once, by id."""
    found = read(store, "SELECT TraceId FROM traces FINAL ORDER BY TraceId")
    return [asyncio.run(store.records("trace_row", TraceRow, trace_id=name))[0] for (name,) in found]


def read(store: ClickHouse, sql: str) -> list[tuple[Any, ...]]:
    with store.reader() as client:
        return [tuple(row) for row in client.query(sql).result_rows]
