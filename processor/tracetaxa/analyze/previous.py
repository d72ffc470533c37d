"""What an earlier run found, so that the same kind keeps its name and id from run to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracetaxa.records import OTHER, Category, Selection, TaxonomyRow

if TYPE_CHECKING:
    from tracetaxa.protocols import Database


async def previous_categories(
    db: Database, analysis: str, instructions: str, selection: Selection, engine: str
) -> tuple[Category, ...]:
    """Categories of both levels of the newest taxonomy that a finished run of this analysis made with the
    same question, unit and engine over another window; `other` left out. Raises StoreError."""
    rows = await db.records(
        "analysis/previous_taxonomy",
        TaxonomyRow,
        analysis=analysis,
        engine=engine,
        instructions=instructions,
        unit=selection.unit,
        start_ns=selection.start_ns,
        end_ns=selection.end_ns,
    )
    return tuple(
        Category(row.category_id, row.name, row.description, row.parent_id)
        for row in rows
        if row.category_id != OTHER
    )
