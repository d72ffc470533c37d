"""How well discovered categories match planted ones.

Adjusted mutual information (Vinh, Epps and Bailey 2010): 1 when both say the same whatever the names, about 0
when they have nothing to do with each other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.demo.traffic import Truth

UNLABELLED = "(no label)"
_TABLE_WIDTH = 80
_PATH = " / "
_COUNT_WIDTH = 4
_GAP = 2
"""Between columns."""


@dataclass(frozen=True, slots=True)
class Score:
    """Agreement on the traces of `truth`, at both levels; traces without a label are a class of their own."""

    traces: int
    labelled: int
    top: float | None
    sub: float | None
    confusion: Mapping[tuple[str, str], int]
    """Traces by (planted kind, discovered category)."""
    sub_confusion: Mapping[tuple[str, str], int]
    """Traces by ("kind / sub-behaviour", "category / subcategory")."""


def score(truth: Mapping[str, Truth], found: Mapping[str, tuple[str, str]]) -> Score:
    """`truth` and `found` by trace id: planted (kind, sub-behaviour), discovered (category, subcategory)."""
    ids = sorted(truth)
    labels = [found.get(trace_id, (UNLABELLED, "")) for trace_id in ids]
    tops = [(truth[trace_id][0], label[0]) for trace_id, label in zip(ids, labels, strict=True)]
    subs = [(_path(truth[trace_id]), _path(label)) for trace_id, label in zip(ids, labels, strict=True)]
    return Score(
        traces=len(ids),
        labelled=sum(trace_id in found for trace_id in ids),
        top=agreement(tops),
        sub=agreement(subs),
        confusion=Counter(tops),
        sub_confusion=Counter(subs),
    )


def agreement(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Adjusted mutual information of (planted, discovered) pairs; None without pairs or scikit-learn."""
    try:
        # Slow to import, only wanted at the end, and an optional part (`tracetaxa[local]`).
        from sklearn.metrics import adjusted_mutual_info_score
    except ImportError:
        return None
    if not pairs:
        return None
    planted, found = zip(*pairs, strict=True)
    return float(adjusted_mutual_info_score(planted, found))


def confusion_tables(
    confusion: Mapping[tuple[str, str], int], *, truth_name: str = "planted", width: int = _TABLE_WIDTH
) -> list[Table]:
    """Planted kinds as rows, discovered categories as columns named A, B, …, and what the letters mean.

    Columns are ordered so that a good match is a diagonal. Fits `width` characters: columns that do not fit
    are summed up in the last one.
    """
    rows = _by_size(confusion, 0)
    columns = _along_diagonal(confusion, rows)
    name_width = min(max([len(truth_name), *(len(_readable(row)) for row in rows)]), width // 2)
    room = max(1, (width - name_width) // (_COUNT_WIDTH + _GAP))
    if len(columns) > room:
        columns = columns[: room - 1]
    rest = sum(confusion.values()) - sum(n for (_, column), n in confusion.items() if column in columns)
    counts = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    counts.add_column(truth_name, max_width=name_width, no_wrap=True)
    for name in [*map(_letter, range(len(columns))), *(["+"] if rest else [])]:
        counts.add_column(name, justify="right", width=_COUNT_WIDTH)
    for row in rows:
        cells = [confusion.get((row, column), 0) for column in columns]
        if rest:
            cells.append(sum(n for (r, _), n in confusion.items() if r == row) - sum(cells))
        counts.add_row(_readable(row), *[str(cell) if cell else "·" for cell in cells])
    legend = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    legend.add_column("letter", no_wrap=True)
    legend.add_column("traces", justify="right", no_wrap=True)
    legend.add_column("found", overflow="ellipsis", no_wrap=True, max_width=width - 14)
    for index, column in enumerate(columns):
        size = sum(n for (_, c), n in confusion.items() if c == column)
        legend.add_row(_letter(index), str(size), column)
    if rest:
        legend.add_row("+", str(rest), "in the other categories")
    return [counts, legend]


def best_matches(
    confusion: Mapping[tuple[str, str], int], *, truth_name: str = "planted", width: int = _TABLE_WIDTH
) -> Table:
    """For every planted sub-behaviour the subcategory that most of its traces got.

    Takes a `sub_confusion`. `pure` is the share of that subcategory's traces that are of the sub-behaviour.
    """
    rows = _by_size(confusion, 0)
    kinds = dict.fromkeys(row.partition(_PATH)[0] for row in rows)
    planted_width = width * 2 // 5
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(truth_name, width=planted_width, no_wrap=True, overflow="ellipsis")
    table.add_column("traces", justify="right", width=6)
    table.add_column(
        "most often found as", width=width - planted_width - 22, no_wrap=True, overflow="ellipsis"
    )
    table.add_column("", justify="right", width=4)
    table.add_column("pure", justify="right", width=4)
    for kind in kinds:
        table.add_row(_readable(kind))
        for row in rows:
            if row.partition(_PATH)[0] != kind:
                continue
            found = {column: n for (r, column), n in confusion.items() if r == row}
            best = max(found, key=lambda column: found[column])
            size = sum(n for (_, column), n in confusion.items() if column == best)
            table.add_row(
                f"  {_readable(row.rpartition(_PATH)[2])}",
                str(sum(found.values())),
                best.rpartition(_PATH)[2],
                f"{found[best] / sum(found.values()):.0%}",
                f"{found[best] / size:.0%}",
            )
    return table


def _path(label: tuple[str, str]) -> str:
    return _PATH.join(part for part in label if part)


def _readable(kind: str) -> str:
    return kind.replace("_", " ")


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else f"A{_letter(index - 26)}"


def _by_size(confusion: Mapping[tuple[str, str], int], side: int) -> list[str]:
    sizes: Counter[str] = Counter()
    for pair, n in confusion.items():
        sizes[pair[side]] += n
    return [name for name, _ in sizes.most_common()]


def _along_diagonal(confusion: Mapping[tuple[str, str], int], rows: Sequence[str]) -> list[str]:
    """Categories in the order of the kind that most of their traces have, the largest first."""
    by_size = _by_size(confusion, 1)

    def place(column: str) -> tuple[int, int]:
        best = max(range(len(rows)), key=lambda index: confusion.get((rows[index], column), 0))
        return best, by_size.index(column)

    return sorted(by_size, key=place)
