"""What a run writes as it goes: its state, sample, taxonomy, labels and audit."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tracetaxa.analyze.sampling.sample import load_origins
from tracetaxa.analyze.sampling.thinning import NEAR_DUPLICATE
from tracetaxa.records import Labeller, LabelRow, RunRow, RunSampleRow, Taxonomy, TaxonomyRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.analyze.results.aggregate import Labelled
    from tracetaxa.analyze.sampling.sample import Origin
    from tracetaxa.protocols import Database
    from tracetaxa.records import SampledTrace


class RunWriter:
    """Writes for one run. All raise StoreError when ClickHouse can't take it."""

    def __init__(self, db: Database, run: RunRow, labeller: Labeller) -> None:
        self._db = db
        self._run_id = run.run_id
        self._analysis = run.analysis
        self._labeller = labeller
        self._taxonomy = Taxonomy(())
        self.taxonomy_version = 0

    async def state(self, run: RunRow) -> RunRow:
        """Returns it as written: the newest state wins, so each must be later than the one before."""
        run = replace(run, updated_at_ns=max(time.time_ns(), run.updated_at_ns + 1))
        await self._db.insert("analysis_run_states", [run])
        return run

    async def sample(self, sample: Sequence[SampledTrace]) -> None:
        rows = [
            RunSampleRow(
                run_id=self._run_id,
                trace_id=trace.row.trace_id,
                stratum=trace.stratum,
                inclusion_probability=trace.inclusion_probability,
                weight=trace.weight,
            )
            for trace in sample
        ]
        await self._db.insert("run_samples", rows)

    async def taxonomy(self, taxonomy: Taxonomy) -> None:
        """The taxonomy that labels are from now on; one that this run wrote before it was killed stays."""
        self._taxonomy = taxonomy
        previous = await self._db.records("analysis/last_taxonomy", TaxonomyRow, analysis=self._analysis)
        if self._has_saved(previous):  # before it was killed
            self.taxonomy_version = previous[0].taxonomy_version
            return
        known = {row.category_id for row in previous}
        self.taxonomy_version = max((row.taxonomy_version for row in previous), default=0) + 1
        now = time.time_ns()
        rows = [
            TaxonomyRow(
                analysis=self._analysis,
                taxonomy_version=self.taxonomy_version,
                run_id=self._run_id,
                category_id=category.category_id,
                parent_id=category.parent_id,
                level=category.level,
                name=category.name,
                description=category.description,
                event="kept" if category.category_id in known else "new",
                from_ids=(),
                created_at_ns=now,
            )
            for category in self._taxonomy.categories
        ]
        await self._db.insert("taxonomies", rows)

    def _has_saved(self, rows: Sequence[TaxonomyRow]) -> bool:
        """Whether these are this run's taxonomy as it is now."""
        return {row.run_id for row in rows} == {self._run_id} and (
            {(row.category_id, row.parent_id, row.name, row.description) for row in rows}
            == {(c.category_id, c.parent_id, c.name, c.description) for c in self._taxonomy.categories}
        )

    async def labels(self, labelled: Sequence[Labelled]) -> None:
        """A row a trace: of a session, one for each of its traces."""
        origins = await load_origins(self._db, [label.trace.row for label in labelled])
        rows = [
            self._label_row(label, origin)
            for label in labelled
            for origin in origins[label.trace.row.trace_id]
        ]
        await self._db.insert("trace_labels", rows)

    def _label_row(self, label: Labelled, origin: Origin) -> LabelRow:
        row, verdict = label.trace.row, label.assignment
        category = self._taxonomy.get(verdict.category_id)
        sub = self._taxonomy.get(verdict.subcategory_id)
        return LabelRow(
            analysis=self._analysis,
            run_id=self._run_id,
            taxonomy_version=self.taxonomy_version,
            trace_id=origin.trace_id,
            revision=row.revision,
            trace_start_ns=origin.start_ns,
            service_name=origin.service_name,
            session_id=row.session_id,
            category_id=verdict.category_id,
            category=category.name if category else "",
            subcategory_id=verdict.subcategory_id,
            subcategory=sub.name if sub else "",
            confidence=verdict.confidence,
            labeller="distilled" if label.copied_from else self._labeller,
            classifier_version=NEAR_DUPLICATE if label.copied_from else "",
            reason=verdict.reason,
            evidence=verdict.evidence,
            evidence_span_id=verdict.evidence_span_id,
            attributes=verdict.attributes,
            labelled_at_ns=time.time_ns(),
        )
