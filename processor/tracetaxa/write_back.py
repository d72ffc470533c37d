"""Labels as attributes of the spans in `otel_traces` itself, by ClickHouse's lightweight updates.

An UPDATE writes patch parts: the new values are read at once and merged into the spans later, and nothing is
inserted, so materialized views don't see it (https://clickhouse.com/docs/sql-reference/statements/update).
What is written follows from `trace_labels_current` alone, and spans that are right already are left as they
are. So everything may be repeated: after a restart, by several processes, and for a trace that got spans
since (one that was sent again replaces the one with the labels when its parts are merged).
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from tracetaxa.analyze.results.document import rfc3339
from tracetaxa.assemble.ids import in_parts
from tracetaxa.assemble.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.protocols import Database

log = logging.getLogger(__name__)

OVERLAP_NS: Final = 60 * 10**9
"""Times are taken before an insert is visible, by clocks that differ: look back this much further."""
PAGE: Final = 20_000
"""Traces that are asked for at once, and after which the mark moves."""
_ENGINES = re.compile(r"(Replicated|Shared)?(Replacing|Collapsing|VersionedCollapsing)?MergeTree")


@dataclass(frozen=True, slots=True)
class WriteBackRow:
    """Row of `label_write_backs`, whose WrittenAt is ClickHouse's."""

    through_ns: int
    traces: int
    milliseconds: int


class WriteBack(Loop):
    """`written` counts the traces that this process looked at. Never touches what spans say themselves."""

    def __init__(
        self,
        db: Database,
        mode: Literal["auto", "on"],
        *,
        root_only: bool = True,
        tick_seconds: float = 5.0,
        batch_traces: int = 1000,
    ) -> None:
        super().__init__("writing labels back", tick_seconds)
        self._db = db
        self._mode = mode
        self._root_only = root_only
        self._batch_traces = batch_traces
        self._through_ns: int | None = None
        self._stopping = asyncio.Event()
        self._done: dict[str, int] = {}
        """Traces within the overlap → their newest change that is written."""
        self.written = 0
        self.absent = "it has not begun"
        """Why nothing is written back; empty when it is."""

    async def run(self, stopping: asyncio.Event) -> None:
        """A backlog may be long: it is left between two updates when it is time to stop."""
        self._stopping = stopping
        await super().run(stopping)

    async def tick(self) -> int:
        """Write back what changed since the mark; returns how many traces that were."""
        self.absent = await self._forbidden()
        self.trouble = self.absent if self._mode == "on" else ""
        if self.absent:
            return 0
        if self._through_ns is None:
            self._through_ns = (await self._db.rows("write_back/mark"))[0]["Through"]
        written = 0
        since_ns = max(0, self._through_ns - OVERLAP_NS)
        after: tuple[int, str] = (since_ns, "")
        while True:
            page = await self._db.rows(
                "write_back/pending", since_ns=since_ns, after_ns=after[0], after_id=after[1], max_rows=PAGE
            )
            changed = {r["TraceId"]: r["At"] for r in page if self._done.get(r["TraceId"], -1) < r["At"]}
            if changed and await self._write(changed):
                written += len(changed)
            if len(page) < PAGE or self._stopping.is_set():
                break
            after = (page[-1]["At"], page[-1]["TraceId"])
        horizon = self._through_ns - OVERLAP_NS
        self._done = {trace_id: at for trace_id, at in self._done.items() if at >= horizon}
        return written

    async def status(self) -> dict[str, Any]:
        """`write_back` of /v1/status. Raises StoreError."""
        row = (await self._db.rows("write_back/waiting"))[0]
        return {
            "active": not self.absent,
            "reason": self.absent or None,
            "through": rfc3339(row["Done"]) if row["Done"] else None,
            "waiting_traces": row["Waiting"],
        }

    async def waiting(self) -> int:
        """Traces with newer labels than are written back. Raises StoreError."""
        return int((await self._db.rows("write_back/waiting"))[0]["Waiting"])

    # ------------------------------------------------------------------------------- whether

    async def _forbidden(self) -> str:
        """Why this table takes no lightweight updates; with mode `on` it is made to, where it can be."""
        (table,) = await self._db.rows("write_back/allowed")
        if why := _unable(table):
            return why
        said = dict(setting.split(" = ") for setting in table["Settings"])
        if said and all(value in ("1", "true") for value in said.values()):
            return ""
        if self._mode == "auto":
            return (
                "otel_traces has enable_block_number_column or enable_block_offset_column off; "
                "`label.write_back: on` turns them on"
            )
        await self._db.command("write_back/allow")
        log.info("otel_traces now takes lightweight updates: labels are written back into its spans")
        return ""

    # ------------------------------------------------------------------------------- doing it

    async def _write(self, changed: Mapping[str, int]) -> bool:
        """changed: trace id → when. In the order of the spans, so that an update reads a part of the table.

        Returns whether all is written; it is not when it is time to stop.
        """
        began = time.monotonic()
        times: list[dict[str, Any]] = []
        for ids in in_parts(list(changed)):
            times += await self._db.rows("write_back/times", trace_ids=ids)
        times.sort(key=lambda row: (row["FirstSecond"], row["TraceId"]))
        for first in range(0, len(times), self._batch_traces):
            if self._stopping.is_set():
                return False
            await self._update(times[first : first + self._batch_traces])
        # After the updates: a process killed between the two does them again, which changes nothing.
        through_ns = max(self._through_ns or 0, *changed.values())
        taken = round((time.monotonic() - began) * 1000)
        await self._db.insert("label_write_backs", [WriteBackRow(through_ns, len(changed), taken)])
        self._through_ns = through_ns
        self._done |= changed
        self.written += len(changed)
        return True

    async def _update(self, times: Sequence[Mapping[str, Any]]) -> None:
        bounds = {row["TraceId"]: row for row in times}
        for ids in in_parts(list(bounds)):
            analyses = await self._db.rows("write_back/analyses", trace_ids=ids)
            if analyses:  # a trace that got spans need not have labels
                await self._db.command(
                    "write_back/update",
                    trace_ids=ids,
                    analyses=[row["Analysis"] for row in analyses],
                    root_only=self._root_only,
                    first_second=min(bounds[name]["FirstSecond"] for name in ids),
                    last_second=max(bounds[name]["LastSecond"] for name in ids),
                )


def _unable(table: Mapping[str, Any]) -> str:
    """Why no setting of the table would help."""
    if table["Engine"] == "Distributed":
        return "labels are not written back on a cluster (store.cluster): read otel_traces_labelled"
    if not _ENGINES.fullmatch(table["Engine"]):
        return f"ClickHouse has no lightweight updates for the engine {table['Engine']} of otel_traces"
    if not table["Enabled"]:
        return "lightweight updates need ClickHouse 25.8 or newer"
    if table["Enabled"] != ["1"]:
        return "the setting enable_lightweight_update is off for this user"
    return ""
