"""What rows of spans and of log records share: ids, times, and the count of what can't be a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

Row = tuple[Any, ...]
"""A value for each column of a table, in order. Times are integer nanoseconds."""

DAY_NS: Final = 86_400 * 10**9
YEAR_2000_NS: Final = 946_684_800 * 10**9
"""What is older comes from a broken clock or none."""

NO_TRACE_ID: Final = bytes(16)
NO_SPAN_ID: Final = bytes(8)
"""OTLP lets senders write an absent id as zeros."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Spans or log records (`items`) of one request that can never be stored, counted by reason."""

    items: str
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(self.reasons.values())

    @property
    def message(self) -> str:
        """One sentence for the sender; empty when nothing was rejected."""
        if not self.reasons:
            return ""
        details = ", ".join(f"{reason} ({count})" for reason, count in self.reasons.items())
        return f"rejected {self.items}, which must not be sent again: {details}"


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Which times are taken, both ends included: the tables have a partition a day, and wild times would make
    it thousands.

    `max_age_ns` is the tables' retention, which would drop what is older in silence; None is no such limit.
    """

    oldest_ns: int
    latest_ns: int
    max_age_ns: int | None = None

    @classmethod
    def at(cls, now_ns: int, max_future_ns: int = DAY_NS, max_age_ns: int | None = None) -> TimeLimits:
        """From the year 2000, or `max_age_ns` ago if that is later, to `max_future_ns` ahead."""
        oldest_ns = YEAR_2000_NS if max_age_ns is None else max(YEAR_2000_NS, now_ns - max_age_ns)
        return cls(oldest_ns, now_ns + max_future_ns, max_age_ns)

    def problem(self, time_ns: int) -> str:
        """How a time that is not taken continues "the time is"."""
        if time_ns < YEAR_2000_NS:
            return "before the year 2000"
        if self.max_age_ns is not None and time_ns < self.oldest_ns:
            return f"older than the retention of {_period(self.max_age_ns)}"
        return "too far in the future"


def id_text(identity: bytes) -> str:
    """Lower-case hex; an absent id is the empty string."""
    return identity.hex() if any(identity) else ""


def _period(ns: int) -> str:
    number, unit = (ns / DAY_NS, "day") if ns >= DAY_NS else (ns / 10**9, "second")
    return f"{number:g} {unit}{'' if number == 1 else 's'}"
