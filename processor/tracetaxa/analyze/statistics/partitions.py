"""How far two groupings of the same traces agree, whatever the groups are called.

`pairs` holds (group in the first, group in the second) of each trace.
"""

from __future__ import annotations

from collections import Counter
from math import comb, exp, lgamma, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def adjusted_rand(pairs: Sequence[tuple[str, str]]) -> float:
    """Hubert and Arabie, Journal of Classification 1985: 1 for the same groups, about 0 by chance."""
    n = comb(len(pairs), 2)
    both = sum(comb(size, 2) for size in Counter(pairs).values())
    first = sum(comb(size, 2) for size in Counter(a for a, _ in pairs).values())
    second = sum(comb(size, 2) for size in Counter(b for _, b in pairs).values())
    expected = first * second / n if n else 0.0
    most = (first + second) / 2
    return (both - expected) / (most - expected) if most != expected else 1.0


def adjusted_mutual_information(pairs: Sequence[tuple[str, str]]) -> float:
    """Vinh, Epps and Bailey, JMLR 2010, with the mean of both entropies: 1 for the same groups, about 0 by
    chance."""
    n = len(pairs)
    cells = Counter(pairs)
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    if len(first) == len(second) == 1 or len(first) == len(second) == n:
        return 1.0
    information = sum(size / n * log(n * size / (first[a] * second[b])) for (a, b), size in cells.items())
    expected = sum(
        count_a * count_b * _expected_cell(size_a, size_b, n)
        for size_a, count_a in Counter(first.values()).items()
        for size_b, count_b in Counter(second.values()).items()
    )
    most = (_entropy(first, n) + _entropy(second, n)) / 2
    return (information - expected) / (most - expected)


def overlaps(pairs: Sequence[tuple[str, str]]) -> Mapping[str, float]:
    """Group of the first grouping → its Jaccard overlap with the group of the second that fits it best.

    Hennig, Computational Statistics & Data Analysis 2007: averaged over resamples, groups above about 0.75
    are stable, those below about 0.5 dissolve.
    """
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    best = dict.fromkeys(first, 0.0)
    for (a, b), size in Counter(pairs).items():
        best[a] = max(best[a], size / (first[a] + second[b] - size))
    return best


def _entropy(sizes: Mapping[str, int], n: int) -> float:
    return -sum(size / n * log(size / n) for size in sizes.values())


def _expected_cell(size_a: int, size_b: int, n: int) -> float:
    """What a cell of groups of these sizes adds to the mutual information when traces are dealt at random."""
    fixed = (
        lgamma(size_a + 1) + lgamma(size_b + 1) + lgamma(n - size_a + 1) + lgamma(n - size_b + 1)
    ) - lgamma(n + 1)
    result = 0.0
    for size in range(max(1, size_a + size_b - n), min(size_a, size_b) + 1):
        ways = fixed - (
            lgamma(size + 1)
            + lgamma(size_a - size + 1)
            + lgamma(size_b - size + 1)
            + lgamma(n - size_a - size_b + size + 1)
        )
        result += size / n * log(n * size / (size_a * size_b)) * exp(ways)
    return result
