"""What a larger sample would buy: how wide the intervals of the largest categories would then be, and how
rare a kind may be and still be seen."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import ceil, log
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.results.aggregate import design_of, with_verdict
from tracetaxa.analyze.statistics.estimate import CONFIDENCE, proportion, width_at
from tracetaxa.records import OTHER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.analyze.results.aggregate import CategoryResult, Labelled
    from tracetaxa.analyze.sampling.plan import SamplePlan
    from tracetaxa.analyze.statistics.estimate import Design

LARGER = (2, 4)
"""Times the sample that was drawn."""
CATEGORIES = 3
"""Largest categories that are looked at."""


def precision(
    labelled: Sequence[Labelled],
    strata: Mapping[str, float],
    results: Sequence[CategoryResult],
    plan: SamplePlan,
    unit: str = "trace",
) -> dict[str, Any] | None:
    """The document's `precision`; None when nothing was labelled, or everything was drawn.

    A larger sample is divided among the strata as `plan` divides this one, with as many verdicts per unit.
    """
    labelled = with_verdict(labelled)
    design = design_of(labelled, strata)
    read = len(labelled)
    population = round(design.population)
    if not read or read >= population:
        return None
    drawn = sum(plan.allocate(_whole(design.sizes)).values())
    if drawn >= population:
        return None
    kinds = [r for r in results if r.category.category_id != OTHER][:CATEGORIES]
    smallest = smallest_seen(read, population)
    known: dict[str, Any] = {
        "labelled": read,
        "sizes": [min(population, factor * drawn) for factor in LARGER],
        "smallest_traces": smallest,
        "smallest_share": smallest / population,
        "categories": [_of(result, labelled, design, plan) for result in kinds],
    }
    return known | {"sentences": sentences(known, unit)}


def smallest_seen(read: int, population: int, chance: float = CONFIDENCE) -> int:
    """Units that a kind must have to be in a sample of this size with this chance.

    Of K units none is drawn with a chance of at most (1 − n/N)^K, so this is on the careful side. For a small
    part of a large population it is the rule of three, 3 ÷ n (Hanley and Lippman-Hand, JAMA 1983). Holds for
    a stratified sample too where the kind is spread over the strata by their sizes.
    """
    if read >= population:
        return 1
    return min(population, ceil(log(1 - chance) / log(1 - read / population)))


def sentences(known: dict[str, Any], unit: str) -> list[str]:
    """What is seen at this size, and what the largest category would gain."""
    smallest, share = known["smallest_traces"], known["smallest_share"]
    kind = f"A kind with at least {smallest:,} {unit}{'' if smallest == 1 else 's'} ({_small(share)})"
    told = [f"{kind} is in a sample of this size with 95% chance."]
    for category in known["categories"][:1]:
        now = f"The share of {category['name']} is known to ±{_small(category['margin'])}"
        would = [
            f"one of {size:,} ±{_small(margin)}" if margin else f"all {size:,} make it exact"
            for size, margin in zip(known["sizes"], category["margins"], strict=True)
        ]
        if would[0].startswith("one"):
            would[0] = would[0].replace("one of", "a sample of", 1).replace("±", "would make it ±", 1)
        told.append(f"{now}; {', '.join(dict.fromkeys(would))}.")
    return told


def _small(share: float) -> str:
    """Two digits at most, so that small ones are not zero."""
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}" if share >= 0.001 else f"{share:.3%}"


def _whole(sizes: Mapping[str, float]) -> dict[str, int]:
    return {name: round(size) for name, size in sizes.items()}


def _of(
    result: CategoryResult, labelled: Sequence[Labelled], design: Design, plan: SamplePlan
) -> dict[str, Any]:
    identity = result.category.category_id
    inside = [label.assignment.category_id == identity for label in labelled]
    now = proportion(inside, design)
    return {
        "category_id": identity,
        "name": result.category.name,
        "share": now.value,
        "margin": (now.high - now.low) / 2,
        "margins": [width_at(inside, design, _counts(design, plan, factor)) / 2 for factor in LARGER],
    }


def _counts(design: Design, plan: SamplePlan, factor: int) -> dict[str, float]:
    """Units of each stratum with a verdict in a sample `factor` times as large."""
    sizes = _whole(design.sizes)
    drawn = plan.allocate(sizes)
    larger = replace(plan, size=plan.size * factor).allocate(sizes)
    return {
        name: min(design.sizes[name], n * larger.get(name, n) / drawn.get(name, n))
        for name, n in Counter(design.strata).items()
    }
