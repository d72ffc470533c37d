"""The figures behind the metrics: labels of the last window, by category, in bounded number."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tracetaxa.report.plain import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.protocols import Database

REST: Final = "other_categories"
"""Stands for the categories of an analysis beyond those that have series of their own. Not `other`, which is
the category of what fits no category."""
MAX_NAME_CHARS: Final = 100


@dataclass(frozen=True, slots=True)
class LabelCount:
    """So many traces of the window have this label."""

    analysis: str
    category_id: str
    category: str
    labeller: str
    traces: int


@dataclass(frozen=True, slots=True)
class Figures:
    labels: tuple[LabelCount, ...] = ()
    traces: int = 0
    """Agents' traces of the window, labelled or not."""
    open_traces: int = 0
    write_back_waiting: int | None = None
    """None where labels are not written back."""

    def shares(self) -> dict[tuple[str, str, str], float]:
        """(analysis, category id, name) → its share of the traces that the analysis has labelled."""
        labelled = Counter[str]()
        of_category = Counter[tuple[str, str, str]]()
        for count in self.labels:
            labelled[count.analysis] += count.traces
            of_category[count.analysis, count.category_id, count.category] += count.traces
        return {key: traces / labelled[key[0]] for key, traces in of_category.items()}


async def load_labels(db: Database, since_ns: int) -> list[LabelCount]:
    """Of traces that started since. Raises StoreError."""
    return [
        LabelCount(row["Analysis"], row["CategoryId"], row["Category"], row["Labeller"], row["Traces"])
        for row in await db.rows("telemetry/metrics_labels", since_ns=since_ns)
    ]


def bounded(counts: Sequence[LabelCount], max_categories: int) -> tuple[LabelCount, ...]:
    """The largest categories of each analysis as they are, the others together under `REST`.

    A category that was renamed while the window lasted is one, by the name that most of it has.
    """
    of_category = Counter[tuple[str, str]]()
    names: dict[tuple[str, str], Counter[str]] = {}
    for count in counts:
        key = (count.analysis, count.category_id)
        of_category[key] += count.traces
        names.setdefault(key, Counter())[count.category] += count.traces
    kept: set[tuple[str, str]] = set()
    taken = Counter[str]()
    for key, _ in sorted(of_category.items(), key=lambda item: (-item[1], item[0])):
        if taken[key[0]] < max_categories:
            taken[key[0]] += 1
            kept.add(key)
    joined = Counter[LabelCount]()
    for count in counts:
        key = (count.analysis, count.category_id)
        if key in kept:
            name = min(names[key].items(), key=lambda item: (-item[1], item[0]))[0]
            told = replace(count, category=one_line(name)[:MAX_NAME_CHARS], traces=0)
        else:
            told = replace(count, category_id=REST, category=REST, traces=0)
        joined[told] += count.traces
    return tuple(replace(told, traces=traces) for told, traces in joined.items())
