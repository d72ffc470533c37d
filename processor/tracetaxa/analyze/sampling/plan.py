"""How a sample is divided among strata: the parts of the window from which so many units each are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

REST = "rest"
"""All strata beyond the largest ones."""
_LEAST = 2
"""Units of a stratum without which its spread is unknown."""

Allocation = Literal["proportional", "equal"]


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """A stratum is what a unit is in each of `strata`: `error`, `latency`, `feedback`, `tools` or the name of
    an attribute.

    `proportional` gives each stratum its share of the sample, `equal` the same number. `favoured` strata get
    `favour` of the sample whatever their size, the others share the rest: what is rare is then read often
    enough, and weighs less.
    """

    size: int
    seed: int = 0
    strata: tuple[str, ...] = ()
    allocation: Allocation = "proportional"
    favoured: tuple[str, ...] = ()
    favour: float = 0.5
    tools: tuple[str, ...] = ()
    """For the stratum `tools`: whether a unit used one of these."""
    max_strata: int = 24

    def parameters(self) -> dict[str, Any]:
        """What the statements that speak of strata are bound with."""
        return {"strata": list(self.strata), "chosen_tools": list(self.tools)}

    def allocate(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """How many units to draw of each stratum that has any: `size` together, or all there are."""
        wanted = min(self.size, sum(sizes.values()))
        favoured = {name: size for name, size in sizes.items() if name in self.favoured}
        if not favoured or len(favoured) == len(sizes):
            return self._divide(sizes, wanted)
        others = {name: size for name, size in sizes.items() if name not in favoured}
        available = sum(favoured.values())
        fair = round(wanted * available / sum(sizes.values()))
        first = min(available, max(fair, round(wanted * self.favour)))
        first = max(first, wanted - sum(others.values()))
        return self._divide(favoured, first) | self._divide(others, wanted - first)

    def _divide(self, sizes: Mapping[str, int], wanted: int) -> dict[str, int]:
        total = sum(sizes.values())
        if not total or not wanted:
            return {}
        equal = self.allocation == "equal"
        ideal = {
            name: wanted / len(sizes) if equal else wanted * size / total for name, size in sizes.items()
        }
        return _rounded(ideal, sizes, wanted)


def _rounded(ideal: Mapping[str, float], sizes: Mapping[str, int], wanted: int) -> dict[str, int]:
    """Whole numbers near the ideal ones, within what each stratum has, that add up to `wanted`.

    Every stratum gets two units if it has them and there are enough to give.
    """
    least = _LEAST if wanted >= _LEAST * len(sizes) else 0
    given = {name: min(sizes[name], max(least, floor(share))) for name, share in ideal.items()}
    while (missing := wanted - sum(given.values())) != 0:
        if missing > 0:
            open_ones = [name for name in given if given[name] < sizes[name]]
            name = max(open_ones, key=lambda n: (ideal[n] - given[n], sizes[n] - given[n], n))
            given[name] += 1
        else:
            name = max(
                (n for n in given if given[n] > least), key=lambda n: (given[n] - ideal[n], given[n], n)
            )
            given[name] -= 1
    return {name: number for name, number in given.items() if number}
