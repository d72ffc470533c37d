"""When the spans of some traces started: what keeps a read off the rest of a large table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa.assemble.ids import in_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.protocols import Database


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds since the epoch, of several traces together; every start of a span is within."""

    first_second: int
    last_second: int

    def parameters(self) -> dict[str, int]:
        return {"first_second": self.first_second, "last_second": self.last_second}


async def load_times(db: Database, trace_ids: Sequence[str]) -> Times | None:
    """None when no span of any of them is known."""
    found = []
    for ids in in_parts(trace_ids):
        found += [row for row in await db.rows("assembly/times_of_traces", trace_ids=ids) if row["Known"]]
    if not found:
        return None
    return Times(min(row["FirstSecond"] for row in found), max(row["LastSecond"] for row in found))
