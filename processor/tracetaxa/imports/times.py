"""Times as people write them, to integer nanoseconds since the epoch."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from tracetaxa.imports.rows import BadRow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?$")
_NANOSECONDS = re.compile(r"(\.\d{6})\d+")
_EARLIEST_NS = 946_684_800 * 10**9
"""The year 2000: the store refuses what is older as a broken clock."""
_LATEST_NS = 4_102_444_800 * 10**9
"""The year 2100."""
_UNITS_NS = (10**9, 10**6, 10**3, 1)
"""Seconds, milliseconds, microseconds, nanoseconds: only one of them lies between 2000 and 2100."""


def parse_time(value: Any) -> int | None:
    """None for no value. A time without an offset is UTC; numbers may count any unit since the epoch.

    Raises BadRow for what is no time from 2000 to 2100.
    """
    if value is None or value == "" or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _from_number(value)
    if not isinstance(value, str):
        raise BadRow(f"{_shown(value)} is not a time")
    text = value.strip()
    if not text:
        return None
    if _NUMBER.match(text):
        return _from_number(float(text) if "." in text else int(text[:40]))
    return _from_text(text)


def _from_number(value: float) -> int:
    for unit in _UNITS_NS:
        if _EARLIEST_NS <= value * unit <= _LATEST_NS:
            if isinstance(value, int):
                return value * unit
            # Floats hold no nanoseconds of our time: microseconds are what was meant.
            return round(value * unit / 1000) * 1000
    raise BadRow(f"{_shown(value)} is not a time between 2000 and 2100")


def _from_text(text: str) -> int:
    try:
        moment = datetime.fromisoformat(_NANOSECONDS.sub(r"\1", text.removesuffix(" UTC")))
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            raise BadRow(f"{_shown(text)} is not a time such as 2026-11-22T10:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    ns = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
    if not _EARLIEST_NS <= ns <= _LATEST_NS:
        raise BadRow(f"{_shown(text)} is not a time between 2000 and 2100")
    return ns


def _shown(value: Any) -> str:
    return f"{str(value)[:40]!r}"
