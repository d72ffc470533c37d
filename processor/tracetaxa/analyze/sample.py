"""Which traces (or sessions) an analysis is about, and which of them the engine reads.

The sample is drawn in ClickHouse: a uniform sample without replacement, in the order of a keyed hash, so that
the same seed takes the same ones and every inclusion probability is known (n ÷ N).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracetaxa.records import SampledTrace, Selection, SessionRow, TraceRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.protocols import Database

_SOURCES: dict[str, tuple[str, type[TraceRow]]] = {
    "trace": ("traces", TraceRow),
    "session": ("sessions", SessionRow),
}
"""Unit → its table, with the columns that selections are made by, and the record of a row."""
_IDS_ASKED = 500
"""Trace ids bound in one question."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a label says about the trace that it is for."""

    trace_id: str
    start_ns: int
    service_name: str


def source_of(unit: str) -> str:
    """The table with one row a unit."""
    return _SOURCES[unit][0]


def _parameters(selection: Selection) -> dict[str, Any]:
    return {
        "source": source_of(selection.unit),
        "start_ns": selection.start_ns,
        "end_ns": selection.end_ns,
        "agent_only": selection.agent_only,
        "service": selection.service,
        "status": selection.status,
        "tool": selection.tool,
        "feedback_below": selection.feedback_below,
        "attribute_names": list(selection.attributes),
        "attribute_values": list(selection.attributes.values()),
        "where": selection.where,
    }


async def count_selected(db: Database, selection: Selection) -> int:
    """Closed units in the selection: the population that the report speaks for."""
    rows = await db.rows("count_selected", **_parameters(selection))
    return int(rows[0]["selected"])


async def draw_sample(
    db: Database, selection: Selection, population: int, size: int, seed: int
) -> list[SampledTrace]:
    """Up to `size` traces or sessions; all of them when the population is no larger."""
    record = _SOURCES[selection.unit][1]
    rows = await db.records("sample_selected", record, size=size, seed=seed, **_parameters(selection))
    probability = min(1.0, len(rows) / population) if population else 1.0
    return [SampledTrace(row, stratum="", inclusion_probability=probability) for row in rows]


async def load_origins(db: Database, rows: Sequence[TraceRow]) -> dict[str, tuple[Origin, ...]]:
    """The traces that a label of each row is for, by the row's trace id: itself, or all of its session.

    Traces that the retention has taken since are absent.
    """
    members = {row.trace_id: row.trace_ids for row in rows if isinstance(row, SessionRow)}
    wanted = [trace_id for trace_ids in members.values() for trace_id in trace_ids]
    known: dict[str, Origin] = {}
    for first in range(0, len(wanted), _IDS_ASKED):
        asked = wanted[first : first + _IDS_ASKED]
        known |= {o.trace_id: o for o in await db.records("trace_origins", Origin, trace_ids=asked)}
    return {
        row.trace_id: tuple(known[i] for i in members[row.trace_id] if i in known)
        if row.trace_id in members
        else (Origin(row.trace_id, row.start_ns, row.service_name),)
        for row in rows
    }
