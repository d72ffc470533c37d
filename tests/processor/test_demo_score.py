from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from tracetaxa.demo.score import UNLABELLED, best_matches, confusion_tables, score

TRUTH = {f"t{n}": (f"kind_{n % 3}", f"sub_{n % 2}") for n in range(60)}


def test_the_same_grouping_under_other_names_is_a_perfect_match() -> None:
    pytest.importorskip("sklearn")
    names = {"kind_0": "Refunds", "kind_1": "Tracking", "kind_2": "Login"}
    result = score(TRUTH, {trace_id: (names[kind], sub) for trace_id, (kind, sub) in TRUTH.items()})
    assert result.top == pytest.approx(1)
    assert result.sub == pytest.approx(1)
    assert (result.traces, result.labelled) == (60, 60)
    assert result.confusion == {
        ("kind_0", "Refunds"): 20,
        ("kind_1", "Tracking"): 20,
        ("kind_2", "Login"): 20,
    }


def test_one_category_for_all_says_nothing() -> None:
    pytest.importorskip("sklearn")
    assert score(TRUTH, dict.fromkeys(TRUTH, ("Everything", ""))).top == pytest.approx(0, abs=1e-9)


def test_missing_labels_count_against_the_match() -> None:
    pytest.importorskip("sklearn")
    found = {trace_id: label for trace_id, label in TRUTH.items() if int(trace_id[1:]) < 30}
    result = score(TRUTH, found)
    assert result.labelled == 30
    assert result.top is not None
    assert result.top < 0.7
    assert sum(n for (_, category), n in result.confusion.items() if category == UNLABELLED) == 30


def test_labels_of_other_traces_are_ignored() -> None:
    assert score({}, {"t1": ("A", "B")}).top is None
    assert score(TRUTH, {**TRUTH, "elsewhere": ("A", "B")}).traces == 60


def drawn(confusion: dict[tuple[str, str], int], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=200)
    for table in confusion_tables(confusion, width=width):
        console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("kinds", "categories"), [(1, 1), (7, 9), (12, 30), (26, 60)])
def test_the_table_fits_the_width_and_counts_every_trace(kinds: int, categories: int) -> None:
    confusion = {
        (
            f"kind_{row}_with_a_name_that_is_quite_long_indeed",
            f"Category {column} " + "of a long name " * 9,
        ): 1
        for row in range(kinds)
        for column in range(categories)
    }
    text = drawn(confusion)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    rows = [line for line in text.splitlines() if line.startswith("kind ")]
    assert len(rows) == kinds
    counted = [int(cell) for line in rows for cell in re.findall(r" (\d+)(?= |$)", line)[1:]]
    assert sum(counted) == kinds * categories


def test_sub_behaviours_are_shown_with_their_best_match() -> None:
    confusion = {
        ("kind / one", "Refunds / Late"): 30,
        ("kind / one", "Other"): 10,
        ("kind / two " + "and a long name " * 9, "Refunds / Late"): 20,
        ("kind / three", "Other " + "and a long name " * 9): 5,
    }
    console = Console(file=io.StringIO(), width=200)
    console.print(best_matches(confusion))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    rows = [line.rstrip() for line in lines[2:]]
    assert rows[0] == "kind"
    assert re.fullmatch(r"  one +40 +Late +75% +60%", rows[1])
    assert re.fullmatch(r"  two and a.*… +20 +Late +100% +40%", rows[2])
    assert re.fullmatch(r"  three +5 +Other and a.*… +100% +100%", rows[3])


def test_a_good_match_reads_as_a_diagonal() -> None:
    confusion = {("a", "X"): 10, ("b", "Y"): 30, ("c", "Z"): 20, ("a", "Z"): 1}
    rows = [line.split() for line in drawn(confusion).splitlines() if line[:2] in ("a ", "b ", "c ")]
    assert rows == [["b", "30", "·", "·"], ["c", "·", "20", "·"], ["a", "·", "1", "10"]]
