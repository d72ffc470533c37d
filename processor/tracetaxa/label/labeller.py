"""Labels of one classifier for every trace of one analysis that a run did not read.

Two passes, both bounded and in batches: the traces that there were when the classifier was made, in the order
of their ids, and every revision that the assembler writes from then on, in the order of writing. How far they
have come is a row of `label_progress`, written after the labels: a killed process does a little again, which
is harmless, and leaves nothing out. Two processes at
once would do the same work twice.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tracetaxa.label.rows import ProgressRow
from tracetaxa.records import OTHER, LabelRow, Taxonomy, TraceRow

if TYPE_CHECKING:
    from tracetaxa.label.classifier import Prediction
    from tracetaxa.protocols import Database

Predict = Callable[[Sequence[TraceRow]], Awaitable[Sequence["Prediction"]]]
Unsure = Callable[[Sequence[TraceRow]], None]
"""Told of traces whose label is an abstention; must not wait."""

UNSURE = "the classifier is not sure"
LIKE = "most like trace"
"""Begins the reason of an abstention."""
CLOSE_NS = 5 * 10**9
FAR_NS = 60 * 10**9
"""A revision's time is taken before it can be seen, by clocks that may differ: each tick looks back by
CLOSE_NS, and one in SWEEP_NS by FAR_NS."""
SWEEP_NS = 20 * 10**9
REVISIONS_READ = 10_000
"""Revisions that one question brings; most of them are known."""
SAVE_NS = 2 * 10**9
"""How often progress is written."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a classifier's labels are for and where they come from."""

    analysis: str
    run_id: str
    taxonomy_version: int
    taxonomy: Taxonomy
    classifier_version: str
    selection: Mapping[str, Any]
    """What the fragment `selection` is bound with; its end is the end of time."""
    began_ns: int
    """Revisions that were written before this are the first pass's."""


