"""Repetition in a sequence: the same steps again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

LONGEST = 6
"""Steps of the longest cycle that is looked for: more costs time."""
FEWEST = 3
"""Rounds that make a loop: doing a few things twice is ordinary work."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """`period` steps from `start` on, `rounds` times in a row."""

    start: int
    period: int
    rounds: int

    @property
    def end(self) -> int:
        return self.start + self.period * self.rounds


def cycles(steps: Sequence[Hashable], longest: int = LONGEST, fewest: int = FEWEST) -> Iterator[Cycle]:
    """Cycles of two steps or more, from left to right, none inside another. The shortest period wins.

    Takes time linear in the number of steps.
    """
    at = 0
    while at + 2 * fewest <= len(steps):
        found = None
        for period in range(2, longest + 1):
            end = at + period
            while end < len(steps) and steps[end] == steps[end - period]:
                end += 1
            if (rounds := (end - at) // period) >= fewest:
                found = Cycle(at, period, rounds)
                break
        if found is None:
            at += 1
        else:
            yield found
            at = found.end
