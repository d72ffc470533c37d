"""A model is asked about traces that a classifier is not sure of, within what the configuration allows.

They have a label already, `other`; a model's label wins over it. What waits here is in memory only: traces of
a process that ends keep the label that they have.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tracetaxa.analyze.model.budget import Amount
from tracetaxa.assemble.loop import Loop
from tracetaxa.errors import EngineUnavailable, ModelError
from tracetaxa.jobs import build_engine, check_endpoint
from tracetaxa.label.rows import AskRow
from tracetaxa.privacy import build_redactor, must_redact
from tracetaxa.protocols import no_progress
from tracetaxa.records import LabelRow, TraceRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.config import Config
    from tracetaxa.label.labeller import Scope
    from tracetaxa.records import Assignment, Brief
    from tracetaxa.store.database import ClickHouse

ASK_SECONDS = 5.0
"""How often: what comes within this time is asked about together."""
REST_SECONDS = 60.0
"""How long a model that refused or did not answer is left alone."""
_HOUR_NS = 3600 * 10**9


@dataclass(slots=True)
class Asked:
    """Traces of one classifier that wait."""

    scope: Scope
    brief: Brief
    usd: float | None
    """What asking about all traces of this run may cost; None: no limit in money."""
    waiting: deque[TraceRow] = field(default_factory=deque)


class Asking(Loop):
    """`add` is for the labeller; what does not fit is left out."""

    def __init__(self, config: Config, db: ClickHouse) -> None:
        super().__init__("asking the model about unsure traces", ASK_SECONDS)
        self._config = config
        self._db = db
        self._asked: dict[str, Asked] = {}
        self._not_before = 0.0
        self._redact = build_redactor(config.privacy) if must_redact(config, "openai") else None

    def begin(self, scope: Scope, brief: Brief, usd: float | None) -> None:
        """From now on this classifier's traces are asked about; those of the analysis' last one are not."""
        self._asked[scope.analysis] = Asked(scope, brief, usd)

    def add(self, analysis: str, rows: Sequence[TraceRow]) -> None:
        """Takes what there is room for; nothing of an analysis that has not begun."""
        asked = self._asked.get(analysis)
        if asked is not None:
            room = self._config.label.max_waiting_to_ask - len(asked.waiting)
            asked.waiting.extend(rows[: max(0, room)])

    async def tick(self) -> int:
        labelled = 0
        if time.monotonic() < self._not_before:
            return labelled
        self.trouble = ""
        for asked in tuple(self._asked.values()):
            if asked.waiting:
                try:
                    labelled += await self._ask(asked)
                except (ModelError, EngineUnavailable) as error:
                    self.trouble = str(error)
                    self._not_before = time.monotonic() + REST_SECONDS
        return labelled

    async def run(self, stopping: asyncio.Event) -> None:
        """Asking that is under way when it is to stop is given up."""
        work = asyncio.create_task(super().run(stopping))
        try:
            await stopping.wait()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _ask(self, asked: Asked) -> int:
        scope = asked.scope
        (used,) = await self._db.rows(
            "labelling/asked_of_model",
            analysis=scope.analysis,
            run_id=scope.run_id,
            since_ns=time.time_ns() - _HOUR_NS,
        )
        allowed = self._config.label.max_asked_per_hour - used["Asked"]
        left = None if asked.usd is None else asked.usd - (used["CostUsd"] or 0.0)
        if left is not None and left <= 0:
            asked.waiting.clear()  # for good: the budget is that of the run
            return 0
        rows = [asked.waiting.popleft() for _ in range(min(len(asked.waiting), max(0, allowed)))]
        return await self._ask_about(rows, asked, left) if rows else 0

    async def _ask_about(self, rows: Sequence[TraceRow], asked: Asked, usd: float | None) -> int:
        scope = asked.scope
        check_endpoint(self._config)
        if self._redact is not None:
            redact = self._redact
            rows = await asyncio.to_thread(lambda: [redact(row) for row in rows])
        by_id = {row.trace_id: row for row in rows}
        engine = await asyncio.to_thread(build_engine, self._config, "openai", self._db, Amount(usd=usd))
        labelled = 0
        try:
            async for verdicts in engine.assign(rows, scope.taxonomy, asked.brief, no_progress):
                labels = [_row(by_id[v.trace_id], v, scope) for v in verdicts if not v.abstained]
                await self._db.insert("trace_labels", labels)
                labelled += len(labels)
        finally:
            spend = engine.spend
            row = AskRow(
                analysis=scope.analysis,
                run_id=scope.run_id,
                classifier_version=scope.classifier_version,
                traces=len(rows),
                labelled=labelled,
                input_tokens=spend.input_tokens,
                output_tokens=spend.output_tokens,
                cost_usd=spend.cost_usd if engine.prices_known else None,
                asked_at_ns=time.time_ns(),
            )
            # Also when it is cancelled: what was spent must be known.
            await asyncio.shield(self._db.insert("label_asks", [row]))
            await engine.close()
        return labelled


def _row(row: TraceRow, verdict: Assignment, scope: Scope) -> LabelRow:
    category = scope.taxonomy.get(verdict.category_id)
    sub = scope.taxonomy.get(verdict.subcategory_id)
    return LabelRow(
        analysis=scope.analysis,
        run_id=scope.run_id,
        taxonomy_version=scope.taxonomy_version,
        trace_id=row.trace_id,
        revision=row.revision,
        trace_start_ns=row.start_ns,
        service_name=row.service_name,
        session_id=row.session_id,
        category_id=verdict.category_id,
        category=category.name if category else "",
        subcategory_id=verdict.subcategory_id,
        subcategory=sub.name if sub else "",
        confidence=verdict.confidence,
        labeller="llm",
        classifier_version=scope.classifier_version,
        reason=verdict.reason,
        evidence=verdict.evidence,
        evidence_span_id=verdict.evidence_span_id,
        attributes=verdict.attributes,
        labelled_at_ns=time.time_ns(),
    )