class Labeller:
    """`labelled` counts traces, repeats too. Not for two tasks at once."""

    def __init__(
        self,
        db: Database,
        scope: Scope,
        predict: Predict,
        unsure: Unsure = lambda rows: None,
        *,
        batch_traces: int = 500,
    ) -> None:
        self.scope = scope
        self.labelled = 0
        self._db = db
        self._predict = predict
        self._unsure = unsure
        self._batch_traces = batch_traces
        self._progress: ProgressRow | None = None
        self._saved: ProgressRow | None = None
        self._swept_ns = 0
        self._by_run: frozenset[str] | None = None
        self._seen: OrderedDict[str, tuple[int, int]] = OrderedDict()
        """Trace id → newest revision that was dealt with, and when that was written; of the last minute."""

    async def tick(self) -> int:
        """All that closed since the last tick, then one batch of the rest; returns how many were labelled."""
        progress = await self._begin()
        before = self.labelled
        await self._label_new()
        if not progress.rest_done:
            await self._label_rest()
        await self.save()
        return self.labelled - before

    @property
    def behind(self) -> bool:
        """Whether there is more of the first pass to do."""
        return self._progress is None or not self._progress.rest_done

    async def waiting(self) -> int | None:
        """Closed traces that wait for a label; None where that can't be told without reading all of them: the
        first pass is not done, or many closed since the last tick."""
        progress = self._progress
        if progress is None or not progress.rest_done:
            return None
        after_ns = max(self.scope.began_ns, progress.live_up_to_ns - CLOSE_NS)
        rows = await self._db.rows("revisions_written", after_ns=after_ns, after_id="", limit=REVISIONS_READ)
        new = {r["TraceId"] for r in rows if self._seen.get(r["TraceId"], (0, 0))[0] < r["Revision"]}
        if len(rows) == REVISIONS_READ or len(new) > self._batch_traces:
            return None
        if not new:
            return 0
        selection = self.scope.selection
        return len(
            await self._db.records("labelling/traces_to_label", TraceRow, trace_ids=list(new), **selection)
        )

    async def save(self, *, now: bool = False) -> None:
        """Write how far it has come, if it is time; `now`: in any case."""
        progress, saved = self._progress, self._saved
        if progress is None or (saved and replace(progress, updated_at_ns=saved.updated_at_ns) == saved):
            return
        at_ns = time.time_ns()
        soon = saved is None or progress.rest_done != saved.rest_done or not progress.rest_done
        if now or soon or at_ns - (saved.updated_at_ns if saved else 0) >= SAVE_NS:
            self._saved = self._progress = replace(progress, updated_at_ns=at_ns)
            await self._db.insert("label_progress", [self._saved])

    async def _begin(self) -> ProgressRow:
        if self._progress is None:
            scope = self.scope
            rows = await self._db.records(
                "labelling/label_progress_of",
                ProgressRow,
                analysis=scope.analysis,
                classifier_version=scope.classifier_version,
            )
            self._saved = rows[0] if rows else None
            self._progress = self._saved or ProgressRow(
                scope.analysis, scope.classifier_version, "", False, scope.began_ns, 0
            )
        return self._progress

    # ------------------------------------------------------------------------------- what closes

    async def _label_new(self) -> None:
        progress = await self._begin()
        sweep = time.time_ns() - self._swept_ns >= SWEEP_NS
        looked_back_ns = progress.live_up_to_ns - (FAR_NS if sweep else CLOSE_NS)
        # What was there before is the first pass's, which reads later.
        after_ns, after_id = max(self.scope.began_ns, looked_back_ns), ""
        rows: list[dict[str, Any]] = []
        while not rows or len(rows) == REVISIONS_READ:
            rows = await self._db.rows(
                "revisions_written", after_ns=after_ns, after_id=after_id, limit=REVISIONS_READ
            )
            if not rows:
                break
            after_ns, after_id = rows[-1]["WrittenNs"], rows[-1]["TraceId"]
            new = [
                (row["TraceId"], row["Revision"], row["WrittenNs"])
                for row in rows
                if self._seen.get(row["TraceId"], (0, 0))[0] < row["Revision"]
            ]
            for first in range(0, len(new), self._batch_traces):
                batch = new[first : first + self._batch_traces]
                asked = list({trace_id for trace_id, *_ in batch})
                found = await self._db.records(
                    "labelling/traces_to_label", TraceRow, trace_ids=asked, **self.scope.selection
                )
                await self._label(found)
                self._remember(batch)
            if after_ns > self._current.live_up_to_ns:
                self._progress = replace(self._current, live_up_to_ns=after_ns)
                await self.save()
        if sweep:
            self._swept_ns = time.time_ns()

    def _remember(self, revisions: Sequence[tuple[str, int, int]]) -> None:
        for trace_id, revision, written_ns in revisions:
            self._seen[trace_id] = (revision, written_ns)
            self._seen.move_to_end(trace_id)
        oldest_ns = revisions[-1][2] - 2 * FAR_NS
        while self._seen and next(iter(self._seen.values()))[1] < oldest_ns:
            self._seen.popitem(last=False)

    # ------------------------------------------------------------------------------- what there was

    async def _label_rest(self) -> None:
        scope = self.scope
        rows = await self._db.records(
            "labelling/rest_to_label",
            TraceRow,
            after_id=self._current.rest_up_to,
            limit=self._batch_traces,
            **scope.selection,
        )
        # Not what the run has read, nor what closed since this began and is labelled.
        known = await self._labelled_by_run()
        await self._label(
            [
                row
                for row in rows
                if row.trace_id not in known and self._seen.get(row.trace_id, (0, 0))[0] < row.revision
            ]
        )
        up_to = rows[-1].trace_id if rows else self._current.rest_up_to
        done = len(rows) < self._batch_traces
        self._progress = replace(self._current, rest_up_to=up_to, rest_done=done)

    async def _labelled_by_run(self) -> frozenset[str]:
        if self._by_run is None:
            scope = self.scope
            rows = await self._db.rows(
                "reading/labelled_by_run", analysis=scope.analysis, run_id=scope.run_id
            )
            self._by_run = frozenset(row["TraceId"] for row in rows)
        return self._by_run

    @property
    def _current(self) -> ProgressRow:
        assert self._progress is not None
        return self._progress

    # ------------------------------------------------------------------------------- labels

    async def _label(self, rows: Sequence[TraceRow]) -> None:
        if not rows:
            return
        predictions = await self._predict(rows)
        labels = [self._row(row, p) for row, p in zip(rows, predictions, strict=True)]
        await self._db.insert("trace_labels", labels)
        self.labelled += len(labels)
        unsure = [row for row, p in zip(rows, predictions, strict=True) if p.abstained]
        if unsure:
            self._unsure(unsure)

    def _row(self, row: TraceRow, prediction: Prediction) -> LabelRow:
        scope = self.scope
        category = scope.taxonomy.get(prediction.category_id)
        known = category is not None and not category.parent_id
        if not known:
            category = scope.taxonomy.get(OTHER)
        sub = scope.taxonomy.get(prediction.subcategory_id) if prediction.subcategory_id else None
        inside = known and sub is not None and sub.parent_id == prediction.category_id
        return LabelRow(
            analysis=scope.analysis,
            run_id=scope.run_id,
            taxonomy_version=scope.taxonomy_version,
            trace_id=row.trace_id,
            revision=row.revision,
            trace_start_ns=row.start_ns,
            service_name=row.service_name,
            session_id=row.session_id,
            category_id=prediction.category_id if known else OTHER,
            category=category.name if category else "",
            subcategory_id=sub.category_id if sub and inside else "",
            subcategory=sub.name if sub and inside else "",
            confidence=prediction.confidence,
            labeller="distilled",
            classifier_version=scope.classifier_version,
            reason=_reason(prediction),
            evidence="",
            evidence_span_id="",
            attributes={},
            labelled_at_ns=time.time_ns(),
        )


def _reason(prediction: Prediction) -> str:
    """Which labelled trace it goes by: a label can be followed to what a model said, and of which words."""
    like = f"{LIKE} {prediction.nearest_id}" if prediction.nearest_id else ""
    if not prediction.abstained:
        return like
    likely = f": {prediction.likely_id}?" if prediction.likely_id else ""
    return "; ".join(filter(None, (f"{UNSURE}{likely}", like)))
