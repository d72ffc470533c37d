"""A category as people call it, by id or by name, in the newest taxonomy of an analysis."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa.people.items import LabelInvalid
from tracetaxa.records import OTHER, TaxonomyRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.protocols import Database

NAMES_TOLD = 12
"""Names that an error lists when none is near."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A category, with a subcategory or without: ids and names, empty where there is none."""

    category_id: str
    category: str
    subcategory_id: str = ""
    subcategory: str = ""


class Categories:
    """Those of one taxonomy version."""

    def __init__(self, analysis: str, rows: Sequence[TaxonomyRow]) -> None:
        """rows: at least one; retired ones don't count."""
        self.analysis = analysis
        self.version = rows[0].taxonomy_version
        self.run_id = rows[0].run_id
        self._rows = [row for row in rows if row.event != "retired"]

    def __contains__(self, category_id: str) -> bool:
        return category_id == OTHER or any(row.category_id == category_id for row in self._rows)

    def find(self, category: str, subcategory: str = "") -> Choice:
        """Raises LabelInvalid, with the nearest name, for one that is not there or could be several."""
        top = [row for row in self._rows if not row.parent_id]
        if _key(category) == OTHER:
            found = next((row for row in top if row.category_id == OTHER), None)
            chosen = Choice(OTHER, found.name if found else "Other")
        else:
            try:
                row = self._one("category", category, top)
            except LabelInvalid:
                self._refuse_subcategory(category)
                raise
            chosen = Choice(row.category_id, row.name)
        if not subcategory:
            return chosen
        below = [row for row in self._rows if row.parent_id == chosen.category_id]
        if not below:
            raise LabelInvalid(f"category {chosen.category!r} has no subcategories")
        row = self._one("subcategory", subcategory, below)
        return Choice(chosen.category_id, chosen.category, row.category_id, row.name)

    def _one(self, what: str, wanted: str, among: Sequence[TaxonomyRow]) -> TaxonomyRow:
        key = _key(wanted)
        for row in among:
            if row.category_id == wanted:
                return row
        named = [row for row in among if _key(row.name) == key]
        if len(named) == 1:
            return named[0]
        if named:
            ids = ", ".join(row.category_id for row in named)
            raise LabelInvalid(f"several {what[:-1]}ies are called {wanted!r}: give the id, one of {ids}")
        raise LabelInvalid(
            f"there is no {what} {wanted!r} in taxonomy version {self.version} of {self.analysis!r}; "
            + _hint(key, among)
        )

    def _refuse_subcategory(self, wanted: str) -> None:
        """A subcategory in the place of a category is an easy mistake."""
        for row in self._rows:
            if row.parent_id and (row.category_id == wanted or _key(row.name) == _key(wanted)):
                parent = next((r.name for r in self._rows if r.category_id == row.parent_id), row.parent_id)
                raise LabelInvalid(f"{wanted!r} is a subcategory of {parent!r}: give both")


async def load_categories(db: Database, analysis: str) -> Categories:
    """Of the newest taxonomy. Raises LabelInvalid when the analysis has none, and StoreError."""
    rows = await db.records("analysis/last_taxonomy", TaxonomyRow, analysis=analysis)
    if rows:
        return Categories(analysis, rows)
    known = [row["Analysis"] for row in await db.rows("people/analyses")]
    near = difflib.get_close_matches(analysis, known, n=1, cutoff=0.5)
    if near:
        hint = f"did you mean {near[0]!r}?"
    elif known:
        hint = f"there is one of: {', '.join(known[:NAMES_TOLD])}"
    else:
        hint = f"run `tracetaxa analyze {analysis}` first"
    raise LabelInvalid(f"analysis {analysis!r} has no taxonomy; {hint}")


def _hint(key: str, among: Sequence[TaxonomyRow]) -> str:
    calls = {row.category_id: row.category_id for row in among} | {_key(row.name): row.name for row in among}
    near = difflib.get_close_matches(key, calls, n=1, cutoff=0.5)
    if near:
        return f"did you mean {calls[near[0]]!r}?"
    names = [repr(row.name) for row in among if row.category_id != OTHER][:NAMES_TOLD]
    return f"there is: {', '.join([*names, repr(OTHER)])}"


def _key(name: str) -> str:
    return " ".join(name.casefold().split())
