"""Numbers, durations, money and windows as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracetaxa.report import format as fmt


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (0.0, "0%"),
        (0.0002, "<0.1%"),
        (0.001, "0.1%"),
        (0.0346, "3.5%"),
        (0.0994, "9.9%"),
        (0.0995, "10%"),
        (0.09996, "10%"),
        (0.3421, "34%"),
        (0.9949, "99%"),
        (0.9999, ">99%"),
        (1.0, "100%"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_percent(rate: float | None, expected: str) -> None:
    assert fmt.percent(rate) == expected


@given(st.floats(0, 1))
def test_only_nothing_reads_as_0_and_only_everything_as_100(rate: float) -> None:
    assert (fmt.percent(rate) == "0%") == (rate == 0)
    assert (fmt.percent(rate) == "100%") == (rate * 100 >= 100)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.3128, 0.3727, "31–37%"),
        (0.091, 0.114, "9.1–11%"),
        (0.0, 0.004, "0–0.4%"),
        (0.5, 0.5, "exact"),
        (0.5, 0.5001, "50%"),
        (0, 0, "exact"),
    ],
)
def test_interval(low: float, high: float, expected: str) -> None:
    assert fmt.interval(low, high) == expected


@pytest.mark.parametrize(
    ("ms", "expected"),
    [
        (0, "0 ms"),
        (0.4, "<1 ms"),
        (850, "850 ms"),
        (999.6, "1.0 s"),
        (2310, "2.3 s"),
        (9_960, "10 s"),
        (31_204, "31 s"),
        (59_600, "1 min"),
        (64_000, "1 min 4 s"),
        (3_600_000, "1 h"),
        (7_500_000, "2 h 5 min"),
        (90_000_000, "1 d 1 h"),
        (-1, "–"),
        (None, "–"),
        (math.inf, "–"),
    ],
)
def test_duration(ms: float | None, expected: str) -> None:
    assert fmt.duration(ms) == expected


@pytest.mark.parametrize(
    ("usd", "expected"),
    [
        (None, "–"),
        (0, "$0"),
        (0.00001, "<$0.0001"),
        (0.0123, "$0.0123"),
        (0.09999, "$0.10"),
        (0.5, "$0.50"),
        (12.345, "$12.35"),
        (999.999, "$1,000"),
        (12_345.6, "$12,346"),
    ],
)
def test_cost(usd: float | None, expected: str) -> None:
    assert fmt.cost(usd) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(11.9, 12.8, "$11.90–$12.80"), (0, 0, "exact"), (None, None, "–")]
)
def test_cost_interval(low: float | None, high: float | None, expected: str) -> None:
    assert fmt.cost_interval(low, high) == expected


@pytest.mark.parametrize(
    ("value", "count", "compact"),
    [
        (0, "0", "0"),
        (999, "999", "999"),
        (999.7, "1,000", "1.0k"),
        (12_345, "12,345", "12.3k"),
        (999_960, "999,960", "1.0M"),
        (1_234_567, "1,234,567", "1.2M"),
        (123_456_789, "123,456,789", "123M"),
        (4_500_000_000, "4,500,000,000", "4.5G"),
        (None, "–", "–"),
    ],
)
def test_counts(value: float | None, count: str, compact: str) -> None:
    assert fmt.count(value) == count
    assert fmt.compact(value) == compact


@pytest.mark.parametrize(
    ("value", "expected"), [(-0.42, "-0.42"), (2.305, "2.31"), (None, "–"), (math.nan, "–")]
)
def test_score(value: float | None, expected: str) -> None:
    assert fmt.score(value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T14:05:00Z", "2026-11-20 14:05 UTC"),
        ("2026-11-20T14:05:07.123456789Z", "2026-11-20 14:05:07 UTC"),
        ("2026-11-20T14:05:00+02:00", "2026-11-20 12:05 UTC"),
        ("0001-01-01T00:00:00+02:00", "0001-01-01T00:00:00+02:00"),
        ("yesterday", "yesterday"),
    ],
)
def test_when(text: str, expected: str) -> None:
    assert fmt.when(text) == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z", "2026-11-20 00:00 – 2026-11-21 00:00 UTC (1 d)"),
        ("2026-11-20T06:00:00Z", "2026-11-20T18:30:00Z", "2026-11-20 06:00 – 18:30 UTC (12 h 30 min)"),
        ("?", "2026-11-20T18:30:00Z", "? – 2026-11-20T18:30:00Z"),
    ],
)
def test_window(start: str, end: str, expected: str) -> None:
    assert fmt.window(start, end) == expected


def test_moment_keeps_nanoseconds() -> None:
    assert fmt.moment(1_763_647_531_000_000_007) == "2025-11-20T14:05:31.000000007Z"


@pytest.mark.parametrize(
    ("values", "places"),
    [([], 4), ([None], 4), ([0.0752, None], 4), ([0.0752, 0.17], 2), ([0.01, 999.0], 2), ([5.0, 1000.0], 0)],
)
def test_a_column_of_money_has_one_number_of_decimals(values: list[float | None], places: int) -> None:
    assert fmt.cost_places(values) == places


@pytest.mark.parametrize(
    ("usd", "places", "expected"),
    [(0.0752, 2, "$0.08"), (0.004, 2, "<$0.01"), (0.4, 0, "<$1"), (0.0, 2, "$0"), (None, 2, "–")],
)
def test_cost_in_a_column(usd: float | None, places: int, expected: str) -> None:
    assert fmt.cost(usd, places) == expected
