"""An event for each category that a taxonomy has and its predecessors had not: in the log, and over OTLP."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tracetaxa.records import TaxonomyRow
from tracetaxa.report.plain import one_line

if TYPE_CHECKING:
    from tracetaxa.protocols import Database

log = logging.getLogger(__name__)

NEW_CATEGORY: Final = "tracetaxa.category.new"
"""Name of the event."""
OVERLAP_NS: Final = 60 * 10**9
"""A taxonomy is visible some time after the time that it carries."""
MOST: Final = 1000
"""Events of one look."""

Emit = Callable[[str, str, dict[str, Any], int], None]
"""Called with an event's name, text, attributes and time."""


class NewCategories:
    """Tells of categories that came up since it began, each once. An analysis' first taxonomy is no news."""

    def __init__(self, db: Database, began_ns: int, emit: Emit) -> None:
        self._db = db
        self._began_ns = self._since_ns = began_ns
        self._emit = emit
        self._told: dict[tuple[str, int, str], int] = {}

    async def look(self) -> int:
        """Returns how many there were. Raises StoreError."""
        rows = await self._db.records(
            "telemetry/metrics_new_categories", TaxonomyRow, since_ns=self._since_ns, most=MOST
        )
        fresh = [row for row in rows if _key(row) not in self._told]
        for row in fresh:
            attributes = _attributes(row)
            text = f"new category in {row.analysis}: {one_line(row.name)}"
            log.info("%s %s", NEW_CATEGORY, json.dumps(attributes, ensure_ascii=False))
            self._emit(NEW_CATEGORY, text, attributes, row.created_at_ns)
            self._told[_key(row)] = row.created_at_ns
        if rows:
            self._since_ns = max(self._began_ns, rows[-1].created_at_ns - OVERLAP_NS)
            self._told = {key: at for key, at in self._told.items() if at >= self._since_ns}
        return len(fresh)


def _key(row: TaxonomyRow) -> tuple[str, int, str]:
    return row.analysis, row.taxonomy_version, row.category_id


def _attributes(row: TaxonomyRow) -> dict[str, Any]:
    return {
        "tracetaxa.analysis": row.analysis,
        "tracetaxa.category_id": row.category_id,
        "tracetaxa.category": one_line(row.name),
        "tracetaxa.parent_id": row.parent_id,
        "tracetaxa.taxonomy_version": row.taxonomy_version,
        "tracetaxa.run_id": row.run_id,
    }
