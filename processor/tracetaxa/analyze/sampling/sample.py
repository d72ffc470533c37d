"""Which traces (or sessions) an analysis is about, and which of them the engine reads.

The sample is drawn in ClickHouse, stratum by stratum (see plan.py): at random without replacement, in the
order of a keyed hash, so that the same seed takes the same ones and every inclusion probability is known
(n ÷ N).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from tracetaxa.analyze.sampling.plan import REST, SamplePlan
from tracetaxa.records import SampledTrace, Selection, SessionRow, TraceRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.protocols import Database

Alike = Literal["", "numbers", "exact"]
"""What makes two units near-duplicates: all but their numbers and ids is the same, or numbers and ids too;
empty: nothing."""


@dataclass(frozen=True, slots=True)
class _DrawnTrace(TraceRow):
    likeness: int


@dataclass(frozen=True, slots=True)
class _DrawnSession(SessionRow):
    likeness: int


_Drawn = _DrawnTrace | _DrawnSession
_SOURCES: dict[str, tuple[str, type[TraceRow], type[_Drawn]]] = {
    "trace": ("traces", TraceRow, _DrawnTrace),
    "session": ("sessions", SessionRow, _DrawnSession),
}
"""Unit → its table, with the columns that selections are made by, the record of a row, and of one drawn."""
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


def selection_parameters(selection: Selection) -> dict[str, Any]:
    """What the fragment `selection` and the table `source` are bound with."""
    return {
        "source": source_of(selection.unit),
        "start_ns": selection.start_ns,
        "end_ns": selection.end_ns,
        "agent_only": selection.agent_only,
        "services": list(selection.service),
        "statuses": list(selection.status),
        "tools": list(selection.tool),
        "min_ms": selection.min_ms,
        "max_ms": selection.max_ms,
        "feedback": list(selection.feedback),
        "feedback_below": selection.feedback_below,
        "feedback_above": selection.feedback_above,
        "attribute_names": list(selection.attributes),
        "attribute_values": [list(values) for values in selection.attributes.values()],
        "where": selection.where,
    }


async def count_strata(db: Database, selection: Selection, plan: SamplePlan) -> dict[str, int]:
    """Closed units in the selection by stratum: the population that the report speaks for.

    Largest first; of more than `plan.max_strata` the smallest are one stratum, `REST`. Empty for no units.
    """
    rows = await db.rows("analysis/count_selected", **selection_parameters(selection), **plan.parameters())
    sizes = {row["Stratum"]: int(row["selected"]) for row in rows}
    if len(sizes) <= plan.max_strata:
        return sizes
    kept = dict(list(sizes.items())[: plan.max_strata - 1])
    return kept | {REST: sum(sizes.values()) - sum(kept.values())}


async def draw_sample(
    db: Database, selection: Selection, plan: SamplePlan, strata: Mapping[str, int], *, alike: Alike = ""
) -> list[SampledTrace]:
    """A random sample without replacement of each stratum; all units when there are no more than wanted.

    With `alike`, each has its `likeness`.
    """
    _, record, drawn = _SOURCES[selection.unit]
    sample: list[SampledTrace] = []
    for stratum, size in plan.allocate(strata).items():
        rows = await db.records(
            "analysis/sample_selected",
            drawn,
            alike=alike,
            size=size,
            seed=plan.seed,
            among=[name for name in strata if name != REST] if stratum == REST else [stratum],
            inverse=stratum == REST,
            **selection_parameters(selection),
            **plan.parameters(),
        )
        probability = min(1.0, len(rows) / strata[stratum])
        sample += [SampledTrace(_plain(row, record), stratum, probability, row.likeness) for row in rows]
    return sample


def _plain(row: _Drawn, record: type[TraceRow]) -> TraceRow:
    return record(**{field.name: getattr(row, field.name) for field in fields(record)})


async def load_origins(db: Database, rows: Sequence[TraceRow]) -> dict[str, tuple[Origin, ...]]:
    """The traces that a label of each row is for, by the row's trace id: itself, or all of its session.

    Traces that the retention has taken since are absent.
    """
    members = {row.trace_id: row.trace_ids for row in rows if isinstance(row, SessionRow)}
    wanted = [trace_id for trace_ids in members.values() for trace_id in trace_ids]
    known: dict[str, Origin] = {}
    for first in range(0, len(wanted), _IDS_ASKED):
        asked = wanted[first : first + _IDS_ASKED]
        known |= {o.trace_id: o for o in await db.records("assembly/trace_origins", Origin, trace_ids=asked)}
    return {
        row.trace_id: tuple(known[i] for i in members[row.trace_id] if i in known)
        if row.trace_id in members
        else (Origin(row.trace_id, row.start_ns, row.service_name),)
        for row in rows
    }
