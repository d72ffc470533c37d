"""Giving, taking back and listing labels by people.

A person's label is a row of `trace_labels` with Labeller `human`, of the newest taxonomy version, and wins
over whatever a run says, also later. One that is taken back is a later such row without a category:
`trace_labels_current` then falls back to the best label that no person gave.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.results.document import rfc3339
from tracetaxa.assemble.ids import in_parts
from tracetaxa.people.categories import Categories, Choice, load_categories
from tracetaxa.people.items import LabelInvalid
from tracetaxa.people.targets import load_targets
from tracetaxa.records import LabelRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tracetaxa.people.items import GivenLabel
    from tracetaxa.people.targets import Target
    from tracetaxa.protocols import Database

_MILLISECOND = 1_000_000
"""The later of two labels by people wins by this much at least."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one given label: the rows that it made, or why there are none."""

    rows: tuple[LabelRow, ...] = ()
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        if self.error:
            return {"error": self.error}
        first = self.rows[0]
        return {
            "analysis": first.analysis,
            "trace_ids": [row.trace_id for row in self.rows],
            "category_id": first.category_id,
            "category": first.category,
            "subcategory_id": first.subcategory_id,
            "subcategory": first.subcategory,
            "taxonomy_version": first.taxonomy_version,
        }


async def give_labels(db: Database, labels: Sequence[GivenLabel], now_ns: int) -> list[Outcome]:
    """One outcome a label; what is good is stored when this returns. Raises StoreError."""
    analyses = await _analyses(db, {given.analysis for given in labels})
    targets = await load_targets(db, labels)
    outcomes: list[Outcome] = []
    chosen: list[tuple[GivenLabel, Sequence[Target], Choice | None] | LabelInvalid] = []
    for given in labels:
        try:
            analysis = _of_analysis(analyses, given)
            traces = targets.of(given, analysis.unit)
            choice = None
            if not given.take_back:
                choice = analysis.categories.find(given.category, given.subcategory)
            chosen.append((given, traces, choice))
        except LabelInvalid as error:
            chosen.append(error)
    good = [item for item in chosen if not isinstance(item, LabelInvalid)]
    history = await _History.load(
        db, {t.trace_id for _, traces, _ in good for t in traces}, sorted(analyses), now_ns
    )
    for item in chosen:
        if isinstance(item, LabelInvalid):
            outcomes.append(Outcome(error=str(item)))
            continue
        given, traces, choice = item
        version = _of_analysis(analyses, given).categories.version
        made = [row for trace in traces if (row := history.next_row(given, trace, choice, version))]
        if made:
            outcomes.append(Outcome(tuple(made)))
        else:
            outcomes.append(Outcome(error=f"no person labelled {given.target} in {given.analysis!r}"))
    await db.insert("trace_labels", [row for outcome in outcomes for row in outcome.rows])
    return outcomes


async def list_labels(
    db: Database,
    *,
    analysis: str = "",
    trace_id: str = "",
    session_id: str = "",
    most: int = 1000,
) -> list[dict[str, Any]]:
    """Labels by people that count now, the newest first. Raises StoreError.

    `missing` says which of their categories the newest taxonomy no longer has; it is empty otherwise.
    """
    found = await db.records(
        "people/labels",
        LabelRow,
        analysis=analysis,
        trace_id=trace_id,
        session_id=session_id,
        most=most,
    )
    newest = await _analyses(db, {row.analysis for row in found})
    return [_listed(row, newest[row.analysis]) for row in found]


# ------------------------------------------------------------------------------------------------- analyses


@dataclass(frozen=True, slots=True)
class _Analysis:
    categories: Categories
    unit: str


async def _analyses(db: Database, names: Iterable[str]) -> dict[str, _Analysis | LabelInvalid]:
    found: dict[str, _Analysis | LabelInvalid] = {}
    for name in sorted(names):
        try:
            categories = await load_categories(db, name)
        except LabelInvalid as error:
            found[name] = error
            continue
        rows = await db.rows("people/unit_of_run", run_id=categories.run_id)
        found[name] = _Analysis(categories, (rows[0]["Unit"] if rows else "") or "trace")
    return found


