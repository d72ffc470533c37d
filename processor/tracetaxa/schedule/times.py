"""The times that a cron expression names, as integer nanoseconds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cronsim import CronSim

if TYPE_CHECKING:
    from collections.abc import Iterator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_NS = 10**9
_HOUR_NS = 3600 * _SECOND_NS


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cron expression of five fields in a time zone; both must be valid.

    Daylight saving is handled as Debian's cron does it, by cronsim: a time of day that is skipped comes as
    soon as the clock is past it, one that comes twice is taken once; expressions with `*` for minute or hour
    follow the time that passes.
    """

    expression: str
    time_zone: str = "UTC"

    def __str__(self) -> str:
        return f"{self.expression} {self.time_zone}"

    def next(self, after_ns: int) -> int:
        """The first time after this one."""
        return next(self._after(after_ns))

    def newest(self, after_ns: int, until_ns: int, most: int) -> list[int]:
        """The last `most` times in (after, until], oldest first.

        What they cost does not grow with the times before them: it is looked back further and further.
        """
        length = _HOUR_NS
        while True:
            start = max(after_ns, until_ns - length)
            found: deque[int] = deque(maxlen=most)
            for time_ns in self._after(start):
                if time_ns > until_ns:
                    break
                found.append(time_ns)
            if len(found) == most or start == after_ns:
                return list(found)
            length *= 8

    def _after(self, start_ns: int) -> Iterator[int]:
        zone = UTC if self.time_zone == "UTC" else ZoneInfo(self.time_zone)
        start = _EPOCH + timedelta(seconds=start_ns // _SECOND_NS)
        newest = start_ns
        for moment in CronSim(self.expression, start.astimezone(zone)):
            time_ns = (moment.astimezone(UTC) - _EPOCH) // timedelta(seconds=1) * _SECOND_NS
            # From within the hour that comes twice, the library begins with the first of the two.
            if time_ns > newest:
                newest = time_ns
                yield time_ns
