"""Which traces (or sessions) an analysis is about, and which of them the engine reads.

The sample is drawn in ClickHouse, stratum by stratum (see plan.py): at random without replacement, in the
order of a keyed hash, so that the same seed takes the same ones and every inclusion probability is known
(n ÷ N).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.plan import REST, SamplePlan
from tracetaxa.records import SampledTrace, Selection, SessionRow, TraceRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


async def count_strata(db: Database, selection: Selection, plan: SamplePlan) -> dict[str, int]:
    """Closed units in the selection by stratum: the population that the report speaks for.

    Largest first; of more than `plan.max_strata` the smallest are one stratum, `REST`. Empty for no units.
    """
    rows = await db.rows("count_selected", **_parameters(selection), **plan.parameters())
    sizes = {row["Stratum"]: int(row["selected"]) for row in rows}
    if len(sizes) <= plan.max_strata:
        return sizes
    kept = dict(list(sizes.items())[: plan.max_strata - 1])
    return kept | {REST: sum(sizes.values()) - sum(kept.values())}


async def draw_sample(
    db: Database, selection: Selection, plan: SamplePlan, strata: Mapping[str, int]
) -> list[SampledTrace]:
    """A random sample without replacement of each stratum; all units when there are no more than wanted."""
    record = _SOURCES[selection.unit][1]
    sample: list[SampledTrace] = []
    for stratum, size in plan.allocate(strata).items():
        rows = await db.records(
            "sample_selected",
            record,
            size=size,
            seed=plan.seed,
            among=[name for name in strata if name != REST] if stratum == REST else [stratum],
            inverse=stratum == REST,
            **_parameters(selection),
            **plan.parameters(),
        )
        probability = min(1.0, len(rows) / strata[stratum])
        sample += [SampledTrace(row, stratum, probability) for row in rows]
    return sample


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
