"""Scheduled times: cron expressions in a time zone as nanoseconds, over changes of the clocks and long gaps."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracetaxa.schedule.times import Schedule

HOUR = 3600 * 10**9
DAY = 24 * HOUR
NIGHTLY = Schedule("0 3 * * *")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 10**9


def local(time_ns: int, zone: str) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, ZoneInfo(zone)).isoformat()


def test_the_next_time_is_after_this_one() -> None:
    three = at("2026-11-22T03:00:00Z")
    assert NIGHTLY.next(three - 1) == three
    assert NIGHTLY.next(three) == three + DAY
    assert NIGHTLY.next(three + 1) == three + DAY


def test_times_up_to_now_are_due_those_before_are_not() -> None:
    three = at("2026-11-22T03:00:00Z")
    assert NIGHTLY.newest(three - DAY, three, 5) == [three]
    assert NIGHTLY.newest(three, three, 5) == []
    assert NIGHTLY.newest(three, three + DAY - 1, 5) == []
    assert NIGHTLY.newest(three, three - DAY, 5) == []


def test_after_a_long_time_the_newest_come_in_order() -> None:
    now = at("2026-11-22T12:00:30Z")
    minutes = Schedule("* * * * *").newest(0, now, 3)
    assert minutes == [at(f"2026-11-22T{text}:00Z") for text in ("11:58", "11:59", "12:00")]
    years = Schedule("0 0 29 2 *").newest(0, now, 3)
    assert years == [at(f"{year}-02-29T00:00:00Z") for year in (2016, 2020, 2024)]
    assert Schedule("0 0 29 2 *").newest(years[1], now, 3) == years[2:]


@pytest.mark.parametrize(
    ("expression", "start", "found"),
    [
        # Not there on this day: as soon as the clock is past it.
        ("30 2 * * *", "2026-03-28T12:00:00Z", ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]),
        # There twice: the first.
        ("30 2 * * *", "2026-10-24T12:00:00Z", ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]),
        # Asked between the two.
        ("30 2 * * *", "2026-10-25T00:45:00Z", ["2026-10-26T02:30:00+01:00", "2026-10-27T02:30:00+01:00"]),
        # Every hour that passes.
        (
            "0 * * * *",
            "2026-10-24T23:30:00Z",
            ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"],
        ),
        # The offset of the season.
        ("0 3 1 1,7 *", "2026-01-15T00:00:00Z", ["2026-07-01T03:00:00+02:00", "2027-01-01T03:00:00+01:00"]),
    ],
)
def test_clocks_that_change(expression: str, start: str, found: list[str]) -> None:
    schedule = Schedule(expression, "Europe/Berlin")
    times = [at(start)]
    for _ in found:
        times.append(schedule.next(times[-1]))
    assert [local(time_ns, "Europe/Berlin") for time_ns in times[1:]] == found


ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
EXPRESSIONS = st.sampled_from(
    [
        "30 2 * * *",
        "0,30 1-3 * * *",
        "*/20 * * * *",
        "0 */6 * * *",
        "15 2 * * SUN",
        "0 0 1 * *",
        "59 23 L * *",
    ]
)

# Clocks change there, in one of the zones.
CHANGES = st.sampled_from(
    [f"2026-{day}T00:00:00Z" for day in ("03-08", "03-29", "04-05", "10-04", "10-25", "11-01")]
)


@settings(deadline=None)
@given(
    EXPRESSIONS,
    ZONES,
    st.builds(lambda day, seconds: at(day) + seconds * 10**9, CHANGES, st.integers(-4 * 86400, 4 * 86400)),
    st.timedeltas(timedelta(0), timedelta(days=6)),
    st.integers(1, 9),
)
def test_the_newest_are_the_last_of_all(
    expression: str, zone: str, after: int, length: timedelta, most: int
) -> None:
    """However the gap is looked through, `newest` agrees with going from one time to the next."""
    schedule = Schedule(expression, zone)
    until = after + int(length.total_seconds()) * 10**9
    every, time_ns = [], schedule.next(after)
    while time_ns <= until:
        every.append(time_ns)
        time_ns = schedule.next(time_ns)
    assert all(earlier < later for earlier, later in pairwise([after, *every]))
    assert schedule.newest(after, until, most) == every[-most:]