def _of_analysis(analyses: Mapping[str, _Analysis | LabelInvalid], given: GivenLabel) -> _Analysis:
    found = analyses[given.analysis]
    if isinstance(found, LabelInvalid):
        raise found
    return found


def _listed(row: LabelRow, analysis: _Analysis | LabelInvalid) -> dict[str, Any]:
    missing = ""
    if isinstance(analysis, _Analysis):
        categories = analysis.categories
        if row.category_id not in categories:
            missing = f"taxonomy version {categories.version} no longer has the category {row.category!r}"
        elif row.subcategory_id and row.subcategory_id not in categories:
            missing = (
                f"taxonomy version {categories.version} no longer has the subcategory {row.subcategory!r}"
            )
    return {
        "analysis": row.analysis,
        "trace_id": row.trace_id,
        "session_id": row.session_id,
        "category_id": row.category_id,
        "category": row.category,
        "subcategory_id": row.subcategory_id,
        "subcategory": row.subcategory,
        "note": row.reason,
        "who": row.classifier_version,
        "taxonomy_version": row.taxonomy_version,
        "labelled_at": rfc3339(row.labelled_at_ns),
        "missing": missing,
    }


# ------------------------------------------------------------------------------------------------- rows


class _History:
    """What is said of some traces so far, by analysis and trace, so that what is said next wins."""

    def __init__(
        self,
        current: Mapping[tuple[str, str], LabelRow],
        people: dict[tuple[str, str], LabelRow],
        now_ns: int,
    ) -> None:
        self._current = current
        self._people = people
        self._now_ns = now_ns

    @classmethod
    async def load(
        cls, db: Database, trace_ids: Iterable[str], analyses: Sequence[str], now_ns: int
    ) -> _History:
        current: dict[tuple[str, str], LabelRow] = {}
        people: dict[tuple[str, str], LabelRow] = {}
        for ids in in_parts(sorted(trace_ids)):
            asked = {"trace_ids": ids, "analyses": list(analyses)}
            for row in await db.records("people/current", LabelRow, **asked):
                current[row.analysis, row.trace_id] = row
            for row in await db.records("people/newest", LabelRow, **asked):
                people[row.analysis, row.trace_id] = row
        return cls(current, people, now_ns)

    def next_row(
        self, given: GivenLabel, trace: Target, choice: Choice | None, version: int
    ) -> LabelRow | None:
        """None where there is nothing to take back. Extracted attributes stay as they are."""
        key = (given.analysis, trace.trace_id)
        before, current = self._people.get(key), self._current.get(key)
        if choice is None and (before is None or not before.category_id):
            return None
        chosen = choice or Choice("", "")
        row = LabelRow(
            analysis=given.analysis,
            run_id="",
            taxonomy_version=version,
            trace_id=trace.trace_id,
            revision=trace.revision,
            trace_start_ns=trace.start_ns,
            service_name=trace.service_name,
            session_id=trace.session_id,
            category_id=chosen.category_id,
            category=chosen.category,
            subcategory_id=chosen.subcategory_id,
            subcategory=chosen.subcategory,
            confidence=1.0 if choice else 0.0,
            labeller="human",
            classifier_version=given.who,
            reason=given.note,
            evidence="",
            evidence_span_id="",
            attributes=current.attributes if current else {},
            labelled_at_ns=self._now_ns,
        )
        if before is not None:  # precedence: taxonomy version, revision, time
            row = replace(
                row,
                taxonomy_version=max(version, before.taxonomy_version),
                revision=max(trace.revision, before.revision),
                labelled_at_ns=max(self._now_ns, before.labelled_at_ns + _MILLISECOND),
            )
        self._people[key] = row
        return row
