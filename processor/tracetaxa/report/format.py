"""Numbers, times and money as people read them. Everything unknown is an en dash."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

UNKNOWN = "–"


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value >= 0


def count(value: float | None) -> str:
    """12345 → '12,345'."""
    return f"{round(value):,}" if value is not None and _known(value) else UNKNOWN


def compact(value: float | None) -> str:
    """A count in four or five characters: 999, '12.3k', '1.2M', '4.5G'."""
    if value is None or not _known(value):
        return UNKNOWN
    if round(value) < 1000:
        return f"{round(value)}"
    scaled, unit = value, ""
    for step in ("k", "M", "G", "T"):
        if scaled < 999.5:
            break
        scaled, unit = scaled / 1000, step
    return f"{scaled:.0f}{unit}" if scaled >= 99.95 else f"{scaled:.1f}{unit}"


def tokens(given: float | None, said: float | None) -> str:
    """'1,234 in, 56 out'. No model reads nothing and says nothing: two zeros are counts that nobody told."""
    return f"{count(given)} in, {count(said)} out" if given or said else "unknown"


def percent(rate: float | None) -> str:
    """A rate in [0, 1] with two or three digits; never '0%' or '100%' for a rate that is not."""
    if rate is None or not _known(rate):
        return UNKNOWN
    points = rate * 100
    if points == 0:
        return "0%"
    if points < 0.1:
        return "<0.1%"
    if round(points, 1) < 10:
        return f"{points:.1f}%"
    if points < 99.5:
        return f"{points:.0f}%"
    return ">99%" if points < 100 else "100%"


EXACT = "exact"
"""In place of an interval when every trace was read: there is no sampling error."""


def interval(low: float | None, high: float | None) -> str:
    """Bounds in [0, 1] → '31–38%'; 'exact' for no width, one number where both ends read the same."""
    if low is not None and low == high:
        return EXACT
    first, last = percent(low), percent(high)
    if first == last:
        return last
    return f"{first.removesuffix('%')}–{last}"


def duration(ms: float | None) -> str:
    """Milliseconds → '850 ms', '2.3 s', '31 s', '1 min 4 s', '2 h 5 min', '3 d 1 h'."""
    if ms is None or not _known(ms):
        return UNKNOWN
    if 0 < ms < 1:
        return "<1 ms"
    if round(ms) < 1000:
        return f"{round(ms)} ms"
    if round(ms / 1000, 1) < 10:
        return f"{ms / 1000:.1f} s"
    seconds = round(ms / 1000)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return _two(seconds, "min", 60, "s", 1)
    if seconds < 86_400:
        return _two(seconds, "h", 3600, "min", 60)
    return _two(seconds, "d", 86_400, "h", 3600)


def _two(seconds: int, large: str, large_seconds: int, small: str, small_seconds: int) -> str:
    whole, rest = divmod(seconds, large_seconds)
    part = rest // small_seconds
    return f"{whole} {large} {part} {small}" if part else f"{whole} {large}"


def cost_places(values: Iterable[float | None]) -> int:
    """Decimals for one column of money, by its largest amount: 4 below ten cents, 2 below $1,000, else 0."""
    largest = max((value for value in values if value is not None and _known(value)), default=0.0)
    if round(largest, 4) < 0.1:
        return 4
    return 2 if round(largest, 2) < 1000 else 0


def cost(usd: float | None, places: int | None = None) -> str:
    """US dollars: '$0.0123' below ten cents, '$12.34', '$1,234' from a thousand; '–' when unknown.

    `places` sets the decimals, for a column that reads alike; what they can't show is '<$0.01'.
    """
    if usd is None or not _known(usd):
        return UNKNOWN
    if usd == 0:
        return "$0"
    shown = cost_places([usd]) if places is None else places
    least = 10**-shown
    return f"<${least:.{shown}f}" if usd < least else f"${usd:,.{shown}f}"


def cost_interval(low: float | None, high: float | None, places: int | None = None) -> str:
    """'$11.90–$12.80', 'exact' for no width, '–' when no price is known."""
    if low is not None and low == high:
        return EXACT
    first, last = cost(low, places), cost(high, places)
    return last if first == last else f"{first}–{last}"


def score(value: float | None) -> str:
    """A mean feedback score or a confidence, two decimals; scores may be negative."""
    return f"{value:.2f}" if value is not None and math.isfinite(value) else UNKNOWN


def _instant(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"


def when(text: str) -> str:
    """RFC 3339 → '2026-11-20 14:05 UTC'; text that is no time comes back as it is."""
    moment = _instant(text)
    return f"{moment:%Y-%m-%d} {_clock(moment)} UTC" if moment else text


def window(start: str, end: str) -> str:
    """Two RFC 3339 times → '2026-11-20 00:00 – 2026-11-21 00:00 UTC (1 d)'."""
    first, last = _instant(start), _instant(end)
    if first is None or last is None:
        return f"{start} – {end}"
    day = "" if first.date() == last.date() else f"{last:%Y-%m-%d} "
    length = duration(max(last - first, timedelta()) / timedelta(milliseconds=1))
    return f"{first:%Y-%m-%d} {_clock(first)} – {day}{_clock(last)} UTC ({length})"


def moment(time_ns: int) -> str:
    """Nanoseconds since the epoch → RFC 3339 in UTC with nanoseconds."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
