"""Which traces an analysis is about, and which of them the engine reads.

The sample is drawn in ClickHouse: a uniform sample without replacement, in the order of a keyed hash, so that
the same seed takes the same traces and every inclusion probability is known (n ÷ N).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracetaxa.records import SampledTrace, Selection, TraceRow

if TYPE_CHECKING:
    from tracetaxa.protocols import Database


def _parameters(selection: Selection) -> dict[str, Any]:
    return {
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
    """Closed traces in the selection: the population that the report speaks for."""
    rows = await db.rows("count_selected", **_parameters(selection))
    return int(rows[0]["selected"])


async def draw_sample(
    db: Database, selection: Selection, population: int, size: int, seed: int
) -> list[SampledTrace]:
    """Up to `size` traces; all of them when the population is no larger."""
    rows = await db.records("sample_traces", TraceRow, size=size, seed=seed, **_parameters(selection))
    probability = min(1.0, len(rows) / population) if population else 1.0
    return [SampledTrace(row, stratum="", inclusion_probability=probability) for row in rows]
